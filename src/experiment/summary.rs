//! What the rows of one client say together: a line for each size. Download is what the leechers' rows of the A files say,
//! upload what the seeder's rows of the B files say, which the leechers sent.

use super::client::Kind;
use super::rows::{Row, Rows};
use super::statistics::Spread;
use super::{Failure, Role, SIZES, Size};
use std::fmt::Write;
use std::path::Path;

/// As the first users had it.
pub const HEADER: &str = "File Size,Download Avg (kbps),Download StdDev,Upload Avg (kbps),Upload StdDev,\
                      Download Overhead,Upload Overhead\n";

/// What the rows of one direction say.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Direction {
    /// Thousands of bits per second.
    pub kbps: Spread,
    /// Bytes on the sockets in file sizes.
    pub overhead: Spread,
}

impl Direction {
    fn of(rows: &[Row]) -> Option<Direction> {
        let column = |cell: fn(&Row) -> f64| Spread::of(&rows.iter().map(cell).collect::<Vec<_>>());
        Some(Direction { kbps: column(|row| row.kbps)?, overhead: column(|row| row.overhead)? })
    }
}

/// One size.
#[derive(Copy, Clone, PartialEq, Debug)]
pub struct Line {
    pub size: Size,
    pub download: Option<Direction>,
    pub upload: Option<Direction>,
}

/// One client.
#[derive(Clone, PartialEq, Debug)]
pub struct Summary {
    pub kind: Kind,
    pub lines: Vec<Line>,
}

impl Summary {
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

    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.download.is_none() && line.upload.is_none())
    }

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

    /// A table for people, with how many repetitions stand behind each line.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "**{}**\n\n| File Size | Download Avg (kbps) | Download StdDev | Upload Avg (kbps) | Upload StdDev \
             | Download Overhead | Upload Overhead | repetitions |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
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
