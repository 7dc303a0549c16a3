//! Metainfo that is broken, hostile, or no metainfo at all: each gets one clear sentence, and none a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use shoal::bencode::{self, Value};
use shoal::hash;
use shoal::torrent::{Format, MAX_METAINFO_LEN, MAX_PIECES, Proof, Torrent};

/// A bencoded value that can be taken apart and changed.
#[derive(Clone)]
enum Ben {
    Int(i64),
    Text(Vec<u8>),
    List(Vec<Ben>),
    Dict(BTreeMap<Vec<u8>, Ben>),
    /// Bencoded already, or meant to be wrong.
    Raw(Vec<u8>),
}

impl Ben {
    fn write(&self, out: &mut Vec<u8>) {
        let text = |bytes: &[u8]| [format!("{}:", bytes.len()).as_bytes(), bytes].concat();
        match self {
            Ben::Int(number) => out.extend(format!("i{number}e").bytes()),
            Ben::Text(bytes) => out.extend(text(bytes)),
            Ben::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.write(out));
                out.push(b'e');
            }
            Ben::Dict(items) => {
                out.push(b'd');
                for (key, item) in items {
                    out.extend(text(key));
                    item.write(out);
                }
                out.push(b'e');
            }
            Ben::Raw(bytes) => out.extend(bytes),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The same with the value at `path` (keys, parted by `|`) replaced, or taken away.
    fn with(mut self, path: &str, value: Option<Ben>) -> Ben {
        let (folders, key) =
            path.rsplit_once('|').map_or((None, path), |(folders, key)| (Some(folders), key));
        let mut at = &mut self;
        for key in folders.into_iter().flat_map(|folders| folders.split('|')) {
            let Ben::Dict(items) = at else { panic!("no dictionary on the way to {path}") };
            at = items.get_mut(key.as_bytes()).unwrap();
        }
        let Ben::Dict(items) = at else { panic!("no dictionary at {path}") };
        match value {
            Some(value) => items.insert(key.into(), value),
            None => items.remove(key.as_bytes()),
        };
        self
    }

    fn set(self, path: &str, value: Ben) -> Ben {
        self.with(path, Some(value))
    }

    fn without(self, path: &str) -> Ben {
        self.with(path, None)
    }
}

fn text(bytes: impl AsRef<[u8]>) -> Ben {
    Ben::Text(bytes.as_ref().to_vec())
}

fn dict<const N: usize>(items: [(&str, Ben); N]) -> Ben {
    Ben::Dict(items.into_iter().map(|(key, item)| (key.into(), item)).collect())
}

fn list<const N: usize>(items: [Ben; N]) -> Ben {
    Ben::List(items.into())
}

fn names(names: &[&str]) -> Ben {
    Ben::List(names.iter().map(text).collect())
}

fn file(path: Ben, len: i64) -> Ben {
    dict([("length", Ben::Int(len)), ("path", path)])
}

fn pad(len: i64) -> Ben {
    dict([("attr", text("p")), ("length", Ben::Int(len)), ("path", names(&[".pad", "x"]))])
}

const PIECE: i64 = 16_384;

/// One file of 40,000 bytes in three pieces.
fn v1_single() -> Ben {
    let info = dict([
        ("length", Ben::Int(40_000)),
        ("name", text("file.bin")),
        ("piece length", Ben::Int(PIECE)),
        ("pieces", text([7; 60])),
    ]);
    dict([("announce", text("http://t/announce")), ("info", info)])
}

/// `a/one` of 10,000 bytes and `two` of 30,000.
fn v1_folder() -> Ben {
    with_files([file(names(&["a", "one"]), 10_000), file(names(&["two"]), 30_000)])
}

fn with_files<const N: usize>(files: [Ben; N]) -> Ben {
    v1_single().without("info|length").set("info|files", list(files))
}

/// One `two` of 30,000 bytes that has a layer, and a small `a/one`.
fn v2_folder() -> Ben {
    let layer = [[1; 32], [2; 32]];
    let root = hash::file_root(&layer, PIECE as u32);
    let leaf = |len, root| dict([("", dict([("length", Ben::Int(len)), ("pieces root", text(root))]))]);
    let tree = dict([("a", dict([("one", leaf(10_000, [3; 32]))])), ("two", leaf(30_000, root))]);
    let info = dict([
        ("file tree", tree),
        ("meta version", Ben::Int(2)),
        ("name", text("folder")),
        ("piece length", Ben::Int(PIECE)),
    ]);
    let layers = Ben::Dict(BTreeMap::from([(root.to_vec(), text(layer.concat()))]));
    dict([("info", info), ("piece layers", layers)])
}

