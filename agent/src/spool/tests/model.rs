//! What may be in a spool, by what its users were told.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    path::Path,
};

use super::{
    super::{
        disk::Item,
        record::{self, Kind},
    },
    id,
    simulated::State,
};

/// Where a report can be.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Place {
    Nowhere,
    Waiting,
    Quarantine,
}

/// What somebody does with a report.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Act {
    Commit,
    Fetch,
    Remove,
    Quarantine(String),
    Requeue,
    Discard,
}

impl Act {
    /// Where a report is after this.
    fn moves(&self, from: Place) -> Place {
        match (self, from) {
            (Self::Commit, Place::Nowhere) | (Self::Requeue, Place::Quarantine) => Place::Waiting,
            (Self::Remove, Place::Waiting) | (Self::Discard, Place::Quarantine) => Place::Nowhere,
            (Self::Quarantine(_), Place::Waiting) => Place::Quarantine,
            (_, stays) => stays,
        }
    }
}

/// What is known of a report.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) bytes: usize,
    /// Where a crash may leave it: in one place if nobody is moving it, else where it may be moved to as well.
    pub(super) possible: BTreeSet<Place>,
    /// Where it was before anybody began.
    was: Option<Place>,
    /// Why it is in quarantine, where that is certain.
    pub(super) reason: Option<String>,
    /// What is being done with it.
    active: Vec<Act>,
    /// Several were at it at once.
    raced: bool,
    /// Somebody was told that something failed, so that nothing is certain any more.
    failed: bool,
}

/// Every report that was ever handed to a spool.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) reports: BTreeMap<u64, Known>,
}

impl Model {
    /// The report that a number chooses, of those that there are.
    pub(super) fn choose(&self, number: u64) -> Option<u64> {
        let count = u64::try_from(self.reports.len()).unwrap();
        let nth = usize::try_from(number.checked_rem(count)?).unwrap();
        self.reports.keys().copied().nth(nth)
    }

    /// A report that nobody has seen before is handed over.
    pub(super) fn offer(&mut self, bytes: usize) -> u64 {
        let n = self.reports.keys().last().map_or(1, |last| last + 1);
        self.reports.insert(n, Known::at([Place::Nowhere].into(), bytes));
        n
    }

    /// Somebody begins something.
    pub(super) fn begin(&mut self, n: u64, act: Act) {
        let Some(known) = self.reports.get_mut(&n) else { return };
        known.active.push(act);
        if known.active.len() > 1 {
            known.raced = true;
            known.reason = None;
        }
        // What one moves another may move on.
        loop {
            let from = known.possible.clone();
            let to = |act: &Act| from.iter().map(|place| act.moves(*place)).collect::<Vec<_>>();
            known.possible.extend(known.active.iter().flat_map(to));
            if known.possible == from {
                break;
            }
        }
    }

    /// Somebody was told that something is done: with it, or that there was nothing to do.
    pub(super) fn done(&mut self, n: u64, act: &Act, did: Did, disk: &State) -> Result<(), String> {
        let Some(known) = self.reports.get_mut(&n) else { return Ok(()) };
        if let Some(at) = known.active.iter().position(|active| active == act) {
            known.active.swap_remove(at);
        }
        if did == Did::Fail {
            known.failed = true;
            known.reason = None;
        }
        if !known.active.is_empty() || known.failed {
            return Ok(());
        }
        let is = whereabouts(disk, n);
        let [place] = is.iter().copied().collect::<Vec<_>>()[..] else {
            return Err(format!("report {n} is in {is:?}"));
        };
        if !known.possible.contains(&place) {
            return Err(format!("report {n} is in {place:?}, not in {:?}", known.possible));
        }
        let was = known.was.filter(|_| !known.raced);
        if let Some(was) = was {
            let moved = act.moves(was);
            let right = match did {
                Did::Something => moved == place && (moved != was || *act == Act::Fetch),
                Did::Nothing => moved == place && moved == was,
                Did::Either | Did::Fail => moved == place,
            };
            if !right {
                return Err(format!(
                    "report {n} was in {was:?}, is in {place:?} after {act:?}: {did:?}"
                ));
            }
        }
        known.reason = match act {
            Act::Quarantine(reason) if was == Some(Place::Waiting) => Some(reason.clone()),
            _ => known.reason.take().filter(|_| place == Place::Quarantine && !known.raced),
        };
        *known = Known { reason: known.reason.take(), ..Known::at(is, known.bytes) };
        Ok(())
    }

    pub(super) fn forget_reason(&mut self, n: u64) {
        if let Some(known) = self.reports.get_mut(&n) {
            known.reason = None;
        }
    }

    /// All processes died. What is on the disk now is what there is.
    pub(super) fn crashed(&mut self, disk: &State) {
        for (n, known) in &mut self.reports {
            let reason = known.reason.take();
            *known = Known { reason, ..Known::at(whereabouts(disk, *n), known.bytes) };
        }
    }
}

impl Known {
    fn at(possible: BTreeSet<Place>, bytes: usize) -> Self {
        let was = possible.first().copied();
        Self { bytes, possible, was, reason: None, active: vec![], raced: false, failed: false }
    }

    /// Where it is, if that is certain.
    pub(super) fn place(&self) -> Option<Place> {
        self.was.filter(|_| !self.raced && !self.failed && self.possible.len() == 1)
    }
}

/// What somebody was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Did {
    Something,
    Nothing,
    /// Either of them.
    Either,
    Fail,
}

/// Where the folders name a report.
fn whereabouts(disk: &State, n: u64) -> BTreeSet<Place> {
    let named = |folder: &str, place| {
        let items = disk.items(Path::new(folder)).unwrap_or_default();
        let there = items.into_iter().any(|item| is_of(&item.name, n));
        there.then_some(place)
    };
    let places = [
        named(super::FOLDER, Place::Waiting),
        named(&format!("{}/quarantine", super::FOLDER), Place::Quarantine),
    ];
    let found: BTreeSet<Place> = places.into_iter().flatten().collect();
    if found.is_empty() { [Place::Nowhere].into() } else { found }
}

fn is_of(name: &OsStr, n: u64) -> bool {
    let text = name.to_str().unwrap_or_default();
    matches!(record::kind(name), Kind::Record(_)) && record::id_in_quarantine(text) == Some(id(n))
}

/// All that is counted in a spool, as the folders have it: files and bytes.
pub(super) fn counted(disk: &State, left: &BTreeSet<OsString>) -> (u64, u64) {
    let ours = in_folders(disk).filter(|item| record::kind(&item.name) != Kind::Stranger);
    let ours = ours.filter(|item| !left.contains(&item.name));
    ours.fold((0, 0), |(files, bytes), item| (files + 1, bytes + item.bytes))
}

/// The unfinished files that a crash left, or brought back. They are over the bounds until somebody opens the spool, as their
/// removal need not have come to the disk.
pub(super) fn unfinished(disk: &State) -> BTreeSet<OsString> {
    let unfinished = in_folders(disk).filter(|item| record::kind(&item.name) == Kind::Unfinished);
    unfinished.map(|item| item.name).collect()
}

fn in_folders(disk: &State) -> impl Iterator<Item = Item> {
    let folders = [super::FOLDER.to_owned(), format!("{}/quarantine", super::FOLDER)];
    folders.into_iter().flat_map(|path| disk.items(Path::new(&path)).unwrap_or_default())
}
