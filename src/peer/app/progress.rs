//! How far something is, for people to see: on a terminal a bar for each torrent, with percent, rate, peers
//! and time left, elsewhere a line now and then. Runs on the thread that draws, and takes the torrents' locks
//! only to read their progress.

mod terminal;

use crate::peer::swarm::{State, Swarm};
use crate::printable::line;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::termios::tcgetwinsize;
use serde::{Deserialize, Serialize};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};
use terminal::{Resizable, StandardError};

/// How often progress is shown.
pub const TICK: Duration = Duration::from_millis(200);
/// Without a terminal, how long there is no line if nothing much changes.
const QUIET: Duration = Duration::from_secs(10);
/// And how long after a line there is none in any case.
const PAUSE: Duration = Duration::from_secs(1);
/// From this number of columns on a terminal has room for a bar.
const WIDE: u16 = 96;

/// What goes on with what is done.
const COMPLETE: &str = "complete";

/// How far something is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gauge {
    /// What it is called.
    pub name: String,
    /// Number of bytes that are done.
    pub bytes: u64,
    /// Number of bytes in all.
    pub total: u64,
    /// What goes on, in words.
    pub doing: String,
}

impl Gauge {
    /// A torrent that people call `name`, and that gets so many bytes a second.
    pub fn of(name: impl AsRef<str>, swarm: &Swarm, down: u64) -> Self {
        let progress = swarm.progress();
        let left = progress.total.saturating_sub(progress.bytes);
        let doing = match &progress.state {
            State::Paused(_) => "paused".to_owned(),
            State::Absent(why) => why.clone(),
            State::Running if swarm.is_complete() => COMPLETE.to_owned(),
            State::Running if progress.is_complete() => "saving it".to_owned(),
            State::Running if progress.checking > 0 && down == 0 => {
                format!("checking {}", plural(progress.checking as u64, "part"))
            }
            State::Running => {
                let peers = plural(progress.peers as u64, "peer");
                format!("{} from {peers}, {}", show_rate(down), show_left(left, down, progress.peers))
            }
        };
        // Of what lies there already, the bar shows how much was looked at: nobody waits for peers then.
        let checks = progress.checking > 0 && down == 0 && progress.state == State::Running;
        let unchecked = progress.checking as u64 * u64::from(swarm.torrent.geometry().piece_length());
        Gauge {
            name: line(name.as_ref()).into_owned(),
            bytes: if checks { progress.total.saturating_sub(unchecked) } else { progress.bytes },
            total: progress.total,
            doing,
        }
    }

    /// Many files as one.
    pub fn of_all(gauges: &[Gauge]) -> Self {
        let complete = gauges.iter().filter(|gauge| gauge.doing == COMPLETE).count();
        let count = plural(gauges.len() as u64, "file");
        Gauge {
            name: count.clone(),
            bytes: gauges.iter().map(|gauge| gauge.bytes).sum(),
            total: gauges.iter().map(|gauge| gauge.total).sum(),
            doing: format!("{complete} of {count} complete"),
        }
    }

    /// The percentage that is done; 100 of nothing.
    pub fn percent(&self) -> u64 {
        let hundredfold = u128::from(self.bytes) * 100;
        hundredfold.checked_div(self.total.into()).map_or(100, |percent| percent as u64)
    }
}

/// What was drawn of some gauges on standard error.
pub struct Drawing {
    bars: MultiProgress,
    drawn: Vec<Drawn>,
    is_narrow: bool,
    /// Since when there is something to draw.
    since: Option<Instant>,
}

/// What was drawn of one gauge.
struct Drawn {
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// When the last line was printed, or might have been, and what percentage it showed.
    told: (Instant, u64),
}

impl Default for Drawing {
    fn default() -> Self {
        Drawing {
            bars: MultiProgress::with_draw_target(on_terminal()),
            drawn: Vec::new(),
            is_narrow: is_narrow(),
            since: None,
        }
    }
}

impl Drawing {
    /// Draws these gauges instead of those before, which should be the same ones. Without any, what was drawn
    /// is removed.
    pub fn show(&mut self, gauges: &[Gauge]) {
        self.show_at(gauges, Instant::now());
    }

    /// Prints something where the bars are, which are drawn again below it.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bars.suspend(print)
    }

    fn show_at(&mut self, gauges: &[Gauge], now: Instant) {
        let since = *self.since.get_or_insert(now);
        if gauges.is_empty() {
            self.since = None;
        } else if stderr().is_terminal() && now.saturating_duration_since(since) < TICK {
            return; // what is over in a moment needs no bar
        }
        self.drawn.drain(gauges.len().min(self.drawn.len())..).for_each(Drawn::clear);
        let was_narrow = std::mem::replace(&mut self.is_narrow, is_narrow());
        if was_narrow != self.is_narrow {
            self.drawn
                .iter()
                .filter_map(|drawn| drawn.bar.as_ref())
                .for_each(|bar| bar.set_style(style(self.is_narrow)));
        }
        for gauge in gauges.iter().skip(self.drawn.len()) {
            let bar = stderr().is_terminal().then(|| self.bars.add(bar_of(gauge, self.is_narrow)));
            self.drawn.push(Drawn { bar, told: (now, gauge.percent()) });
        }
        for (drawn, gauge) in self.drawn.iter_mut().zip(gauges) {
            match &drawn.bar {
                Some(bar) => {
                    bar.set_length(gauge.total);
                    bar.set_position(gauge.bytes);
                    bar.set_message(gauge.doing.clone());
                }
                None => drawn.line(gauge, now).into_iter().for_each(|line| eprintln!("{line}")),
            }
        }
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        self.show(&[]);
    }
}