fn hybrid() -> Ben {
    let files = [file(names(&["a", "one"]), 10_000), pad(6_384), file(names(&["two"]), 30_000)];
    v2_folder().set("info|files", list(files)).set("info|pieces", text([7; 60]))
}

fn named(name: &str) -> Ben {
    v1_single().set("info|name", text(name))
}

fn pathed(path: &[&str]) -> Ben {
    with_files([file(names(path), 40_000)])
}

/// A v2 torrent with one file of that path.
fn treed(path: &[&str]) -> Ben {
    let leaf = dict([("", dict([("length", Ben::Int(1)), ("pieces root", text([3; 32]))]))]);
    let tree = path.iter().rev().fold(leaf, |below, name| dict([(*name, below)]));
    v2_folder().set("info|file tree", tree).without("piece layers")
}

/// Whether it is one sentence that may be printed.
fn is_fit_to_print(message: &str) -> bool {
    !message.is_empty() && !message.chars().any(char::is_control) && message.len() < 400
}

/// Why it is refused.
fn refusal(torrent: &Ben) -> String {
    let bytes = torrent.bytes();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
    let message = Torrent::parse(&bytes).expect_err(&shown).to_string();
    assert!(is_fit_to_print(&message), "{message}");
    message
}

fn refused(torrent: Ben, why: &str) {
    let message = refusal(&torrent);
    assert!(message.contains(why), "`{message}` does not say `{why}`");
}

#[test]
fn the_torrents_that_the_tables_start_from_are_good() {
    for (torrent, format, pieces) in [
        (v1_single(), Format::V1, 3),
        (v1_folder(), Format::V1, 3),
        (v2_folder(), Format::V2, 3),
        (hybrid(), Format::Hybrid, 3),
    ] {
        let torrent = Torrent::parse(&torrent.bytes()).unwrap();
        assert_eq!((torrent.format(), torrent.geometry().piece_count()), (format, pieces));
        assert_eq!(torrent.geometry().total_len(), 40_000);
    }
}

#[test]
fn what_is_no_torrent_says_so() {
    for bytes in ["", "hello", "<html>", "i1e", "le", "de", "d1:ai1ee", "d4:infoi1ee"] {
        refused(Ben::Raw(bytes.into()), "not a torrent");
    }
    refused(Ben::Raw(vec![b'd'; 100_000]), "a key must be a string");
    refused(Ben::Raw(b"d1:a".repeat(100_000)), "nested too deeply");
    refused(Ben::Raw(b"d4:info99999999999:x".to_vec()), "longer than the data");
    refused(Ben::Raw(b"d4:infod6:lengthi99999999999999999999eee".to_vec()), "64 bits");
    let truncated = hybrid().bytes();
    for end in 0..truncated.len() {
        assert!(Torrent::parse(&truncated[..end]).is_err(), "{end}");
    }
}

/// The torrent, which must be read; each of its files has a safe path, and a name in the torrent if that is
/// another one.
fn read(torrent: &Ben) -> Torrent {
    let bytes = torrent.bytes();
    let torrent = Torrent::parse(&bytes).unwrap_or_else(|why| panic!("{why}"));
    let is_safe = |name: &str| {
        (1..=255).contains(&name.len())
            && !matches!(name, "." | "..")
            && !name.contains(['/', '\\'])
            && !name.chars().any(char::is_control)
    };
    assert!(is_safe(torrent.name()), "{:?}", torrent.name());
    let folder = Path::new("/downloads");
    for file in torrent.files() {
        assert!(!file.path.is_empty() && file.path.iter().all(|name| is_safe(name)), "{:?}", file.path);
        assert!(torrent.path_in(folder, file).starts_with(folder));
    }
    torrent
}

/// The paths of the torrent's files on disk.
fn paths(torrent: &Ben) -> Vec<String> {
    read(torrent).files().iter().map(|file| file.path.join("/")).collect()
}

