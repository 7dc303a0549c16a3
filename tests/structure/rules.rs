//! The rules. Each takes the files and gives its complaints, a plain sentence each.

use crate::tree::{File, Name, Tree};
use std::collections::{BTreeMap, BTreeSet};

/// One place that breaks a rule: `FILE:LINE: SENTENCE`.
pub type Complaint = String;

fn complaint(file: &File, line: usize, sentence: impl AsRef<str>) -> Complaint {
    format!("{}:{line}: {}", file.path, sentence.as_ref())
}

/// All that is named outside the tests, with the file that names it.
fn named(tree: &Tree) -> impl Iterator<Item = (&File, &Name)> {
    tree.files.iter().flat_map(|file| file.names.iter().map(move |name| (file, name)))
}

fn is_below(path: &[String], room: &str) -> bool {
    room.split('/').enumerate().all(|(at, name)| path.get(at).is_some_and(|part| part == name))
}

/// The two sides of the project do not know each other.
pub fn strangers(tree: &Tree, one: &str, other: &str) -> Vec<Complaint> {
    let meet = |(file, name): &(&File, &Name)| {
        let leads_to = |room| name.to.is_some() && is_below(&name.path, room);
        is_below(&file.module, one) && leads_to(other) || is_below(&file.module, other) && leads_to(one)
    };
    let sentence = format!("`{one}` and `{other}` must not know each other");
    named(tree)
        .filter(meet)
        .map(|(file, name)| complaint(file, name.line, format!("{sentence}, and this names {}", shown(name))))
        .collect()
}

fn shown(name: &Name) -> String {
    format!("`{}`", name.path.join("::"))
}

/// The layers of the rooms, the lowest first. `beside` are the pairs of one layer of which the first may
/// import the second, each with a reason.
pub struct Layers<'a> {
    pub layers: &'a [&'a [&'a str]],
    pub beside: &'a [(&'a str, &'a str, &'a str)],
}

impl<'a> Layers<'a> {
    /// The room of a module, and its layer.
    fn room(&self, module: &[String]) -> Option<(usize, &'a str)> {
        let rooms =
            self.layers.iter().enumerate().flat_map(|(at, rooms)| rooms.iter().map(move |room| (at, *room)));
        rooms.filter(|(_, room)| is_below(module, room)).max_by_key(|(_, room)| room.len())
    }

    /// Each room imports only rooms of lower layers. `maps` are the files that only say which rooms there
    /// are.
    pub fn check(&self, tree: &Tree, maps: &[&str]) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for file in tree.files.iter().filter(|file| !file.is_test && !maps.contains(&file.path.as_str())) {
            match self.room(&file.module) {
                Some(room) => {
                    complaints.extend(file.names.iter().filter_map(|name| self.name(tree, file, room, name)))
                }
                None => complaints.push(complaint(file, 1, "this file is in no room of the table of layers")),
            }
        }
        complaints
    }

    fn name(&self, tree: &Tree, file: &File, room: (usize, &str), name: &Name) -> Option<Complaint> {
        let to = &tree.files[name.to?];
        let Some(target) = self.room(&to.module) else {
            let sentence = format!("{} is in no room: import it from the room that it is in", shown(name));
            return Some(complaint(file, name.line, sentence));
        };
        if room.1 == target.1 || target.0 < room.0 {
            return None;
        }
        let beside = self.beside.iter().any(|(from, to, _)| (*from, *to) == (room.1, target.1));
        let why = match target.0 == room.0 {
            true if beside => return None,
            true => "which is on the same layer",
            false => "which is on a higher layer",
        };
        let sentence = format!("`{}` must not import {}, {why}", room.1, shown(name));
        Some(complaint(file, name.line, sentence))
    }

    /// No circle of imports between the rooms.
    pub fn circles(&self, tree: &Tree) -> Vec<Complaint> {
        let mut imports = Graph::default();
        for (file, name) in named(tree) {
            let to = name.to.and_then(|to| self.room(&tree.files[to].module));
            if let (Some(from), Some(to)) = (self.room(&file.module), to)
                && from.1 != to.1
            {
                imports.add(from.1, to.1, || complaint(file, name.line, ""));
            }
        }
        imports.circles()
    }
}

/// No circle of imports between the files of one room. An import of the file that heads a folder by a file in
/// that folder does not count: the head declares what lies in the folder, and has what all of them share.
pub fn circles_of_files(tree: &Tree, room: &str) -> Vec<Complaint> {
    let mut imports = Graph::default();
    for (file, name) in named(tree).filter(|(file, _)| is_below(&file.module, room)) {
        let to = name.to.map(|to| &tree.files[to]).filter(|to| is_below(&to.module, room));
        if let Some(to) = to.filter(|to| !file.module.starts_with(&to.module)) {
            imports.add(&file.path, &to.path, || complaint(file, name.line, ""));
        }
    }
    imports.circles()
}

/// Who imports whom, and where.
#[derive(Default)]
struct Graph<'a> {
    edges: BTreeMap<&'a str, BTreeMap<&'a str, String>>,
}

