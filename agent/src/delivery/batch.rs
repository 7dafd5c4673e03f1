//! What is sent together, and which answer is whose.

use std::collections::{HashMap, VecDeque};

use fleetmark_proto::{
    convert::{Encoded, Outcome},
    id::ReportId,
    invalid::Invalid,
    limits,
    v1::Answer,
};
use jiff::Timestamp;

use super::error::plain;
use crate::spool::{Entry, Fetched, Spool, SpoolError};

/// Bytes of reports in one call: as many as the longest report has, and fewer than [`limits::BATCH_BYTES`]. What was once
/// needed for a call stays with a process, and an idle agent must be small.
const ROOM: usize = limits::REPORT_BYTES;

/// What was found in the spool for the next call.
#[derive(Debug, Default)]
pub(super) struct Picked {
    /// To be sent.
    pub(super) reports: Vec<Encoded>,
    /// Went to quarantine instead, and why.
    pub(super) set_aside: Vec<(ReportId, String)>,
    /// Could not be read or set aside, and why.
    pub(super) stuck: Vec<(ReportId, SpoolError)>,
    /// Are not there, as another agent has delivered them, or are not ours.
    pub(super) gone: Vec<ReportId>,
}

impl Picked {
    /// How many were looked at that are not sent.
    fn others(&self) -> usize {
        self.set_aside.len() + self.stuck.len() + self.gone.len()
    }
}

/// Reads the next reports of a queue from the spool, at most this many `reports` and no more bytes than a call may carry.
pub(super) fn pick(
    spool: &Spool,
    queue: &mut VecDeque<Entry>,
    reports: usize,
    now: Timestamp,
) -> Picked {
    let mut picked = Picked::default();
    let mut room = ROOM;
    // Moving a report aside takes the disk a moment, and the caller has more to do than this.
    while picked.reports.len() < reports && picked.others() < limits::BATCH_REPORTS {
        let is_first = picked.reports.is_empty();
        let fits =
            |entry: &mut Entry| usize::try_from(entry.bytes).is_ok_and(|bytes| bytes <= room);
        // A report that is longer than that goes alone, and is the collector's to refuse.
        let Some(Entry { id, .. }) = queue.pop_front_if(|entry| is_first || fits(entry)) else {
            break;
        };
        match look(spool, id, now) {
            Ok(Found::Report(encoded)) => {
                room = room.saturating_sub(encoded.bytes.len());
                picked.reports.push(encoded);
            }
            Ok(Found::SetAside(reason)) => picked.set_aside.push((id, reason)),
            Ok(Found::Gone) => picked.gone.push(id),
            Err(error) => picked.stuck.push((id, error)),
        }
    }
    picked
}

enum Found {
    Report(Encoded),
    SetAside(String),
    Gone,
}

fn look(spool: &Spool, id: ReportId, now: Timestamp) -> Result<Found, SpoolError> {
    let age = now.duration_since(id.made_at());
    if age.is_positive() && age.unsigned_abs() > limits::SPOOL_AGE {
        let reason = format!(
            "by its id it was made more than {} days ago, and agents send nothing older: it is that old, or the clock was not set when it was measured",
            limits::SPOOL_AGE.as_secs() / (24 * 60 * 60)
        );
        spool.quarantine(id, &reason)?;
        return Ok(Found::SetAside(reason));
    }
    Ok(match spool.fetch(id)? {
        Fetched::Report(encoded) => Found::Report(encoded),
        Fetched::Damaged(reason) => Found::SetAside(reason),
        Fetched::Gone | Fetched::Foreign => Found::Gone,
    })
}

/// What a collector said of each of these reports. Answers are known by the report's id, wherever they stand: one that is
/// missing then costs no other its own. Of an error nothing follows but that the report is sent again.
pub(super) fn outcomes(
    ids: &[ReportId],
    answers: Vec<Answer>,
) -> Vec<(ReportId, Result<Outcome, Invalid>)> {
    let mut known: HashMap<Vec<u8>, Result<Answer, Invalid>> = HashMap::new();
    for answer in answers {
        let id = answer.report_id.clone();
        let said = match known.remove(&id) {
            Some(before) if before != Ok(answer.clone()) => {
                Err(Invalid::new("answers", "has two that differ for it"))
            }
            _ => Ok(answer),
        };
        known.insert(id, said);
    }
    let mut outcome = |id: ReportId| {
        let answer = known.remove(id.as_bytes().as_slice());
        let missing = || Err(Invalid::new("answers", "has none for it"));
        let outcome =
            answer.unwrap_or_else(missing).and_then(|answer| Outcome::from_answer(answer, id));
        outcome.map(|outcome| match outcome {
            Outcome::Rejected(Invalid { field, reason }) => {
                Outcome::Rejected(Invalid::new(plain(&field), plain(&reason)))
            }
            outcome => outcome,
        })
    };
    ids.iter().map(|id| (*id, outcome(*id))).collect()
}

#[cfg(test)]
mod tests {
    use fleetmark_proto::id::Digest;

    use super::*;

    fn ids<const N: usize>() -> [ReportId; N] {
        std::array::from_fn(|_| ReportId::now())
    }

    fn answer(id: ReportId, outcome: Outcome) -> Answer {
        outcome.into_answer(id.as_bytes().to_vec())
    }

    #[test]
    fn an_answer_is_known_by_its_id_and_not_by_its_place() {
        let [a, b, c] = ids();
        let conflict = Outcome::Conflict(Digest::of(b"other"));
        let answers = vec![answer(c, conflict.clone()), answer(a, Outcome::Stored)];
        let missing = Invalid::new("answers", "has none for it");
        assert_eq!(
            outcomes(&[a, b, c], answers),
            [(a, Ok(Outcome::Stored)), (b, Err(missing)), (c, Ok(conflict))]
        );
    }

    #[test]
    fn answers_that_contradict_each_other_are_none() {
        let [a, b] = ids();
        let answers = vec![
            answer(a, Outcome::Stored),
            answer(b, Outcome::Duplicate),
            answer(a, Outcome::Rejected(Invalid::new("cells", "are odd"))),
            answer(b, Outcome::Duplicate),
        ];
        let [(_, first), (_, second)] = &outcomes(&[a, b], answers)[..] else { panic!() };
        assert_eq!(first.as_ref().unwrap_err().to_string(), "answers: has two that differ for it");
        assert_eq!(second, &Ok(Outcome::Duplicate));
    }

    #[test]
    fn answers_that_this_version_does_not_know_are_none() {
        let [a, b] = ids();
        let unknown = Answer { report_id: a.as_bytes().to_vec(), outcome: None };
        let strangers = vec![unknown, answer(ReportId::now(), Outcome::Stored)];
        assert!(outcomes(&[a, b], strangers).iter().all(|(_, outcome)| outcome.is_err()));
    }

    #[test]
    fn what_the_server_says_of_a_rejected_report_is_made_plain() {
        let [a] = ids();
        let rude = Outcome::Rejected(Invalid::new("cells\u{1b}[0]", "is\nwrong"));
        let plain = Outcome::Rejected(Invalid::new("cells [0]", "is wrong"));
        assert_eq!(outcomes(&[a], vec![answer(a, rude)]), [(a, Ok(plain))]);
    }
}
