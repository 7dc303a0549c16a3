//! The rules can fail: small made-up sources, and what is said about them.

use crate::lexer::{tokens, without_tests};
use crate::paths::paths;
use crate::rules::{self, Complaint, Layers};
use crate::tree::Tree;
use crate::{LAYERS, MAPS};

/// The tree of some files. All other files that the sources may name are there too, and empty.
fn tree(sources: &[(&str, &str)]) -> Tree {
    let others = [
        "lib",
        "disk",
        "hash",
        "mailbox",
        "peer",
        "peer/handle",
        "peer/session",
        "peer/swarm",
        "protocol/wire",
        "tracker",
    ];
    let others = others.map(|name| format!("src/{name}.rs"));
    let empty = others.iter().filter(|path| sources.iter().all(|(given, _)| given != path));
    let empty = empty.map(|path| (path.as_str(), "//! Empty."));
    Tree::new(empty.chain(sources.iter().copied()).collect::<Vec<_>>())
}

/// Whether there is one complaint for each of these, in the order of the files, that says what is expected.
/// Prints the complaints if not.
fn says(complaints: &[Complaint], expected: &[&str]) -> bool {
    let is_right = complaints.len() == expected.len()
        && complaints.iter().zip(expected).all(|(complaint, expected)| complaint.contains(expected));
    if !is_right {
        println!("{expected:#?} were expected, and there are {complaints:#?}");
    }
    is_right
}

fn layers(path: &str, source: &str) -> Vec<Complaint> {
    LAYERS.check(&tree(&[(path, source)]), MAPS)
}

fn written(source: &str) -> Vec<(usize, String)> {
    paths(&tokens(source)).into_iter().map(|path| (path.line, path.names.join("::"))).collect()
}

#[test]
fn every_form_of_an_import_is_read() {
    let source = "use a::{b, c::d};\nuse x::{\n    self,\n    y::{z as w, *},\n};\n\
        pub(crate) use super::super::m;\nuse p as q;\n";
    let expected = [
        (1, "a::b"),
        (1, "a::c::d"),
        (3, "x"),
        (4, "x::y::z"),
        (4, "x::y"),
        (6, "super::super::m"),
        (7, "p"),
    ];
    assert_eq!(written(source), expected.map(|(line, path)| (line, path.to_owned())));

    let source = "fn f(x: &a::B) -> impl Fn() + use<'_> {\n    let y: c::D<e::F> = g::<h::I>();\n\
        j::k!(::l::m);\n}\n";
    let expected = [(1, "a::B"), (2, "c::D"), (2, "e::F"), (2, "h::I"), (3, "j::k"), (3, "l::m")];
    assert_eq!(written(source), expected.map(|(line, path)| (line, path.to_owned())));
}

#[test]
fn comments_and_strings_are_not_read() {
    let source = r##"
        // a::b
        /* c::d /* e::f */ g::h */
        const X: &str = "i::j \" k::l";
        const Y: &str = r#"m::n " o::p"#;
        const Z: [char; 3] = ['"', '\'', 'q'];
        fn f<'a>(x: &'a str) -> r::S<'a> {}
    "##;
    assert_eq!(written(source), [(7, "r::S".to_owned())]);
}

#[test]
fn test_code_is_not_read() {
    let source = "struct A {\n #[cfg(test)]\n b: c::D,\n e: f::G,\n}\n#[cfg(test)]\nuse h::{i, j};\n\
        #[cfg(test)]\n#[allow(x)]\nfn k<L, M>() { n::o(); }\n\
        #[cfg(test)]\nmod p { use q::r; }\n#[cfg(test)]\nmod tests;\n#[cfg(any(test, unix))]\nuse s::t;\n";
    let (left, modules) = without_tests(&tokens(source));
    let left: Vec<String> = paths(&left).into_iter().map(|path| path.names.join("::")).collect();
    assert_eq!((left, modules), (vec!["f::G".to_owned(), "s::t".to_owned()], vec!["tests".to_owned()]));

    let tests = "use crate::tracker::X;\nfn f() { std::thread::sleep(x); }";
    let sources =
        [("src/peer/swarm.rs", "#[cfg(test)]\nmod tests;"), ("src/peer/swarm/tests/some.rs", tests)];
    assert!(rules::strangers(&tree(&sources), "peer", "tracker").is_empty());
}

