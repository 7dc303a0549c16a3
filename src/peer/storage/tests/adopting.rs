//! What lies under the final name when a download begins: what is ours goes on, what is not stays as it is.

use super::*;
use std::os::unix::fs::MetadataExt;

impl Stage {
    /// Where the download's file, or one of its files, gets its final name.
    fn place(&self, below: &str) -> PathBuf {
        self.to.path().join("top").join(below)
    }

    fn whole(&self, below: &str) -> Vec<u8> {
        let from = self.from.path().join("top");
        fs::read(if below.is_empty() { from } else { from.join(below) }).unwrap()
    }

    /// Leaves a file under its final name.
    fn leave(&self, below: &str, bytes: &[u8]) {
        let path = if below.is_empty() { self.to.path().join("top") } else { self.place(below) };
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// The pieces that come from elsewhere, with what was found, make the whole.
    fn complete(&self, storage: &Storage) {
        for piece in self.torrent.geometry().pieces() {
            match storage.found_at_first().has(piece.index()) {
                true => storage.found(piece),
                false => storage.write(piece, &self.data(piece)).unwrap(),
            }
        }
        storage.sync().unwrap();
        storage.finish().unwrap();
        let lasting = names(self.to.path());
        assert_eq!(lasting, ["top"]);
        for (index, file) in self.torrent.files().iter().enumerate() {
            let below = if self.torrent.is_single_file() { String::new() } else { file.path.join("/") };
            assert!(fs::read(storage.path(index)).unwrap() == self.whole(&below), "{below}");
        }
    }
}

fn found(storage: &Storage) -> Vec<u32> {
    storage.found_at_first().iter().collect()
}

const P: usize = PIECE_LEN;

/// Bug: what another client had left half done under its final name was refused.
#[test]
fn a_file_that_is_partly_right_becomes_the_part_with_all_that_it_held() {
    let whole = Stage::file(5 * P).whole("");
    let zeros_after = |len: usize| [&whole[..len], &vec![0; 5 * P - len]].concat();
    let mut damaged = whole.clone();
    damaged[2 * P + 7] ^= 1;
    let table: [(&str, Vec<u8>, &[u32]); 5] = [
        ("short", whole[..2 * P + 100].to_vec(), &[0, 1]),
        ("preallocated", zeros_after(3 * P + 5), &[0, 1, 2]),
        ("damaged", damaged, &[0, 1, 3, 4]),
        ("longer", [&whole[..], b"and more"].concat(), &[0, 1, 2, 3, 4]),
        ("the end first", [&vec![0; 4 * P][..], &whole[4 * P..]].concat(), &[4]),
    ];
    for (what, left, pieces) in table {
        let stage = Stage::file(5 * P);
        stage.leave("", &left);
        let inode = fs::metadata(stage.place("").parent().unwrap().join("top")).unwrap().ino();
        let storage = stage.download().unwrap();
        assert_eq!(found(&storage), pieces, "{what}");
        assert_eq!(names(stage.to.path()), ["top.part"], "{what}");
        assert!(fs::read(storage.root()).unwrap() == left, "{what}: nothing of it is lost");
        assert_eq!(fs::metadata(storage.root()).unwrap().ino(), inode, "{what}: it is the same file");
        stage.complete(&storage);
    }
}

#[test]
fn space_that_was_only_reserved_is_used() {
    let stage = Stage::file(3 * P);
    let table = [Vec::new(), vec![0; 3 * P], vec![0; P / 2]];
    for left in table {
        let stage = Stage::file(3 * P);
        stage.leave("", &left);
        let storage = stage.download().unwrap();
        assert!(found(&storage).is_empty());
        stage.complete(&storage);
    }
    fs::File::create(stage.to.path().join("top")).unwrap().set_len(3 * P as u64).unwrap(); // a hole
    let storage = stage.download().unwrap();
    stage.complete(&storage);
}

#[test]
fn a_file_that_has_nothing_of_the_torrent_stays_as_it_is() {
    let from = tempfile::tempdir().unwrap();
    // The second piece is zeros, which every hole matches.
    let whole = [crate::testing::content(P), vec![0; P], crate::testing::content(P)].concat();
    fs::write(from.path().join("top"), &whole).unwrap();
    let stage = Stage::of(from);
    let zeros_then = |len: usize, rest: &[u8]| [&vec![0; len], rest].concat();
    let table = [
        b"mine".to_vec(),
        vec![7; 3 * P],
        vec![7; 5 * P],
        zeros_then(2 * P, &vec![7; P]),
        zeros_then(3 * P, b"behind the end"),
        whole[..P - 1].to_vec(), // no whole piece
    ];
    for left in table {
        stage.leave("", &left);
        let refused = stage.download().err().unwrap();
        assert!(matches!(&refused, StorageError::InTheWay(path) if path.ends_with("top")), "{refused}");
        assert_eq!(names(stage.to.path()), ["top"]);
        assert!(fs::read(stage.to.path().join("top")).unwrap() == left);
    }
    stage.leave("", &whole[..P]);
    fs::write(stage.to.path().join("top.part"), b"older").unwrap();
    assert!(matches!(stage.download(), Err(StorageError::InTheWay(_))), "there is a part already");
    assert_eq!(fs::read(stage.to.path().join("top.part")).unwrap(), b"older");
}

/// A folder as another client leaves it: one file whole, one begun, one reserved, one not there, one not of
/// the torrent.
#[test]
fn in_a_folder_whole_files_stay_and_those_that_were_begun_go_on() {
    let stage =
        || Stage::folder(&[("a", 2 * P), ("sub/b", 3 * P), ("sub/c", 2 * P), ("d", P), ("sub/empty", 0)]);
    let several = stage();
    several.leave("a", &several.whole("a"));
    several.leave("sub/b", &several.whole("sub/b")[..P + 1]);
    several.leave("sub/c", &vec![0; 2 * P]);
    several.leave("sub/notes", b"mine");
    let inode = fs::metadata(several.place("a")).unwrap().ino();
    let storage = several.download().unwrap();
    assert_eq!(found(&storage), [0, 1, 3]);
    assert_eq!(names(&several.place("")), ["a", "sub"]);
    assert_eq!(names(&several.place("sub")), ["notes"]);
    several.complete(&storage);
    assert_eq!(fs::metadata(several.place("a")).unwrap().ino(), inode);
    assert_eq!(fs::read(several.place("sub/notes")).unwrap(), b"mine");

    // None is whole: the folder is moved at once, and what else is in it comes back with it.
    let none = stage();
    none.leave("sub/b", &none.whole("sub/b")[..P + 1]);
    none.leave("sub/notes", b"mine");
    let storage = none.download().unwrap();
    assert_eq!((found(&storage), names(none.to.path())), (vec![3], vec!["top.part".to_owned()]));
    none.complete(&storage);
    assert_eq!(fs::read(none.place("sub/notes")).unwrap(), b"mine");

    // One is not ours: nothing is moved.
    let foreign = stage();
    foreign.leave("a", &foreign.whole("a")[..P]);
    foreign.leave("d", &vec![7; P]);
    let refused = foreign.download().err().unwrap();
    assert!(matches!(&refused, StorageError::InTheWay(path) if path.ends_with("top/d")), "{refused}");
    assert_eq!(
        (names(foreign.to.path()), names(&foreign.place(""))),
        (vec!["top".to_owned()], vec!["a".to_owned(), "d".to_owned()])
    );
}

/// Bug: in v1 the neighbours of a deleted file could not be proved, and were in the way.
#[test]
fn a_deleted_file_comes_back_and_its_neighbours_stay_where_they_are() {
    let files = [("a", P + 100), ("b", P), ("c", 50), ("d", P)];
    for gone in [&["b"][..], &["c"], &["a", "d"], &["b", "c"], &["a", "b", "c"]] {
        let stage = Stage::folder(&files);
        for (name, _) in files.iter().filter(|(name, _)| !gone.contains(name)) {
            stage.leave(name, &stage.whole(name));
        }
        let stay: Vec<&str> =
            files.iter().map(|(name, _)| *name).filter(|name| !gone.contains(name)).collect();
        let inodes = || stay.iter().map(|name| fs::metadata(stage.place(name)).unwrap().ino());
        let before: Vec<u64> = inodes().collect();
        let storage = stage.download().unwrap();
        assert_eq!(names(&stage.place("")), stay);
        assert!(!storage.is_all_settled());
        stage.complete(&storage);
        assert_eq!(inodes().collect::<Vec<u64>>(), before);
        assert!(storage.is_all_settled());
    }
}

/// A file whose last piece is missing too looks like one that only lacks its neighbour.
#[test]
fn an_unproven_file_that_is_wrong_is_mended_and_a_foreign_one_is_not_touched() {
    let stage = Stage::folder(&[("a", P + 100), ("b", P)]);
    stage.leave("a", &[&stage.whole("a")[..P], &[0; 100]].concat());
    let storage = stage.download().unwrap();
    assert_eq!((found(&storage), storage.path(0)), (vec![0], stage.place("a")));
    stage.complete(&storage);

    let stage = Stage::folder(&[("a", 100), ("b", P)]);
    stage.leave("a", &[7; 100]);
    let storage = stage.download().unwrap();
    let refused = storage.write(stage.piece(0), &stage.data(stage.piece(0))).unwrap_err();
    assert!(matches!(&refused, StorageError::InTheWay(path) if *path == stage.place("a")), "{refused}");
    assert_eq!(fs::read(stage.place("a")).unwrap(), [7; 100]);
    fs::remove_file(stage.place("a")).unwrap();
    storage.begin_again().unwrap();
    stage.complete(&storage); // once it is out of the way
}
