//! Makes hosts known: gives a certificate to who may join, and the next one to who has one.
//!
//! Everybody may ask, so every address may ask only so often: to join, and to renew without a proof. Who has proved its key is
//! bounded by itself, or a whole network behind one address could not come back from an outage at once; that the proofs are looked
//! at costs something too, so an address may have only so many of them, enough for any fleet.

mod limiter;

use limiter::{Limiter, place};

use std::{fmt, sync::Arc, time::Duration};

use fleetmark_agent::clock::Clock;
use fleetmark_proto::{
    enrollment::{Issued, Join, Renewal},
    id::Digest,
    invalid::Invalid,
    limits,
    role::{Role, Subject},
    v1::{
        EnrollRequest, Issued as WireIssued, RenewRequest,
        enrollment_server::{Enrollment, EnrollmentServer},
    },
};
use jiff::Timestamp;
use tonic::{Request, Response, Status};

use crate::{
    authority::{Authority, AuthorityError, Signed},
    identity::{Address, Caller, Certificate},
    registry::{AuditEntry, Event, Joining, KnownAgent, Refused, Registry},
    seldom::Seldom,
    server::Trail,
    status::EnrollError,
};

/// Bytes of a request: two certificates, and a name.
const MESSAGE_BYTES: usize = 3 * limits::CERTIFICATE_BYTES;

/// Why somebody who wants to renew gets nothing.
enum Unproven {
    /// What it sent is not valid.
    Request(EnrollError),
    /// It is valid, and no reason for a certificate.
    Refused(Who, Refused),
}

/// Who is refused.
enum Who {
    /// Somebody whose key proves it.
    Proven(Subject),
    /// Somebody who says so.
    Claimed(Subject),
    /// Somebody.
    Nobody,
}

/// The service that hosts join by.
pub struct EnrollmentService {
    authority: Arc<Authority>,
    registry: Arc<dyn Registry>,
    clock: Clock,
    trail: Arc<Trail>,
    addresses: Limiter<Address>,
    fleets: Limiter<Address>,
    /// By their keys: whoever has one that counts no more must not use up what is the host's.
    keys: Limiter<Digest>,
    too_often: Seldom,
}

impl EnrollmentService {
    /// A service by this authority, registry and clock. What it refuses goes into this trail.
    #[must_use]
    pub(crate) fn new(
        authority: Arc<Authority>,
        registry: Arc<dyn Registry>,
        clock: Clock,
        trail: Arc<Trail>,
    ) -> Self {
        let too_often = Seldom::default();
        let (addresses, fleets) = (Limiter::of_addresses(), Limiter::of_fleets());
        let keys = Limiter::of_keys();
        Self { authority, registry, clock, trail, addresses, fleets, keys, too_often }
    }

    /// The service as a server takes it.
    #[must_use]
    pub fn into_server(self) -> EnrollmentServer<Self> {
        EnrollmentServer::new(self).max_decoding_message_size(MESSAGE_BYTES)
    }

    /// Answers whoever may not ask again for so long.
    fn too_often(&self, who: &dyn fmt::Display, wait: Duration) -> EnrollError {
        self.too_often.happened(|times| {
            tracing::warn!("{who} and others ask too often: {times} calls to join or renew");
        });
        EnrollError::TooOften(wait)
    }

    /// Lets a caller ask whom nobody knows, if its address does not ask too often.
    fn admit(&self, caller: &Caller) -> Result<(), EnrollError> {
        let address = caller.address;
        self.addresses.check(&place(address)).map_err(|wait| self.too_often(&address, wait))
    }

    async fn join(&self, caller: Caller, wire: EnrollRequest) -> Result<Issued, EnrollError> {
        self.admit(&caller)?;
        let now = self.clock.now();
        let Join { secret, host_id, host_name, request } = Join::from_wire(wire)?;
        let subject = Subject { role: Role::Agent, name: host_id.clone() };
        // Signed before anything is used up; a certificate that is not given out counts for nobody.
        let signed = self.authority.sign(&request, &subject, now).map_err(refused_request)?;
        let joining = Joining {
            token: secret.digest(),
            host_id,
            host_name,
            key: signed.key,
            address: caller.address,
            now,
            ends_at: signed.ends_at,
        };
        match self.registry.join(joining).await? {
            Ok(agent) => {
                let (token, address) = (&agent.token_id, caller.address);
                tracing::info!("{subject} joined from {address} with token {token}");
                Ok(self.issued(signed, agent, now))
            }
            Err(refused) => {
                tracing::warn!("{subject} may not join from {}: {refused}", caller.address);
                Err(self.refuse(caller.address, Who::Claimed(subject), refused, now))
            }
        }
    }

