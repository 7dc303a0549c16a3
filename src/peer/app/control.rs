//! The control socket: `control` in the state folder, for other processes of the same user. A second
//! `peer IP PORT COMMAND` beside a running peer has that one carry the command out, and a second
//! `peer IP PORT` is a shell of that peer.
//!
//! A caller sends one line of JSON (`Ask`). What it is answered are lines of JSON, too: a `Frame` each,
//! `Frame::End` last. The thread `control` accepts; a thread `control-N` for each caller carries its
//! command out, as the shell would. No lock of its own. What bounds it: `MOST_CALLERS`, `MOST_ASK`,
//! `PATIENCE`.

mod attached;
mod caller;
mod server;

pub use attached::Attached;
pub use server::Control;

use super::command::Command;
use super::progress::Gauge;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Maximum number of callers at a time.
const MOST_CALLERS: usize = 16;
/// Maximum length of a request in bytes.
const MOST_ASK: u64 = 64 * 1024;
/// How long a caller may take to send its request, or to take a frame.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a caller wants.
#[derive(Clone, Serialize, Deserialize)]
struct Ask {
    /// The command. A path in it is absolute.
    command: Command,
    /// Whether to answer in JSON.
    json: bool,
    /// The tracker that the caller named. The peer must be a member there.
    tracker: String,
}

/// A part of an answer.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Frame {
    /// For standard output.
    Out(String),
    /// What went wrong, for standard error.
    Complaint(String),
    /// How far it is.
    Progress(Vec<Gauge>),
    /// The last one: whether all went well.
    End(bool),
}

/// The path of the socket in a state folder.
fn path_in(state: &Path) -> PathBuf {
    state.join("control")
}

/// Calls `with` with a path to the socket of the state folder that is short enough for a socket's address,
/// whatever the path of the folder is.
fn with_short_path<T>(state: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    if path_in(state).as_os_str().len() < MOST_SOCKET_PATH {
        return with(&path_in(state));
    }
    let folder = rustix::fs::open(state, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    with(&path_in(&PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))))
}

/// Maximum length of a socket's path in bytes, with room for a suffix; Linux has 108.
const MOST_SOCKET_PATH: usize = 90;
