//! Progress on a terminal: a bar for each torrent, with percent, rate, peers and time left; nothing if
//! the output is no terminal. Runs on the thread that draws, and takes the torrents' locks only to
//! read their progress.

use crate::peer::bandwidth::rate::Meter;
use crate::peer::swarm::{State, Swarm};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the bars are drawn.
pub const TICK: Duration = Duration::from_millis(200);
/// Number of seconds over which the rate is measured.
const SPAN: usize = 5;

/// The bars of some torrents.
pub struct Bars {
    bars: Vec<Bar>,
}

struct Bar {
    swarm: Arc<Swarm>,
    bar: ProgressBar,
    meter: Meter,
    seen: u64,
}

impl Bars {
    /// A bar for each torrent, if standard error is a terminal.
    pub fn new(swarms: &[Arc<Swarm>]) -> Self {
        let all = MultiProgress::new();
        let swarms = swarms.iter().filter(|_| stderr().is_terminal());
        Bars { bars: swarms.map(|swarm| Bar::new(swarm, &all)).collect() }
    }

    /// Draws the current state of each torrent.
    pub fn draw(&mut self) {
        self.bars.iter_mut().for_each(|bar| bar.draw(Instant::now()));
    }

    /// Removes the bars.
    pub fn clear(&mut self) {
        self.bars.drain(..).for_each(|bar| bar.bar.finish_and_clear());
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Bar {
    fn new(swarm: &Arc<Swarm>, all: &MultiProgress) -> Self {
        let bar = all.add(ProgressBar::new(swarm.progress().total));
        if let Ok(style) = ProgressStyle::with_template("{prefix:20!} {bar:30} {percent:>3}% {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(swarm.torrent.name().to_owned());
        Bar { swarm: Arc::clone(swarm), bar, meter: Meter::new(Instant::now()), seen: 0 }
    }

    fn draw(&mut self, now: Instant) {
        let progress = self.swarm.progress();
        self.meter.add(progress.downloaded - self.seen, now);
        self.seen = progress.downloaded;
        let rate = self.meter.rate(SPAN, now);
        let left = progress.total.saturating_sub(progress.bytes);
        self.bar.set_position(progress.bytes);
        self.bar.set_message(match progress.state {
            State::Paused(_) => "paused".to_owned(),
            State::Absent(why) => why,
            State::Running if progress.is_complete() => "complete".to_owned(),
            State::Running if progress.checking > 0 => {
                format!("checking {}", plural(progress.checking as u64, "part"))
            }
            State::Running => {
                let peers = plural(progress.peers as u64, "peer");
                format!("{} from {peers}, {}", show_rate(rate), show_left(left, rate, progress.peers))
            }
        });
    }
}

/// A bar on standard error for `total` bytes that are `doing` ("hashing"), if it is a terminal.
pub fn bytes_bar(total: u64, doing: &'static str) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}");
    let bar = ProgressBar::new(total).with_message(doing);
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
}