impl Drawn {
    fn clear(self) {
        self.bar.into_iter().for_each(|bar| bar.finish_and_clear());
    }

    /// The line that tells of the gauge, if one is due: after ten seconds, or a tenth part.
    fn line(&mut self, gauge: &Gauge, now: Instant) -> Option<String> {
        let ((at, before), percent) = (self.told, gauge.percent());
        let since = now.saturating_duration_since(at);
        let is_due = since >= QUIET || (since >= PAUSE && percent / 10 > before / 10);
        is_due.then(|| {
            self.told = (now, percent);
            format!("{}: {percent} %, {}", gauge.name, gauge.doing)
        })
    }
}

/// A bar that is not drawn before it has its place among the others.
fn bar_of(gauge: &Gauge, is_narrow: bool) -> ProgressBar {
    let hidden = ProgressBar::with_draw_target(Some(gauge.total), ProgressDrawTarget::hidden());
    hidden
        .with_style(style(is_narrow))
        .with_prefix(gauge.name.clone())
        .with_position(gauge.bytes)
        .with_message(gauge.doing.clone())
}

/// Draws on standard error, at most so many times a second as `indicatif` does by itself.
fn on_terminal() -> ProgressDrawTarget {
    ProgressDrawTarget::term_like_with_hz(Box::new(Resizable::new(StandardError, terminal::reflows())), 20)
}

/// Whether standard error is a terminal that has no room for a bar beside the words.
fn is_narrow() -> bool {
    tcgetwinsize(stderr()).is_ok_and(|size| (1..WIDE).contains(&size.ws_col))
}

/// What does not fit into the terminal's width is cut off: a line that goes on below could not be drawn over.
fn style(is_narrow: bool) -> ProgressStyle {
    let template = match is_narrow {
        true => "{prefix:16!} {percent:>3}% {wide_msg}",
        false => "{prefix:20!} {bar:30} {percent:>3}% {wide_msg}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A bar on standard error for `total` bytes that are `doing` ("hashing"), if it is a terminal.
pub fn bytes_bar(total: u64, doing: &'static str) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::with_draw_target(Some(total), on_terminal()).with_message(doing);
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

/// `5.2 MB/s`.
pub fn show_rate(bytes_per_second: u64) -> String {
    format!("{}/s", show_bytes(bytes_per_second))
}

/// `5.2 MB`: units of 1000, as rates and sizes are sold.
pub fn show_bytes(bytes: u64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let amount = bytes as f64;
    match units.iter().find(|(size, _)| amount >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", amount / size),
        None => format!("{bytes} B"),
    }
}

/// `1 peer`, `2 peers`.
pub fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// How long `bytes` take at this rate, in bytes per second, from that many peers.
pub fn show_left(bytes: u64, rate: u64, peers: usize) -> String {
    match bytes.checked_div(rate) {
        None if peers == 0 => "waiting for peers".to_owned(),
        None => "waiting".to_owned(),
        Some(seconds) if seconds >= 3600 => format!("{} h {:02} min left", seconds / 3600, seconds / 60 % 60),
        Some(seconds) if seconds >= 60 => format!("{} min {:02} s left", seconds / 60, seconds % 60),
        Some(seconds) => format!("{seconds} s left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_in_words() {
        assert_eq!(show_bytes(999), "999 B");
        assert_eq!(show_rate(5_240_000), "5.2 MB/s");
        assert_eq!(plural(1, "peer"), "1 peer");
        assert_eq!(plural(0, "peer"), "0 peers");
        assert_eq!(show_left(100, 0, 0), "waiting for peers");
        assert_eq!(show_left(100, 0, 1), "waiting");
        assert_eq!(show_left(59, 1, 1), "59 s left");
        assert_eq!(show_left(3_600 * 2 + 61, 1, 1), "2 h 01 min left");
    }

    fn gauge(bytes: u64) -> Gauge {
        Gauge { name: "film".into(), bytes, total: 1000, doing: "5 kB/s".into() }
    }

    /// Bug: nothing was told of a download without a terminal, under `nohup` or in a log, until its end.
    #[test]
    fn without_a_terminal_there_is_a_line_for_each_tenth_part_or_ten_seconds() {
        let start = Instant::now();
        let mut drawn = Drawn { bar: None, told: (start, 0) };
        let mut line = |millis, bytes| drawn.line(&gauge(bytes), start + Duration::from_millis(millis));
        assert_eq!(line(500, 990), None, "too soon");
        assert_eq!(line(1000, 99), None, "no tenth part");
        assert_eq!(line(1200, 100).as_deref(), Some("film: 10 %, 5 kB/s"));
        assert_eq!(line(9000, 199), None);
        assert_eq!(line(11_199, 199), None);
        assert_eq!(line(11_200, 199).as_deref(), Some("film: 19 %, 5 kB/s"));
        assert_eq!(line(12_200, 200).as_deref(), Some("film: 20 %, 5 kB/s"));
    }

    #[test]
    fn all_of_nothing_is_done() {
        assert_eq!(Gauge { total: 0, ..gauge(0) }.percent(), 100);
        assert_eq!(Gauge { bytes: u64::MAX, total: u64::MAX, ..gauge(0) }.percent(), 100);
    }
}
