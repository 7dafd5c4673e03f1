//! Which collectors a command speaks to, as whom, and by what they are believed.

use std::path::Path;

use fleetmark_proto::{host::HostIdSource, id::HostId, limits, role::Role};
use url::Url;

use super::{Stopped, take_care_of};
use crate::{
    args::{CollectorArgs, MeasureArgs},
    clock::Clock,
    credentials::{Folder, Membership},
    delivery::{self, Access, DeliveryError, Keyring},
    memory,
};

/// Whom a command speaks to.
pub(super) struct Collectors {
    /// Where they are; none, if none was named and this host joined none.
    pub(super) urls: Vec<Url>,
    /// What they are shown, and believed by.
    pub(super) keyring: Keyring,
    /// Who this host is to them, if that is settled.
    pub(super) membership: Option<Membership>,
}

/// What was typed does not go together with who this host is.
#[derive(Debug, thiserror::Error)]
enum Mismatch {
    #[error(
        "this host has joined as {joined}; leave --host-id out, or join again with `fleetmark-agent enroll --force`"
    )]
    Joined { joined: HostId },
    #[error("the certificate of --tls-cert is for {named}; leave --host-id out")]
    Named { named: HostId },
    #[error(
        "the certificate of --tls-cert is for {subject}, and only one for an agent submits reports"
    )]
    NoAgent { subject: String },
    #[error(
        "with those that the collector gave it, this host has more than {} labels",
        limits::LABELS
    )]
    Labels,
    #[error("the collector says {key}={says} of this host; leave --label {key}={own} out")]
    Label { key: String, says: String, own: String },
}

impl Collectors {
    /// Those that were named, or the one that this host has joined. Each is allowed.
    pub(super) fn of(arguments: &CollectorArgs, state_dir: &Path) -> Result<Self, Stopped> {
        let CollectorArgs { collector, access: named } = arguments;
        let usage = |error: &(dyn std::error::Error + 'static)| Stopped::usage(error);
        let folder = Folder::of(state_dir);
        // Before a key or a token is read. The measuring child has neither, and begins anew with its own memory.
        take_care_of(named);
        if folder.is_there() {
            memory::keep_private();
        }
        let given = Access::read(named).map_err(|error| usage(&error))?;
        let kept = folder.read()?;
        let membership = match &named.tls_cert {
            Some(_) => of_certificate(&given).map_err(|error| usage(&error))?,
            None => kept.as_ref().map(|kept| kept.membership.clone()),
        };
        let urls = match (&collector[..], &kept) {
            ([], Some(kept)) => vec![kept.endpoint.clone()],
            (named, _) => named.to_vec(),
        };
        let keyring =
            Keyring::new(named.clone(), kept.map(|kept| (folder, kept)), Clock::of_host());
        let access = keyring.access()?;
        for url in &urls {
            delivery::check(url, &access).map_err(|error| usage(&error))?;
        }
        Ok(Self { urls, keyring, membership })
    }

    /// The same, of which there must be one.
    pub(super) fn some(arguments: &CollectorArgs, state_dir: &Path) -> Result<Self, Stopped> {
        match Self::of(arguments, state_dir)? {
            none if none.urls.is_empty() => Err(Stopped::usage(&DeliveryError::NoCollector)),
            some => Ok(some),
        }
    }

    /// Checks that a host measures as who it is.
    pub(super) fn check(
        &self,
        collectors: &CollectorArgs,
        measure: &MeasureArgs,
    ) -> Result<(), Stopped> {
        let Some(membership) = &self.membership else { return Ok(()) };
        let host = membership.host.clone();
        if measure.host_id.as_ref().is_some_and(|id| *id != host) {
            let mismatch = match &collectors.access.tls_cert {
                Some(_) => Mismatch::Named { named: host },
                None => Mismatch::Joined { joined: host },
            };
            return Err(Stopped::usage(&mismatch));
        }
        for (key, own) in &measure.label {
            if let Some(says) = membership.labels.get(key).filter(|says| *says != own) {
                let (key, says, own) = (key.clone(), says.clone(), own.clone());
                return Err(Stopped::usage(&Mismatch::Label { key, says, own }));
            }
        }
        let labels = membership.beside(measure.label.iter().cloned().collect());
        if labels.len() > limits::LABELS {
            return Err(Stopped::usage(&Mismatch::Labels));
        }
        Ok(())
    }
}

/// Who a host is by the certificate that was named for it, if that says so as ours do.
fn of_certificate(access: &Access) -> Result<Option<Membership>, Mismatch> {
    let Some(subject) = access.subject() else { return Ok(None) };
    if subject.role != Role::Agent {
        return Err(Mismatch::NoAgent { subject: subject.to_string() });
    }
    let labels = Default::default();
    Ok(Some(Membership { host: subject.name, id_source: HostIdSource::Flag, labels }))
}
