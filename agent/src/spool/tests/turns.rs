//! Processes that share a simulated disk and take turns at every call, in an order that a seed decides.

use std::{
    collections::BTreeSet,
    fmt, io,
    ops::Range,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use rand::{SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use super::{
    super::disk::{Access, Disk, Handle, Item},
    simulated::{Node, Opened, State},
};

/// What is done between all calls, with the disk as it is then. An error, which says what is wrong, ends all processes.
pub(super) type Watch = Box<dyn FnMut(&State) -> Result<(), String> + Send>;

/// Which process is killed, or gets an error, at which of its calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Mishaps {
    pub(super) kill: Option<(usize, u32)>,
    /// Calls of a process that fail if they need space or sync.
    pub(super) fault: Option<(usize, Range<u32>, io::ErrorKind)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Doing {
    Thinking,
    /// Wants its turn, and this file's lock where it says so.
    Waiting(Option<(Node, Opened)>),
    Dead,
    Finished,
}

struct Process {
    doing: Doing,
    calls: u32,
    /// Its open files, whose locks go when it dies.
    open: BTreeSet<(Node, Opened)>,
}

struct Turns {
    processes: Vec<Process>,
    random: ChaCha8Rng,
    next: Option<usize>,
    mishaps: Mishaps,
    watch: Watch,
    wrong: Option<String>,
}

struct World {
    state: State,
    /// `None` if there is one process alone, which need not wait.
    turns: Option<Turns>,
}

/// A machine with a simulated disk.
pub(super) struct Machine {
    world: Mutex<World>,
    changed: Condvar,
}

impl Machine {
    /// With one process, of which nothing is wanted but its result.
    pub(super) fn alone(state: State) -> Arc<Self> {
        Arc::new(Self { world: Mutex::new(World { state, turns: None }), changed: Condvar::new() })
    }

    /// With this many processes. `watch` sees the disk before each call and at the end.
    pub(super) fn shared(
        state: State,
        processes: usize,
        seed: u64,
        mishaps: Mishaps,
        watch: Watch,
    ) -> Arc<Self> {
        let process = || Process { doing: Doing::Thinking, calls: 0, open: BTreeSet::new() };
        let turns = Turns {
            processes: std::iter::repeat_with(process).take(processes).collect(),
            random: ChaCha8Rng::seed_from_u64(seed),
            next: None,
            mishaps,
            watch,
            wrong: None,
        };
        let world = World { state, turns: Some(turns) };
        Arc::new(Self { world: Mutex::new(world), changed: Condvar::new() })
    }

    pub(super) fn disk(self: &Arc<Self>, process: usize) -> Arc<dyn Disk> {
        Arc::new(Simulated { machine: Arc::clone(self), process })
    }

    /// The disk as it is now.
    pub(super) fn state(&self) -> State {
        self.world().state.clone()
    }

    /// Looks at the disk while nobody changes it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.world().state)
    }

    pub(super) fn is_dead(&self, process: usize) -> bool {
        let world = self.world();
        let turns = world.turns.as_ref();
        turns.is_some_and(|turns| turns.processes[process].doing == Doing::Dead)
    }

    /// A process begins. It does nothing before this returns, so that nothing depends on how threads start.
    pub(super) fn start(&self, process: usize) {
        drop(self.turn(process, None));
    }

    /// A process has come to its end.
    pub(super) fn finish(&self, process: usize) {
        let mut world = self.world();
        let World { state, turns: Some(turns) } = &mut *world else { return };
        if turns.processes[process].doing != Doing::Dead {
            turns.processes[process].doing = Doing::Finished;
            turns.watch(state);
        }
        self.changed.notify_all();
    }

    /// Something is wrong: the test has failed, and all processes end.
    pub(super) fn fail(&self, wrong: String) {
        if let Some(turns) = &mut self.world().turns {
            turns.fail(wrong);
        }
        self.changed.notify_all();
    }

    /// What was found to be wrong, first.
    pub(super) fn wrong(&self) -> Option<String> {
        self.world().turns.as_ref().and_then(|turns| turns.wrong.clone())
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the turn of a process. An error if it is dead, or gets one at this call.
    fn turn(
        &self,
        process: usize,
        wants: Option<(Node, Opened)>,
    ) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.world();
        if world.turns.is_none() {
            return Ok(world);
        }
        world.wait(process, wants);
        self.changed.notify_all();
        loop {
            let World { state, turns: Some(turns) } = &mut *world else { return Ok(world) };
            turns.choose(state);
            if turns.processes[process].doing == Doing::Dead {
                return Err(io::Error::other("this process is dead"));
            }
            if turns.next == Some(process) {
                break;
            }
            world = self.changed.wait(world).unwrap();
        }
        world.begin(process)?;
        Ok(world)
    }
}

impl Turns {
    /// Gives the turn to one of those who can use it, once all have come to wait.
    fn choose(&mut self, state: &State) {
        if self.next.is_some() || self.processes.iter().any(|one| one.doing == Doing::Thinking) {
            return;
        }
        let ready: Vec<usize> = (0..self.processes.len())
            .filter(|&process| match self.processes[process].doing {
                Doing::Waiting(None) => true,
                Doing::Waiting(Some((node, opened))) => !state.is_locked_against(node, opened),
                Doing::Thinking | Doing::Dead | Doing::Finished => false,
            })
            .collect();
        self.next = ready.choose(&mut self.random).copied();
        let waits = self.processes.iter().any(|one| matches!(one.doing, Doing::Waiting(_)));
        if self.next.is_none() && waits {
            self.fail("all wait for locks that nobody gives up".to_owned());
        }
    }

    fn watch(&mut self, state: &State) {
        if let Err(wrong) = (self.watch)(state) {
            self.fail(wrong);
        }
    }

    fn fail(&mut self, wrong: String) {
        self.wrong.get_or_insert(wrong);
        for one in &mut self.processes {
            one.doing = Doing::Dead;
        }
    }
}

impl World {
    fn wait(&mut self, process: usize, wants: Option<(Node, Opened)>) {
        let Some(turns) = &mut self.turns else { return };
        let doing = &mut turns.processes[process].doing;
        if *doing != Doing::Dead {
            *doing = Doing::Waiting(wants);
        }
    }

    fn begin(&mut self, process: usize) -> io::Result<()> {
        let Self { state, turns: Some(turns) } = self else { return Ok(()) };
        turns.next = None;
        let one = &mut turns.processes[process];
        one.doing = Doing::Thinking;
        one.calls += 1;
        if turns.mishaps.kill == Some((process, one.calls)) {
            one.doing = Doing::Dead;
            for (node, opened) in std::mem::take(&mut one.open) {
                state.close(node, opened);
            }
        }
        turns.watch(state);
        match turns.processes[process].doing {
            Doing::Dead => Err(io::Error::other("this process is dead")),
            _ => Ok(()),
        }
    }

    /// The error that a call is to get which needs space or syncs.
    fn fault(&self, process: usize) -> io::Result<()> {
        let Some(turns) = &self.turns else { return Ok(()) };
        match &turns.mishaps.fault {
            Some((who, calls, kind))
                if *who == process && calls.contains(&turns.processes[process].calls) =>
            {
                Err((*kind).into())
            }
            _ => Ok(()),
        }
    }
}

struct Simulated {
    machine: Arc<Machine>,
    process: usize,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk of process {}", self.process)
    }
}

