//! The structure of `src/`: who may import whom, what is pure, and how files look. `docs/ARCHITECTURE.md`
//! explains the layers; the tables here are what is checked. Made-up sources show that each rule can fail.

#[path = "structure/lexer.rs"]
mod lexer;
#[path = "structure/made_up.rs"]
mod made_up;
#[path = "structure/paths.rs"]
mod paths;
#[path = "structure/rules.rs"]
mod rules;
#[path = "structure/tree.rs"]
mod tree;

use rules::{Complaint, Layers};
use std::path::Path;
use std::sync::OnceLock;
use tree::Tree;

/// The rooms in layers, the lowest first. A room may import the rooms of lower layers, and no others.
const LAYERS: Layers<'_> = Layers {
    layers: &[
        &[
            "hash",
            "bencode",
            "bitfield",
            "disk",
            "mailbox",
            "net",
            "threads",
            "printable",
            "peer_id",
            "backoff",
        ],
        &["atomic", "lock", "interrupt", "pool", "logging"],
        &["torrent"],
        &["protocol", "http"],
        &["peer/catalogue", "peer/discovery", "peer/storage", "peer/bandwidth"],
        &["peer/identity"],
        &["peer/download", "peer/bans"],
        &["peer/handle"],
        &["peer/upload"],
        &["peer/session", "peer/swarm"],
        &["peer/connection", "peer/workers"],
        &["peer/engine"],
        &["peer/app", "tracker"],
        &["experiment"],
        &["bin"],
    ],
    beside: &[],
};

/// The files that only say which rooms there are.
const MAPS: &[&str] = &["src/lib.rs", "src/peer.rs"];

/// Files and folders without a socket, a clock or a lock.
const PURE: &[&str] = &[
    "src/bencode.rs",
    "src/bencode/",
    "src/bitfield.rs",
    "src/peer_id.rs",
    "src/backoff.rs",
    "src/torrent/geometry.rs",
    "src/http.rs",
    "src/http/",
    "src/protocol.rs",
    "src/protocol/",
    "src/peer/identity.rs",
    "src/peer/session.rs",
    "src/peer/session/",
    "src/peer/download.rs",
    "src/peer/download/",
    "src/peer/upload/choker.rs",
    "src/peer/upload/interested.rs",
    "src/peer/upload/order.rs",
    "src/peer/upload/super_seeding.rs",
    "src/tracker/registry.rs",
    "src/tracker/registry/",
];

/// Files in these folders that are not pure, each with its reason.
const IMPURE: &[&str] = &[
    "src/peer/download/memory.rs", // the memory of all pieces in flight, shared by all threads
];

/// Rooms that are sockets, locks, threads or the disk themselves: a pure file does not name them.
const MACHINERY: &[&str] =
    &["atomic", "disk", "interrupt", "lock", "logging", "mailbox", "net", "pool", "threads"];

/// Maximum length of a line, in characters.
const LINE: usize = 110;
/// Maximum length of a file, in lines.
const FILE: usize = 450;
/// Maximum number of files in `src/peer/` that have no folder.
const LOOSE: usize = 5;

/// All of `src/`, read once.
fn src() -> &'static Tree {
    static TREE: OnceLock<Tree> = OnceLock::new();
    TREE.get_or_init(|| Tree::read(Path::new(env!("CARGO_MANIFEST_DIR"))))
}

/// No complaint.
const NONE: [&str; 0] = [];

#[test]
fn the_peer_and_the_tracker_do_not_know_each_other() {
    assert_eq!(rules::strangers(src(), "peer", "tracker"), NONE);
}

#[test]
fn imports_point_down() {
    assert_eq!(LAYERS.check(src(), MAPS), NONE);
}

#[test]
fn rooms_do_not_import_in_a_circle() {
    assert_eq!(LAYERS.circles(src()), NONE);
}

#[test]
fn files_of_a_room_do_not_import_in_a_circle() {
    let rooms = LAYERS.layers.iter().copied().flatten();
    let circles: Vec<Complaint> = rooms.flat_map(|room| rules::circles_of_files(src(), room)).collect();
    assert_eq!(circles, NONE);
}

#[test]
fn pure_files_have_no_socket_no_clock_and_no_lock() {
    assert_eq!(rules::purity(src(), PURE, IMPURE, MACHINERY), NONE);
}

#[test]
fn lines_are_short() {
    assert_eq!(rules::long_lines(src(), LINE), NONE);
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_eq!(rules::headless(src()), NONE);
}

#[test]
fn files_are_short() {
    assert_eq!(rules::long_files(src(), FILE), NONE);
}

#[test]
fn only_hashing_is_unsafe() {
    assert_eq!(rules::unsafe_code(src(), "hash"), NONE);
}

#[test]
fn few_files_lie_directly_under_the_peer() {
    assert_eq!(rules::loose_files(src(), "src/peer/", LOOSE), NONE);
}
