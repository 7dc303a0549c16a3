//! A newer version takes the place of an older one: what of it is read, what is removed, and what never is.

use super::super::older::drop_leftovers;
use super::*;

/// An older version that was downloaded, and the newer one that takes its place.
struct Change {
    new: Stage,
    old: Storage,
}

impl Change {
    /// Versions with these files, each with its length in bytes.
    fn new(old: &[(&str, usize)], new: &[(&str, usize)]) -> Self {
        let (old, new) = (Stage::folder(old), Stage::folder(new));
        let storage = Storage::download(Arc::clone(&old.torrent), new.to.path()).unwrap();
        old.fill(&storage);
        storage.sync().unwrap();
        storage.finish().unwrap();
        Change { new, old: storage }
    }

    fn older(&self) -> Older {
        Older::new(&self.old, &self.new.torrent)
    }

    /// The download of the newer version.
    fn download(&self, older: Older) -> Storage {
        let storage = self.again(older);
        self.new.fill(&storage);
        storage.sync().unwrap();
        storage
    }

    /// The same after a restart, with nothing to fetch.
    fn again(&self, older: Older) -> Storage {
        let (torrent, all) = (Arc::clone(&self.new.torrent), Selection::all(&self.new.torrent));
        let dir = self.new.to.path();
        Storage::download_files(Disk::default(), torrent, dir, &all, &Before::default(), Some(older)).unwrap()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.new.to.path().join("top").join(below)
    }
}

#[test]
fn equal_pieces_are_read_from_the_older_copy() {
    let change = Change::new(&[("a", 3 * PIECE_LEN), ("gone", 10)], &[("a", 3 * PIECE_LEN), ("b", 10)]);
    let older = change.older();
    let read = |index: u32| {
        let piece = change.new.piece(index);
        let mut data = change.new.data(piece);
        data.fill(0);
        older.read(&change.new.torrent, piece, &mut data).then_some(data)
    };
    assert!(read(0).unwrap() == change.new.data(change.new.piece(0)));
    assert!(read(3).is_none(), "there was no `b`");
    fs::remove_file(change.path("a")).unwrap();
    assert!(read(0).is_none());
}

#[test]
fn the_older_copy_gives_way_once_the_newer_one_is_whole() {
    let change = Change::new(&[("a", 100), ("sub/gone", 10)], &[("a", 200), ("b/c", 10)]);
    let storage = change.download(change.older());
    assert_eq!(fs::metadata(change.path("a")).unwrap().len(), 100, "not before");
    storage.finish().unwrap();
    assert_eq!(names(change.new.to.path()), ["top"]);
    assert_eq!(names(&change.path("")), ["a", "b"]);
    assert_eq!(fs::metadata(change.path("a")).unwrap().len(), 200);
    assert!(storage.older().is_none() && storage.is_all_settled());
}

#[test]
fn files_of_others_in_the_older_copy_stay_where_they_are() {
    let change = Change::new(&[("a", 100), ("sub/gone", 10)], &[("a", 200), ("b/c", 10)]);
    fs::write(change.path("sub/mine"), "mine").unwrap();
    let storage = change.download(change.older());
    storage.finish().unwrap();
    assert_eq!(names(change.new.to.path()), ["top"]);
    assert_eq!(names(&change.path("")), ["a", "b", "sub"]);
    assert_eq!(names(&change.path("sub")), ["mine"]);
}

#[test]
fn nothing_is_removed_if_one_file_was_changed() {
    let change = Change::new(&[("a", 100), ("b", 10)], &[("a", 200)]);
    let older = change.older();
    assert_eq!(older.changed(), None);
    let storage = change.download(older.clone());
    fs::write(change.path("b"), "mine").unwrap();
    assert_eq!(older.changed(), Some(change.path("b").as_path()));
    assert!(matches!(storage.finish(), Err(StorageError::ChangedByUser(path)) if path == change.path("b")));
    assert_eq!(names(&change.path("")), ["a", "b"]);
    fs::remove_file(change.path("b")).unwrap();
    storage.finish().unwrap();
    assert_eq!(names(&change.path("")), ["a"]);
}

#[test]
fn a_folder_that_its_user_has_put_elsewhere_is_left_alone() {
    let change = Change::new(&[("a", 100), ("sub/b", 10)], &[("a", 200)]);
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(change.path("sub"), elsewhere.path().join("sub")).unwrap();
    symlink(elsewhere.path().join("sub"), change.path("sub")).unwrap();
    let storage = change.download(change.older());
    assert!(matches!(storage.finish(), Err(StorageError::ChangedByUser(_))));
    assert!(elsewhere.path().join("sub/b").exists() && change.path("a").exists());
}

/// A crash may come after the older files were removed, and before the newer ones have their names.
#[test]
fn what_was_cut_short_in_the_middle_of_the_exchange_goes_on() {
    let change = Change::new(&[("a", 100), ("b", 10)], &[("a", 200), ("c", 20)]);
    let older = change.older();
    let storage = change.download(older.clone());
    fs::remove_file(change.path("a")).unwrap();
    drop(storage);
    change.download(older.clone()).finish().unwrap();
    assert_eq!(names(&change.path("")), ["a", "c"]);

    let change = Change::new(&[("a", 100), ("b", 10)], &[("a", 200), ("c", 20)]);
    let older = change.older();
    drop(change.download(older.clone()));
    older.clear_away(&Disk::default()).unwrap();
    assert_eq!(names(change.new.to.path()), ["top.part"]);
    change.download(older).finish().unwrap();
    assert_eq!(names(&change.path("")), ["a", "c"]);
}

