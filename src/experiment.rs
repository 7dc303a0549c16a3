//! The measurement that shoal began from: a seeder and some leechers move files of four sizes in both directions, many times
//! each, and what they took stands in tables and plots. `docs/EXPERIMENT.md` says how it is run and what the numbers mean;
//! the program is `src/bin/experiment.rs`.
//!
//! Each role is a process that takes one step after the other on `main`. The client under test is behind one small trait,
//! shoal in this process and libtorrent in another; who is ready for what, and where, the tracker's catalogue tells.
//!
//! | file | what it holds |
//! |---|---|
//! | `plan.rs` | how often each size is moved; pure |
//! | `contents.rs` | the eight files |
//! | `client.rs` | the clients under test |
//! | `meeting.rs` | how the roles find and wait for each other |
//! | `roles.rs` | what a seeder and a leecher do |
//! | `all.rs` | all roles as processes of one machine |
//! | `rows.rs` | a row for each repetition, kept as it ends |
//! | `statistics.rs`, `summary.rs`, `plot.rs` | what is made of the rows |
//! | `stop.rs` | waiting that the user can end |

pub mod all;
pub mod client;
mod contents;
mod meeting;
pub mod plan;
mod plot;
pub mod report;
pub mod roles;
pub mod rows;
mod statistics;
pub mod stop;
pub mod summary;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// How large a file is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Size {
    pub label: &'static str,
    pub bytes: u64,
}

/// The sizes, in the order in which they are moved. Units of 1000.
pub const SIZES: [Size; 4] = [
    Size { label: "10kB", bytes: 10_000 },
    Size { label: "100kB", bytes: 100_000 },
    Size { label: "1MB", bytes: 1_000_000 },
    Size { label: "10MB", bytes: 10_000_000 },
];

/// A file of each size. The A files lie on the seeder, the B files on the leechers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Set {
    A,
    B,
}

impl Set {
    /// The name of its file of this size, such as `A_10kB`.
    pub fn file(self, size: Size) -> String {
        format!("{self:?}_{}", size.label)
    }
}

/// Who has the A files, and who has the B files and fetches the others.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Role {
    Seed,
    Leech,
}

impl Role {
    /// What it has from the start.
    pub fn has(self) -> Set {
        match self {
            Role::Seed => Set::A,
            Role::Leech => Set::B,
        }
    }

    /// What it fetches from the others.
    pub fn wants(self) -> Set {
        self.other().has()
    }

    pub fn other(self) -> Role {
        match self {
            Role::Seed => Role::Leech,
            Role::Leech => Role::Seed,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Seed => "seed",
            Role::Leech => "leech",
        })
    }
}

/// Why the experiment did not come to its end. The rows that there are stay.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("interrupted; the same command goes on from here")]
    Interrupted,
    #[error("cannot {what} {}: {why}", path.display())]
    File { what: &'static str, path: PathBuf, why: io::Error },
    #[error("{}, line {line}: {why}", path.display())]
    Row { path: PathBuf, line: usize, why: String },
    #[error("{0}")]
    Tracker(String),
    #[error("{0}")]
    Client(String),
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    /// For `map_err`: what was to be done with `path`.
    pub fn file<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Failure + use<'a> {
        move |why| Failure::File { what, path: path.to_owned(), why }
    }
}
