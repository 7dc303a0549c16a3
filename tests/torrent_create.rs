//! Making torrents and checking files against them, as a library.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use shoal::bencode;
use shoal::torrent::create::{CreateError, Options, create, default_piece_length};
use shoal::torrent::verify::{FileState, check_pieces, verify};
use shoal::torrent::{Format, Proof, Torrent};

const FORMATS: [Format; 3] = [Format::V1, Format::V2, Format::Hybrid];

fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..len).map(|_| random.u8(..)).collect()
}

/// Files of every sort: empty, one byte, a block, a piece, and around those; nested; one that sorts between a
/// folder and what is in it (`a!` comes before `a/`, and yet after `a`).
const FILES: [(&str, usize); 10] = [
    ("a/one", 1),
    ("a!", 16_383),
    ("a/b/block", 16_384),
    ("a/b/c/over", 16_385),
    ("empty", 0),
    ("piece", 32_768),
    ("piece+1", 32_769),
    ("pieces", 150_000),
    ("z/empty", 0),
    ("z/last", 40_000),
];

fn folder(root: &Path) {
    for (seed, (path, len)) in FILES.iter().enumerate() {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content(*len, seed as u64)).unwrap();
    }
}

fn options(format: Format) -> Options {
    Options { format, piece_length: Some(32_768), threads: 3, ..Options::default() }
}

fn torrent_of(path: &Path, format: Format) -> Torrent {
    Torrent::parse(&create(path, &options(format), &|_| {}).unwrap()).unwrap()
}

#[test]
fn a_folder_in_every_format_verifies_by_every_proof() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("folder");
    folder(&root);
    for format in FORMATS {
        let torrent = torrent_of(&root, format);
        assert_eq!(torrent.format(), format);
        assert_eq!((torrent.name(), torrent.is_single_file()), ("folder", false));
        let total: usize = FILES.iter().map(|(_, len)| len).sum();
        assert_eq!(torrent.geometry().total_len(), total as u64);
        let mut sorted: Vec<Vec<&str>> = FILES.iter().map(|(path, _)| path.split('/').collect()).collect();
        sorted.sort();
        assert!(torrent.files().iter().map(|file| &file.path).eq(&sorted), "{format}");
        let report = verify(&torrent, place.path(), 2, &|_| {});
        assert!(report.is_good() && report.have.is_full(), "{format} {report:?}");
        for piece in torrent.geometry().pieces() {
            let mut data = Vec::new();
            for span in torrent.geometry().spans(piece, 0, torrent.geometry().piece_len(piece)) {
                let file = &torrent.files()[span.file.unwrap()];
                let bytes = fs::read(torrent.path_in(place.path(), file)).unwrap();
                data.extend(&bytes[span.offset as usize..][..span.len]);
            }
            assert!(torrent.verify(piece, &data, Proof::V1) && torrent.verify(piece, &data, Proof::V2));
        }
    }
}

/// Bug: a hybrid torrent was refused if its file had lost the piece layers, although v1 hashes are in it.
#[test]
fn a_hybrid_torrent_without_its_piece_layers_verifies_by_v1() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("folder");
    folder(&root);
    let whole = torrent_of(&root, Format::Hybrid);
    let bare = Torrent::parse(&bencode::dict(|d| d.raw("info", whole.info_bytes()))).unwrap();
    assert_eq!((bare.format(), bare.hashes(), bare.files()), (Format::Hybrid, whole.hashes(), whole.files()));
    let report = verify(&bare, place.path(), 2, &|_| {});
    assert!(report.is_good() && report.have.is_full(), "{report:?}");
    fs::write(root.join("piece"), content(32_768, 99)).unwrap();
    assert_eq!(verify(&bare, place.path(), 2, &|_| {}).have.count(), whole.geometry().piece_count() - 1);
}

