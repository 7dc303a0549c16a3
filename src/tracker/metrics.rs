//! Counters for `/metrics`. Every thread of the tracker adds to them. Atomics, no lock; the counters are
//! independent, so relaxed order is enough.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::registry::Census;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters; [`Metrics::text`] explains each of them.
#[derive(Debug, Default)]
pub struct Metrics {
    pub connections: Counter,
    pub refused: Counter,
    pub sessions: Counter,
    pub session_requests: Counter,
    pub session_errors: Counter,
    pub sessions_silent: Counter,
    pub sessions_behind: Counter,
    pub events: Counter,
    pub http_requests: Counter,
    pub http_errors: Counter,
    pub announces: Counter,
    pub announce_errors: Counter,
    pub scrapes: Counter,
    pub udp_packets: Counter,
    pub udp_ignored: Counter,
}

impl Metrics {
    /// All counters in the Prometheus text format, with the numbers that are counted elsewhere.
    pub fn text(&self, census: &Census, connections: usize, uptime_seconds: u64) -> String {
        let mut out = String::new();
        let gauges = [
            ("uptime_seconds", "Seconds since the start.", uptime_seconds),
            ("connections", "Open connections.", connections as u64),
            ("sessions", "Open sessions.", census.sessions as u64),
            ("torrents", "Torrents in the catalogue.", census.torrents as u64),
            (
                "torrents_available",
                "Torrents of which every piece is held by somebody.",
                census.available as u64,
            ),
            ("swarms", "Swarms, in the catalogue or not.", census.swarms as u64),
            ("seeds", "Members of swarms that hold everything.", census.seeds as u64),
            ("peers", "Members of swarms that do not.", census.peers as u64),
            ("announcers", "Members of swarms that announce.", census.announcers as u64),
        ];
        let counters = [
            ("connections_total", "Connections accepted.", &self.connections),
            ("connections_refused_total", "Connections for which there was no room.", &self.refused),
            ("sessions_total", "Sessions that said hello.", &self.sessions),
            ("session_requests_total", "Requests of sessions.", &self.session_requests),
            ("session_errors_total", "Requests of sessions that were refused.", &self.session_errors),
            ("sessions_silent_total", "Sessions dropped for silence.", &self.sessions_silent),
            ("sessions_behind_total", "Sessions dropped because they did not read.", &self.sessions_behind),
            ("events_total", "Events sent to sessions.", &self.events),
            ("http_requests_total", "HTTP requests.", &self.http_requests),
            ("http_errors_total", "HTTP requests answered with an error status.", &self.http_errors),
            ("announces_total", "Announces.", &self.announces),
            ("announce_errors_total", "Announces and scrapes that were refused.", &self.announce_errors),
            ("scrapes_total", "Scrapes.", &self.scrapes),
            ("udp_packets_total", "Packets received by UDP.", &self.udp_packets),
            ("udp_ignored_total", "Packets that were owed no answer.", &self.udp_ignored),
        ];
        for (name, help, value) in gauges {
            sample(&mut out, name, help, "gauge", value);
        }
        for (name, help, counter) in counters {
            sample(&mut out, name, help, "counter", counter.get());
        }
        out
    }
}

fn sample(out: &mut String, name: &str, help: &str, kind: &str, value: u64) {
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "# HELP shoal_tracker_{name} {help}\n# TYPE shoal_tracker_{name} {kind}\n\
         shoal_tracker_{name} {value}\n"
    );
}
