//! The original measurement of shoal: a seeder and some leechers move files of four sizes in both directions,
//! many times each. Times and bytes are shown in tables and plots. `docs/EXPERIMENT.md` says how it is run
//! and what the numbers mean; the program is `src/bin/experiment.rs`.
//!
//! Each role is a process that takes its steps one after the other on the thread `main`. The client under
//! test is behind one small trait: shoal runs in the same process, libtorrent in another one. The tracker's
//! catalogue tells which role is ready for which file, and at which address. One lock, in `meeting.rs`.
//!
//! | file | what it holds |
//! |---|---|
//! | `plan.rs` | number of repetitions for each size; pure |
//! | `contents.rs` | the eight files |
//! | `client.rs` | the clients under test |
//! | `meeting.rs` | how the roles find and wait for each other |
//! | `roles.rs` | what a seeder and a leecher do |
//! | `all.rs` | all roles as processes of one machine |
//! | `rows.rs` | a row for each repetition, written when it ends |
//! | `statistics.rs`, `summary.rs`, `plot.rs` | tables and plots of the rows |
//! | `stop.rs` | waits that the user can end |

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
pub(crate) mod summary;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A file size of the experiment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Size {
    /// Its name, such as `10kB`.
    pub label: &'static str,
    /// Bytes.
    pub bytes: u64,
}

/// The sizes in the order in which they are moved. 1 kB is 1000 bytes.
pub const SIZES: [Size; 4] = [
    Size { label: "10kB", bytes: 10_000 },
    Size { label: "100kB", bytes: 100_000 },
    Size { label: "1MB", bytes: 1_000_000 },
    Size { label: "10MB", bytes: 10_000_000 },
];

/// A set of files, one of each size.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Set {
    /// The files of the seeder.
    A,
    /// The files of the leechers.
    B,
}

impl Set {
    /// The name of the file of this size, such as `A_10kB`.
    pub fn file(self, size: Size) -> String {
        format!("{self:?}_{}", size.label)
    }
}

/// The role of a process.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// Serves the A files, then fetches the B files from all leechers.
    Seed,
    /// Fetches the A files, and serves the B files.
    Leech,
}

impl Role {
    /// The files that it has from the start.
    pub fn has(self) -> Set {
        match self {
            Role::Seed => Set::A,
            Role::Leech => Set::B,
        }
    }

    /// The files that it fetches from the others.
    pub fn wants(self) -> Set {
        self.other().has()
    }

    /// The opposite role.
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

/// Why the experiment did not finish. The rows that were written are kept.
#[derive(Debug, Error)]
pub enum Failure {
    /// The user ended the program.
    #[error("interrupted; the same command goes on from here")]
    Interrupted,
    /// A file or folder cannot be used.
    #[error("cannot {what} {}: {why}", path.display())]
    File {
        /// The verb of the operation, such as `read`.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        why: io::Error,
    },
    /// A line of a file of rows cannot be read.
    #[error("{}, line {line}: {why}", path.display())]
    Row {
        /// The file of rows.
        path: PathBuf,
        /// Number of the line, from 1 on.
        line: usize,
        /// What is wrong with the line.
        why: String,
    },
    /// The tracker refused a request, or cannot be reached.
    #[error("{0}")]
    Tracker(String),
    /// The client under test failed.
    #[error("{0}")]
    Client(String),
    /// Anything else.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    /// For `map_err`: `what` is the verb of the operation on `path` that failed.
    pub fn file<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Failure + use<'a> {
        move |why| Failure::File { what, path: path.to_owned(), why }
    }
}
