//! What an honest leecher still gets while a seed is attacked, as a share of what it gets in peace: `make
//! hostile`. A measurement, not a test of a bound: it is ignored by `cargo test`, and prints a table.
//!
//! Peace and attack take turns within one run, and the median of each counts. The seed and the leecher are
//! processes of their own, so that what the attackers themselves use of the processor is seen apart: a third
//! column gives the share of peace that is left while the same attackers attack another seed, which nobody
//! downloads from. What our defence has to answer for is the difference between the two.

use crate::cli_support::{Process, program, run};
use crate::common::raw::hello;
use crate::common::stage::*;
use crate::common::*;
use shoal::protocol::wire::Message;
use shoal::torrent::{Format, Torrent};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Attackers at once.
const ATTACKERS: u32 = 8;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A name for an attacker, a new one each time.
fn name() -> [u8; 20] {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = [b'x'; 20];
    name[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    name
}

fn join(seed: SocketAddr, torrent: &Torrent) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect(seed)?;
    socket.set_write_timeout(Some(Duration::from_millis(100)))?;
    let mut greeting = hello(torrent.info_hash(), 1, true);
    greeting.peer_id.0 = name();
    socket.write_all(&greeting.encode())?;
    Ok(socket)
}

/// One attacker: comes, does the same thing until it is shown out, and comes again at once. How often it
/// came.
fn attack(what: &str, seed: SocketAddr, torrent: &Torrent, done: &AtomicBool) -> u64 {
    let messages = super::floods::floods(torrent.geometry().piece_count());
    let flood = messages.iter().find(|(kind, _)| *kind == what).map(|(_, bytes)| bytes.repeat(500));
    let mut idle = Vec::new();
    let mut times = 0;
    while !done.load(Ordering::Relaxed) {
        let Ok(mut socket) = join(seed, torrent) else { continue };
        times += 1;
        match (what, &flood) {
            ("connections", _) => idle.push(TcpStream::connect(seed)),
            ("connections in a loop", _) => {}
            (_, Some(flood)) => {
                let _ = socket.set_nonblocking(true);
                if what.contains("requests") {
                    let _ = socket.write_all(&encoded(Message::Interested));
                }
                let mut heard = [0; 65536];
                while !done.load(Ordering::Relaxed) {
                    match (socket.write(flood), socket.read(&mut heard)) {
                        (Err(why), _) if why.kind() != std::io::ErrorKind::WouldBlock => break,
                        (_, Ok(0)) => break,
                        (Err(_), Err(_)) => thread::sleep(Duration::from_micros(200)),
                        _ => {}
                    }
                }
            }
            _ => panic!("there is no attack called {what}"),
        }
        if idle.len() > 1000 / ATTACKERS as usize {
            idle.clear();
        }
    }
    times
}

/// Runs the attackers until dropped.
struct Attack {
    done: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<u64>>,
}

impl Attack {
    fn start(what: &'static str, seed: SocketAddr, torrent: &Arc<Torrent>) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let threads = (0..ATTACKERS).map(|_| {
            let (until, torrent) = (Arc::clone(&done), Arc::clone(torrent));
            thread::spawn(move || attack(what, seed, &torrent, &until))
        });
        let threads = threads.collect();
        thread::sleep(Duration::from_millis(500)); // it is under way
        Attack { done, threads }
    }

    /// Ends it, and says how often attackers came.
    fn end(&mut self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.threads.drain(..).map(|thread| thread.join().unwrap()).sum()
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.end();
    }
}

fn start_seed(folder: &Path, torrent: &str, up: &str) -> (Process, SocketAddr) {
    let mut command = program("torrent", folder);
    command.args(["seed", torrent, "from", "--listen", "127.0.0.1:0", "--up", up]).env("SHOAL_LOG", "error");
    let mut seed = Process::start(command);
    let addr = seed.listening();
    (seed, addr)
}

/// Seconds that a download takes.
fn fetch(folder: &Path, torrent: &str, seed: SocketAddr) -> f64 {
    let to = folder.join("to");
    fs::create_dir_all(&to).unwrap();
    let begun = Instant::now();
    let seed = seed.to_string();
    run("torrent", folder, &["download", torrent, "-d", "to", "--peer", &seed, "--listen", "127.0.0.1:0"])
        .good();
    let took = begun.elapsed().as_secs_f64();
    fs::remove_dir_all(&to).unwrap();
    took
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

#[test]
#[ignore = "a measurement: make hostile"]
fn honest_throughput_under_attack() {
    let (mib, runs) = (number("MIB", 192), number("RUNS", 3));
    let up = std::env::var("UP").unwrap_or_else(|_| "60MB".to_owned());
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::create_dir(folder.join("from")).unwrap();
    let path = folder.join("from/file");
    fs::write(&path, content(1, mib << 20)).unwrap();
    let torrent = torrent_of(&path, Format::V1, Some(256 * 1024));
    let name = "file.torrent";
    fs::write(folder.join(name), torrent.bytes()).unwrap();
    let (_seed, addr) = start_seed(folder, name, &up);
    let (_other, elsewhere) = start_seed(folder, name, &up);
    println!(
        "{mib} MiB at {up} a second, {ATTACKERS} attackers, median of {runs}; share of the throughput in peace"
    );
    println!("{:<24}{:>10}{:>12}{:>16}", "attack", "peace", "attacked", "beside it");
    let attacks = [
        "keep-alives",
        "haves",
        "interest",
        "chokes",
        "bitfields",
        "refused requests",
        "tiny requests",
        "requests and cancels",
        "extensions",
        "unknown messages",
        "connections",
        "connections in a loop",
    ];
    for what in attacks {
        let (mut peace, mut attacked, mut beside) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            peace.push(fetch(folder, name, addr));
            for (seed, times) in [(addr, &mut attacked), (elsewhere, &mut beside)] {
                let mut attack = Attack::start(what, seed, &torrent);
                times.push(fetch(folder, name, addr));
                assert!(attack.end() > 0, "{what}: nobody attacked {seed}");
            }
        }
        let (peace, attacked, beside) = (median(peace), median(attacked), median(beside));
        println!(
            "{what:<24}{:>7.1} MB/s{:>9.0} %{:>14.0} %",
            (mib << 20) as f64 / peace / 1e6,
            100.0 * peace / attacked,
            100.0 * peace / beside
        );
    }
}
