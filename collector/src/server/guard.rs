//! Finds out who calls, and lets nobody call what is not for them. It comes before everything else: of a call that is refused,
//! nothing is read.

use std::{
    convert::Infallible,
    future::ready,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fleetmark_agent::clock::Clock;
use fleetmark_proto::{
    role::{Role, Subject},
    secret::Secret,
    token::BearerToken,
};
use http::{HeaderMap, header::AUTHORIZATION};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::{
    arrival::{Arrival, Shown},
    connections::Peer,
    leave::{Leave, Leaving},
    rights::{self, Call, Right},
    standing::Standings,
    trail::Trail,
};
use crate::{
    identity::{Address, Caller, Certificate, Credential, Denied, Who},
    ingest::Tally,
    registry::{AuditEntry, Event, Refused, Standing},
    seldom::{Seldom, lately},
};

/// Who is trusted for the place from where it calls alone. A Unix socket always is: who can open it can open the store.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Trust {
    /// Callers on this host are agents and readers.
    pub loopback: bool,
    /// Callers on any host are.
    pub network: bool,
}

impl Trust {
    fn roles(self, address: Address) -> &'static [Role] {
        match address {
            Address::Unix => &[Role::Agent, Role::Reader, Role::Operator],
            Address::Ip(ip) if self.network || self.loopback && ip.is_loopback() => {
                &[Role::Agent, Role::Reader]
            }
            Address::Ip(_) | Address::Here => &[],
        }
    }
}

/// What decides of each call.
pub(super) struct Policy {
    pub(super) trust: Trust,
    pub(super) clock: Clock,
    /// Without, nobody has credentials.
    pub(super) standings: Option<Arc<Standings>>,
    pub(super) trail: Option<Arc<Trail>>,
    pub(super) tally: Arc<Tally>,
    pub(super) said: Said,
}

/// What is said of calls that are refused.
#[derive(Default)]
pub(super) struct Said {
    without: Seldom,
    token: Seldom,
    certificate: Seldom,
    host: Seldom,
    role: Seldom,
    unknown: Seldom,
}

/// A call that is refused, and who made it as far as its credentials prove, though they do not count: an authority that is
/// trusted here signed the certificate, or the token was made here.
struct Refusal {
    who: Option<Subject>,
    denied: Denied,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self { who: None, denied }
    }
}

impl Refusal {
    /// Whether somebody may have changed that since who may do what was read: a token that was made, or a host that joined,
    /// beside the store.
    fn may_be_outdated(&self) -> bool {
        matches!(
            self.denied,
            Denied::UnknownToken | Denied::Host(Refused::UnknownHost(_) | Refused::Replaced(_))
        )
    }
}

impl Policy {
    /// Who makes this call, if it may.
    fn judge(
        &self,
        call: &Call,
        arrival: &Arrival,
        headers: &HeaderMap,
    ) -> Result<Caller, Refusal> {
        let address = arrival.address;
        let known = self.known(arrival, headers);
        let Right::Only(allowed) = call.right else {
            // Whoever may make it may do so with credentials that do not count any more.
            let who = match known {
                Ok(Some((subject, credential))) => Who::Known(subject, credential),
                Ok(None) if !self.trust.roles(address).is_empty() => Who::Near,
                Ok(None) | Err(_) => Who::Nobody,
            };
            return Ok(Caller { who, address });
        };
        match known? {
            Some((subject, credential)) if allowed.contains(&subject.role) => {
                Ok(Caller { who: Who::Known(subject, credential), address })
            }
            Some((who, _)) => {
                let denied = Denied::Role {
                    who: who.clone(),
                    call: call.to_string(),
                    allowed: call.right.to_string(),
                };
                Err(Refusal { who: Some(who), denied })
            }
            None if self.trust.roles(address).iter().any(|role| allowed.contains(role)) => {
                Ok(Caller { who: Who::Near, address })
            }
            None => Err(Denied::NoCredentials.into()),
        }
    }

    /// Who somebody is by its credentials, if it has any. A token is for this call, so it comes before the certificate.
    fn known(
        &self,
        arrival: &Arrival,
        headers: &HeaderMap,
    ) -> Result<Option<(Subject, Credential)>, Refusal> {
        if let Some(header) = headers.get(AUTHORIZATION) {
            let token = bearer(header.as_bytes())?;
            return self.by_token(&token.secret, arrival.address).map(Some);
        }
        match &arrival.shown {
            Shown::Nothing => Ok(None),
            Shown::Nobody(why) => Err(Denied::Nobody(why.clone()).into()),
            Shown::Certificate(subject, certificate) => {
                match self.check_certificate(subject, certificate) {
                    Ok(()) => {
                        let credential = Credential::Certificate(certificate.clone());
                        Ok(Some((subject.clone(), credential)))
                    }
                    Err(denied) => Err(Refusal { who: Some(subject.clone()), denied }),
                }
            }
        }
    }