impl<'a> Graph<'a> {
    fn add(&mut self, from: &'a str, to: &'a str, place: impl FnOnce() -> String) {
        self.edges.entry(from).or_default().entry(to).or_insert_with(place);
    }

    /// A complaint for each import that lies on a circle.
    fn circles(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for (from, imports) in &self.edges {
            for (to, place) in imports.iter().filter(|(to, _)| self.leads(to, from)) {
                complaints
                    .push(format!("{place}`{from}` and `{to}` import each other, perhaps by way of others"));
            }
        }
        complaints
    }

    fn leads(&self, from: &str, to: &str) -> bool {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(at) = left.pop() {
            if at == to {
                return true;
            }
            if seen.insert(at) {
                left.extend(self.edges.get(at).into_iter().flat_map(|imports| imports.keys()));
            }
        }
        false
    }
}

/// Whether a path leads to a socket, a clock, a lock, a file, a thread or a channel outside this crate.
fn is_impure(path: &[String]) -> bool {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path[..] {
        ["std", "net", kind, ..] => kind.starts_with("Tcp") || kind.starts_with("Udp"),
        ["std", "sync", kind, ..] => matches!(kind, "Mutex" | "RwLock" | "Condvar" | "mpsc"),
        ["std", "fs" | "thread", ..] | ["parking_lot" | "crossbeam_channel", ..] => true,
        [.., "Instant" | "SystemTime", "now"] => true,
        _ => false,
    }
}

/// Pure files have no socket, no clock, no lock, no file, no thread and no channel. `pure` are files, and
/// folders with a `/` at the end; `except` are files in them that are not pure. `machinery` are the rooms
/// that have such things.
pub fn purity(tree: &Tree, pure: &[&str], except: &[&str], machinery: &[&str]) -> Vec<Complaint> {
    let is_pure = |file: &File| {
        let under = |path: &&str| file.path == **path || path.ends_with('/') && file.path.starts_with(path);
        pure.iter().any(under) && !except.contains(&file.path.as_str())
    };
    let breaks = |name: &Name| match name.to {
        Some(_) => machinery.iter().any(|room| is_below(&name.path, room)),
        None => is_impure(&name.path),
    };
    named(tree)
        .filter(|(file, name)| is_pure(file) && breaks(name))
        .map(|(file, name)| {
            complaint(file, name.line, format!("this file is pure, and names {}", shown(name)))
        })
        .collect()
}

/// No line is longer than `most` characters.
pub fn long_lines(tree: &Tree, most: usize) -> Vec<Complaint> {
    let long = |file: &File| -> Vec<Complaint> {
        let lines = file.text.lines().map(|line| line.chars().count()).zip(1..);
        lines
            .filter(|(len, _)| *len > most)
            .map(|(len, line)| {
                complaint(file, line, format!("a line of {len} characters; {most} are allowed"))
            })
            .collect()
    };
    tree.files.iter().flat_map(long).collect()
}

/// Every file opens with what it is for.
pub fn headless(tree: &Tree) -> Vec<Complaint> {
    let headless = tree.files.iter().filter(|file| !file.text.starts_with("//!"));
    headless.map(|file| complaint(file, 1, "a file opens with `//!` and says what it is for")).collect()
}

/// No file has more than `most` lines.
pub fn long_files(tree: &Tree, most: usize) -> Vec<Complaint> {
    let len = |file: &File| file.text.lines().count();
    let long = tree.files.iter().filter(|file| len(file) > most);
    long.map(|file| complaint(file, most + 1, format!("a file of {} lines; {most} are allowed", len(file))))
        .collect()
}

/// `unsafe` stands only in the room `allowed`.
pub fn unsafe_code(tree: &Tree, allowed: &str) -> Vec<Complaint> {
    let elsewhere = tree.files.iter().filter(|file| !is_below(&file.module, allowed));
    elsewhere
        .flat_map(|file| {
            file.tokens.iter().filter(|token| token.text == "unsafe").map(move |token| (file, token.line))
        })
        .map(|(file, line)| complaint(file, line, format!("`unsafe` is allowed in `{allowed}` only")))
        .collect()
}

/// Directly under `folder` lie only files that head a folder of the same name, and at most `most` others.
pub fn loose_files(tree: &Tree, folder: &str, most: usize) -> Vec<Complaint> {
    let is_loose = |file: &&File| {
        let Some(name) = file.path.strip_prefix(folder).and_then(|path| path.strip_suffix(".rs")) else {
            return false;
        };
        let own_folder = format!("{folder}{name}/");
        !name.contains('/') && !tree.files.iter().any(|other| other.path.starts_with(&own_folder))
    };
    let loose: Vec<&File> = tree.files.iter().filter(is_loose).collect();
    let sentence =
        format!("{} files without a folder of their own lie in {folder}; {most} are allowed", loose.len());
    loose.iter().filter(|_| loose.len() > most).map(|file| complaint(file, 1, &sentence)).collect()
}
