//! A disk that knows what a crash would leave of it.
//!
//! It keeps apart what was synced and what was not. Of the latter a crash leaves any part: of the changes to a file each may be
//! lost, kept, or kept in some sectors; of the changes to folders any subset may have happened. A rename is one change, also
//! between two folders, and is certain only when both were synced.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    path::{Component, Path},
    sync::Arc,
};

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use uuid::Uuid;

use super::super::disk::Item;

/// A file or folder, whatever its names are.
pub(super) type Node = usize;
/// An open file.
pub(super) type Opened = u64;
/// The folder under which all others lie.
const ROOT: Node = 0;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What is in a file: these bytes, and zeros up to its size.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Content {
    bytes: Arc<Vec<u8>>,
    size: usize,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Arc<Vec<u8>> },
    Size(usize),
}

impl Content {
    fn write(&mut self, offset: usize, new: &[u8]) {
        let end = offset + new.len();
        let bytes = Arc::make_mut(&mut self.bytes);
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(new);
        self.size = self.size.max(end);
    }

    fn set_size(&mut self, size: usize) {
        if self.bytes.len() > size {
            Arc::make_mut(&mut self.bytes).truncate(size);
        }
        self.size = size;
    }

    fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let read = buffer.len().min(self.size.saturating_sub(offset));
        for (at, byte) in buffer[..read].iter_mut().enumerate() {
            *byte = self.bytes.get(offset + at).copied().unwrap_or(0);
        }
        read
    }

    /// What a crash leaves, of a file that was like this when it was synced.
    fn survive(mut self, since: &[Change], fate: &mut Fate) -> Self {
        for change in since {
            match change {
                Change::Size(size) if fate.survives() => self.set_size(*size),
                Change::Write { offset, bytes } if fate.survives() => self.write(*offset, bytes),
                Change::Write { offset, bytes } if fate.tears() => {
                    let mut at = 0;
                    while at < bytes.len() {
                        let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
                        if fate.survives() {
                            self.write(offset + at, &bytes[at..end]);
                        }
                        at = end;
                    }
                }
                Change::Size(_) | Change::Write { .. } => {}
            }
        }
        self
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    synced: Content,
    /// What was done since.
    since: Vec<Change>,
    now: Content,
    locked: Option<Opened>,
}

type Names = BTreeMap<(Node, OsString), Node>;

/// A change to folders.
#[derive(Clone, Debug)]
struct Renaming {
    gone: Option<(Node, OsString)>,
    come: Option<((Node, OsString), Node)>,
    /// The folders that have to be synced until it is certain.
    unsynced: BTreeSet<Node>,
}

impl Renaming {
    fn apply(&self, names: &mut Names) {
        if let Some(name) = &self.gone {
            names.remove(name);
        }
        if let Some((name, node)) = &self.come {
            names.insert(name.clone(), *node);
        }
    }
}

/// What survives of that which was not synced.
pub(super) enum Fate {
    /// All of it: the process died, not the machine.
    Everything,
    Nothing,
    /// Each change with this probability.
    Some(f64, Box<ChaCha8Rng>),
}

impl Fate {
    fn survives(&mut self) -> bool {
        match self {
            Self::Everything => true,
            Self::Nothing => false,
            Self::Some(probability, random) => random.random_bool(*probability),
        }
    }

    fn tears(&mut self) -> bool {
        match self {
            Self::Everything | Self::Nothing => false,
            Self::Some(_, random) => random.random_bool(0.5),
        }
    }
}

/// The disk.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// `None` is a folder.
    nodes: Vec<Option<File>>,
    names: Names,
    /// The names of which a crash leaves what the renamings do not change.
    base: Names,
    renamings: Vec<Renaming>,
    opened: Opened,
    unique: u64,
}