    fn by_token(
        &self,
        secret: &Secret,
        address: Address,
    ) -> Result<(Subject, Credential), Refusal> {
        let digest = secret.digest();
        let Some(found) = self.look(|standing| standing.bearers.get(&digest).cloned())? else {
            return Err(Denied::UnknownToken.into());
        };
        let name = match found.host {
            Some(host) => host,
            None => found.id.as_str().parse().map_err(|_| Denied::UnknownToken)?,
        };
        let subject = Subject { role: found.role, name };
        let refused = |denied| Err(Refusal { who: Some(subject.clone()), denied });
        if found.is_revoked {
            return refused(Denied::RevokedToken);
        }
        if self.clock.now() > found.ends_at {
            return refused(Denied::TokenEnded(found.ends_at));
        }
        let inside = match (found.network, address) {
            (None, _) => true,
            (Some(network), Address::Ip(address)) => network.contains(address),
            (Some(_), Address::Unix | Address::Here) => false,
        };
        if !inside {
            return refused(Denied::OtherNetwork(address));
        }
        Ok((subject, Credential::Token(found.id)))
    }

    /// Whether a certificate counts now, whatever was so when the connection was made.
    fn check_certificate(&self, subject: &Subject, shown: &Certificate) -> Result<(), Denied> {
        let Certificate { key, begins_at, ends_at, is_ours } = shown;
        let now = self.clock.now();
        if now < *begins_at {
            return Err(Denied::NotYet(*begins_at));
        }
        if now > *ends_at {
            return Err(match is_ours {
                true => Denied::Ended(*ends_at),
                false => Denied::EndedOfOther(*ends_at),
            });
        }
        let host = &subject.name;
        if !is_ours || subject.role != Role::Agent {
            // Whom others know is not in this registry; whom this collector does not want any more is.
            return match self.look(|standing| standing.revoked.contains(subject))? {
                true => Err(Denied::Revoked(subject.clone())),
                false => Ok(()),
            };
        }
        match self.look(|standing| standing.agents.get(host).copied())? {
            Some(agent) if agent.is_revoked => Err(Refused::RevokedHost(host.clone()).into()),
            Some(agent) if agent.key != *key => Err(Refused::Replaced(host.clone()).into()),
            Some(_) => Ok(()),
            None => Err(Refused::UnknownHost(host.clone()).into()),
        }
    }

    /// Whether somebody who was let in would be let in now.
    pub(super) fn check_again(&self, caller: &Caller) -> Result<(), Denied> {
        let Who::Known(subject, credential) = &caller.who else { return Ok(()) };
        let id = match credential {
            Credential::Certificate(shown) => return self.check_certificate(subject, shown),
            Credential::Token(id) => id,
        };
        let found = self.look(|standing| {
            let mut bearers = standing.bearers.values();
            bearers.find(|found| found.id == *id).map(|found| (found.is_revoked, found.ends_at))
        })?;
        match found {
            Some((true, _)) => Err(Denied::RevokedToken),
            Some((false, ends_at)) if self.clock.now() > ends_at => {
                Err(Denied::TokenEnded(ends_at))
            }
            Some(_) => Ok(()),
            None => Err(Denied::UnknownToken),
        }
    }

    /// Looks something up in what is known of who may do what.
    fn look<T: Default>(&self, up: impl FnOnce(&Standing) -> T) -> Result<T, Denied> {
        match &self.standings {
            None => Ok(T::default()),
            Some(standings) => standings.look(up).ok_or(Denied::CannotTell),
        }
    }

    /// What is to be read again before this refusal is for good, if anything is.
    fn outdated(&self, refusal: &Refusal) -> Option<Arc<Standings>> {
        self.standings.clone().filter(|_| refusal.may_be_outdated())
    }

    /// Who fetches a page, if it may. Who is not known is looked for once more, as it may have been let in since.
    pub(super) async fn let_in(
        &self,
        call: &Call,
        arrival: &Arrival,
        headers: &HeaderMap,
    ) -> Result<Caller, Denied> {
        let mut judged = self.judge(call, arrival, headers);
        if let Err(refusal) = &judged
            && let Some(standings) = self.outdated(refusal)
        {
            standings.refresh_for_stranger().await;
            judged = self.judge(call, arrival, headers);
        }
        judged.map_err(|refusal| {
            // Browsers come without credentials first, and are asked for them.
            if refusal.denied != Denied::NoCredentials {
                self.tell(call, arrival.address, &refusal);
            }
            refusal.denied
        })
    }

    /// Counts a call that is refused, tells of it, and makes its answer.
    fn refuse(&self, call: &Call, address: Address, refusal: &Refusal) -> Status {
        self.tell(call, address, refusal);
        (&refusal.denied).into()
    }