#[test]
fn a_single_file_of_any_length_verifies() {
    let place = tempfile::tempdir().unwrap();
    for len in [1, 16_383, 16_384, 16_385, 32_768, 32_769, 49_152, 98_304, 100_000] {
        let path = place.path().join("file.bin");
        fs::write(&path, content(len, 1)).unwrap();
        for format in FORMATS {
            let torrent = torrent_of(&path, format);
            assert!(torrent.is_single_file(), "{len} {format}");
            assert_eq!(torrent.files()[0].path, ["file.bin"]);
            assert_eq!(torrent.geometry().piece_count() as usize, len.div_ceil(32_768));
            assert!(verify(&torrent, place.path(), 2, &|_| {}).is_good(), "{len} {format}");
        }
    }
}

/// Pieces are read in strips, side by side: whatever their number and length, each has the hashes of
/// its own bytes.
#[test]
fn pieces_read_in_strips_have_the_hashes_of_the_whole() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file.bin");
    for (piece_length, len) in
        [(16_384, 700_000), (131_072, 2_400_001), (1 << 20, 3_000_000), (4 << 20, 5_000_000)]
    {
        let data = content(len, 2);
        fs::write(&path, &data).unwrap();
        for format in FORMATS {
            let options = Options { piece_length: Some(piece_length), threads: 1, ..options(format) };
            let torrent = Torrent::parse(&create(&path, &options, &|_| {}).unwrap()).unwrap();
            for (piece, bytes) in torrent.geometry().pieces().zip(data.chunks(piece_length as usize)) {
                assert!(torrent.verify(piece, bytes, Proof::V1), "{format} {piece:?} of {piece_length}");
                assert!(torrent.verify(piece, bytes, Proof::V2), "{format} {piece:?} of {piece_length}");
            }
            assert!(verify(&torrent, place.path(), 1, &|_| {}).is_good(), "{format} {piece_length}");
        }
    }
}

/// A piece that cannot be read to its end says nothing about those that are read beside it.
#[test]
fn a_file_cut_short_costs_only_the_pieces_behind_the_cut() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file.bin");
    fs::write(&path, content(20 * 65_536, 3)).unwrap();
    for format in FORMATS {
        let options = Options { piece_length: Some(65_536), ..options(format) };
        let torrent = Torrent::parse(&create(&path, &options, &|_| {}).unwrap()).unwrap();
        let cut = place.path().join("cut.bin");
        fs::copy(&path, &cut).unwrap();
        fs::File::options().write(true).open(&cut).unwrap().set_len(9 * 65_536 + 40_000).unwrap();
        let pieces: Vec<_> = torrent.geometry().pieces().collect();
        let have = check_pieces(&torrent, &|_| cut.clone(), &pieces, 2, &|_| {});
        assert!(have.iter().eq(0..9), "{format}");
    }
}

#[test]
fn the_same_content_makes_the_same_torrent_whatever_the_threads() {
    let place = tempfile::tempdir().unwrap();
    for copy in ["x/folder", "y/folder"] {
        folder(&place.path().join(copy));
    }
    for format in FORMATS {
        let make = |path: &str, threads| {
            let options = Options { threads, ..options(format) };
            create(&place.path().join(path), &options, &|_| {}).unwrap()
        };
        assert_eq!(make("x/folder", 1), make("y/folder", 8));
    }
}

#[test]
fn options_appear_in_the_torrent() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    fs::write(&path, b"content").unwrap();
    let tiers = vec![vec!["http://a/".to_owned(), "udp://b".to_owned()], vec!["http://c/".to_owned()]];
    let options = Options {
        trackers: tiers.clone(),
        private: true,
        comment: Some("ü".to_owned()),
        creation_date: Some(5),
        ..Options::default()
    };
    let torrent = Torrent::parse(&create(&path, &options, &|_| {}).unwrap()).unwrap();
    assert_eq!(torrent.trackers(), tiers);
    assert_eq!((torrent.private(), torrent.comment(), torrent.creation_date()), (true, Some("ü"), Some(5)));
    assert!(torrent.created_by().unwrap().starts_with("shoal/"));
    assert_eq!(torrent.format(), Format::Hybrid);
    assert_eq!(torrent.geometry().piece_length(), 16_384);
}

