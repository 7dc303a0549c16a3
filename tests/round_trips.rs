//! How many round trips pass before the first byte of content comes, the one that makes the connection among
//! them: what a small file over a long line costs. They are counted by a logical clock in the network, so that
//! nothing depends on how fast this machine is. Without root or iproute2, the test says so and does nothing;
//! libtorrent takes part where `make interop` has installed it.

mod cli_support;
mod common;
mod netns_support;

use cli_support::{Process, program};
use common::content;
use netns_support::{Lab, Segment, Weather, address};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SEED: u8 = 11;
const LEECHER: u8 = 12;
/// The length in bytes of the file: a fraction of a block.
const LEN: usize = 10_000;
/// Segments that carry so many bytes carry content; the messages before it are shorter.
const CONTENT: usize = 1000;
/// In each direction. What a peer sends in one go must be sent within this time.
const DELAY: Duration = Duration::from_millis(50);

#[derive(Copy, Clone)]
enum Client {
    Shoal,
    Libtorrent,
}
use Client::{Libtorrent, Shoal};

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Shoal) { "shoal" } else { "libtorrent" })
    }
}

/// libtorrent's interpreter and program.
fn libtorrent() -> [std::path::PathBuf; 2] {
    let interop = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    [interop.join(".venv/bin/python"), interop.join("libtorrent_client.py")]
}

fn command(lab: &Lab, client: Client, host: u8, place: &Path) -> Command {
    match client {
        Shoal => lab.program(host, "torrent", place),
        Libtorrent => {
            let [python, client] = libtorrent();
            let mut command = lab.foreign_program(host, python, place);
            command.arg(client);
            command
        }
    }
}

/// The round trips from the leecher's first word to the seed until the first byte of content.
fn round_trips(segments: &[Segment]) -> u32 {
    let asked = segments.iter().find(|segment| segment.from == LEECHER && segment.to == SEED && segment.asks);
    let came = segments.iter().find(|segment| segment.from == SEED && segment.carries >= CONTENT);
    (came.expect("content").flight + 1 - asked.expect("a connection").flight).div_ceil(2)
}

/// `None` where there is no network to try it in.
fn try_it(format: &str, seed: Client, leecher: Client) -> Option<u32> {
    let mut lab = Lab::new()?;
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["seed", "leecher"].map(|name| folder.path().join(name));
    [&from, &to].iter().for_each(|place| std::fs::create_dir_all(place.join("files")).unwrap());
    std::fs::write(from.join("files/small.bin"), content(7, LEN)).unwrap();
    let torrent = folder.path().join("small.torrent");
    let mut create = program("torrent", folder.path());
    create.args(["create", "seed/files/small.bin", "--format", format, "-o"]).arg(&torrent);
    assert!(create.output().unwrap().status.success());

    lab.host(SEED);
    lab.host(LEECHER);
    lab.set_weather(Weather { delay: DELAY, ..Weather::default() });
    let mut serve = command(&lab, seed, SEED, &from);
    serve
        .arg("seed")
        .arg(&torrent)
        .arg(from.join("files"))
        .args(["--listen", &format!("{}:0", address(SEED))]);
    let mut serving = Process::start(serve);
    let addr = serving.listening().to_string();
    let mut fetch = command(&lab, leecher, LEECHER, &to);
    fetch.arg("download").arg(&torrent).arg("-d").arg(to.join("files"));
    fetch.args(["--listen", &format!("{}:0", address(LEECHER)), "--peer", &addr]);
    let mut fetching = Process::start(fetch);
    assert!(fetching.end().success());
    common::assert_same(&from.join("files/small.bin"), &to.join("files/small.bin"));
    Some(round_trips(&lab.segments()))
}

#[test]
fn a_newcomer_has_its_first_content_after_three_round_trips() {
    for format in ["v1", "v2", "hybrid"] {
        let Some(trips) = try_it(format, Shoal, Shoal) else { return };
        assert_eq!(trips, 3, "{format}: connecting, greeting, asking");
    }
}

#[test]
fn with_libtorrent_no_side_costs_more_round_trips_than_two_of_libtorrent() {
    if !libtorrent().iter().all(|path| path.exists()) {
        eprintln!("SKIPPED: no libtorrent here (make interop installs it)");
        return;
    }
    for format in ["v1", "v2", "hybrid"] {
        let Some(most) = try_it(format, Libtorrent, Libtorrent) else { return };
        for (seed, leecher) in [(Shoal, Libtorrent), (Libtorrent, Shoal)] {
            let Some(trips) = try_it(format, seed, leecher) else { return };
            println!("{format}, from {seed} to {leecher}: {trips} round trips; two of libtorrent: {most}");
            assert!(trips <= most, "{format}, from {seed} to {leecher}: {trips} against {most}");
        }
    }
}
