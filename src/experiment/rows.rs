//! A row for each repetition, in one file for each file that is moved and each role, such as
//! `A_10kB_leech_results.csv`. A row is written when its repetition ends, so an interrupted experiment
//! continues after the last row. Runs on `main`.
//!
//! The leechers of one machine write to the same files. Each append holds the file's lock, so an incomplete
//! line can only be from a process that was killed: it is removed.

use super::client::Measured;
use super::{Failure, Role, Set, Size};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const HEADER: &str = "Repetition,Peer,Time (s),Throughput (kbps),Bytes Received,Bytes Sent,Overhead\n";

/// One repetition.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Number of the repetition, from 1 on for each peer.
    pub repetition: u32,
    /// Name of the peer that fetched the file.
    pub peer: String,
    /// Seconds from the order to fetch the file until it was complete and verified.
    pub seconds: f64,
    /// Throughput of content in thousands of bits per second.
    pub kbps: f64,
    /// Bytes received on the sockets to other peers.
    pub received: u64,
    /// Bytes sent on the same sockets.
    pub sent: u64,
    /// Bytes received and sent, divided by the size of the file.
    pub overhead: f64,
}

impl Row {
    /// The row of one repetition.
    pub fn new(repetition: u32, peer: &str, size: Size, measured: &Measured) -> Row {
        let Measured { time, received, sent } = *measured;
        let (seconds, bytes) = (time.as_secs_f64(), size.bytes as f64);
        let kbps = bytes * 8.0 / 1000.0 / seconds;
        let overhead = (received + sent) as f64 / bytes;
        Row { repetition, peer: peer.to_owned(), seconds, kbps, received, sent, overhead }
    }

    fn line(&self) -> String {
        let Row { repetition, peer, seconds, kbps, received, sent, overhead } = self;
        format!("{repetition},{peer},{seconds:.6},{kbps:.1},{received},{sent},{overhead:.6}\n")
    }

    fn parse(line: &str) -> Option<Row> {
        let mut cells = line.split(',');
        let row = Row {
            repetition: cells.next()?.parse().ok()?,
            peer: cells.next()?.to_owned(),
            seconds: cells.next()?.parse().ok()?,
            kbps: cells.next()?.parse().ok()?,
            received: cells.next()?.parse().ok()?,
            sent: cells.next()?.parse().ok()?,
            overhead: cells.next()?.parse().ok()?,
        };
        cells.next().is_none().then_some(row)
    }
}

/// Whether `text` may be the name of a peer in the rows.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !text.starts_with('.')
}

/// The rows of one file and one role.
pub struct Rows {
    path: PathBuf,
}

impl Rows {
    /// The rows about the file of this set and size that this role fetched, in the folder `results`.
    pub fn new(results: &Path, set: Set, size: Size, role: Role) -> Rows {
        Rows { path: results.join(format!("{}_{role}_results.csv", set.file(size))) }
    }

    /// All complete rows.
    pub fn read(&self) -> Result<Vec<Row>, Failure> {
        let text = match fs::read_to_string(&self.path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text.map_err(Failure::file("read", &self.path))?,
        };
        let whole = &text[..whole_lines(text.as_bytes())];
        let broken = |line, why: &str| Failure::Row { path: self.path.clone(), line, why: why.to_owned() };
        let Some(rows) = whole.strip_prefix(HEADER) else {
            let foreign = || broken(1, "these are not the columns of an experiment; move the file away");
            return if whole.is_empty() { Ok(Vec::new()) } else { Err(foreign()) };
        };
        let no_row = |index| broken(index + 2, "this is no row of an experiment; remove it");
        rows.lines().enumerate().map(|(index, line)| Row::parse(line).ok_or_else(|| no_row(index))).collect()
    }

    /// Number of rows of this peer.
    pub fn count(&self, peer: &str) -> Result<u32, Failure> {
        Ok(self.read()?.iter().filter(|row| row.peer == peer).count() as u32)
    }

    /// Appends a row after the last complete one.
    pub fn append(&self, row: &Row) -> Result<(), Failure> {
        self.append_line(&row.line()).map_err(Failure::file("write", &self.path))
    }