/// Bug: a torrent with one name that no disk takes could not be downloaded at all.
#[test]
fn a_name_that_is_not_safe_is_read_wherever_it_stands_and_has_another_on_disk() {
    let (long, cut) = ("x".repeat(300) + ".iso", "x".repeat(236) + ".iso");
    let table = [
        (".", "_", "has `.` or `..`"),
        ("..", "_", "has `.` or `..`"),
        ("/", "_", "contains a slash"),
        ("/etc/passwd", "_etc_passwd", "contains a slash"),
        ("../x", ".._x", "contains a slash"),
        ("a\\b", "a_b", "contains a backslash"),
        ("..\\x", ".._x", "contains a backslash"),
        ("\\\\host\\share", "__host_share", "contains a backslash"),
        ("C:", "C_", "is a drive"),
        ("a\0b", "a_b", "contains a control character"),
        ("a\nb", "a_b", "contains a control character"),
        ("\x1b[2J", "_[2J", "contains a control character"),
        ("\u{202e}gpj.exe", "_gpj.exe", "turns the direction"),
        ("CON", "_CON", "is the name of a device"),
        ("nul.", "_nul.", "is the name of a device"),
        ("com1", "_com1", "is the name of a device"),
        (&long, &cut, "is too long"),
    ];
    for (name, safe, why) in table {
        assert_eq!(paths(&pathed(&[name])), [safe]);
        assert_eq!(paths(&pathed(&["a", name])), [format!("a/{safe}")]);
        assert_eq!(paths(&pathed(&[name, "a"])), [format!("{safe}/a")]);
        assert_eq!(paths(&treed(&[name])), [safe]);
        assert_eq!(paths(&treed(&["a", name])), [format!("a/{safe}")]);
        assert_eq!(paths(&treed(&[name, "a"])), [format!("{safe}/a")]);
        let torrent = read(&treed(&["a", name]));
        let renamed = torrent.files()[0].renamed.as_ref().unwrap();
        assert_eq!(renamed.original(), format!("a/{name}"));
        assert!(renamed.why()[0].as_str().contains(why), "{name:?}: {renamed:?}");
        for torrent in
            [read(&v1_single().set("info|name", text(name))), read(&v2_folder().set("info|name", text(name)))]
        {
            assert_eq!(torrent.renamed().unwrap().original(), name);
            match name {
                // Two such torrents must not meet on a disk.
                "." | ".." => assert_eq!(torrent.name(), torrent.key()),
                _ => assert_eq!(torrent.name(), safe),
            }
        }
    }
    for name in ["...", ".hidden", "a b", "aux.c", "console", "com10", "a:b", "ü", "-rf", "~", "C:x"] {
        let torrent = read(&named(name));
        assert_eq!((torrent.name(), torrent.renamed()), (name, None));
        assert_eq!(
            (&torrent.files()[0].path[..], &torrent.files()[0].renamed),
            (&[name.to_owned()][..], &None)
        );
    }
}

#[test]
fn an_empty_name_is_passed_over_and_a_path_too_deep_loses_its_middle() {
    assert_eq!(paths(&pathed(&["", "x"])), ["x"]);
    assert_eq!(paths(&pathed(&["a", "", "x", ""])), ["a/x"]);
    assert_eq!(paths(&pathed(&["", ""])), ["_"]);
    assert_eq!(read(&named("")).name(), read(&named("")).key());
    assert_eq!(paths(&pathed(&["d"; 64])), [["d"; 64].join("/")]);
    for torrent in [pathed(&["d"; 65]), treed(&["d"; 65]), pathed(&["d"; 5_000]), treed(&["d"; 96])] {
        assert_eq!(paths(&torrent), [["d"; 64].join("/")]);
    }
    refused(treed(&["d"; 97]), "nested too deeply");
}

/// Bug: a torrent with the same path twice, or with names in an old encoding, could not be downloaded at all.
#[test]
fn files_of_one_name_have_two_on_disk() {
    let files = |a: Ben, b: Ben, c: Ben| with_files([file(a, 10_000), file(b, 20_000), file(c, 10_000)]);
    let n = names;
    let table = [
        (files(n(&["a.x"]), n(&["b"]), n(&["a.x"])), ["a.x", "b", "a.1.x"]),
        (files(n(&["a", "b"]), n(&["a"]), n(&["z"])), ["a/b", "a.1", "z"]),
        (files(n(&["a"]), n(&["a!"]), n(&["a", "b", "c"])), ["a.1", "a!", "a/b/c"]),
        (files(n(&["a"]), n(&["A"]), n(&["a!"])), ["a", "A.1", "a!"]),
        (files(n(&["a/b"]), n(&["a\\b"]), n(&["a_b"])), ["a_b.1", "a_b.2", "a_b"]),
        (
            files(list([text(b"\xc0.txt")]), list([text(b"\xc1.txt")]), n(&["z"])),
            ["\u{fffd}.txt", "\u{fffd}.1.txt", "z"],
        ),
    ];
    for (torrent, expected) in table {
        assert_eq!(paths(&torrent), expected);
        assert_eq!(paths(&torrent), paths(&torrent), "the same after every start");
    }
    let both = dict([("length", Ben::Int(1)), ("pieces root", text([3; 32]))]);
    assert_eq!(paths(&treed(&["a", "b"]).set("info|file tree|a|", both)), ["a.1", "a/b"]);
    // The two lists of a hybrid are compared by what they say, not by what becomes of it.
    let odd = |v1: &str| {
        let files = [file(names(&["a\\b", "one"]), 10_000), pad(6_384), file(names(&[v1]), 30_000)];
        let tree = |torrent: Ben| {
            let Ben::Dict(root) = &torrent else { panic!() };
            let Ben::Dict(info) = &root[&b"info"[..]] else { panic!() };
            let Ben::Dict(tree) = info[&b"file tree"[..]].clone() else { panic!() };
            let renamed = tree.into_iter().map(|(name, node)| match &name[..] {
                b"a" => (b"a\\b".to_vec(), node),
                _ => (b"t\x01wo".to_vec(), node),
            });
            Ben::Dict(renamed.collect())
        };
        let tree = tree(v2_folder());
        hybrid().set("info|files", list(files)).set("info|file tree", tree)
    };
    assert_eq!(paths(&odd("t\x01wo")), ["a_b/one", "t_wo"]);
    refused(odd("t_wo"), "list different files");
}

