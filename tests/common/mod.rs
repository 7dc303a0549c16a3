//! What the whole-system tests share: content, torrents, peers in this process, and waiting for a condition.
#![allow(dead_code)] // each test uses some of it

pub mod raw;
pub mod stage;
pub mod truth;

use shoal::peer::engine::{Config, Engine};

use shoal::torrent::create::{Options, create};
use shoal::torrent::{Format, Torrent};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Generous: a test waits so long only if it fails.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Waits until `condition` holds; panics with `what` if it never does.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that look like nothing in particular, the same for the same `seed`.
pub fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

/// The torrent of what lies at `path`.
pub fn torrent_of(path: &Path, format: Format, piece_length: Option<u32>) -> Arc<Torrent> {
    let options = Options { format, piece_length, ..Options::default() };
    let metainfo = create(path, &options, &|_| ()).unwrap();
    Arc::new(Torrent::parse(&metainfo).unwrap())
}

/// A configuration for loopback, with its state in `state`.
pub fn config(state: Option<&Path>) -> Config {
    let listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    Config { listen, state: state.map(Path::to_owned), ..Config::default() }
}

pub fn peer() -> Engine {
    Engine::start(&config(None)).unwrap()
}

/// Compares what lies at two paths, byte by byte, folders with all that is in them.
pub fn assert_same(left: &Path, right: &Path) {
    if left.is_dir() {
        let names = |dir: &Path| {
            let mut names: Vec<_> =
                std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(left), names(right), "in {}", left.display());
        names(left).iter().for_each(|name| assert_same(&left.join(name), &right.join(name)));
    } else {
        let same = std::fs::read(left).unwrap() == std::fs::read(right).unwrap();
        assert!(same, "{} and {} differ", left.display(), right.display());
    }
}
