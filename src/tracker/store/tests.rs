//! Tests of the store: restarts, broken files, and atomic replacement.

use super::*;
use crate::bencode;

fn torrent(name: &str) -> Torrent {
    let info = bencode::dict(|d| {
        d.int("length", 1);
        d.bytes("name", name);
        d.int("piece length", 16384);
        d.bytes("pieces", [7; 20]);
    });
    Torrent::parse(&bencode::dict(|d| d.raw("info", &info))).unwrap()
}

fn keys(torrents: &[Torrent]) -> Vec<String> {
    torrents.iter().map(Torrent::key).collect()
}

#[test]
fn what_was_put_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/folder");
    let (got, bare) = (torrent("got5.mp4"), torrent("bare"));
    {
        let (store, known) = Store::open(&path).unwrap();
        assert!(known.is_empty());
        store.put(&got).unwrap();
        store.put(&bare).unwrap();
        assert_eq!(store.get(&got.key()).unwrap(), got.bytes());
        assert_eq!(store.get("00").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
    let list = fs::read_to_string(path.join(LIST)).unwrap();
    let expected = format!(
        "Name : bare type: file tor : {}.torrent\nName : got5 type: mp4 tor : {}.torrent\n",
        bare.key(),
        got.key()
    );
    assert_eq!(list, expected);
    fs::remove_file(path.join(LIST)).unwrap();
    let (_store, known) = Store::open(&path).unwrap();
    let mut expected = vec![got.key(), bare.key()];
    expected.sort();
    assert_eq!(keys(&known), expected);
    assert_eq!(fs::read_to_string(path.join(LIST)).unwrap(), list);
}

#[test]
fn broken_files_are_passed_over_and_half_written_ones_removed() {
    let folder = tempfile::tempdir().unwrap();
    let good = torrent("good");
    fs::write(folder.path().join("by-hand.torrent"), good.bytes()).unwrap();
    fs::write(folder.path().join("broken.torrent"), "d4:infod").unwrap();
    fs::write(folder.path().join("half.torrent.0123.tmp"), "d").unwrap();
    fs::create_dir(folder.path().join("folder.torrent")).unwrap();
    let (store, known) = Store::open(folder.path()).unwrap();
    assert_eq!(keys(&known), [good.key()]);
    assert_eq!(store.get(&good.key()).unwrap(), good.bytes());
    assert!(!folder.path().join("half.torrent.0123.tmp").exists());
    assert!(folder.path().join("broken.torrent").exists());
}

#[test]
fn a_folder_belongs_to_one_tracker() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, _) = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse { .. })));
}

#[test]
fn a_folder_that_cannot_be_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file).err().unwrap().to_string();
    assert!(error.contains("cannot use the data folder") && error.contains("file"), "{error}");
}

#[test]
fn without_a_folder_it_is_kept_in_memory() {
    let store = Store::in_memory();
    let torrent = torrent("x");
    store.put(&torrent).unwrap();
    assert_eq!(store.get(&torrent.key()).unwrap(), torrent.bytes());
    assert!(store.get("00").is_err());
}