    /// Counts a call that is refused, and tells of it.
    fn tell(&self, call: &Call, address: Address, refusal: &Refusal) {
        let Refusal { who, denied } = refusal;
        self.tally.denied();
        let kind = match denied {
            Denied::NoCredentials => &self.said.without,
            Denied::NoToken(_)
            | Denied::UnknownToken
            | Denied::RevokedToken
            | Denied::TokenEnded(_)
            | Denied::OtherNetwork(_) => &self.said.token,
            Denied::Nobody(_) | Denied::NotYet(_) | Denied::Ended(_) | Denied::EndedOfOther(_) => {
                &self.said.certificate
            }
            Denied::Host(_) | Denied::Revoked(_) => &self.said.host,
            Denied::Role { .. } => &self.said.role,
            Denied::CannotTell => &self.said.unknown,
        };
        // Who has another role is told of the call as it is.
        let what = match denied {
            Denied::Role { .. } => denied.to_string(),
            denied => format!("{call}: {denied}"),
        };
        let who = who.as_ref().map(ToString::to_string).unwrap_or_default();
        kind.happened(|times| {
            let who = if who.is_empty() { "somebody" } else { &who };
            tracing::warn!("refused {who} at {address}: {what}{}", lately(times));
        });
        // It is no refusal but a fault of ours, and could not be written either.
        if let Some(trail) = &self.trail
            && *denied != Denied::CannotTell
        {
            trail.write(address, || AuditEntry {
                at: self.clock.now(),
                event: Event::Refused,
                who,
                address: address.to_string(),
                detail: what,
            });
        }
    }
}

/// The token of a header.
fn bearer(header: &[u8]) -> Result<BearerToken, Denied> {
    let wrong = |what: &str| Denied::NoToken(what.to_owned());
    let text = str::from_utf8(header).map_err(|_| wrong("it is not text"))?;
    let (scheme, token) = text.split_once(' ').ok_or_else(|| wrong("it has no scheme"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(wrong("it has another scheme"));
    }
    token.parse().map_err(|error: fleetmark_proto::token::TokenError| wrong(&error.to_string()))
}

/// How a request came.
fn arrival(request: &http::Request<Body>) -> &Arrival {
    static NOWHERE: Arrival = Arrival { address: Address::Here, shown: Shown::Nothing };
    request.extensions().get::<Peer>().map_or(&NOWHERE, Peer::arrival)
}

/// Puts the guard before all services.
#[derive(Clone)]
pub(super) struct Guard(pub(super) Arc<Policy>);

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, policy: Arc::clone(&self.0) }
    }
}

/// Services behind the guard. Whatever reaches them has a [`Caller`] among its extensions.
#[derive(Clone)]
pub(super) struct Guarded<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    /// Makes a call for somebody who may.
    fn hand_on(
        &mut self,
        call: &Call,
        caller: Caller,
        mut request: http::Request<Body>,
    ) -> Answering {
        let policy = Arc::clone(&self.policy);
        let leave = Leave { policy, caller: caller.clone() };
        if call.stays && call.right != Right::Everybody {
            let body = mem::take(request.body_mut());
            *request.body_mut() = Body::new(Leaving { body, leave: leave.clone() });
        }
        request.extensions_mut().insert(leave);
        request.extensions_mut().insert(caller);
        // Nobody behind it needs them, and what is not handed on is not shown.
        request.headers_mut().remove(AUTHORIZATION);
        let answer = self.inner.call(request);
        let standings = call.changes.then(|| self.policy.standings.clone()).flatten();
        let Some(standings) = standings else { return Box::pin(answer) };
        Box::pin(async move {
            let answer = answer.await?;
            // Whoever hears that something has changed finds it so.
            if Status::from_header_map(answer.headers())
                .is_none_or(|status| status.code() == Code::Ok)
            {
                standings.refresh().await;
            }
            Ok(answer)
        })
    }
}

/// An answer on its way.
type Answering = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl<S> Service<http::Request<Body>> for Guarded<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = rights::of(request.uri().path());
        let refusal = match self.policy.judge(call, arrival(&request), request.headers()) {
            Ok(caller) => return self.hand_on(call, caller, request),
            Err(refusal) => refusal,
        };
        let Some(standings) = self.policy.outdated(&refusal) else {
            let answer = self.policy.refuse(call, arrival(&request).address, &refusal);
            return Box::pin(ready(Ok(answer.into_http())));
        };
        // The one that was asked whether it is ready is the one to call.
        let next = self.clone();
        let mut guarded = mem::replace(self, next);
        Box::pin(async move {
            standings.refresh_for_stranger().await;
            match guarded.policy.judge(call, arrival(&request), request.headers()) {
                Ok(caller) => guarded.hand_on(call, caller, request).await,
                Err(refusal) => {
                    let address = arrival(&request).address;
                    Ok(guarded.policy.refuse(call, address, &refusal).into_http())
                }
            }
        })
    }
}
