//! The running peer's end of the control socket.

use super::caller::connect;
use super::{Ask, Frame, MOST_ASK, MOST_CALLERS, PATIENCE, path_in, with_short_path};
use crate::peer::app::audience::Audience;
use crate::peer::app::command::Command;
use crate::peer::app::progress::Gauge;
use crate::peer::app::room::Room;
use crate::peer::app::shell::{Next, Shell, Typing};
use crate::threads;
use crossbeam_channel::{Receiver, Sender};
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The socket while it is open. Dropping it removes it, ends what callers wait for, and joins the threads.
pub struct Control {
    state: PathBuf,
    stop: Arc<AtomicBool>,
    /// Dropping it ends what callers wait for.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a caller's thread needs.
#[derive(Clone)]
struct Service {
    room: Arc<Room>,
    /// Where the user's wish to end the program goes.
    end: Sender<()>,
    /// Is disconnected when the peer ends.
    running: Receiver<()>,
}

impl Control {
    /// Opens the socket in the state folder, which the peer has locked: a socket that is there is of an
    /// earlier run. Only this user can connect.
    pub fn open(state: &Path, room: Arc<Room>, end: Sender<()>) -> io::Result<Self> {
        let listener = with_short_path(state, |path| {
            let new = path.with_extension("new");
            for old in [&new, path] {
                match fs::remove_file(old) {
                    Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
                    _ => {}
                }
            }
            let listener = UnixListener::bind(&new)?;
            fs::set_permissions(&new, Permissions::from_mode(0o600))?;
            fs::rename(&new, path)?;
            Ok(listener)
        })?;
        let stop = Arc::new(AtomicBool::new(false));
        let (running, is_running) = crossbeam_channel::bounded(0);
        let service = Service { room, end, running: is_running };
        let stopped = Arc::clone(&stop);
        let thread = threads::spawn("control", move || service.run(&listener, &stopped))?;
        Ok(Control { state: state.to_owned(), stop, running: Some(running), thread: Some(thread) })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.running = None;
        // Wakes the thread. If that fails, nobody can reach it, and it is left to the end of the process.
        let woken = connect(&self.state);
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            let _ = thread.join();
        }
        let _ = fs::remove_file(path_in(&self.state)); // the user may have removed it
    }
}

impl Service {
    fn run(&self, listener: &UnixListener, stop: &AtomicBool) {
        let mut callers: Vec<JoinHandle<()>> = Vec::new();
        let mut count = 0u64;
        for stream in listener.incoming() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            callers.retain(|caller| !caller.is_finished());
            let Ok(stream) = stream else { continue };
            if callers.len() >= MOST_CALLERS {
                Caller::new(stream).refuse("too many commands are being carried out: try again");
                continue;
            }
            count += 1;
            let service = self.clone();
            match threads::spawn(format!("control-{count}"), move || service.answer(stream)) {
                Ok(caller) => callers.push(caller),
                Err(why) => log::warn!("cannot answer at the control socket: {why}"),
            }
        }
        callers.into_iter().for_each(|caller| {
            let _ = caller.join();
        });
    }

    fn answer(&self, stream: UnixStream) {
        let caller = Arc::new(Caller::new(stream));
        let ask = match caller.read() {
            Ok(ask) => ask,
            Err(why) => return caller.refuse(&format!("cannot read the command: {why}")),
        };
        let trackers = self.room.trackers();
        if !trackers.iter().any(|(addr, _)| *addr == ask.tracker) {
            let all: Vec<&str> = trackers.iter().map(|(addr, _)| addr.as_str()).collect();
            let (all, asked) = (all.join(", "), ask.tracker);
            return caller.refuse(&format!(
                "the peer that uses this state folder is at {all}, not at {asked}: \
                 give this one its own with --state"
            ));
        }
        if ask.command == Command::Exit {
            let _ = self.end.try_send(()); // it is ending already
            return caller.send(&Frame::End(true));
        }
        let shell = Shell {
            room: Arc::clone(&self.room),
            audience: Arc::clone(&caller) as Arc<dyn Audience>,
            notices: crossbeam_channel::never(),
            stop: self.running.clone(),
            typing: Typing::nobody(),
            told: Default::default(),
            json: ask.json,
        };
        let well = shell.carry_out(&ask.command) == Next::Go;
        caller.send(&Frame::End(well));
    }
}

/// The process at the other end.
struct Caller {
    stream: UnixStream,
    is_gone: AtomicBool,
}

impl Caller {
    fn new(stream: UnixStream) -> Self {
        let patient = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        Caller { stream, is_gone: AtomicBool::new(patient.is_err()) }
    }

    fn read(&self) -> io::Result<Ask> {
        let peer = rustix::net::sockopt::socket_peercred(&self.stream)?;
        if peer.uid != geteuid() && !peer.uid.is_root() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut line = Vec::new();
        BufReader::new(Read::take(&self.stream, MOST_ASK)).read_until(b'\n', &mut line)?;
        Ok(serde_json::from_slice(&line)?)
    }

    fn send(&self, frame: &Frame) {
        let sent = serde_json::to_string(frame).map_err(io::Error::from).and_then(|mut line| {
            line.push('\n');
            (&self.stream).write_all(line.as_bytes())
        });
        if sent.is_err() {
            self.is_gone.store(true, Ordering::Relaxed);
        }
    }

    fn refuse(&self, why: &str) {
        self.complain(why);
        self.send(&Frame::End(false));
    }
}

impl Audience for Caller {
    fn print(&self, text: &str) -> io::Result<()> {
        self.send(&Frame::Out(text.to_owned()));
        Ok(())
    }

    fn complain(&self, why: &str) {
        self.send(&Frame::Complaint(why.to_owned()));
    }

    fn progress(&self, gauges: &[Gauge]) {
        self.send(&Frame::Progress(gauges.to_vec()));
    }

    fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }
}
