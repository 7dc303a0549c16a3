//! All source files together: which modules there are, and which file each import leads to.

use crate::lexer::{Token, tokens, without_tests};
use crate::paths::{Written, paths};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One file.
pub struct File {
    /// Its path, from `src/` on.
    pub path: String,
    pub text: String,
    /// The path of its module, without `crate`. Each program in `src/bin/` is a crate of its own; here it is
    /// the module `bin::name`.
    pub module: Vec<String>,
    /// Its tokens, with all test code.
    pub tokens: Vec<Token>,
    /// Whether it is part of test builds alone.
    pub is_test: bool,
    /// What the file names outside its test code, in the order of the file.
    pub names: Vec<Name>,
}

/// Something that a file names.
pub struct Name {
    pub line: usize,
    /// The path in full, if it leads into this crate: without `crate`. Else as it is written.
    pub path: Vec<String>,
    /// The file that has the module it leads to.
    pub to: Option<usize>,
}

/// All files.
pub struct Tree {
    pub files: Vec<File>,
}

impl Tree {
    /// Reads all of `src/` in `root`.
    pub fn read(root: &Path) -> Tree {
        let (mut folders, mut sources) = (vec![root.join("src")], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                    sources.push((name, std::fs::read_to_string(path).unwrap()));
                }
            }
        }
        sources.sort();
        Tree::new(sources)
    }

    /// The tree of these files: the path from `src/` on, and the text of each.
    pub fn new<P: Into<String>, T: Into<String>>(sources: impl IntoIterator<Item = (P, T)>) -> Tree {
        let mut tests: BTreeSet<Vec<String>> = BTreeSet::new();
        let mut files = Vec::new();
        let mut left = Vec::new();
        for (path, text) in sources {
            let (path, text) = (path.into(), text.into());
            let (module, tokens) = (module_of(&path), tokens(&text));
            let (rest, test_modules) = without_tests(&tokens);
            tests.extend(test_modules.into_iter().map(|name| [&module[..], &[name]].concat()));
            files.push(File { path, text, module, tokens, is_test: false, names: Vec::new() });
            left.push(rest);
        }
        let modules: BTreeMap<Vec<String>, usize> =
            files.iter().enumerate().map(|(at, file)| (file.module.clone(), at)).collect();
        for (file, tokens) in files.iter_mut().zip(left) {
            file.is_test = (0..=file.module.len()).any(|len| tests.contains(&file.module[..len]));
            if !file.is_test {
                file.names = names(&tokens, &file.module, &modules);
            }
        }
        Tree { files }
    }
}

/// `src/peer/swarm.rs` is the module `peer::swarm`, `src/lib.rs` the root.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

fn names(tokens: &[Token], module: &[String], modules: &BTreeMap<Vec<String>, usize>) -> Vec<Name> {
    let name = |written: Written| {
        let ours = resolve(&written.names, &[module, &written.inside].concat(), modules);
        let leads_to = |path: &Vec<String>| (0..=path.len()).rev().find_map(|len| modules.get(&path[..len]));
        let to = ours.as_ref().and_then(leads_to).copied();
        Name { line: written.line, path: ours.unwrap_or(written.names), to }
    };
    paths(tokens).into_iter().map(name).collect()
}

/// The full path of what is called `names` in the module `here`. `None` if it does not lead into this crate.
fn resolve(names: &[String], here: &[String], modules: &BTreeMap<Vec<String>, usize>) -> Option<Vec<String>> {
    let is_program = here.first().is_some_and(|first| first == "bin");
    let (first, rest) = names.split_first()?;
    match first.as_str() {
        "crate" => Some([&here[..if is_program { 2 } else { 0 }], rest].concat()),
        "shoal" if is_program => Some(rest.to_vec()),
        "self" => Some([here, rest].concat()),
        "super" => {
            let up = names.iter().take_while(|name| *name == "super").count();
            Some([&here[..here.len().saturating_sub(up)], &names[up..]].concat())
        }
        _ => {
            let child = [here, std::slice::from_ref(first)].concat();
            let (next, _) = modules.range(child.clone()..).next()?;
            next.starts_with(&child).then(|| [here, names].concat())
        }
    }
}
