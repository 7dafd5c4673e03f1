//! What a failed call means for the next one. Pure: codes in, decisions out.

use std::time::Duration;

use tonic::Code;

/// Refusals for want of resources, in a row and without a word on when to come back, after which a batch is halved.
const REFUSALS: u32 = 3;

/// What to do after a call that failed as a whole, and so answered for none of its reports.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// The same again after a backoff, and not before the collector said.
    Retry {
        /// What the collector asked for.
        asked: Option<Duration>,
    },
    /// Half of the reports after a backoff: the collector cannot take that many now.
    RetryHalf,
    /// Half of the reports at once: the collector will never take a message of that length.
    Half,
    /// This attempt is over. The reports stay spooled, the operator is told, and the next attempt is much later.
    End,
}

/// What to do after a call with this many `reports` failed with this `code`.
///
/// `asked` is the collector's `RetryInfo`. `refusals` is how many calls before this one ended, in a row, in
/// `RESOURCE_EXHAUSTED` without one.
#[must_use]
pub fn policy(code: Code, asked: Option<Duration>, reports: usize, refusals: u32) -> Next {
    match code {
        Code::ResourceExhausted if asked.is_none() && refusals >= REFUSALS - 1 && reports > 1 => {
            Next::RetryHalf
        }
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::Unknown
        | Code::ResourceExhausted => Next::Retry { asked },
        Code::OutOfRange if reports > 1 => Next::Half,
        // A call that failed with `Ok` broke the protocol, as one with an unexpected code may have.
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => Next::End,
    }
}

/// The refusals in a row after a call that ended so.
#[must_use]
pub(super) fn refusals(code: Code, asked: Option<Duration>, before: u32) -> u32 {
    match (code, asked) {
        (Code::ResourceExhausted, None) => before.saturating_add(1) % REFUSALS,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code there is, by its number on the wire.
    pub(crate) fn codes() -> impl Iterator<Item = Code> {
        (0..17).map(Code::from_i32)
    }

    #[test]
    fn there_are_seventeen_codes() {
        let all: std::collections::HashSet<_> = codes().map(i32::from).collect();
        assert_eq!(all.len(), 17);
    }

    #[test]
    fn each_code_has_its_consequence_with_and_without_retry_info() {
        use Code::*;
        let asked = Some(Duration::from_secs(7));
        // What a batch of two, of one, and of two after two refusals comes to.
        let retried = |asked| [Next::Retry { asked }; 3];
        let ended = [Next::End; 3];
        let halved = [Next::Half, Next::End, Next::Half];
        let refused = [Next::Retry { asked: None }, Next::Retry { asked: None }, Next::RetryHalf];
        let table: [(Code, [Next; 3], [Next; 3]); 17] = [
            (Ok, ended, ended),
            (Cancelled, retried(None), retried(asked)),
            (Unknown, retried(None), retried(asked)),
            (InvalidArgument, ended, ended),
            (DeadlineExceeded, retried(None), retried(asked)),
            (NotFound, ended, ended),
            (AlreadyExists, ended, ended),
            (PermissionDenied, ended, ended),
            (ResourceExhausted, refused, retried(asked)),
            (FailedPrecondition, ended, ended),
            (Aborted, retried(None), retried(asked)),
            (OutOfRange, halved, halved),
            (Unimplemented, ended, ended),
            (Internal, ended, ended),
            (Unavailable, retried(None), retried(asked)),
            (DataLoss, ended, ended),
            (Unauthenticated, ended, ended),
        ];
        assert!(codes().eq(table.map(|(code, ..)| code)));
        for (code, without, with) in table {
            let come_to = |asked| {
                [policy(code, asked, 2, 0), policy(code, asked, 1, 0), policy(code, asked, 2, 2)]
            };
            assert_eq!(come_to(None), without, "{code:?}");
            assert_eq!(come_to(asked), with, "{code:?} with RetryInfo");
        }
    }

    #[test]
    fn only_refusals_in_a_row_and_without_retry_info_are_counted() {
        let refused = |before| refusals(Code::ResourceExhausted, None, before);
        assert_eq!([refused(0), refused(1), refused(2)], [1, 2, 0]);
        assert_eq!(refusals(Code::ResourceExhausted, Some(Duration::ZERO), 2), 0);
        for code in codes().filter(|code| *code != Code::ResourceExhausted) {
            assert_eq!(refusals(code, None, 2), 0, "{code:?}");
        }
    }

    #[test]
    fn a_single_report_that_is_refused_stays_a_single_report() {
        assert_eq!(policy(Code::ResourceExhausted, None, 1, 2), Next::Retry { asked: None });
    }
}
