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

/// Joins the collector that a token names, trying again for as long as this where that may help. `believed` are the authorities of
/// the collector's certificate where they are not the token's. The outlet hears of the first failure.
///
/// # Errors
///
/// If the collector is not there, not the one that the token means, or does not let this host in.
pub async fn join(
    token: &JoinToken,
    host: &Host,
    believed: Option<Access>,
    clock: &Clock,
    within: Duration,
    mut outlet: impl FnMut(&DeliveryError),
) -> Result<Joined, DeliveryError> {
    let key = Key::new()?;
    let pace = Pace::default();
    let access = match &believed {
        Some(access) => access.clone(),
        None => Access { trust: Some(Trust::Pin(token.pin)), ..Access::default() },
    };
    let until = Instant::now() + within;
    let mut backoff = Backoff::unique().within(pace.first_wait, pace.longest_wait);
    let mut told = false;
    let issued = loop {
        let patience = until.saturating_duration_since(Instant::now()).max(Duration::from_secs(1));
        let asked = Join {
            secret: token.secret.clone(),
            host_id: host.id.clone(),
            host_name: host.name.clone(),
            request: key.request()?,
        };
        let way = Way {
            dialer: &Dialer::network(),
            url: &token.endpoint,
            patience: patience.min(pace.connect),
        };
        let error = match way.dialer.enroll(way, &access, clock, asked).await {
            Ok(issued) => break issued,
            Err(error) => error,
        };
        let (code, asked) = error.code();
        let Next::Retry { asked } = policy::policy(code, asked, 1, 0) else { return Err(error) };
        let wait = backoff.wait(asked);
        if Instant::now() + wait >= until {
            return Err(error);
        }
        if !told {
            outlet(&error);
            told = true;
        }
        time::sleep(wait).await;
    };
    let ahead = issued.now.duration_since(clock.now());
    let what = |what| DeliveryError::NotOurs { url: token.endpoint.to_string(), what };
    credentials::check(&issued, &key, &host.id).map_err(what)?;
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
    let credentials = Credentials { membership, endpoint, key, certificate, authority, believed };
    Ok(Joined { credentials, ahead })
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
