//! Joins a collector: exchanges a token for a certificate.

use std::time::Duration;

use fleetmark_proto::{
    enrollment::{Issued, Join, Renewal},
    host::Host,
    token::JoinToken,
    v1::{self, enrollment_client::EnrollmentClient},
};
use jiff::SignedDuration;
use rustls::pki_types::CertificateDer;
use tokio::time::{self, Instant};

use super::{
    access::{Access, Trust},
    error::DeliveryError,
    keyring::Way,
    line::{Dialer, Line},
    pace::Pace,
    policy::{self, Next},
};
use crate::{
    backoff::Backoff,
    certificate,
    clock::Clock,
    credentials::{self, Credentials, Key, Membership, NotOurs},
};

/// What a host that joined has, and what it learned.
#[derive(Debug)]
pub struct Joined {
    /// To be kept.
    pub credentials: Credentials,
    /// By how much the collector's clock is ahead of this host's.
    pub ahead: SignedDuration,
}

/// A host that wants to join the collector that a token names.
#[derive(Debug)]
pub struct Joining<'a> {
    /// What lets it in.
    pub token: &'a JoinToken,
    /// Who it is.
    pub host: &'a Host,
    /// The key that it shall be known by. Whoever keeps it can ask again with the same token if there was no answer.
    pub key: &'a Key,
    /// What the collector is believed by, where it is not the authority that the token names.
    pub believed: Option<Access>,
    /// What time it is.
    pub clock: &'a Clock,
    /// For how long to try, where trying again may help.
    pub within: Duration,
}

impl Joining<'_> {
    /// Joins. The outlet hears of the first failure after which there is another try.
    ///
    /// # Errors
    ///
    /// If the collector is not there, is not the one that the token means, or does not let this host in.
    pub async fn join(self, outlet: impl FnMut(&DeliveryError)) -> Result<Joined, DeliveryError> {
        self.join_by(&Dialer::network(), outlet).await
    }

    /// The same with another way to connect.
    pub(super) async fn join_by(
        self,
        dialer: &Dialer,
        outlet: impl FnMut(&DeliveryError),
    ) -> Result<Joined, DeliveryError> {
        let issued = self.ask(dialer, outlet).await?;
        let Self { token, host, key, believed, clock, within: _ } = self;
        let ahead = issued.now.duration_since(clock.now());
        let what = |what| DeliveryError::NotOurs { url: token.endpoint.to_string(), what };
        credentials::check(&issued, key, &host.id).map_err(what)?;
        let Issued { certificate, authority, labels, .. } = issued;
        let authority = CertificateDer::from(authority);
        if certificate::key_digest(&authority) != Some(token.pin) {
            return Err(what(NotOurs::Signature));
        }
        let believed = match believed {
            Some(access) => access.authorities,
            None => vec![authority.clone()],
        };
        let membership = Membership { host: host.id.clone(), id_source: host.id_source, labels };
        let certificate = CertificateDer::from(certificate);
        let endpoint = token.endpoint.clone();
        let credentials = Credentials {
            membership,
            endpoint,
            key: key.clone(),
            certificate,
            authority,
            believed,
        };
        Ok(Joined { credentials, ahead })
    }

    /// Asks for a certificate until there is an answer.
    async fn ask(
        &self,
        dialer: &Dialer,
        mut outlet: impl FnMut(&DeliveryError),
    ) -> Result<Issued, DeliveryError> {
        let Self { token, host, key, believed, clock, within } = self;
        let pinned = Access { trust: Some(Trust::Pin(token.pin)), ..Access::default() };
        let access = believed.as_ref().unwrap_or(&pinned);
        let pace = Pace::default();
        let mut backoff = Backoff::unique().within(pace.first_wait, pace.longest_wait);
        // No deadline, if it lies beyond the clock's end.
        let until = Instant::now().checked_add(*within);
        let mut told = false;
        loop {
            let join = Join {
                secret: token.secret.clone(),
                host_id: host.id.clone(),
                host_name: host.name.clone(),
                request: key.request()?,
            };
            let way = Way { dialer, url: &token.endpoint, patience: pace.connect };
            let error = match dialer.enroll(way, access, clock, join).await {
                Ok(issued) => return Ok(issued),
                Err(error) => error,
            };
            let (code, asked) = error.code();
            let Next::Retry { asked } = policy::policy(code, asked, 1, 0) else {
                return Err(error);
            };
            let wait = backoff.wait(asked);
            if until.is_some_and(|until| Instant::now() + wait >= until) {
                return Err(error);
            }
            if !told {
                outlet(&error);
                told = true;
            }
            time::sleep(wait).await;
        }
    }
}

impl Dialer {
    /// Joins.
    pub(super) async fn enroll(
        &self,
        way: Way<'_>,
        access: &Access,
        clock: &Clock,
        join: Join,
    ) -> Result<Issued, DeliveryError> {
        let line = self.dial(way.url, access, clock, way.patience).await?;
        let mut client = EnrollmentClient::new(line.channel());
        let answer =
            line.call(join.into_wire(), way.patience, |request| async move {
                client.enroll(request).await
            })
            .await;
        issued(line, answer).await
    }

    /// Asks for the next certificate.
    pub(super) async fn renew(
        &self,
        way: Way<'_>,
        access: &Access,
        clock: &Clock,
        renewal: Renewal,
    ) -> Result<Issued, DeliveryError> {
        let line = self.dial(way.url, access, clock, way.patience).await?;
        let mut client = EnrollmentClient::new(line.channel());
        let answer = line
            .call(renewal.into_wire(), way.patience, |request| async move {
                client.renew(request).await
            })
            .await;
        issued(line, answer).await
    }
}

/// Closes the line, and reads what was answered on it.
async fn issued(
    line: Line,
    answer: Result<v1::Issued, DeliveryError>,
) -> Result<Issued, DeliveryError> {
    let url = line.url().to_string();
    line.hang_up().await;
    Issued::from_wire(answer?).map_err(|what| DeliveryError::Unissued { url, what })
}