    fn append_line(&self, line: &str) -> io::Result<()> {
        let mut file: File = OpenOptions::new().read(true).append(true).create(true).open(&self.path)?;
        file.lock()?;
        let mut there = Vec::new();
        file.read_to_end(&mut there)?;
        let whole = whole_lines(&there);
        if whole < there.len() {
            file.set_len(whole as u64)?;
        }
        let header = if whole == 0 { HEADER } else { "" };
        file.write_all(format!("{header}{line}").as_bytes())
    }
}

/// Number of bytes up to the end of the last complete line.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::SIZES;
    use std::time::Duration;

    fn rows(dir: &Path) -> Rows {
        Rows::new(dir, Set::A, SIZES[0], Role::Leech)
    }

    fn row(repetition: u32, peer: &str) -> Row {
        let measured = Measured { time: Duration::from_millis(8), received: 10_400, sent: 100 };
        Row::new(repetition, peer, SIZES[0], &measured)
    }

    #[test]
    fn a_row_says_what_was_measured() {
        let row = row(1, "leech-2");
        assert_eq!((row.kbps, row.overhead), (10_000.0, 1.05));
        assert_eq!(row.line(), "1,leech-2,0.008000,10000.0,10400,100,1.050000\n");
        assert_eq!(Row::parse(row.line().trim_end()), Some(row));
        for line in ["", "1", "1,a,1,1,1,1", "1,a,1,1,1,1,1,1", "x,a,1,1,1,1,1"] {
            assert_eq!(Row::parse(line), None, "{line}");
        }
    }

    #[test]
    fn rows_are_counted_for_each_peer() {
        let dir = tempfile::tempdir().unwrap();
        let rows = rows(dir.path());
        assert_eq!(rows.read().unwrap(), []);
        let all = [row(1, "leech-1"), row(1, "leech-2"), row(2, "leech-1")];
        all.iter().for_each(|row| rows.append(row).unwrap());
        assert_eq!(rows.read().unwrap(), all);
        assert_eq!(["leech-1", "leech-2", "leech-3"].map(|peer| rows.count(peer).unwrap()), [2, 1, 0]);
        assert!(dir.path().join("A_10kB_leech_results.csv").is_file());
    }

    #[test]
    fn what_a_kill_tore_off_is_dropped_and_the_next_row_goes_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let (rows, first, second) = (rows(dir.path()), row(1, "leech"), row(2, "leech"));
        let whole = format!("{HEADER}{}", first.line());
        let torn = format!("{whole}{}", second.line());
        for end in whole.len()..torn.len() {
            fs::write(&rows.path, &torn[..end]).unwrap();
            assert_eq!(rows.read().unwrap(), std::slice::from_ref(&first), "{end}");
            rows.append(&second).unwrap();
            assert_eq!(fs::read_to_string(&rows.path).unwrap(), torn, "{end}");
        }
        for end in 0..HEADER.len() {
            fs::write(&rows.path, &torn[..end]).unwrap();
            assert_eq!(rows.read().unwrap(), [], "{end}");
            rows.append(&first).unwrap();
            assert_eq!(fs::read_to_string(&rows.path).unwrap(), whole, "{end}");
        }
    }

    #[test]
    fn what_is_no_row_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let rows = rows(dir.path());
        fs::write(&rows.path, format!("{HEADER}{}nonsense\n", row(1, "leech").line())).unwrap();
        assert!(rows.read().unwrap_err().to_string().contains("line 3: this is no row"));
        fs::write(&rows.path, "other,columns\n1,2\n").unwrap();
        assert!(rows.read().unwrap_err().to_string().contains("line 1: these are not the columns"));
    }

    #[test]
    fn writers_of_one_file_do_not_tear_each_others_rows() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for peer in ["leech-1", "leech-2", "leech-3"] {
                let rows = rows(dir.path());
                scope.spawn(move || (1..=50).for_each(|n| rows.append(&row(n, peer)).unwrap()));
            }
        });
        assert_eq!(rows(dir.path()).read().unwrap().len(), 150);
    }
}
