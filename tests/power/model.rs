//! A file system that knows what of it would survive a power cut.
//!
//! It promises what `src/disk.rs` builds upon, and not a bit more. What was written to a file and not
//! synced since may be there or not, each page of 4 KiB for itself; the length may be any that the file
//! had since its last sync, and what the length covers without its data having come through is old junk.
//! Names that were made, moved or removed in a folder that was not synced since may be so or not, each for
//! itself. A sync makes all earlier writes of that file durable, but not its name; a rename is whole or
//! has not happened.

use shoal::disk::Op;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const PAGE: usize = 4096;
/// What was on the disk where a file grew and its data did not come through.
const JUNK: u8 = 0xa5;

/// An operation, as it is kept.
#[derive(Clone, Debug)]
pub enum Event {
    MakeFolder(PathBuf),
    Create(PathBuf),
    Write { path: PathBuf, offset: u64, data: Vec<u8> },
    SetLen { path: PathBuf, len: u64 },
    Sync(PathBuf),
    SyncFolder(PathBuf),
    Rename { from: PathBuf, to: PathBuf },
    Remove(PathBuf),
}

impl Event {
    pub fn of(op: &Op<'_>) -> Self {
        match *op {
            Op::MakeFolder(path) => Event::MakeFolder(path.to_owned()),
            Op::Create(path) => Event::Create(path.to_owned()),
            Op::Write { path, offset, data } => {
                Event::Write { path: path.to_owned(), offset, data: data.to_owned() }
            }
            Op::SetLen { path, len } => Event::SetLen { path: path.to_owned(), len },
            Op::Sync(path) => Event::Sync(path.to_owned()),
            Op::SyncFolder(path) => Event::SyncFolder(path.to_owned()),
            Op::Rename { from, to } => Event::Rename { from: from.to_owned(), to: to.to_owned() },
            Op::Remove(path) => Event::Remove(path.to_owned()),
        }
    }
}

/// What is there after a power cut: files with their bytes, by their path below the root.
pub type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// What becomes of that which nobody synced.
pub enum Fate {
    /// All of it is lost.
    Lost,
    /// All of it is kept.
    Kept,
    /// Names are kept, and lengths; data is lost.
    NamesAndLengths,
    /// Data is kept, names are lost.
    Data,
    /// Each name and each page is kept with these chances, and each length is as likely as any other.
    Chance { random: fastrand::Rng, name: f64, page: f64 },
}

impl Fate {
    fn keeps_name(&mut self) -> bool {
        match self {
            Fate::Lost | Fate::Data => false,
            Fate::Kept | Fate::NamesAndLengths => true,
            Fate::Chance { random, name, .. } => random.f64() < *name,
        }
    }

    fn keeps_page(&mut self) -> bool {
        match self {
            Fate::Lost | Fate::NamesAndLengths => false,
            Fate::Kept | Fate::Data => true,
            Fate::Chance { random, page, .. } => random.f64() < *page,
        }
    }

    /// One of the lengths that a file had, oldest first.
    fn len(&mut self, lens: &[u64]) -> u64 {
        match self {
            Fate::Lost => lens[0],
            Fate::Kept | Fate::NamesAndLengths | Fate::Data => lens[lens.len() - 1],
            Fate::Chance { random, .. } => lens[random.usize(..lens.len())],
        }
    }
}

type Names = BTreeMap<String, usize>;

enum Node {
    File(File),
    Folder(Folder),
}

#[derive(Default)]
struct File {
    durable: Vec<u8>,
    /// Its length now.
    len: u64,
    pending: Vec<Change>,
}

enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Default)]
struct Folder {
    durable: Names,
    now: Names,
    pending: Vec<NameChange>,
}

#[derive(Clone)]
enum NameChange {
    /// This name is that node's; it had the other before, if it had one here.
    Put(String, usize, Option<String>),
    Take(String),
}

/// The file system below one folder, which is durable itself.
pub struct Model {
    root: PathBuf,
    nodes: Vec<Node>,
}

impl Model {
    pub fn new(root: &Path) -> Self {
        Model { root: root.to_owned(), nodes: vec![Node::Folder(Folder::default())] }
    }