#[test]
fn executable_files_are_marked() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("folder");
    folder(&root);
    fs::set_permissions(root.join("pieces"), fs::Permissions::from_mode(0o755)).unwrap();
    for format in FORMATS {
        let of_folder = torrent_of(&root, format);
        let marked: Vec<_> = of_folder.files().iter().filter(|file| file.executable).collect();
        assert_eq!(marked.iter().map(|file| file.path.join("/")).collect::<Vec<_>>(), ["pieces"]);
        assert!(torrent_of(&root.join("pieces"), format).files()[0].executable);
        assert!(!torrent_of(&root.join("piece"), format).files()[0].executable);
    }
}

#[test]
fn progress_adds_up() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("folder");
    folder(&root);
    let total: u64 = FILES.iter().map(|(_, len)| *len as u64).sum();
    for format in FORMATS {
        let (made, checked) = (AtomicU64::new(0), AtomicU64::new(0));
        let add = |to: &AtomicU64, bytes| {
            to.fetch_add(bytes, Ordering::Relaxed);
        };
        let torrent =
            Torrent::parse(&create(&root, &options(format), &|bytes| add(&made, bytes)).unwrap()).unwrap();
        verify(&torrent, place.path(), 2, &|bytes| add(&checked, bytes));
        assert_eq!((made.into_inner(), checked.into_inner()), (total, total), "{format}");
    }
}

#[test]
fn links_are_left_out() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("folder");
    folder(&root);
    let plain = create(&root, &options(Format::Hybrid), &|_| {}).unwrap();
    fs::write(place.path().join("secret"), b"outside").unwrap();
    for (link, target) in
        [("to-file", "../secret"), ("to-folder", ".."), ("dangling", "nowhere"), ("inside", "pieces")]
    {
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    assert_eq!(create(&root, &options(Format::Hybrid), &|_| {}).unwrap(), plain);
    // The path itself may be one, and gives the torrent its name.
    std::os::unix::fs::symlink("folder", place.path().join("link")).unwrap();
    assert_eq!(torrent_of(&place.path().join("link"), Format::V2).name(), "link");
}

/// Bug: a folder with one name that is not safe everywhere could not be shared, nor one of 65 folders.
#[test]
fn a_folder_keeps_its_names_in_the_torrent_whatever_they_are() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("top\\level");
    let deep = ["d"; 90].join("/");
    let names = ["back\\slash", "line\nbreak", "CON", "a", "A", "\u{202e}exe", &deep];
    for name in names {
        let path = root.join(name).join("x");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name.repeat(1_000)).unwrap();
    }
    for format in FORMATS {
        let metainfo = create(&root, &options(format), &|_| {}).unwrap();
        let text = String::from_utf8_lossy(&metainfo);
        for name in &names[..6] {
            assert!(text.contains(&format!("{}:{name}", name.len())), "{name:?}");
        }
        let torrent = Torrent::parse(&metainfo).unwrap();
        let paths: Vec<String> = torrent.files().iter().map(|file| file.path.join("/")).collect();
        assert_eq!(paths[..3], ["A/x", "_CON/x", "a/x.1"]);
        assert_eq!((torrent.name(), &*torrent.renamed().unwrap().original()), ("top_level", "top\\level"));
        assert!(verify(&torrent, place.path(), 2, &|_| {}).is_good(), "{format}");
    }
}

#[test]
fn what_cannot_be_shared_says_why() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let refused = |path: &Path, options: &Options| create(path, options, &|_| {}).unwrap_err();
    let said = |name: &str| refused(&at(name), &Options::default()).to_string();

    assert!(said("nowhere").contains("cannot read"));
    fs::write(at("empty"), b"").unwrap();
    assert!(said("empty").contains("no bytes"));
    fs::create_dir_all(at("hollow/inner")).unwrap();
    fs::write(at("hollow/inner/empty"), b"").unwrap();
    assert!(said("hollow").contains("no bytes"));
    let deep = at("deep").join(["d"; 91].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), b"x").unwrap();
    assert!(said("deep").contains("more than 90 deep"));
    assert!(refused(Path::new("/"), &Options::default()).to_string().contains("it has no name"));
    fs::create_dir(at("same")).unwrap();
    fs::write(at("same/same"), b"x").unwrap();
    assert!(matches!(refused(&at("same"), &options(Format::V2)), CreateError::FolderLikeFile(_)));
    assert!(!torrent_of(&at("same"), Format::V1).is_single_file());

    fs::write(at("file"), b"x").unwrap();
    for wrong in [0, 1, 8_192, 30_000, 512 << 20] {
        let options = Options { piece_length: Some(wrong), ..Options::default() };
        assert!(matches!(refused(&at("file"), &options), CreateError::PieceLength(_)), "{wrong}");
    }
    // 2^36 bytes that take no room on disk; 4 million pieces of 16 KiB are the most.
    fs::File::create(at("sparse")).unwrap().set_len((1 << 36) + 1).unwrap();
    let options = Options { piece_length: Some(16_384), ..Options::default() };
    assert!(matches!(refused(&at("sparse"), &options), CreateError::TooManyPieces { .. }));
}

