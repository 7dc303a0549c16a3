//! Summary of the rows of one client: a line for each size. Download is from the leechers' rows of the A
//! files. Upload is from the seeder's rows of the B files, which the leechers sent. Reads files on
//! `main`; no lock.

use super::client::Kind;
use super::rows::{Row, Rows};
use super::statistics::Spread;
use super::{Failure, Role, SIZES, Size};
use std::fmt::Write;
use std::path::Path;

/// First line of `bittorrent_summary.csv`, in the format of the first version.
pub const HEADER: &str = "File Size,Download Avg (kbps),Download StdDev,Upload Avg (kbps),Upload StdDev,\
                      Download Overhead,Upload Overhead\n";

/// Summary of the rows of one direction.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Direction {
    /// Throughput in thousands of bits per second.
    pub kbps: Spread,
    /// Bytes on the sockets, divided by the size of the file.
    pub overhead: Spread,
}

impl Direction {
    fn of(rows: &[Row]) -> Option<Direction> {
        let column = |cell: fn(&Row) -> f64| Spread::of(&rows.iter().map(cell).collect::<Vec<_>>());
        Some(Direction { kbps: column(|row| row.kbps)?, overhead: column(|row| row.overhead)? })
    }
}

/// Summary of one size.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Line {
    /// The size of the file.
    pub size: Size,
    /// The leechers' rows; `None` if there are none.
    pub download: Option<Direction>,
    /// The seeder's rows; `None` if there are none.
    pub upload: Option<Direction>,
}

/// Summary of one client.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    /// The client.
    pub kind: Kind,
    /// A line for each of [`SIZES`].
    pub lines: Vec<Line>,
}

impl Summary {
    /// Reads all rows of a client in these result folders.
    pub fn read(kind: Kind, folders: &[&Path]) -> Result<Summary, Failure> {
        let direction = |size, role: Role| {
            let mut all = Vec::new();
            for folder in folders {
                all.extend(Rows::new(&kind.results(folder), role.wants(), size, role).read()?);
            }
            Ok(Direction::of(&all))
        };
        let line = |size| {
            Ok(Line { size, download: direction(size, Role::Leech)?, upload: direction(size, Role::Seed)? })
        };
        Ok(Summary { kind, lines: SIZES.into_iter().map(line).collect::<Result<_, _>>()? })
    }

    /// Whether there are no rows at all.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.download.is_none() && line.upload.is_none())
    }

    /// The summary as CSV; empty cells where there are no rows.
    pub fn csv(&self) -> String {
        let mut text = HEADER.to_owned();
        for Line { size, download, upload } in &self.lines {
            let _ = writeln!(
                text,
                "{},{},{},{},{},{},{}",
                size.label,
                cell(download, |direction| format!("{:.1}", direction.kbps.mean)),
                cell(download, |direction| format!("{:.1}", direction.kbps.deviation)),
                cell(upload, |direction| format!("{:.1}", direction.kbps.mean)),
                cell(upload, |direction| format!("{:.1}", direction.kbps.deviation)),
                cell(download, |direction| format!("{:.4}", direction.overhead.mean)),
                cell(upload, |direction| format!("{:.4}", direction.overhead.mean)),
            );
        }
        text
    }

    /// A Markdown table for people, with the number of repetitions of each line.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "**{}**\n\n| File Size | Download Avg (kbps) | Download StdDev | Upload Avg (kbps) \
             | Upload StdDev | Download Overhead | Upload Overhead | repetitions |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|\n",
            self.kind
        );
        for Line { size, download, upload } in &self.lines {
            let cells = [
                cell(download, |direction| whole(direction.kbps.mean)),
                cell(download, |direction| whole(direction.kbps.deviation)),
                cell(upload, |direction| whole(direction.kbps.mean)),
                cell(upload, |direction| whole(direction.kbps.deviation)),
                cell(download, |direction| format!("{:.4}", direction.overhead.mean)),
                cell(upload, |direction| format!("{:.4}", direction.overhead.mean)),
            ];
            let count = |direction: &Option<Direction>| direction.map_or(0, |direction| direction.kbps.count);
            let counts = format!("{} + {}", count(download), count(upload));
            let _ = writeln!(text, "| {} | {} | {counts} |", size.label, cells.join(" | "));
        }
        text
    }
}

fn cell(direction: &Option<Direction>, show: impl Fn(&Direction) -> String) -> String {
    direction.as_ref().map(show).unwrap_or_default()
}

fn whole(number: f64) -> String {
    crate::torrent::units::thousands(number.round() as u64)
}
