//! The result files: a table for each client, all tables together, and the plots. Runs on `main`; no lock.

use super::client::Kind;
use super::summary::Summary;
use super::{Failure, plot};
use crate::atomic;
use std::path::{Path, PathBuf};

/// Writes tables and plots from all rows in `results` and in the result folders `others` of other machines.
/// Gives the tables.
pub fn report(results: &Path, others: &[PathBuf]) -> Result<String, Failure> {
    let mut folders = vec![results];
    folders.extend(others.iter().map(PathBuf::as_path));
    let summaries = Kind::ALL.into_iter().map(|kind| Summary::read(kind, &folders));
    let mut summaries: Vec<Summary> = summaries.collect::<Result<_, _>>()?;
    summaries.retain(|summary| !summary.is_empty());
    for summary in &summaries {
        let path = summary.kind.results(results).join("bittorrent_summary.csv");
        write(&path, &summary.csv())?;
    }
    let tables = summaries.iter().map(Summary::markdown).collect::<Vec<_>>().join("\n");
    if summaries.is_empty() {
        return Err(Failure::Broken(format!("there are no rows in {}", results.display())));
    }
    write(&results.join("tables.md"), &tables)?;
    write(&results.join("throughput.svg"), &plot::throughput(&summaries)?)?;
    write(&results.join("overhead.svg"), &plot::overhead(&summaries)?)?;
    Ok(tables)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    atomic::write(path, text.as_bytes()).map_err(Failure::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::client::Measured;
    use crate::experiment::rows::{Row, Rows};
    use crate::experiment::summary::HEADER;
    use crate::experiment::{Role, SIZES};
    use std::fs;
    use std::time::Duration;

    /// Writes a row as if 10 kB had been fetched in `millis` milliseconds, with 10 % overhead.
    fn fetched(folder: &Path, role: Role, peer: &str, repetition: u32, millis: u64) {
        let measured = Measured { time: Duration::from_millis(millis), received: 10_700, sent: 300 };
        let rows = Rows::new(folder, role.wants(), SIZES[0], role);
        rows.append(&Row::new(repetition, peer, SIZES[0], &measured)).unwrap();
    }

    #[test]
    fn rows_of_several_machines_and_clients_become_tables_and_plots() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (here, there) = (first.path(), second.path());
        fs::create_dir(here.join("libtorrent")).unwrap();
        fetched(here, Role::Seed, "seed", 1, 8);
        fetched(here, Role::Leech, "leech-1", 1, 4);
        fetched(there, Role::Leech, "leech-2", 1, 2);
        fetched(&here.join("libtorrent"), Role::Leech, "leech", 1, 80);
        let tables = report(here, &[there.to_owned()]).unwrap();

        let summary = fs::read_to_string(here.join("bittorrent_summary.csv")).unwrap();
        let rows = "10kB,30000.0,14142.1,10000.0,0.0,1.1000,1.1000\n100kB,,,,,,\n1MB,,,,,,\n10MB,,,,,,\n";
        assert_eq!(summary, format!("{HEADER}{rows}"));
        assert!(HEADER.starts_with("File Size,Download Avg (kbps),Download StdDev,Upload Avg (kbps)"));
        let other = fs::read_to_string(here.join("libtorrent/bittorrent_summary.csv")).unwrap();
        assert!(other.contains("\n10kB,1000.0,0.0,,,1.1000,\n"), "{other}");
        assert!(
            tables.contains("| 10kB | 30,000 | 14,142 | 10,000 | 0 | 1.1000 | 1.1000 | 2 + 1 |"),
            "{tables}"
        );
        for plot in ["throughput.svg", "overhead.svg"] {
            let plot = fs::read_to_string(here.join(plot)).unwrap();
            for words in
                ["<svg", "</svg>", "shoal, download", "shoal, upload", "libtorrent, download", "10kB"]
            {
                assert!(plot.contains(words), "{words}");
            }
            assert!(!plot.contains("libtorrent, upload"), "there are no such rows");
        }
    }

    #[test]
    fn without_rows_there_is_nothing_to_report() {
        let dir = tempfile::tempdir().unwrap();
        assert!(report(dir.path(), &[]).unwrap_err().to_string().contains("no rows"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
