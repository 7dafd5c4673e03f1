//! A run that is due and may not begin: what is said of it, and when it is asked for again.

use std::{io, mem::discriminant, path::PathBuf, time::Duration};

use fleetmark_proto::shell::{self, output::tell};

use super::{notify, schedule::Why};
use crate::{guard::Held, spool::SpoolError};

/// Why a run that is due does not begin.
#[derive(Debug)]
pub(super) enum Refusal {
    /// By the owner's rules.
    Held(Held),
    /// Another run must end first.
    OtherRun,
    /// Nobody takes its report, or any other of this host.
    TurnedAway,
    /// There is no room for its report.
    Spool(SpoolError),
    /// What it uses could not be written down.
    Ledger { path: PathBuf, source: io::Error },
}

impl Refusal {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Held(one), Self::Held(other)) => one.is_like(other),
            (Self::Spool(one), Self::Spool(other)) => discriminant(one) == discriminant(other),
            (one, other) => discriminant(one) == discriminant(other),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Held(held) => held.to_string(),
            Self::OtherRun => "another run goes on with this state folder".to_owned(),
            Self::TurnedAway => "the collector takes no reports of this host any more, and is asked now and then; those in the spool \
                                 stay there. To be known again it joins with a token that names it (`--replace-host`)"
                .to_owned(),
            Self::Spool(error) => shell::one_line(error),
            Self::Ledger { path, source } => format!(
                "the CPU time that runs use cannot be written down in {}: {source}",
                path.display()
            ),
        }
    }

    /// The shortest and the longest time until it is asked again. A full spool has thousands of files to count, and is
    /// emptied by a collector that comes back after an outage.
    fn pauses(&self) -> (Duration, Duration) {
        match self {
            Self::Spool(SpoolError::Full { .. }) => {
                (Duration::from_secs(60), Duration::from_secs(10 * 60))
            }
            _ => (Duration::from_secs(5), Duration::from_secs(60)),
        }
    }
}

/// What was said last of why no run begins, and for how long it has been so.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    last: Option<Refusal>,
    /// Refusals of one kind in a row.
    in_a_row: u32,
}

impl Waiting {
    /// Says why a run does not begin, once for each reason; returns when to ask again. `why` is what it is due for, if it is.
    pub(super) fn on(&mut self, why: Option<&Why>, refusal: Refusal) -> Duration {
        if self.last.as_ref().is_some_and(|last| last.is_like(&refusal)) {
            self.in_a_row = self.in_a_row.saturating_add(1);
        } else {
            self.in_a_row = 0;
            let words = refusal.words();
            notify::status(&words);
            match why {
                Some(why) => tell(format_args!("not measuring yet ({why}): {words}")),
                None => tell(format_args!("not measuring any more: {words}")),
            }
        }
        let (shortest, longest) = refusal.pauses();
        self.last = Some(refusal);
        shortest.saturating_mul(2_u32.saturating_pow(self.in_a_row)).min(longest)
    }

    /// There is nothing to wait for any more.
    pub(super) fn end(&mut self) {
        if self.last.take().is_some() {
            notify::status("idle");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Bounds, Usage};

    fn full() -> Refusal {
        let (usage, bounds) = (Usage::default(), Bounds::default());
        Refusal::Spool(SpoolError::Full { folder: "spool".into(), usage, bounds })
    }

    fn disk_full() -> Refusal {
        let source = io::ErrorKind::StorageFull.into();
        Refusal::Spool(SpoolError::DiskFull { folder: "spool".into(), source })
    }

    #[test]
    fn what_goes_on_is_asked_less_and_less_often() {
        let mut waiting = Waiting::default();
        let mut ask = |refusal: Refusal| waiting.on(Some(&Why::Time), refusal).as_secs();
        let others: Vec<u64> = (0..6).map(|_| ask(Refusal::OtherRun)).collect();
        assert_eq!(others, [5, 10, 20, 40, 60, 60]);
        let spools: Vec<u64> = (0..6).map(|_| ask(full())).collect();
        assert_eq!(spools, [60, 120, 240, 480, 600, 600]);
        assert_eq!(ask(disk_full()), 5);
        waiting.end();
        assert_eq!(waiting.on(Some(&Why::Time), disk_full()).as_secs(), 5, "it begins anew");
    }

    #[test]
    fn a_full_disk_is_other_news_than_a_full_spool() {
        assert!(full().is_like(&full()));
        assert!(!full().is_like(&disk_full()));
        let ledger =
            || Refusal::Ledger { path: "ledger".into(), source: io::ErrorKind::Other.into() };
        assert!(ledger().is_like(&ledger()) && !ledger().is_like(&Refusal::OtherRun));
    }
}