#[test]
fn broken_v1_is_refused() {
    let table: [(Ben, &str); 29] = [
        (v1_single().without("info|name"), "`name` is missing"),
        (v1_single().set("info|name", Ben::Int(1)), "`name` must be a string"),
        (v1_single().without("info|piece length"), "`piece length` is missing"),
        (v1_single().set("info|piece length", text("x")), "`piece length` must be a number"),
        (v1_single().set("info|piece length", Ben::Int(0)), "`piece length` must be between"),
        (v1_single().set("info|piece length", Ben::Int(-1)), "`piece length` must be between"),
        (v1_single().set("info|piece length", Ben::Int((512 << 20) + 1)), "`piece length` must be between"),
        (v1_single().set("info|piece length", Ben::Int(i64::MAX)), "`piece length` must be between"),
        (v1_single().without("info|pieces"), "`pieces` is missing"),
        (v1_single().set("info|pieces", Ben::Int(1)), "`pieces` must be a string"),
        (v1_single().set("info|pieces", text([0; 59])), "`pieces` must be a multiple of 20"),
        (v1_single().set("info|pieces", text([0; 40])), "2 hashes in `pieces` for 3 pieces"),
        (v1_single().set("info|pieces", text([0; 80])), "4 hashes in `pieces` for 3 pieces"),
        (v1_single().set("info|pieces", text("")), "0 hashes"),
        (v1_single().without("info|length"), "`length` or `files` is missing"),
        (v1_single().set("info|length", Ben::Int(-1)), "`length` must be a number that is not negative"),
        (v1_single().set("info|length", text("9")), "`length` must be a number"),
        (v1_single().set("info|length", Ben::Int(0)).set("info|pieces", text("")), "no bytes"),
        (v1_single().set("info|length", Ben::Int(i64::MAX)), "more than 4194304 pieces"),
        (
            v1_single().set("info|length", Ben::Int(PIECE * i64::from(MAX_PIECES) + 1)),
            "more than 4194304 pieces",
        ),
        (v1_single().set("info|piece length", Ben::Int(1)).set("info|length", Ben::Int(1 << 40)), "pieces"),
        (v1_single().set("info|meta version", Ben::Int(3)), "unsupported"),
        (with_files([]), "no bytes"),
        (v1_folder().set("info|files", Ben::Int(0)), "`files` must be a list"),
        (with_files([text("x")]), "`files` must be a list of dictionaries"),
        (with_files([dict([("length", Ben::Int(1))])]), "`path` is missing"),
        (with_files([file(list([]), 40_000)]), "`path` must be a list with a name"),
        (with_files([file(text("a"), 40_000)]), "`path` must be a list"),
        (with_files([file(list([Ben::Int(1)]), 40_000)]), "`path` must be a list of strings"),
    ];
    let huge = || file(names(&["a"]), i64::MAX);
    let more = [
        (with_files([huge(), file(names(&["b"]), 1)]), "63 bits"),
        (with_files([huge(), pad(i64::MAX), pad(2)]), "63 bits"),
        (with_files([pad(40_000)]), "no bytes"),
        (v1_single().set("info|file tree", dict([])), "`meta version` is not 2"),
        (hybrid().set("info|meta version", text("2")), "`meta version` is not 2"),
        (long_pieces(300 << 20, 257 << 20), "a piece has more than 268435456 bytes"),
    ];
    for (torrent, why) in table.into_iter().chain(more) {
        let message = refusal(&torrent);
        assert!(message.contains(why), "`{message}` does not say `{why}`");
    }
}