impl Simulated {
    /// A call that only looks, or that always succeeds.
    fn quiet<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        act(&mut self.machine.turn(self.process, None)?.state)
    }

    /// A call that may fail.
    fn call<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.machine.turn(self.process, None)?;
        world.fault(self.process)?;
        act(&mut world.state)
    }

    fn opened(&self, mut world: MutexGuard<'_, World>, file: (Node, Opened)) -> Box<dyn Handle> {
        if let Some(turns) = &mut world.turns {
            turns.processes[self.process].open.insert(file);
        }
        let disk = Self { machine: Arc::clone(&self.machine), process: self.process };
        Box::new(OpenFile { disk, node: file.0, opened: file.1 })
    }

    fn open_with(
        &self,
        open: impl FnOnce(&mut State) -> io::Result<(Node, Opened)>,
    ) -> io::Result<Box<dyn Handle>> {
        let mut world = self.machine.turn(self.process, None)?;
        let file = open(&mut world.state)?;
        Ok(self.opened(world, file))
    }
}

impl Disk for Simulated {
    fn make_folder(&self, folder: &Path, _: Access) -> io::Result<()> {
        self.call(|state| state.make_folder(folder))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.call(|state| state.sync_folder(folder))
    }

    /// Looks in two steps, as a real one looks in many: what is renamed in between may be missed, or seen twice.
    fn items(&self, folder: &Path) -> io::Result<Vec<Item>> {
        let mut items = self.quiet(|state| state.items(folder))?;
        let middle = items.get(items.len() / 2).map(|item| item.name.clone());
        items.retain(|item| Some(&item.name) < middle.as_ref());
        let rest = self.quiet(|state| state.items(folder))?;
        items.extend(rest.into_iter().filter(|item| Some(&item.name) >= middle.as_ref()));
        Ok(items)
    }

    fn is_taken(&self, path: &Path) -> io::Result<bool> {
        self.quiet(|state| state.is_taken(path))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut world = self.machine.turn(self.process, None)?;
        world.fault(self.process)?;
        let file = world.state.create(path)?;
        Ok(self.opened(world, file))
    }

    fn lock_file(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        self.open_with(|state| state.open_or_create(path))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        self.open_with(|state| state.open(path))
    }

    fn edit(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        self.open_with(|state| state.open(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|state| state.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|state| state.remove(path))
    }

    fn unique(&self) -> Uuid {
        self.machine.world().state.unique()
    }
}

/// An open file of a process.
#[derive(Debug)]
struct OpenFile {
    disk: Simulated,
    node: Node,
    opened: Opened,
}

impl Handle for OpenFile {
    fn size(&self) -> io::Result<u64> {
        self.disk.quiet(|state| Ok(state.size(self.node)))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.quiet(|state| Ok(state.read(self.node, buffer, offset)))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.machine.turn(self.disk.process, None)?;
        let fault = world.fault(self.disk.process);
        // A disk that is full half way keeps the half.
        let done = if fault.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        world.state.write(self.node, done, offset);
        fault
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.disk.call(|state| {
            state.set_size(self.node, bytes);
            Ok(())
        })
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        self.disk.call(|_| Ok(()))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.call(|state| {
            state.sync(self.node);
            Ok(())
        })
    }

    fn lock(&self) -> io::Result<()> {
        let wants = (self.node, self.opened);
        let mut world = self.disk.machine.turn(self.disk.process, Some(wants))?;
        world.state.lock(self.node, self.opened);
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.disk.quiet(|state| {
            let free = !state.is_locked_against(self.node, self.opened);
            if free {
                state.lock(self.node, self.opened);
            }
            Ok(free)
        })
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let mut world = self.disk.machine.world();
        let file = (self.node, self.opened);
        world.state.close(self.node, self.opened);
        if let Some(turns) = &mut world.turns {
            turns.processes[self.disk.process].open.remove(&file);
        }
    }
}