#[test]
fn the_tracker_must_not_import_the_peer_nor_the_peer_the_tracker() {
    for (path, source) in [
        ("src/tracker.rs", "\nuse crate::peer::swarm::Swarm;"),
        ("src/tracker/registry.rs", "\nfn f() { super::super::peer::swarm::f() }"),
        ("src/tracker.rs", "\nuse super::{disk, peer};"),
        ("src/peer/swarm.rs", "\nuse crate::{disk, tracker::{self}};"),
    ] {
        let complaints = rules::strangers(&tree(&[(path, source)]), "peer", "tracker");
        assert!(says(&complaints, &["must not know each other"]));
        assert!(complaints[0].starts_with(&format!("{path}:2: ")), "{complaints:?}");
    }
    let apart =
        [("src/tracker.rs", "use crate::protocol::wire::X;"), ("src/bin/peer.rs", "use shoal::tracker;")];
    assert!(rules::strangers(&tree(&apart), "peer", "tracker").is_empty());
}

#[test]
fn a_room_must_not_import_a_higher_one_nor_one_beside_it() {
    for (path, source, expected) in [
        ("src/peer/session.rs", "use crate::peer::swarm::Swarm;", "which is on the same layer"),
        (
            "src/peer/session/event.rs",
            "use super::super::swarm::Swarm;",
            "`peer/session` must not import `peer::swarm::Swarm`",
        ),
        ("src/peer/session.rs", "use super::{handle, swarm::{Swarm}};", "which is on the same layer"),
        (
            "src/peer/session.rs",
            "use super::handle;\nuse super::{\n    handle::Mail,\n    swarm,\n};",
            "session.rs:4: ",
        ),
        ("src/peer/session.rs", "mod ids {\n    use super::super::swarm::Swarm;\n}", "session.rs:2: "),
        (
            "src/peer/handle.rs",
            "fn f() { let x = crate::peer::session::Session::new(); }",
            "which is on a higher layer",
        ),
        ("src/hash.rs", "use crate::disk::Disk;", "which is on the same layer"),
        ("src/protocol/wire.rs", "pub(crate) use crate::peer::handle as h;", "which is on a higher layer"),
        ("src/tracker.rs", "use crate::peer;", "`peer` is in no room"),
        ("src/peer/unknown.rs", "", "in no room of the table"),
    ] {
        assert!(says(&layers(path, source), &[expected]));
    }
    for (path, source) in [
        ("src/peer/session.rs", "use crate::{disk, peer::handle::Mail};\nuse super::handle;"),
        ("src/bin/peer.rs", "use shoal::{peer::swarm, tracker};\nuse crate::own;"),
    ] {
        assert!(says(&layers(path, source), &[]));
    }
}

#[test]
fn an_import_beside_needs_its_line_in_the_table_and_makes_no_circle() {
    let beside = [("disk", "hash", "it names files by their hashes"), ("hash", "disk", "it reads files")];
    let table =
        Layers { layers: &[&["disk", "hash"], &["mailbox", "peer", "protocol", "tracker"]], beside: &beside };
    let down = ("src/disk.rs", "use crate::hash::Hash;");
    let up = ("src/hash.rs", "\nuse crate::disk::Disk;");
    let one_way = Layers { beside: &beside[..1], ..table };
    assert!(says(&one_way.check(&tree(&[down, up]), MAPS), &["src/hash.rs:2: `hash` must not import"]));
    assert!(says(&table.check(&tree(&[down, up]), MAPS), &[]));
    let circle = ["src/disk.rs:1: `disk` and `hash`", "src/hash.rs:2: `hash` and `disk`"];
    assert!(says(&table.circles(&tree(&[down, up])), &circle));
    assert!(says(&table.circles(&tree(&[down])), &[]));
}

