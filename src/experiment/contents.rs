//! The eight files of the experiment. Their bytes are computed from their names, so they are the same on
//! every machine: a fetched file can be checked, and all leechers serve the same B files. Runs on
//! `main`; no lock.

use super::{Failure, Set, Size};
use crate::atomic;
use crate::torrent::Torrent;
use crate::torrent::create::{Options, create};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The bytes of a file: noise, which cannot be compressed.
pub fn bytes(set: Set, size: Size) -> Vec<u8> {
    let mut state = size.bytes << 8 | set as u64;
    let mut bytes = Vec::with_capacity(size.bytes as usize + 8);
    while (bytes.len() as u64) < size.bytes {
        bytes.extend_from_slice(&split_mix(&mut state).to_le_bytes());
    }
    bytes.truncate(size.bytes as usize);
    bytes
}

/// SplitMix64 (Steele, Lea and Flood 2014), written here so that the files stay the same in every version
/// of this program.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Creates a file in `dir` if it is missing, and gives its torrent.
pub fn provide(set: Set, size: Size, dir: &Path) -> Result<Arc<Torrent>, Failure> {
    let path = dir.join(set.file(size));
    match fs::read(&path) {
        Ok(found) if found == bytes(set, size) => {}
        Ok(_) => {
            return Err(Failure::Broken(format!("{} is in the way: it has other content", path.display())));
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            atomic::write(&path, &bytes(set, size)).map_err(Failure::file("write", &path))?
        }
        Err(why) => return Err(Failure::file("read", &path)(why)),
    }
    let unusable =
        |why: &dyn std::fmt::Display| Failure::Broken(format!("no torrent of {}: {why}", path.display()));
    let metainfo = create(&path, &Options::default(), &|_| ()).map_err(|why| unusable(&why))?;
    Ok(Arc::new(Torrent::parse(&metainfo).map_err(|why| unusable(&why))?))
}

/// Fails if the file that was fetched into `dir` differs from the original.
pub fn compare(set: Set, size: Size, dir: &Path) -> Result<(), Failure> {
    let path = dir.join(set.file(size));
    let copy = fs::read(&path).map_err(Failure::file("read", &path))?;
    if copy == bytes(set, size) {
        Ok(())
    } else {
        Err(Failure::Broken(format!("{} was fetched, and is not what it should be", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::SIZES;

    #[test]
    fn files_are_made_once_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let first = provide(Set::A, SIZES[0], dir.path()).unwrap();
        assert_eq!(first.name(), "A_10kB");
        assert_eq!(fs::metadata(dir.path().join("A_10kB")).unwrap().len(), 10_000);
        assert_eq!(provide(Set::A, SIZES[0], dir.path()).unwrap().key(), first.key());
        assert_ne!(provide(Set::B, SIZES[0], dir.path()).unwrap().key(), first.key());
        compare(Set::A, SIZES[0], dir.path()).unwrap();

        fs::write(dir.path().join("A_10kB"), b"mine").unwrap();
        assert!(provide(Set::A, SIZES[0], dir.path()).unwrap_err().to_string().contains("in the way"));
        assert!(compare(Set::A, SIZES[0], dir.path()).is_err());
        assert_eq!(fs::read(dir.path().join("A_10kB")).unwrap(), b"mine");
    }
}
