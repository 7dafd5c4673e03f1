//! Whatever was said to be kept survives a crash at any call, and nothing else appears.
//!
//! Random deeds of one or two processes on a simulated disk. Before every single call the machine crashes in thought: of what
//! was not synced some part survives, a new process opens what is left, and all is compared with what the processes had been
//! told until then. The processes know nothing of that and go on. At the end the machine crashes in earnest, and another
//! generation goes on with what survived.
//!
//! `FLEETMARK_SPOOL_CASES=20000 cargo test -p fleetmark-agent --lib spool::tests::crash` tries that many; usually few are.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io,
    ops::Range,
    sync::{Arc, Mutex},
    thread,
};

use proptest::{prelude::*, test_runner::TestCaseError};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::{
    model::{Act, Did, Model, Place, counted, unfinished},
    simulated::{Fate, State},
    turns::{Machine, Mishaps},
    *,
};

/// What a process does. Numbers choose among the reports that there are.
#[derive(Clone, Debug)]
enum Deed {
    Reserve,
    GiveUp,
    Commit(usize),
    Fetch(u64),
    Remove(Vec<u64>),
    Quarantine(u64),
    Requeue(u64),
    Discard(u64),
    Reopen,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => Just(Deed::Reserve),
        1 => Just(Deed::GiveUp),
        5 => (0..1_500usize).prop_map(Deed::Commit),
        2 => any::<u64>().prop_map(Deed::Fetch),
        2 => prop::collection::vec(any::<u64>(), 1..3).prop_map(Deed::Remove),
        3 => any::<u64>().prop_map(Deed::Quarantine),
        2 => any::<u64>().prop_map(Deed::Requeue),
        1 => any::<u64>().prop_map(Deed::Discard),
        1 => Just(Deed::Reopen),
    ]
}

/// What happens between two crashes.
#[derive(Clone, Debug)]
struct Generation {
    /// Of each process.
    deeds: Vec<Vec<Deed>>,
    kill: Option<(usize, u32)>,
    fault: Option<(usize, Range<u32>, io::ErrorKind)>,
    seed: u64,
}

fn generation() -> impl Strategy<Value = Generation> {
    let kind = prop_oneof![Just(io::ErrorKind::StorageFull), Just(io::ErrorKind::Other)];
    let fault = (0..2usize, 1..80u32, 1..20u32, kind)
        .prop_map(|(who, from, calls, kind)| (who, from..from + calls, kind));
    (
        prop::collection::vec(prop::collection::vec(deed(), 1..10), 1..=2),
        prop::option::weighted(0.3, (0..2usize, 1..80u32)),
        prop::option::weighted(0.3, fault),
        any::<u64>(),
    )
        .prop_map(|(deeds, kill, fault, seed)| Generation { deeds, kill, fault, seed })
}

/// One process of a generation.
struct Worker {
    machine: Arc<Machine>,
    process: usize,
    model: Arc<Mutex<Model>>,
    bounds: Bounds,
    /// It may get errors.
    faulty: bool,
    held: Vec<Reservation>,
}

impl Worker {
    fn work(mut self, deeds: &[Deed]) {
        self.machine.start(self.process);
        if let Err(wrong) = self.do_all(deeds) {
            self.machine.fail(wrong);
        }
    }

