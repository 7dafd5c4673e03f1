//! A courier keeps its host's certificate fresh, between calls.

use tokio::time::Instant;

use super::{Courier, Step};
use crate::delivery::{
    error::DeliveryError,
    keyring::{Freshened, Pressing, Way},
};

impl Courier {
    /// Renews the certificate if it is time, so that reports can be sent.
    ///
    /// # Errors
    ///
    /// If there is none that counts.
    pub(super) async fn freshen(
        &mut self,
        pressing: Pressing,
        until: Option<Instant>,
    ) -> Result<(), DeliveryError> {
        let patience = self.patience(self.pace.connect, until);
        let Some(url) = self.collectors.get(self.at).filter(|url| url.scheme() == "https") else {
            return Ok(());
        };
        let way = Way { dialer: &self.dialer, url, patience };
        match self.keyring.freshen(pressing, way).await? {
            Freshened::Fresh => {}
            freshened @ Freshened::Renewed { .. } => self.renewed(freshened).await,
            Freshened::Later { ends_at, error } => {
                self.turned_away.failed(&error);
                self.herald.not_renewed(&error, ends_at);
            }
        }
        Ok(())
    }

    /// The same while there is nothing to send: nobody waits for it.
    pub(super) async fn freshen_idly(&mut self, until: Option<Instant>) {
        if let Err(error) = self.freshen(Pressing::No, until).await {
            self.turned_away.failed(&error);
            self.herald.failing(error, super::Again::Backoff);
        }
    }

    /// Decides how to go on after a call whose certificate may have been refused.
    pub(super) async fn refused(
        &mut self,
        error: DeliveryError,
        until: Option<Instant>,
    ) -> Refusal {
        let patience = self.patience(self.pace.connect, until);
        let Some(url) = self.collectors.get(self.at).filter(|url| url.scheme() == "https") else {
            return Refusal::Stands(error);
        };
        let way = Way { dialer: &self.dialer, url, patience };
        match self.keyring.replace(way).await {
            Ok(freshened @ Freshened::Renewed { .. }) => {
                self.renewed(freshened).await;
                Refusal::Over(Step::Again)
            }
            Ok(_) => Refusal::Stands(error),
            Err(error) => Refusal::Stands(error),
        }
    }

    async fn renewed(&mut self, freshened: Freshened) {
        if let Freshened::Renewed { ends_at, ahead } = freshened {
            self.turned_away.accepted();
            self.herald.renewed(ends_at, ahead);
            // What is open was opened with the one before.
            self.hang_up().await;
        }
    }
}

/// What came of a refusal.
pub(super) enum Refusal {
    /// There is a new certificate.
    Over(Step),
    /// There is none, for this reason.
    Stands(DeliveryError),
}
