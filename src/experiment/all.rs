//! The whole experiment on this machine: a tracker in this process, and a process for each role, which is this program again.
//! `main` starts them and waits for them. They hold the other end of a pipe, so they end when this process does, however.

use super::client::Kind;
use super::roles::Part;
use super::stop::Stop;
use super::{Failure, Role};
use crate::tracker::{Config, Limits, Tracker};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often it looks whether one has ended.
const LOOK: Duration = Duration::from_millis(50);
/// They end soon when told to; after so long they are killed.
const POLITE: Duration = Duration::from_secs(5);

/// Plays all parts, which are like `part` but for role, name and tracker.
pub fn run(part: &Part, stop: &Stop) -> Result<(), Failure> {
    part.kind.start(&part.client, stop)?; // what keeps it from starting is told once
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let tracker = Tracker::start(Config { listen, data: None, limits: Limits::default() });
    let tracker = tracker.map_err(|why| Failure::Tracker(why.to_string()))?;
    let part = &Part { tracker: tracker.addr().to_string(), ..part.clone() };
    let mut cast = Cast::default();
    cast.start(part, Role::Seed, "seed")?;
    for number in 1..=part.leechers {
        cast.start(part, Role::Leech, &format!("leech-{number}"))?;
    }
    let ended = cast.wait(stop);
    drop(cast);
    tracker.stop();
    ended
}

/// The processes. Dropping them ends those that still run.
#[derive(Default)]
struct Cast {
    actors: Vec<(String, Child)>,
}

impl Cast {
    fn start(&mut self, part: &Part, role: Role, name: &str) -> Result<(), Failure> {
        let child = command(part, role, name).and_then(|mut command| command.spawn());
        let child = child.map_err(|why| Failure::Broken(format!("cannot start {name}: {why}")))?;
        self.actors.push((name.to_owned(), child));
        Ok(())
    }

    /// Waits until all have ended well, or one has not.
    fn wait(&mut self, stop: &Stop) -> Result<(), Failure> {
        while !self.actors.is_empty() {
            stop.pause(LOOK)?;
            if let Some((name, status)) = self.take_ended()
                && !status.success()
            {
                return Err(Failure::Broken(format!(
                    "{name} ended with {status}; the same command goes on from here"
                )));
            }
        }
        Ok(())
    }

    fn take_ended(&mut self) -> Option<(String, ExitStatus)> {
        for (index, (_, child)) in self.actors.iter_mut().enumerate() {
            if let Ok(Some(status)) = child.try_wait() {
                return Some((self.actors.remove(index).0, status));
            }
        }
        None
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        self.actors.iter_mut().for_each(|(_, child)| drop(child.stdin.take()));
        let until = Instant::now() + POLITE;
        for (_, child) in &mut self.actors {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(LOOK);
            }
            let _ = child.kill(); // it has ended, as a rule
            let _ = child.wait();
        }
    }
}

/// This program in one role. `src/bin/experiment.rs` has these options.
fn command(part: &Part, role: Role, name: &str) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(&part.tracker).arg("--with-parent");
    command.args(["--role", &role.to_string(), "--name", name, "--client", &part.kind.to_string()]);
    command.args(["--leechers", &part.leechers.to_string(), "--repetitions", &part.plan.to_string()]);
    command.arg("--results").arg(&part.results).arg("--files").arg(&part.files);
    command.arg("--listen").arg(part.client.listen.to_string());
    if part.kind == Kind::Libtorrent {
        command.arg("--python").arg(&part.client.python);
    }
    command.stdin(Stdio::piped());
    Ok(command)
}
