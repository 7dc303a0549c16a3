//! The files of the demo: made of noise, and compared byte by byte.

use crate::actor::Result;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

const CHUNK: usize = 1 << 20;

/// Writes a file of `len` bytes that look like nothing in particular, different for each path.
pub fn write_noise(path: &Path, len: usize) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    let mut random = fastrand::Rng::new();
    let mut noise = vec![0; CHUNK.min(len)];
    let mut file = File::create(path)?;
    let mut left = len;
    while left > 0 {
        random.fill(&mut noise);
        let part = left.min(noise.len());
        file.write_all(&noise[..part])?;
        left -= part;
    }
    Ok(())
}

/// Compares a copy with its original to the last byte, a folder with all that is in it. Gives how many
/// bytes that are.
pub fn compare(original: &Path, copy: &Path) -> Result<u64> {
    if !original.is_dir() {
        return compare_files(original, copy);
    }
    let names = |folder: &Path| -> Result<BTreeSet<OsString>> {
        let entries =
            fs::read_dir(folder).map_err(|why| format!("cannot open {}: {why}", folder.display()))?;
        Ok(entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?)
    };
    let inside = names(original)?;
    if inside != names(copy)? {
        return Err(format!("{} does not hold the files that were shared", copy.display()).into());
    }
    inside.iter().map(|name| compare(&original.join(name), &copy.join(name))).sum()
}

fn compare_files(original: &Path, copy: &Path) -> Result<u64> {
    let open = |path: &Path| File::open(path).map_err(|why| format!("cannot open {}: {why}", path.display()));
    let (mut left, mut right) = (BufReader::new(open(original)?), BufReader::new(open(copy)?));
    let (mut theirs, mut ours) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut compared = 0;
    loop {
        let read = left.read(&mut theirs)?;
        if read == 0 {
            break;
        }
        let same = right.read_exact(&mut ours[..read]).is_ok() && theirs[..read] == ours[..read];
        if !same {
            return Err(format!("{} is not what was shared, from byte {compared} on", copy.display()).into());
        }
        compared += read as u64;
    }
    if right.read(&mut ours)? > 0 {
        return Err(format!("{} is longer than what was shared", copy.display()).into());
    }
    Ok(compared)
}