/// A v1 torrent of one file, in pieces of `piece_length` bytes.
fn long_pieces(piece_length: i64, len: i64) -> Ben {
    let pieces = len.cast_unsigned().div_ceil(piece_length.cast_unsigned()) as usize;
    let torrent = v1_single().set("info|piece length", Ben::Int(piece_length));
    torrent.set("info|length", Ben::Int(len)).set("info|pieces", text(vec![7; 20 * pieces]))
}

/// Bug: pieces of 128 MiB, which others create, were refused.
#[test]
fn pieces_of_256_mib_are_read_and_longer_ones_if_the_content_is_short() {
    for (piece_length, len) in [(128 << 20, 300 << 20), (256 << 20, 1 << 40), (512 << 20, 425)] {
        let torrent = read(&long_pieces(piece_length, len));
        let longest = piece_length.min(len) as u32;
        assert_eq!(torrent.geometry().longest_piece(), longest);
    }
}

#[test]
fn broken_v2_is_refused() {
    let one = "info|file tree|a|one|";
    let leaf =
        |len, root: &[u8]| dict([("", dict([("length", Ben::Int(len)), ("pieces root", text(root))]))]);
    let table: [(Ben, &str); 19] = [
        (v2_folder().without("info|file tree"), "`file tree` is missing"),
        (v2_folder().set("info|file tree", Ben::Int(1)), "`file tree` must be a dictionary"),
        (v2_folder().set("info|file tree", dict([])), "no bytes"),
        (v2_folder().set("info|file tree|a", dict([("", dict([]))])), "`length` is missing"),
        (v2_folder().set("info|file tree|a", Ben::Int(3)), "made of dictionaries"),
        (v2_folder().set("info|file tree|a|one", dict([("", Ben::Int(1))])), "made of dictionaries"),
        (v2_folder().set("info|file tree|", leaf(1, &[1; 32])), "a folder with names in it"),
        (v2_folder().set(&format!("{one}|pieces root"), text([0; 32])), "something else than zeros"),
        (v2_folder().without(&format!("{one}|length")), "`length` is missing"),
        (v2_folder().set(&format!("{one}|length"), Ben::Int(-5)), "not negative"),
        (v2_folder().without(&format!("{one}|pieces root")), "`pieces root` is missing"),
        (v2_folder().set(&format!("{one}|pieces root"), text([1; 31])), "`pieces root` must be 32 bytes"),
        (v2_folder().set(&format!("{one}|attr"), text("p")), "without pad files"),
        (v2_folder().set("info|piece length", Ben::Int(8_192)), "power of two"),
        (v2_folder().set("info|piece length", Ben::Int(49_152)), "power of two"),
        (v2_folder().set("info|file tree|two", leaf(1 << 62, &[1; 32])), "more than 4194304 pieces"),
        (v2_folder().without("piece layers"), "layer of `two` is missing"),
        (v2_folder().set("piece layers", dict([])), "layer of `two` is missing"),
        (v2_folder().set("piece layers", Ben::Int(1)), "`piece layers` must be a dictionary"),
    ];
    let root = hash::file_root(&[[1; 32], [2; 32]], PIECE as u32);
    let layer = |bytes: Vec<u8>| {
        v2_folder().set("piece layers", Ben::Dict(BTreeMap::from([(root.to_vec(), Ben::Text(bytes))])))
    };
    let unsorted = Ben::Raw(
        [&b"d1:z"[..], &leaf(1, &[1; 32]).bytes(), b"1:a", &leaf(1, &[1; 32]).bytes(), b"e"].concat(),
    );
    let overflow = dict([("a", leaf(i64::MAX, &[1; 32])), ("b", leaf(i64::MAX, &[1; 32]))]);
    let more = [
        (layer([[1; 32], [3; 32]].concat()), "does not match"),
        (layer([[2; 32], [1; 32]].concat()), "does not match"),
        (layer(vec![1; 32]), "wrong length"),
        (layer(vec![1; 96]), "wrong length"),
        (layer(vec![1; 65]), "wrong length"),
        (v2_folder().set("info|file tree", unsorted), "sorted"),
        (v2_folder().set("piece layers|other", text([1; 64])), "is of none of its files"),
        (v2_folder().set("info|file tree", overflow), "63 bits"),
    ];
    for (torrent, why) in table.into_iter().chain(more) {
        let message = refusal(&torrent);
        assert!(message.contains(why), "`{message}` does not say `{why}`");
    }
}