    fn do_all(&mut self, deeds: &[Deed]) -> Result<(), String> {
        let mut spool = self.open()?;
        for deed in deeds {
            if self.machine.is_dead(self.process) {
                break;
            }
            if let Deed::Reopen = deed {
                spool = self.open()?.or(spool);
            } else if let Some(spool) = &spool {
                self.act(spool, deed)?;
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<Option<Spool>, String> {
        let disk = self.machine.disk(self.process);
        match Spool::open_on(disk, Path::new(FOLDER), self.bounds) {
            Ok(spool) => Ok(Some(spool)),
            Err(_) if self.faulty || self.machine.is_dead(self.process) => Ok(None),
            Err(error) => Err(format!("the spool does not open: {error:?}")),
        }
    }

    fn choose(&self, number: u64) -> Option<u64> {
        self.model.lock().unwrap().choose(number)
    }

    /// Does one thing with one report.
    fn with<T: std::fmt::Debug>(
        &self,
        n: u64,
        act: Act,
        deed: impl FnOnce() -> Result<T, SpoolError>,
        did: impl FnOnce(&T) -> Did,
    ) -> Result<(), String> {
        self.model.lock().unwrap().begin(n, act.clone());
        let result = deed();
        self.told(n, &act, &result, did)
    }

    /// The dead are told nothing.
    fn told<T: std::fmt::Debug>(
        &self,
        n: u64,
        act: &Act,
        result: &Result<T, SpoolError>,
        did: impl FnOnce(&T) -> Did,
    ) -> Result<(), String> {
        if self.machine.is_dead(self.process) {
            return Ok(());
        }
        let did = match result {
            Ok(value) => did(value),
            Err(_) if self.faulty => Did::Fail,
            Err(error) => return Err(format!("{act:?} of report {n} failed: {error:?}")),
        };
        self.machine.look(|disk| {
            let mut model = self.model.lock().unwrap();
            model.done(n, act, did, disk)?;
            if self.faulty {
                // An error may have cost the reason, which is told to nobody.
                model.forget_reason(n);
            }
            Ok(())
        })
    }

    fn act(&mut self, spool: &Spool, deed: &Deed) -> Result<(), String> {
        let found = |found: &bool| if *found { Did::Something } else { Did::Nothing };
        match deed {
            Deed::Reserve => return self.reserve(spool),
            Deed::GiveUp => drop(self.held.pop()),
            Deed::Commit(bytes) => {
                let Some(held) = self.held.pop() else { return Ok(()) };
                let n = self.model.lock().unwrap().offer(*bytes);
                let commit = || held.commit(&encoded(n, *bytes));
                return self.with(n, Act::Commit, commit, |()| Did::Something);
            }
            Deed::Remove(numbers) => return self.remove(spool, numbers),
            Deed::Fetch(number) => {
                let Some(n) = self.choose(*number) else { return Ok(()) };
                return self.fetch(spool, n);
            }
            Deed::Quarantine(number) => {
                let Some(n) = self.choose(*number) else { return Ok(()) };
                let why = format!("reason {number}");
                let act = Act::Quarantine(why.clone());
                return self.with(n, act, || spool.quarantine(id(n), &why), |()| Did::Either);
            }
            Deed::Requeue(number) => {
                let Some(n) = self.choose(*number) else { return Ok(()) };
                return self.with(n, Act::Requeue, || spool.requeue(id(n)), found);
            }
            Deed::Discard(number) => {
                let Some(n) = self.choose(*number) else { return Ok(()) };
                let name = record::file_name(id(n));
                return self.with(n, Act::Discard, || spool.discard(&name), found);
            }
            Deed::Reopen => {}
        }
        Ok(())
    }

    fn reserve(&mut self, spool: &Spool) -> Result<(), String> {
        match spool.reserve() {
            Ok(reservation) => self.held.push(reservation),
            Err(SpoolError::Full { .. }) => {}
            Err(_) if self.faulty || self.machine.is_dead(self.process) => {}
            Err(error) => return Err(format!("nothing could be reserved: {error:?}")),
        }
        Ok(())
    }

    fn fetch(&self, spool: &Spool, n: u64) -> Result<(), String> {
        self.model.lock().unwrap().begin(n, Act::Fetch);
        let fetched = spool.fetch(id(n));
        let known = self.model.lock().unwrap().reports[&n].clone();
        let waits = known.place().map(|place| place == Place::Waiting);
        let right = match &fetched {
            Ok(Fetched::Report(report)) => {
                *report == encoded(n, known.bytes) && waits != Some(false)
            }
            Ok(Fetched::Gone) => waits != Some(true),
            Ok(Fetched::Damaged(_) | Fetched::Foreign) => false,
            Err(_) => true,
        };
        if !right {
            return Err(format!("report {n} was fetched as {fetched:?}, waiting: {waits:?}"));
        }
        self.told(n, &Act::Fetch, &fetched, |_| Did::Either)
    }

    fn remove(&self, spool: &Spool, numbers: &[u64]) -> Result<(), String> {
        let chosen: BTreeSet<u64> = numbers.iter().filter_map(|n| self.choose(*n)).collect();
        for n in &chosen {
            self.model.lock().unwrap().begin(*n, Act::Remove);
        }
        let ids: Vec<ReportId> = chosen.iter().map(|n| id(*n)).collect();
        let result = spool.remove(&ids);
        chosen.iter().try_for_each(|n| self.told(*n, &Act::Remove, &result, |()| Did::Either))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.held.clear();
        self.machine.finish(self.process);
    }
}

/// Opens what a crash left, and compares it with what is known.
fn check(left: State, model: &Model, bounds: Bounds) -> Result<(), String> {
    let machine = Machine::alone(left);
    let broken = |error: SpoolError| format!("after a crash: {error:?}");
    let spool = Spool::open_on(machine.disk(0), Path::new(FOLDER), bounds).map_err(broken)?;
    let entries = spool.list().map_err(broken)?;
    let aside = spool.quarantined().map_err(broken)?;
    for (n, known) in &model.reports {
        let waits = entries.iter().filter(|entry| entry.id == id(*n)).count();
        let reasons: Vec<_> = aside.iter().filter(|one| one.id == Some(id(*n))).collect();
        let place = match (waits, reasons.len()) {
            (0, 0) => Place::Nowhere,
            (1, 0) => Place::Waiting,
            (0, 1) => Place::Quarantine,
            many => return Err(format!("after a crash, report {n} is there {many:?} times")),
        };
        if !known.possible.contains(&place) {
            let possible = &known.possible;
            return Err(format!("after a crash, report {n} is in {place:?}, not in {possible:?}"));
        }
        if let ([one], Some(reason)) = (&reasons[..], &known.reason)
            && one.reason != *reason
        {
            return Err(format!("report {n} is aside for {:?}, not for {reason:?}", one.reason));
        }
    }
    let others = entries.len() + aside.len();
    let found = |n: &&u64| {
        let id = id(**n);
        entries.iter().any(|entry| entry.id == id) || aside.iter().any(|one| one.id == Some(id))
    };
    if others != model.reports.keys().filter(found).count() {
        return Err(format!("after a crash, others appeared: {entries:?} {aside:?}"));
    }
    bounded(&machine.state(), &BTreeSet::new(), bounds)?;
    goes_on(&spool, model, bounds)
}

/// Whether all files that count are within the bounds.
fn bounded(disk: &State, left: &BTreeSet<OsString>, bounds: Bounds) -> Result<(), String> {
    let (files, bytes) = counted(disk, left);
    if files > bounds.files || bytes > bounds.bytes {
        return Err(format!("{files} files of {bytes} bytes are over {bounds:?}"));
    }
    Ok(())
}

/// Delivers everything, that in quarantine too, and wants all the room there is after that.
fn goes_on(spool: &Spool, model: &Model, bounds: Bounds) -> Result<(), String> {
    let stuck = |error: SpoolError| format!("after a crash: {error:?}");
    for one in spool.quarantined().map_err(stuck)? {
        let id = one.id.ok_or("a record in quarantine lost its id")?;
        if !spool.requeue(id).map_err(stuck)? {
            return Err(format!("report {id} did not come back"));
        }
    }
    for (n, known) in &model.reports {
        match spool.fetch(id(*n)).map_err(stuck)? {
            Fetched::Gone => {}
            Fetched::Report(report) if report == encoded(*n, known.bytes) => {}
            other => return Err(format!("after a crash, report {n} is {other:?}")),
        }
    }
    let ids: Vec<ReportId> = spool.list().map_err(stuck)?.iter().map(|one| one.id).collect();
    spool.remove(&ids).map_err(stuck)?;
    let usage = spool.usage().map_err(stuck)?;
    if usage != Usage::default() {
        return Err(format!("an empty spool uses {usage:?}"));
    }
    let room = bounds.files.min(bounds.bytes / record::most_record_bytes());
    let mut held = vec![];
    for _ in 0..room {
        held.push(spool.reserve().map_err(stuck)?);
    }
    match spool.reserve() {
        Err(SpoolError::Full { .. }) => {}
        other => return Err(format!("{other:?} where a spool should be full")),
    }
    held.pop().ok_or("no room at all")?.commit(&encoded(0, 10)).map_err(stuck)?;
    match spool.fetch(id(0)).map_err(stuck)? {
        Fetched::Report(_) => Ok(()),
        other => Err(format!("a new report is {other:?}")),
    }
}

/// One generation after another on one disk.
fn live(generations: &[Generation], bounds: Bounds) -> Result<(), String> {
    let model = Arc::new(Mutex::new(Model::default()));
    let mut state = State::new();
    for Generation { deeds, kill, fault, seed } in generations {
        let mut random = ChaCha8Rng::seed_from_u64(*seed);
        let mut some = move || {
            let survive = [0.1, 0.5, 0.9][random.random_range(0..3)];
            Fate::Some(survive, Box::new(ChaCha8Rng::seed_from_u64(random.random())))
        };
        let mut last = some();
        let known = Arc::clone(&model);
        let left = unfinished(&state);
        let watch = Box::new(move |disk: &State| {
            bounded(disk, &left, bounds)?;
            let known = known.lock().unwrap();
            [Fate::Everything, Fate::Nothing, some(), some()]
                .into_iter()
                .try_for_each(|mut fate| check(disk.after_crash(&mut fate), &known, bounds))
        });
        let mishaps = Mishaps { kill: *kill, fault: fault.clone() };
        let machine = Machine::shared(state, deeds.len(), *seed, mishaps, watch);
        thread::scope(|scope| {
            for (process, deeds) in deeds.iter().enumerate() {
                let worker = Worker {
                    machine: Arc::clone(&machine),
                    process,
                    model: Arc::clone(&model),
                    bounds,
                    faulty: fault.as_ref().is_some_and(|(who, ..)| *who == process),
                    held: vec![],
                };
                scope.spawn(move || worker.work(deeds));
            }
        });
        if let Some(wrong) = machine.wrong() {
            return Err(wrong);
        }
        state = machine.state().after_crash(&mut last);
        model.lock().unwrap().crashed(&state);
    }
    Ok(())
}

fn cases() -> u32 {
    let asked = std::env::var("FLEETMARK_SPOOL_CASES").ok();
    asked.map_or(100, |text| text.parse().expect("FLEETMARK_SPOOL_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_said_to_be_kept_survives_a_crash_at_any_call(
        generations in prop::collection::vec(generation(), 1..=3),
        largest in 1..=3u64,
        more in 0..12_000u64,
        files in 1..=6u64,
    ) {
        let bounds = Bounds { bytes: largest * record::most_record_bytes() + more, files };
        live(&generations, bounds).map_err(TestCaseError::fail)?;
    }
}