#[test]
fn piece_lengths_aim_at_one_to_two_thousand_pieces() {
    let table: [(u64, u32); 8] = [
        (0, 16 << 10),
        (1, 16 << 10),
        (2_000 * (16 << 10), 16 << 10),
        (2_000 * (16 << 10) + 1, 32 << 10),
        (1 << 30, 1 << 20),
        (16 << 30, 16 << 20),
        (1 << 40, 16 << 20),
        (u64::MAX, 16 << 20),
    ];
    for (total, piece_length) in table {
        assert_eq!(default_piece_length(total), piece_length, "{total}");
    }
    for total in [40 << 20, 1 << 28, 3_000_000_000, 30_000_000_000u64] {
        let pieces = total.div_ceil(default_piece_length(total).into());
        assert!((1_000..=2_000).contains(&pieces), "{total} {pieces}");
    }
}

#[test]
fn verification_names_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("folder");
    folder(&root);
    let torrents = FORMATS.map(|format| torrent_of(&root, format));

    fs::remove_file(root.join("a/one")).unwrap();
    fs::remove_file(root.join("empty")).unwrap();
    fs::write(root.join("a!"), b"short").unwrap();
    fs::remove_file(root.join("piece")).unwrap();
    fs::create_dir(root.join("piece")).unwrap();
    let mut pieces = fs::read(root.join("pieces")).unwrap();
    pieces[70_000] ^= 1;
    fs::write(root.join("pieces"), &pieces).unwrap();

    for torrent in &torrents {
        let report = verify(torrent, place.path(), 2, &|_| {});
        let state = |path: &str| {
            let at = torrent.files().iter().position(|file| file.path.join("/") == path).unwrap();
            &report.files[at]
        };
        assert!(!report.is_good());
        assert_eq!(*state("a/one"), FileState::Missing);
        assert_eq!(*state("empty"), FileState::Missing);
        assert_eq!(*state("a!"), FileState::WrongLength { found: 5 });
        assert_eq!(*state("piece"), FileState::NotAFile);
        assert_eq!(*state("pieces"), FileState::Damaged { pieces: 1 });
        assert_eq!(*state("z/empty"), FileState::Good);
        assert_eq!(*state("z/last"), FileState::Good);
        // In v1 it shares a piece with `piece`, which is gone.
        let neighbour = state("piece+1");
        match torrent.format() {
            Format::V1 => assert_eq!(*neighbour, FileState::Unproven { pieces: 1 }),
            _ => assert_eq!(*neighbour, FileState::Good),
        }
    }
    let nothing = verify(&torrents[0], &place.path().join("elsewhere"), 2, &|_| {});
    assert!(nothing.files.iter().all(|state| *state == FileState::Missing));
    assert_eq!(nothing.have.count(), 0);
}

#[test]
fn some_pieces_can_be_checked_alone_and_under_other_names() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file.bin");
    fs::write(&path, content(100_000, 1)).unwrap();
    let torrent = torrent_of(&path, Format::Hybrid);
    let part = place.path().join("file.bin.part");
    fs::rename(&path, &part).unwrap();
    let some: Vec<_> = [1, 3].into_iter().filter_map(|index| torrent.geometry().piece(index)).collect();
    let have = check_pieces(&torrent, &|_| part.clone(), &some, 2, &|_| {});
    assert_eq!(have.iter().collect::<Vec<_>>(), [1, 3]);
}