#[test]
fn hybrids_that_contradict_themselves_are_refused() {
    let (one, two) = (|len| file(names(&["a", "one"]), len), |len| file(names(&["two"]), len));
    let files = |files: Vec<Ben>| hybrid().set("info|files", Ben::List(files));
    let table = [
        (files(vec![one(10_000), pad(6_384), two(30_001)]), "different files"),
        (files(vec![one(10_000), pad(6_384), file(names(&["tow"]), 30_000)]), "different files"),
        (files(vec![two(30_000), pad(2_768), one(10_000)]), "different files"),
        (files(vec![one(10_000), pad(6_384)]), "different files"),
        (files(vec![one(10_000), pad(6_384), two(30_000), file(names(&["z"]), 0)]), "different files"),
        (files(vec![one(10_000), two(30_000)]), "do not align"),
        (files(vec![one(10_000), pad(6_383), two(30_000)]), "do not align"),
        (files(vec![one(10_000), pad(6_384 + PIECE), two(30_000)]), "do not align"),
        (files(vec![pad(PIECE), one(10_000), pad(6_384), two(30_000)]), "do not align"),
        (files(vec![one(10_000), pad(6_384), two(30_000), pad(PIECE)]), "do not align"),
        (hybrid().without("info|files").set("info|length", Ben::Int(40_000)), "different files"),
        (hybrid().set("info|pieces", text([0; 40])), "2 hashes"),
    ];
    for (torrent, why) in table {
        refused(torrent, why);
    }
    for good in [
        // Padding after the last file is common, and may be in several parts.
        files(vec![one(10_000), pad(6_384), two(30_000), pad(2_768)]),
        files(vec![one(10_000), pad(6_000), pad(384), two(30_000)]),
    ] {
        assert!(Torrent::parse(&good.bytes()).is_ok());
    }
}

#[test]
fn too_many_files_are_refused() {
    let many = |count: usize| {
        let files = (0..count).map(|n| file(names(&[&format!("{n}")]), 1)).collect();
        let pieces = vec![0; count.div_ceil(PIECE as usize) * 20];
        v1_folder().set("info|files", Ben::List(files)).set("info|pieces", text(pieces))
    };
    assert_eq!(Torrent::parse(&many(200_000).bytes()).unwrap().files().len(), 200_000);
    refused(many(200_001), "more than 200000 files");
    refused(with_files([]).set("info|files", Ben::List(vec![pad(1); 400_001])), "more than 200000 files");
}

#[test]
fn pad_files_do_not_count_as_files() {
    let count = 150_000;
    let name = |n: usize| format!("{n:06}");
    let leaf = dict([("", dict([("length", Ben::Int(1)), ("pieces root", text([3; 32]))]))]);
    let tree = (0..count).map(|n| (name(n).into_bytes(), leaf.clone())).collect();
    let files = (0..count).flat_map(|n| [file(names(&[&name(n)]), 1), pad(PIECE - 1)]).collect();
    let torrent = hybrid()
        .set("info|file tree", Ben::Dict(tree))
        .without("piece layers")
        .set("info|files", Ben::List(files))
        .set("info|pieces", text(vec![0; count * 20]));
    assert_eq!(Torrent::parse(&torrent.bytes()).unwrap().files().len(), count);
}

/// Bug: BitComet tells its pad files by their names alone, so they were taken for content and written to the disk.
#[test]
fn pad_files_of_bitcomet_are_padding() {
    let notice = "if you see this file, please update to BitComet 0.85 or above____";
    let pad = |len| file(names(&[&format!("_____padding_file_0_{notice}")]), len);
    let three = [file(names(&["a", "one"]), 10_000), pad(6_384), file(names(&["two"]), 30_000)];
    for torrent in [v1_folder().set("info|pieces", text([7; 60])), hybrid()] {
        let torrent = Torrent::parse(&torrent.set("info|files", Ben::List(three.to_vec())).bytes()).unwrap();
        let files: Vec<_> = torrent.files().iter().map(|file| (file.path.join("/"), file.len)).collect();
        assert_eq!(files, [("a/one".to_owned(), 10_000), ("two".to_owned(), 30_000)]);
        let geometry = torrent.geometry();
        assert_eq!((geometry.total_len(), geometry.pieces_of(1)), (40_000, 1..3));
    }
    let named_after = file(names(&["my_____padding_file_0"]), 30_000);
    let torrent = v1_folder().set("info|pieces", text([7; 40])).set("info|files", list([named_after]));
    assert_eq!(Torrent::parse(&torrent.bytes()).unwrap().files().len(), 1);
}