fn error<T>(kind: io::ErrorKind) -> io::Result<T> {
    Err(kind.into())
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![None],
            names: Names::new(),
            base: Names::new(),
            renamings: vec![],
            opened: 0,
            unique: 0,
        }
    }

    /// What is there when the machine is up again.
    pub(super) fn after_crash(&self, fate: &mut Fate) -> Self {
        let mut names = self.base.clone();
        for renaming in &self.renamings {
            if renaming.unsynced.is_empty() || fate.survives() {
                renaming.apply(&mut names);
            }
        }
        let survive = |node: &Option<File>| {
            let file = node.as_ref()?;
            let content = file.synced.clone().survive(&file.since, fate);
            Some(File { synced: content.clone(), now: content, ..File::default() })
        };
        let nodes = self.nodes.iter().map(survive).collect();
        Self { nodes, base: names.clone(), names, renamings: vec![], ..*self }
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        let parts = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        parts.into_iter().try_fold(ROOT, |folder, name| self.named(folder, name))
    }

    fn named(&self, folder: Node, name: &OsStr) -> io::Result<Node> {
        if self.nodes[folder].is_some() {
            return error(io::ErrorKind::NotADirectory);
        }
        let found = self.names.get(&(folder, name.to_owned()));
        found.copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The folder in which a name is or would be.
    fn place(&self, path: &Path) -> io::Result<(Node, OsString)> {
        let name = path.file_name().unwrap_or_default().to_owned();
        let folder = self.node(path.parent().unwrap_or(path))?;
        match self.nodes[folder] {
            None => Ok((folder, name)),
            Some(_) => error(io::ErrorKind::NotADirectory),
        }
    }

    fn rename_node(
        &mut self,
        gone: Option<(Node, OsString)>,
        come: Option<((Node, OsString), Node)>,
    ) {
        let places = gone.iter().chain(come.as_ref().map(|(place, _)| place));
        let unsynced = places.map(|(folder, _)| *folder).collect();
        let renaming = Renaming { gone, come, unsynced };
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }

    fn add(&mut self, path: &Path, node: Option<File>) -> io::Result<Node> {
        let place = self.place(path)?;
        if self.names.contains_key(&place) {
            return error(io::ErrorKind::AlreadyExists);
        }
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.rename_node(None, Some((place, node)));
        Ok(node)
    }

    pub(super) fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        self.add(path, None).map(|_| ())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<(Node, Opened)> {
        let node = self.add(path, Some(File::default()))?;
        Ok((node, self.next_opened()))
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<(Node, Opened)> {
        let node = self.node(path)?;
        match self.nodes[node] {
            Some(_) => Ok((node, self.next_opened())),
            None => error(io::ErrorKind::NotFound),
        }
    }

    pub(super) fn open_or_create(&mut self, path: &Path) -> io::Result<(Node, Opened)> {
        match self.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(path),
            opened => opened,
        }
    }

    fn next_opened(&mut self) -> Opened {
        self.opened += 1;
        self.opened
    }

    pub(super) fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        let folder = self.node(path)?;
        if self.nodes[folder].is_some() {
            return error(io::ErrorKind::NotADirectory);
        }
        for renaming in &mut self.renamings {
            renaming.unsynced.remove(&folder);
        }
        let certain = self.renamings.iter().take_while(|renaming| renaming.unsynced.is_empty());
        let certain = certain.count();
        for renaming in self.renamings.drain(..certain) {
            renaming.apply(&mut self.base);
        }
        Ok(())
    }

    pub(super) fn items(&self, path: &Path) -> io::Result<Vec<Item>> {
        let folder = self.node(path)?;
        if self.nodes[folder].is_some() {
            return error(io::ErrorKind::NotADirectory);
        }
        let inside = self.names.iter().filter(|((parent, _), _)| *parent == folder);
        let items = inside.filter_map(|((_, name), node)| {
            let file = self.nodes[*node].as_ref()?;
            Some(Item { name: name.clone(), bytes: u64::try_from(file.now.size).unwrap() })
        });
        Ok(items.collect())
    }

    pub(super) fn is_taken(&self, path: &Path) -> io::Result<bool> {
        match self.node(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.node(from)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        self.rename_node(Some(from), Some((to, node)));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let node = self.node(path)?;
        if self.nodes[node].is_none() {
            return error(io::ErrorKind::IsADirectory);
        }
        let place = self.place(path)?;
        self.rename_node(Some(place), None);
        Ok(())
    }

    pub(super) fn unique(&mut self) -> Uuid {
        self.unique += 1;
        // Before all reports in a folder's order, or behind them.
        let first = if self.unique.is_multiple_of(2) { 0 } else { u64::MAX };
        Uuid::from_u64_pair(first, self.unique)
    }

    fn file(&mut self, node: Node) -> &mut File {
        self.nodes[node].as_mut().expect("a folder is never open")
    }

    pub(super) fn size(&mut self, node: Node) -> u64 {
        u64::try_from(self.file(node).now.size).unwrap()
    }

    pub(super) fn read(&mut self, node: Node, buffer: &mut [u8], offset: u64) -> usize {
        self.file(node).now.read(buffer, usize::try_from(offset).unwrap())
    }

    pub(super) fn write(&mut self, node: Node, bytes: &[u8], offset: u64) {
        let offset = usize::try_from(offset).unwrap();
        let file = self.file(node);
        file.now.write(offset, bytes);
        file.since.push(Change::Write { offset, bytes: Arc::new(bytes.to_vec()) });
    }

    pub(super) fn set_size(&mut self, node: Node, size: u64) {
        let size = usize::try_from(size).unwrap();
        let file = self.file(node);
        file.now.set_size(size);
        file.since.push(Change::Size(size));
    }

    pub(super) fn sync(&mut self, node: Node) {
        let file = self.file(node);
        file.synced = file.now.clone();
        file.since.clear();
    }

    pub(super) fn is_locked_against(&self, node: Node, opened: Opened) -> bool {
        let locked = self.nodes[node].as_ref().and_then(|file| file.locked);
        locked.is_some_and(|by| by != opened)
    }

    pub(super) fn lock(&mut self, node: Node, opened: Opened) {
        self.file(node).locked = Some(opened);
    }

    /// Closing a file gives up its lock.
    pub(super) fn close(&mut self, node: Node, opened: Opened) {
        let file = self.file(node);
        file.locked = file.locked.filter(|by| *by != opened);
    }
}
