//! Who may call what. The table in ARCHITECTURE.md is this one.

use std::fmt;

use fleetmark_proto::role::Role::{self, Agent, Operator, Reader};

/// A call that the server knows.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) path: &'static str,
    pub(super) right: Right,
    /// Whether it changes who may do what.
    pub(super) changes: bool,
    /// Whether it goes on for as long as whoever makes it likes.
    pub(super) stays: bool,
}

/// Who may make a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Right {
    /// Anybody, known or not.
    Everybody,
    /// Who has one of these roles.
    Only(&'static [Role]),
}

const READERS: Right = Right::Only(&[Reader, Operator]);
const OPERATORS: Right = Right::Only(&[Operator]);

const fn call(path: &'static str, right: Right) -> Call {
    Call { path, right, changes: false, stays: false }
}

const fn change(path: &'static str, right: Right) -> Call {
    Call { path, right, changes: true, stays: false }
}

const fn stream(path: &'static str, right: Right) -> Call {
    Call { path, right, changes: false, stays: true }
}

pub(super) static CALLS: [Call; 15] = [
    call("/grpc.health.v1.Health/Check", Right::Everybody),
    stream("/grpc.health.v1.Health/Watch", Right::Everybody),
    change("/fleetmark.v1.Enrollment/Enroll", Right::Everybody),
    change("/fleetmark.v1.Enrollment/Renew", Right::Everybody),
    call("/fleetmark.v1.Ingest/Submit", Right::Only(&[Agent])),
    call("/fleetmark.v1.Query/Runs", READERS),
    stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", READERS),
    stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", READERS),
    change("/fleetmark.v1.Control/CreateToken", OPERATORS),
    call("/fleetmark.v1.Control/Tokens", OPERATORS),
    change("/fleetmark.v1.Control/RevokeToken", OPERATORS),
    call("/fleetmark.v1.Control/Agents", OPERATORS),
    change("/fleetmark.v1.Control/RevokeAgent", OPERATORS),
    call("/fleetmark.v1.Control/ForgetHost", OPERATORS),
    call("/fleetmark.v1.Control/Audit", OPERATORS),
];

/// What is asked of whoever calls something that is not in the table.
static UNKNOWN: Call = call("an unknown call", OPERATORS);

/// Over HTTP, whether the collector serves.
static HEALTHZ: Call = call("/healthz", Right::Everybody);
/// What a scraper comes for.
static METRICS: Call = call("/metrics", READERS);
/// Everything else there is over HTTP, or is not.
static PAGE: Call = call("a page", READERS);

/// What is known of what has this path over HTTP.
pub(super) fn of_page(path: &str) -> &'static Call {
    [&HEALTHZ, &METRICS].into_iter().find(|call| call.path == path).unwrap_or(&PAGE)
}

/// What is known of a call with this path.
pub(super) fn of(path: &str) -> &'static Call {
    CALLS.iter().find(|call| call.path == path).unwrap_or(&UNKNOWN)
}

impl fmt::Display for Call {
    /// Service and method, such as `Ingest/Submit`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.rsplit('.').next().unwrap_or(self.path))
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Only(roles) => {
                for (place, role) in roles.iter().enumerate() {
                    let before = if place == 0 { "" } else { " or " };
                    write!(f, "{before}{role}")?;
                }
                Ok(())
            }
        }
    }
}