#[test]
fn files_that_are_too_large_or_not_there_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.torrent");
    fs::File::create(&path).unwrap().set_len(MAX_METAINFO_LEN as u64 + 1).unwrap();
    let message = Torrent::read(&path).unwrap_err().to_string();
    assert_eq!(message, "torrent too large: the file has more than 67108864 bytes");
    let message = Torrent::read(&folder.path().join("none.torrent")).unwrap_err().to_string();
    assert!(message.contains("cannot read") && message.contains("none.torrent"), "{message}");
    assert!(Torrent::read(folder.path()).is_err());
}

/// Bug: a torrent was refused for a field that nobody needs, such as the length of a link.
#[test]
fn what_is_odd_but_harmless_is_taken() {
    let run = || dict([("attr", text("x")), ("length", Ben::Int(40_000)), ("path", names(&["run"]))]);
    let link = || dict([("attr", text("l")), ("path", names(&["link"])), ("symlink path", names(&["run"]))]);
    // A link has no content, whatever it says, and we make none.
    for link in [link(), link().set("length", Ben::Int(0)), link().set("length", Ben::Int(425))] {
        let torrent = read(&with_files([link, run()]));
        assert_eq!(torrent.files().len(), 1);
        assert!(torrent.files()[0].executable);
        assert_eq!(torrent.geometry().total_len(), 40_000);
    }
    let link = dict([("", dict([("attr", text("l")), ("symlink path", names(&["two"]))]))]);
    for torrent in [v2_folder(), hybrid()] {
        let torrent = read(&torrent.set("info|file tree|link", link.clone()));
        assert_eq!(torrent.files().len(), 2);
    }
    let (empty, hollow) = (dict([]), dict([("hollow", dict([]))]));
    let with_empty = hybrid().set("info|file tree|empty", empty).set("info|file tree|a|b", hollow);
    assert_eq!(paths(&with_empty), ["a/one", "two"]);
    let pad = dict([("attr", text("p")), ("length", Ben::Int(6_384))]);
    let nameless = [file(names(&["a", "one"]), 10_000), pad, file(names(&["two"]), 30_000)];
    assert_eq!(paths(&hybrid().set("info|files", list(nameless))), ["a/one", "two"]);

    // What is of the wrong kind counts as missing, and only what is needed may not be missing.
    assert_eq!(read(&named("a").set("info|name.utf-8", Ben::Int(1))).name(), "a");
    assert_eq!(read(&named("a").set("info|name.utf-8", text("b"))).name(), "b");
    let twice = file(names(&["a"]), 40_000).set("path.utf-8", Ben::Int(1));
    assert_eq!(paths(&with_files([twice.clone()])), ["a"]);
    assert_eq!(paths(&with_files([twice.set("path.utf-8", names(&["b"]))])), ["b"]);
    assert!(!read(&v1_single().set("info|private", text("1"))).private());
    assert!(read(&v1_single().set("info|private", Ben::Int(2))).private());
    assert!(!read(&v1_single().set("info|attr", Ben::Int(1))).files()[0].executable);
    for version in [text("2"), Ben::Int(0), Ben::Int(1)] {
        assert_eq!(read(&v1_single().set("info|meta version", version)).format(), Format::V1);
    }
    let both = v1_folder().set("info|length", Ben::Int(40_000));
    assert_eq!(paths(&both), ["a/one", "two"]);
    assert_eq!(paths(&v1_single().set("info|files", Ben::Int(1))), ["file.bin"]);
    let stray = v2_folder().set("info|pieces", text([7; 20]));
    assert_eq!(read(&stray).format(), Format::V2, "hashes without a list of files are not v1");

    // Without its layers a hybrid torrent is verified by its v1 hashes.
    let whole = read(&hybrid());
    for torrent in [hybrid().without("piece layers"), hybrid().set("piece layers", dict([]))] {
        let torrent = read(&torrent);
        assert_eq!((torrent.format(), torrent.hashes()), (Format::Hybrid, whole.hashes()));
        assert!(torrent.is_verified_by_sha1(Proof::V2) && !whole.is_verified_by_sha1(Proof::V2));
    }

    let latin1 = Torrent::parse(&v1_single().set("info|name", text(b"caf\xe9")).bytes()).unwrap();
    assert_eq!(latin1.name(), "caf\u{fffd}");

    let trackers = v1_single().set(
        "announce-list",
        list([list([text(""), text("udp://a")]), list([]), Ben::Int(3), list([text("udp://b")])]),
    );
    let trackers = Torrent::parse(&trackers.bytes()).unwrap();
    assert_eq!(trackers.trackers(), [["udp://a"], ["udp://b"]]);
    let no_trackers = Torrent::parse(&v1_single().set("announce", Ben::Int(1)).bytes()).unwrap();
    assert!(no_trackers.trackers().is_empty());

    assert!(!Torrent::parse(&v1_single().set("info|private", Ben::Int(0)).bytes()).unwrap().private());
    assert!(Torrent::parse(&v1_single().set("info|private", Ben::Int(1)).bytes()).unwrap().private());
}