#[test]
fn files_of_a_room_must_not_import_in_a_circle() {
    let one = ("src/peer/swarm/one.rs", "use super::two::X;");
    let two = ("src/peer/swarm/two.rs", "use super::three::X;\nuse super::Swarm;");
    let three = ("src/peer/swarm/three.rs", "fn f() { super::one::g() }");
    let head = ("src/peer/swarm.rs", "mod one;\nmod two;\nmod three;\nuse two::X;");
    assert!(says(
        &rules::circles_of_files(&tree(&[head, one, two, three]), "peer/swarm"),
        &["one", "three", "two"]
    ));
    assert!(says(&rules::circles_of_files(&tree(&[head, one, two]), "peer/swarm"), &[]));
}

#[test]
fn a_pure_file_has_no_lock_no_socket_and_no_clock() {
    let purity = |source| {
        let tree = tree(&[("src/peer/session/event.rs", source)]);
        rules::purity(&tree, &["src/peer/session/"], &["src/peer/session/dispatch.rs"], &["disk"])
    };
    for source in [
        "use parking_lot::Mutex;",
        "use std::{io, net::{IpAddr, TcpStream}};",
        "fn f() -> Option<std::net::UdpSocket> { None }",
        "use std::time::Instant;\nfn f() { let now = Instant::now(); }",
        "fn f() { std::time::SystemTime::now(); }",
        "use std::fs;",
        "fn f() { std::thread::sleep(x); }",
        "use crossbeam_channel as channel;",
        "use std::sync::{Arc, Mutex};",
        "use crate::disk::Disk;",
    ] {
        assert!(says(&purity(source), &["event.rs:"]));
    }
    let fine = "use std::net::IpAddr;\nuse std::time::{Duration, Instant};\nuse std::sync::Arc;\n\
        // Instant::now\n#[cfg(test)]\nmod tests { use std::thread; }\nconst X: &str = \"parking_lot::Mutex\";";
    assert!(says(&purity(fine), &[]));
    let tree = tree(&[("src/peer/session/dispatch.rs", "use std::fs;")]);
    assert!(says(&rules::purity(&tree, &["src/peer/session/"], &["src/peer/session/dispatch.rs"], &[]), &[]));
}

#[test]
fn long_lines_long_files_and_missing_heads_are_found() {
    let umlauts = format!("//! {}\n// {}\n", "ü".repeat(106), "x".repeat(108));
    let tree = tree(&[("src/disk.rs", &umlauts), ("src/hash.rs", "use x;\n\n\n")]);
    assert!(says(&rules::long_lines(&tree, 110), &["src/disk.rs:2: a line of 111 characters"]));
    assert!(says(&rules::long_files(&tree, 2), &["src/hash.rs:3: a file of 3 lines"]));
    assert!(says(&rules::headless(&tree), &["src/hash.rs:1: a file opens with `//!`"]));
}

#[test]
fn unsafe_code_is_found_outside_its_room() {
    let source =
        "//! unsafe\n#![deny(unsafe_code)]\nfn f() { unsafe { g() } }\n#[cfg(test)]\nunsafe fn h() {}";
    let tree = tree(&[("src/hash/avx2.rs", source), ("src/disk.rs", source)]);
    assert!(says(&rules::unsafe_code(&tree, "hash"), &["src/disk.rs:3: ", "src/disk.rs:5: "]));
}

#[test]
fn files_without_a_folder_are_counted() {
    let sources = [("src/peer/swarm/table.rs", ""), ("src/peer/session/event.rs", "")];
    let tree = tree(&[&sources[..], &[("src/peer/bans.rs", ""), ("src/peer/bans/tests.rs", "")]].concat());
    assert!(says(&rules::loose_files(&tree, "src/peer/", 1), &[]));
    let loose = rules::loose_files(&tree, "src/peer/", 0);
    assert!(says(&loose, &["src/peer/handle.rs:1: 1 files without a folder"]));
}
