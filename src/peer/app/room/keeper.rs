//! The `room` thread keeps the trackers and the torrents together. Each second it reports the pieces that
//! were finished, asks for peers for downloads that need some, and, as a mirror, fetches what was offered. It
//! waits for the trackers' answers, so that no other thread has to. It takes a torrent's picker lock and
//! addresses lock, one at a time, for one look-up.

use super::host::RoomHost;
use super::offers::{LOOK, Offers};
use super::task::Task;
use crate::bitfield::Bitfield;
use crate::peer::app::pace::Pace;
use crate::peer::catalogue::Trackers;
use crate::peer::swarm::Swarm;
use crate::peer::swarm::busy::Busy;
use crate::protocol::catalogue::Request;
use crate::torrent::InfoHash;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often each torrent is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often peers are asked for, for a download.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// The thread's own state.
pub(super) struct Keeper {
    host: Arc<RoomHost>,
    trackers: Arc<Trackers>,
    /// All torrents at the last look. The table gives the same list as long as none is added or removed.
    seen: Option<Arc<[Arc<Swarm>]>>,
    /// Those of them that do not rest.
    busy: Busy,
    offers: Offers,
    /// Of those that are or were at work in this run.
    notes: BTreeMap<InfoHash, Note>,
}

/// What the thread remembers of one torrent.
struct Note {
    /// Number of finished pieces that were reported to the tracker.
    told: usize,
    /// When the tracker was last asked for peers.
    asked_at: Option<Instant>,
    /// When it was last looked whether something is in its way.
    way_looked_at: Instant,
    /// Why it cannot be fetched, as the tracker was told.
    blocked: Option<String>,
    pace: Pace,
}

impl Keeper {
    pub fn new(host: Arc<RoomHost>, trackers: Arc<Trackers>) -> Self {
        Keeper {
            host,
            trackers,
            seen: None,
            busy: Busy::default(),
            offers: Offers::default(),
            notes: BTreeMap::new(),
        }
    }

    /// The work of the thread, until it is told to stop.
    pub fn run(mut self, tasks: &Receiver<Task>) {
        let mut look_at = Instant::now() + TICK;
        loop {
            match tasks.recv_deadline(look_at) {
                Ok(Task::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Task::Fetch(offer)) => {
                    self.let_go(); // of a torrent that is given up
                    self.offers.take(&self.host, &self.trackers, offer);
                }
                Ok(Task::Gone(key)) => self.offers.gone(&self.host, &self.trackers, &key),
                Ok(Task::Look) => self.look(),
                Err(RecvTimeoutError::Timeout) => {
                    look_at = Instant::now() + TICK;
                    self.look();
                }
            }
        }
    }

    fn let_go(&mut self) {
        self.seen = None;
        self.busy = Busy::default();
    }

    fn look(&mut self) {
        if self.offers.are_waiting() {
            self.let_go(); // as above
            self.offers.retry(&self.host, &self.trackers);
        }
        let (swarms, now) = (self.host.peer.swarms.all(), Instant::now());
        if self.seen.as_ref().is_none_or(|seen| !Arc::ptr_eq(seen, &swarms)) {
            let here: BTreeSet<InfoHash> = swarms.iter().map(|swarm| swarm.torrent.info_hash()).collect();
            self.notes.retain(|hash, _| here.contains(hash));
            self.host.rates.lock().retain(|hash, _| here.contains(hash));
            self.seen = Some(Arc::clone(&swarms));
        }
        let shared = &self.host.peer.shared;
        for swarm in self.busy.among(&self.host.peer.swarms, shared, |swarm| !swarm.is_untouched()) {
            self.look_at(&swarm, now);
        }
    }

    fn look_at(&mut self, swarm: &Arc<Swarm>, now: Instant) {
        let note = self.notes.entry(swarm.torrent.info_hash()).or_insert_with(|| Note::new(swarm, now));
        if let Some(rates) = note.pace.rates_if_moving(swarm.counts.totals(), now) {
            self.host.rates.lock().insert(swarm.torrent.info_hash(), rates);
        }
        let finished = swarm.finished_since(&mut note.told);
        if !finished.is_empty() {
            let mut came = Bitfield::new(swarm.torrent.geometry().piece_count());
            finished.iter().for_each(|piece| {
                came.set(piece.index());
            });
            let ranges = came.ranges().into_iter().map(|range| (range.start, range.end)).collect();
            self.trackers.tell(&Request::Have { key: swarm.torrent.key(), ranges });
        }
        let blocked = swarm.blocked();
        if note.blocked != blocked {
            note.blocked = blocked;
            self.trackers.refresh(&[swarm.torrent.info_hash()]);
        }
        if !swarm.is_running() && now >= note.way_looked_at + LOOK {
            note.way_looked_at = now;
            self.host.look_at_the_way(&self.trackers, swarm);
        }
        if swarm.is_running() && swarm.waits_for_its_place() && swarm.has_all_wanted() {
            self.host.make_way(&self.trackers, swarm);
        }
        let waits = note.asked_at.is_some_and(|asked_at| now < asked_at + ASK_AGAIN);
        if !swarm.is_complete() && swarm.is_running() && !waits {
            note.asked_at = Some(now);
            if let Err(why) = self.host.find_peers(&self.trackers, swarm) {
                log::debug!("no peers of {} from the tracker: {why}", swarm.torrent.name());
            }
        }
    }
}

impl Note {
    fn new(swarm: &Swarm, now: Instant) -> Self {
        Note { told: 0, asked_at: None, way_looked_at: now, blocked: None, pace: Pace::of(swarm, now) }
    }
}