/// Bug: a newline behind a torrent's last byte, a key that came twice beside its info dictionary, or a date with a
/// leading zero, and nobody could download it.
#[test]
fn what_stands_around_the_info_dictionary_may_be_odd() {
    let tidy = v1_single().bytes();
    let hash = Torrent::parse(&tidy).unwrap().info_hash();
    let inside = &tidy[1..tidy.len() - 1];
    let table: [(&[u8], &[u8]); 6] = [
        (b"d", b"e\r\n"),
        (b"d", b"e<script>"),
        (b"d8:announce10:udp://t:808:announce1:x", b"e"),
        (b"d13:creation datei0012e", b"e"),
        (b"d13:creation datei99999999999999999999999e3:fooi-0e", b"e"),
        (b"d", b"4:infod4:name5:othere07:comment5:helloe"),
    ];
    for (before, after) in table {
        let torrent = Torrent::parse(&[before, inside, after].concat());
        let shown = format!("{} … {}", String::from_utf8_lossy(before), String::from_utf8_lossy(after));
        assert_eq!(torrent.unwrap_or_else(|why| panic!("{shown}: {why}")).info_hash(), hash, "{shown}");
    }
}

#[test]
fn what_is_hashed_is_read_strictly() {
    let info = |odd: &str| {
        let pieces = "x".repeat(20);
        format!("d4:infod{odd}4:name1:a12:piece lengthi16384e6:pieces20:{pieces}eejunk")
    };
    Torrent::parse(info("6:lengthi3e").as_bytes()).unwrap();
    for (odd, why) in [
        ("6:lengthi03e", "at byte 16: a number with leading zeros"),
        ("06:lengthi3e", "at byte 8: a length with leading zeros"),
        ("6:lengthi3e6:lengthi3e", "has the same key twice"),
        ("6:lengthi3e1:xi-0e", "a negative zero"),
        ("6:lengthi99999999999999999999e", "does not fit in 64 bits"),
    ] {
        let error = Torrent::parse(info(odd).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{odd}: {error}");
    }
}

#[test]
fn the_info_hash_is_of_the_original_bytes() {
    // Keys that we do not know, and out of order: encoded again this would be another torrent.
    let info =
        [&b"d4:name1:a6:zzzzzzi5e12:piece lengthi16384e6:lengthi3e6:pieces20:"[..], &[9; 20], b"e"].concat();
    let torrent = Torrent::parse(&[&b"d4:info"[..], &info, b"e"].concat()).unwrap();
    assert_eq!(torrent.info_bytes(), info);
    assert_eq!(torrent.info_hash().0, hash::sha1(&info));
}

proptest! {
    #[test]
    fn any_bytes_give_a_torrent_or_an_error(bytes in any::<Vec<u8>>()) {
        for bytes in [&bytes[..], &[b"d4:infod", &bytes[..], b"ee"].concat()] {
            match Torrent::parse(bytes) {
                Ok(torrent) => prop_assert!(torrent.geometry().total_len() > 0),
                Err(why) => prop_assert!(is_fit_to_print(&why.to_string()), "{}", why),
            }
        }
    }

    #[test]
    fn changed_torrents_give_a_sound_torrent_or_an_error(
        which in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6),
    ) {
        let mut bytes = [v1_single(), v1_folder(), v2_folder(), hybrid()][which].bytes();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] = b"0123456789deli:"[byte as usize % 15],
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok(torrent) = Torrent::parse(&bytes) {
            let geometry = torrent.geometry();
            let sum: u64 = torrent.files().iter().map(|file| file.len).sum();
            prop_assert_eq!(sum, geometry.total_len());
            prop_assert!(geometry.piece_count() > 0);
            for piece in geometry.pieces().take(10) {
                let data = vec![0; geometry.piece_len(piece) as usize];
                torrent.verify(piece, &data, Proof::V1);
                torrent.verify(piece, &data, Proof::V2);
            }
            prop_assert!(matches!(bencode::parse(torrent.info_bytes()), Ok(Value::Dict(_))));
        }
    }
}
