//! The whole experiment on one machine: a tracker in this process, and this program again as a process for
//! each role. The thread `main` starts the processes and waits for them. They hold the other end of a pipe,
//! so they end when this process ends, even if it is killed. No lock.

use super::client::Kind;
use super::roles::Part;
use super::stop::Stop;
use super::{Failure, Role};
use crate::tracker::{Config, Tracker};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often it is checked whether a process has ended.
const LOOK: Duration = Duration::from_millis(50);
/// How long a process that was told to end may take before it is killed.
const POLITE: Duration = Duration::from_secs(5);

/// Runs all roles with the settings of `part`, except for role, name and tracker.
pub fn run(part: &Part, stop: &Stop) -> Result<(), Failure> {
    part.kind.start(&part.client, stop)?; // if it cannot start, that is reported once, here
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let tracker = Tracker::start(Config { listen, ..Config::default() });
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

/// The processes of the roles. Dropping it ends those that still run.
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

    /// Waits until all have ended with success, or one has failed.
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
            let _ = child.kill(); // usually it has ended already
            let _ = child.wait();
        }
    }
}

/// The command that runs this program in one role. `src/bin/experiment.rs` has these options.
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