    async fn next(&self, caller: Caller, wire: RenewRequest) -> Result<Issued, EnrollError> {
        let (now, address) = (self.clock.now(), caller.address);
        self.fleets.check(&place(address)).map_err(|wait| self.too_often(&address, wait))?;
        let Renewal { certificate, request } = Renewal::from_wire(wire)?;
        let (subject, key) = match self.proven(&certificate, &request, now) {
            Ok(proven) => proven,
            Err(unproven) => {
                self.admit(&caller)?;
                return Err(match unproven {
                    Unproven::Request(error) => error,
                    Unproven::Refused(who, refused) => {
                        tracing::warn!("a renewal from {address} was refused: {refused}");
                        self.refuse(address, who, refused, now)
                    }
                });
            }
        };
        self.keys.check(&key).map_err(|wait| self.too_often(&subject, wait))?;
        let signed = self.authority.sign(&request, &subject, now).map_err(refused_request)?;
        let name = subject.name.clone();
        match self.registry.renew(name, signed.key, address, now, signed.ends_at).await? {
            Ok(agent) => {
                tracing::info!("{subject} has a new certificate, until {}", agent.ends_at);
                Ok(self.issued(signed, agent, now))
            }
            Err(refused) => {
                tracing::warn!("{subject} may not renew from {address}: {refused}");
                Err(self.refuse(address, Who::Proven(subject), refused, now))
            }
        }
    }

    /// Who has this certificate of ours, and by the request the key of it, and may have the next one as far as these say.
    fn proven(
        &self,
        certificate: &[u8],
        request: &[u8],
        now: Timestamp,
    ) -> Result<(Subject, Digest), Unproven> {
        let key = self.authority.request_key(request);
        let key = key.map_err(|error| Unproven::Request(refused_request(error)))?;
        let (subject, old) = match self.authority.read_own(certificate) {
            Ok(read) => read,
            Err(AuthorityError::Foreign) => {
                return Err(Unproven::Refused(Who::Nobody, Refused::ForeignCertificate));
            }
            Err(error) => {
                return Err(Unproven::Request(Invalid::new("certificate", error).into()));
            }
        };
        match refusal(&subject, &old, key, now) {
            None => Ok((subject, key)),
            Some(refused) if old.key == key => {
                Err(Unproven::Refused(Who::Proven(subject), refused))
            }
            Some(refused) => Err(Unproven::Refused(Who::Claimed(subject), refused)),
        }
    }

    /// Has the audit trail say who was refused, and why.
    fn refuse(&self, address: Address, who: Who, refused: Refused, at: Timestamp) -> EnrollError {
        self.trail.write(address, || {
            let (who, detail) = match who {
                Who::Proven(subject) => (subject.to_string(), refused.to_string()),
                Who::Claimed(subject) => {
                    (String::new(), format!("claims to be {subject}: {refused}"))
                }
                Who::Nobody => (String::new(), refused.to_string()),
            };
            let address = address.to_string();
            AuditEntry { at, event: Event::Refused, who, address, detail }
        });
        refused.into()
    }

    fn issued(&self, signed: Signed, agent: KnownAgent, now: Timestamp) -> Issued {
        Issued {
            certificate: signed.certificate,
            authority: self.authority.certificate_der().to_vec(),
            ends_at: signed.ends_at,
            now,
            labels: agent.labels,
        }
    }
}

/// Why whoever shows this certificate gets no other for a request with this key; the registry knows the rest.
fn refusal(subject: &Subject, old: &Certificate, key: Digest, now: Timestamp) -> Option<Refused> {
    if subject.role != Role::Agent {
        return Some(Refused::ForeignCertificate);
    }
    if old.key != key {
        return Some(Refused::OtherKey);
    }
    let since_end = now.duration_since(old.ends_at);
    let is_long = since_end.is_positive() && since_end.unsigned_abs() > limits::RENEWAL_AGE;
    is_long.then_some(Refused::LongEnded(old.ends_at))
}

/// What is wrong with a request is the host's business, all else the collector's.
fn refused_request(error: AuthorityError) -> EnrollError {
    match error {
        AuthorityError::Request(reason) => Invalid::new("request", reason).into(),
        error => EnrollError::Sign(error),
    }
}

#[tonic::async_trait]
impl Enrollment for EnrollmentService {
    async fn enroll(
        &self,
        request: Request<EnrollRequest>,
    ) -> Result<Response<WireIssued>, Status> {
        let caller = Caller::of(request.extensions()).ok_or(EnrollError::NobodySays)?;
        let issued = self.join(caller, request.into_inner()).await?;
        Ok(Response::new(issued.into_wire()))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<WireIssued>, Status> {
        let caller = Caller::of(request.extensions()).ok_or(EnrollError::NobodySays)?;
        let issued = self.next(caller, request.into_inner()).await?;
        Ok(Response::new(issued.into_wire()))
    }
}

#[cfg(test)]
mod tests;
