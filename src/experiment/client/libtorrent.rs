//! libtorrent as the client under test, in a process of its own: `libtorrent_client.py`, which executes one
//! order after the other. Orders and answers are JSON objects, one per line. The thread `libtorrent` reads
//! the answers; `main` waits for them. No lock.

use super::{Client, LIMIT, Measured, Settings};
use crate::experiment::Failure;
use crate::experiment::stop::Stop;
use crate::threads;
use crate::torrent::Torrent;
use crossbeam_channel::Receiver;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const SCRIPT: &str = include_str!("libtorrent_client.py");
/// How long it may take to start, or to add a torrent. An interpreter on a busy machine needs a while.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Libtorrent {
    process: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    port: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Listening { port: u16 },
    Serving,
    Fetched { seconds: f64, received: u64, sent: u64 },
    Failed(String),
}

impl Libtorrent {
    pub fn start(settings: &Settings, stop: &Stop) -> Result<Self, Failure> {
        let python = &settings.python;
        let mut command = Command::new(python);
        command.arg("-c").arg(SCRIPT).arg(settings.listen.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let no_python = |why| {
            let python = python.display();
            Failure::Client(format!(
                "cannot run {python}: {why}; name an interpreter that has libtorrent with --python"
            ))
        };
        let mut process = command.spawn().map_err(no_python)?;
        let (orders, output) = (process.stdin.take(), process.stdout.take());
        let answers = read_lines(output).map_err(no_python)?;
        let mut client = Libtorrent { process, orders, answers, port: 0 };
        match client.answer(PATIENCE, stop) {
            Ok(Answer::Listening { port }) => client.port = port,
            Ok(_) => return Err(unexpected()),
            Err(Failure::Client(why)) => {
                let python = python.display();
                let help = format!(
                    "`{python} -m pip install 'libtorrent>=2.1,<2.2'` installs it, or name another \
                                    interpreter with --python"
                );
                return Err(Failure::Client(format!("{python} does not start libtorrent: {why}; {help}")));
            }
            Err(why) => return Err(why),
        }
        Ok(client)
    }

    /// Sends an order, and waits for its answer.
    fn ask(&mut self, order: &Value, limit: Duration, stop: &Stop) -> Result<Answer, Failure> {
        let Some(orders) = &mut self.orders else { return Err(unexpected()) };
        orders
            .write_all(format!("{order}\n").as_bytes())
            .map_err(|why| Failure::Client(format!("libtorrent takes no more orders: {why}")))?;
        self.answer(limit, stop)
    }

    fn answer(&self, limit: Duration, stop: &Stop) -> Result<Answer, Failure> {
        let Some(line) = stop.receive(&self.answers, limit)? else {
            return Err(Failure::Client("libtorrent ended, or did not answer in time".to_owned()));
        };
        match serde_json::from_str(&line) {
            Ok(Answer::Failed(why)) => Err(Failure::Client(why)),
            Ok(answer) => Ok(answer),
            Err(_) => Err(Failure::Client(format!("libtorrent's process said `{line}`"))),
        }
    }
}

fn unexpected() -> Failure {
    Failure::Client("libtorrent's process answered something else than it was asked".to_owned())
}

/// The lines of `output` as they come. The thread that reads them ends with the process.
fn read_lines(output: Option<ChildStdout>) -> std::io::Result<Receiver<String>> {
    let (line, lines) = crossbeam_channel::bounded(1); // one order at a time has one answer
    let _ends_with_the_process = threads::spawn("libtorrent", move || {
        let read = output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(Result::ok));
        let _nobody_listens_any_more = read.into_iter().try_for_each(|text| line.send(text));
    })?;
    Ok(lines)
}

fn base64(torrent: &Torrent) -> String {
    BASE64.encode(torrent.bytes())
}

impl Client for Libtorrent {
    fn port(&self) -> u16 {
        self.port
    }

    fn serve(&mut self, torrent: &Arc<Torrent>, dir: &Path, stop: &Stop) -> Result<(), Failure> {
        let order = json!({ "order": "serve", "torrent": base64(torrent), "dir": dir });
        match self.ask(&order, PATIENCE, stop)? {
            Answer::Serving => Ok(()),
            _ => Err(unexpected()),
        }
    }

    fn fetch(
        &mut self,
        torrent: &Arc<Torrent>,
        dir: &Path,
        from: &[SocketAddr],
        stop: &Stop,
    ) -> Result<Measured, Failure> {
        let peers: Vec<Value> =
            from.iter().map(|peer| json!({ "ip": peer.ip().to_string(), "port": peer.port() })).collect();
        let order = json!({
            "order": "fetch", "torrent": base64(torrent), "dir": dir, "peers": peers,
            "limit": LIMIT.as_secs(),
        });
        match self.ask(&order, LIMIT + PATIENCE, stop)? {
            Answer::Fetched { seconds, received, sent } => {
                let time = Duration::try_from_secs_f64(seconds).map_err(|_| unexpected())?;
                Ok(Measured { time, received, sent })
            }
            _ => Err(unexpected()),
        }
    }
}

impl Drop for Libtorrent {
    /// The process ends when its input is closed; if it is busy, it is killed.
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