/// Bug: the older files were gone already when it turned out that one of the newer ones has no place, and
/// what had its place by then was taken for changed by the user.
#[test]
fn nothing_is_removed_if_something_is_in_the_way_of_the_newer_version() {
    let change = Change::new(&[("a", 100), ("sub/b", 10)], &[("a", 200), ("mine", 20), ("sub", 5)]);
    let storage = change.download(change.older());
    for (at, below) in ["mine", "sub/too"].into_iter().enumerate() {
        fs::write(change.path(below), "of the user").unwrap();
        let in_the_way = change.path(["mine", "sub"][at]);
        assert!(matches!(storage.finish(), Err(StorageError::InTheWay(path)) if path == in_the_way));
        assert_eq!(fs::metadata(change.path("a")).unwrap().len(), 100);
        fs::remove_file(change.path(below)).unwrap();
    }
    storage.finish().unwrap();
    assert_eq!(names(&change.path("")), ["a", "mine", "sub"]);
}

/// Bug: a crash between two of these renames left files that were taken for changed by the user, for good.
#[test]
fn a_crash_between_the_renames_of_the_newer_version_leaves_nothing_unknown() {
    let change = Change::new(&[("a", 100), ("b", 10)], &[("a", 200), ("c", 20)]);
    fs::write(change.path("mine"), "of the user").unwrap();
    let storage = change.download(change.older());
    assert!(storage.clear_way().unwrap() && !storage.clear_way().unwrap());
    let saved = storage.older().unwrap();
    drop(storage);
    fs::rename(change.new.to.path().join("top.part/a"), change.path("a")).unwrap();
    change.again(saved).finish().unwrap();
    assert_eq!(names(change.new.to.path()), ["top"]);
    assert_eq!(names(&change.path("")), ["a", "c", "mine"]);
    assert_eq!(fs::metadata(change.path("a")).unwrap().len(), 200);
}

/// Bug: they were removed with what was begun of the older version, though their user had changed them.
#[test]
fn files_of_an_unfinished_older_version_that_have_their_names_are_not_thrown_away() {
    let (old, new) = (Stage::folder(&[("a", 100), ("b", 10)]), Stage::folder(&[("a", 200)]));
    let some = Selection::of_indexes(&old.torrent, &[1]).unwrap();
    let torrent = Arc::clone(&old.torrent);
    let (dir, before) = (new.to.path(), Before::default());
    let begun = Storage::download_files(Disk::default(), torrent, dir, &some, &before, None).unwrap();
    old.fill(&begun);
    begun.sync().unwrap();
    begun.finish().unwrap();
    let path = new.to.path().join("top/b");
    assert!(path.exists());
    drop_leftovers(&begun, &new.torrent);
    assert!(path.exists());
    let older = Older::new(&begun, &new.torrent);
    assert_eq!(older.changed(), None);
    fs::write(&path, "my own words").unwrap();
    assert_eq!(older.changed(), Some(path.as_path()));
}

#[test]
fn what_is_equal_is_found_by_a_third_version_too() {
    let change = Change::new(&[("a", 10), ("b", 3 * PIECE_LEN)], &[("a", 10), ("b", 3 * PIECE_LEN)]);
    let third = Stage::folder(&[("0", 10), ("00", 10), ("a", 10), ("b", 3 * PIECE_LEN)]);
    let older = change.older().for_torrent(&third.torrent);
    let index = third.torrent.geometry().pieces_of(3).nth(1).unwrap();
    let expected = third.data(third.piece(index));
    let mut data = vec![0; expected.len()];
    assert!(older.read(&third.torrent, third.piece(index), &mut data));
    assert!(data == expected);
}

#[test]
fn a_single_file_is_replaced_as_a_folder_is() {
    let (old, new) = (Stage::file(100), Stage::file(3 * PIECE_LEN));
    let storage = Storage::download(Arc::clone(&old.torrent), new.to.path()).unwrap();
    old.fill(&storage);
    storage.sync().unwrap();
    storage.finish().unwrap();
    let change = Change { new, old: storage };
    change.download(change.older()).finish().unwrap();
    assert_eq!(names(change.new.to.path()), ["top"]);
    assert_eq!(fs::metadata(change.new.to.path().join("top")).unwrap().len(), 3 * PIECE_LEN as u64);
}

/// What was begun of an older version, and has no place in the newer one, would be left in its folder.
#[test]
fn what_was_begun_of_an_older_version_leaves_nothing_behind() {
    let (old, new) = (Stage::folder(&[("a", 100), ("sub/gone", 10)]), Stage::folder(&[("a", 200)]));
    let begun = Storage::download(Arc::clone(&old.torrent), new.to.path()).unwrap();
    old.fill(&begun);
    drop_leftovers(&begun, &new.torrent);
    assert_eq!(names(&new.to.path().join("top.part")), ["a"]);
}