    /// One more operation has happened. Panics if it cannot have.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::MakeFolder(path) => self.add(path, Node::Folder(Folder::default())),
            Event::Create(path) if self.find(path).is_some() => {}
            Event::Create(path) => self.add(path, Node::File(File::default())),
            Event::Write { path, offset, data } => {
                let file = self.file(path);
                file.len = file.len.max(offset + data.len() as u64);
                file.pending.push(Change::Write(*offset, data.clone()));
            }
            Event::SetLen { path, len } => {
                let file = self.file(path);
                file.len = *len;
                file.pending.push(Change::SetLen(*len));
            }
            Event::Sync(path) => {
                let file = self.file(path);
                file.durable = file.after(&mut Fate::Kept);
                file.pending.clear();
            }
            Event::SyncFolder(path) if !path.starts_with(&self.root) => {} // it was there before
            Event::SyncFolder(path) => {
                let node = self.find(path).unwrap_or_else(|| panic!("{} is synced", path.display()));
                let Node::Folder(folder) = &mut self.nodes[node] else { panic!("no folder") };
                folder.durable = folder.now.clone();
                folder.pending.clear();
            }
            Event::Rename { from, to } => {
                assert_eq!(from.parent(), to.parent(), "this model renames within a folder");
                let node = self.find(from).unwrap_or_else(|| panic!("{} is renamed", from.display()));
                self.folder_of(to).change(NameChange::Put(name(to), node, Some(name(from))));
            }
            Event::Remove(path) => self.folder_of(path).change(NameChange::Take(name(path))),
        }
    }

    /// What is there if the power is cut now.
    pub fn cut(&self, fate: &mut Fate) -> Tree {
        let mut tree = Tree::new();
        let mut folders = vec![(PathBuf::new(), 0)];
        while let Some((path, node)) = folders.pop() {
            let Node::Folder(folder) = &self.nodes[node] else { continue };
            for (name, node) in folder.after(fate) {
                match &self.nodes[node] {
                    Node::File(file) => {
                        tree.insert(path.join(name), file.after(fate));
                    }
                    Node::Folder(_) => folders.push((path.join(name), node)),
                }
            }
        }
        tree
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.folder_of(path).change(NameChange::Put(name(path), node, None));
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let mut names = path.strip_prefix(&self.root).expect("it is below the root").iter();
        names.try_fold(0, |node, name| match &self.nodes[node] {
            Node::Folder(folder) => folder.now.get(name.to_str().unwrap()).copied(),
            Node::File(_) => None,
        })
    }

    fn file(&mut self, path: &Path) -> &mut File {
        match self.find(path).map(|node| &mut self.nodes[node]) {
            Some(Node::File(file)) => file,
            _ => panic!("{} is no file that is there", path.display()),
        }
    }

    fn folder_of(&mut self, path: &Path) -> &mut Folder {
        let above = path.parent().unwrap();
        match self.find(above).map(|node| &mut self.nodes[node]) {
            Some(Node::Folder(folder)) => folder,
            _ => panic!("{} is no folder that is there", above.display()),
        }
    }
}

impl File {
    fn after(&self, fate: &mut Fate) -> Vec<u8> {
        let (mut bytes, mut len) = (self.durable.clone(), self.durable.len() as u64);
        let mut lens = vec![len];
        for change in &self.pending {
            match change {
                Change::Write(offset, data) => {
                    len = len.max(offset + data.len() as u64);
                    write(&mut bytes, *offset as usize, data, fate);
                }
                Change::SetLen(to) => {
                    len = *to;
                    // Shortened and grown again is the same as neither, unless both came through: then
                    // there are zeros.
                    if matches!(fate, Fate::Kept) {
                        bytes.resize(len as usize, 0);
                    }
                }
            }
            lens.push(len);
        }
        bytes.resize(fate.len(&lens) as usize, JUNK);
        bytes
    }
}

/// Writes those pages of `data` that come through.
fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8], fate: &mut Fate) {
    let mut at = offset;
    let end = offset + data.len();
    while at < end {
        let next = ((at / PAGE + 1) * PAGE).min(end);
        if fate.keeps_page() {
            if bytes.len() < next {
                let hole = if matches!(fate, Fate::Kept) { 0 } else { JUNK };
                bytes.resize(next, hole);
            }
            bytes[at..next].copy_from_slice(&data[at - offset..next - offset]);
        }
        at = next;
    }
}

impl Folder {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    fn after(&self, fate: &mut Fate) -> Names {
        let mut names = self.durable.clone();
        for change in self.pending.iter().filter(|_| fate.keeps_name()) {
            change.apply(&mut names);
        }
        names
    }
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Put(name, node, before) => {
                if let Some(before) = before.as_ref().filter(|before| names.get(*before) == Some(node)) {
                    names.remove(before);
                }
                names.insert(name.clone(), *node);
            }
            NameChange::Take(name) => {
                names.remove(name);
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}
