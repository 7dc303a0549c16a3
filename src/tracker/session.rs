//! One session: JSON lines over a connection that stays open. Runs on the connection's thread `client-N`;
//! takes the lock `registry` for one query at a time.
//!
//! A peer never makes another peer wait. Requests are answered in their order. While a peer does not read its
//! answers, its requests are not read either ([`HIGH_WATER`]), so the memory for a peer is bounded by that,
//! one answer, and the shared budget for long lines. Events wait for it in the registry. A peer that has read
//! nothing for the time `limits.stall` is dropped.

use std::time::Instant;

use crate::mailbox::Interest;
use crate::torrent::Torrent;

use super::budget::Share;
use super::connection::{ClientConnection, ClientEnd};
use super::registry::{Departure, Read, SessionId};
use super::shared::{ConnectionId, TrackerShared};
use crate::protocol::catalogue::{
    Answer, Call, Hello, MAX_FIRST_LINE, MAX_LINE, Metainfo, Publish, Refusal, Reply, Request,
};
use crate::protocol::lines::Lines;

/// While more bytes than this wait to be sent, nothing more is read, answered or told.
const HIGH_WATER: usize = 64 << 10;

/// Bytes that a connection may hold without taking them from the budget.
const FREE: usize = 2 * HIGH_WATER;

/// About the size of an answer with a thousand entries with long names, in bytes.
const LISTING: usize = 512 << 10;

const SHORT_OF_MEMORY: &str = "the tracker is short of memory for long lines, try again later";

/// Maximum number of events taken from the registry at once.
const EVENTS_AT_ONCE: usize = 64;

/// Serves a session until it ends. `begun` are the first bytes that came.
pub fn serve(shared: &TrackerShared, connection: &mut ClientConnection, id: ConnectionId, begun: &[u8]) {
    let now = Instant::now();
    let mut lines = Lines::default();
    lines.push(begun);
    let mut session = ServerSession {
        shared,
        connection,
        id,
        member: None,
        lines,
        out: Vec::new(),
        sent: 0,
        big: shared.budget.share(),
        started: now,
        heard: now,
        line_begun: now,
        stuck: None,
        news_left: false,
    };
    let how = loop {
        if let Err(how) = session.turn() {
            break how;
        }
    };
    session.end(how);
}

/// Why a session ends.
enum Over {
    /// The peer sent `leave` and was answered.
    Left,
    /// The peer broke a rule, and is told which.
    TurnedAway(&'static str),
    /// Nothing was received for the time `limits.silence`.
    Silent,
    /// The peer read nothing for the time `limits.stall`.
    Behind,
    /// The connection ended, or the tracker stops.
    Dropped,
}

impl From<ClientEnd> for Over {
    fn from(_: ClientEnd) -> Self {
        Over::Dropped
    }
}

struct ServerSession<'a, 'c> {
    shared: &'a TrackerShared,
    connection: &'a mut ClientConnection<'c>,
    id: ConnectionId,
    /// `None` before `hello`.
    member: Option<(SessionId, Read)>,
    lines: Lines,
    /// Bytes to send, of which `sent` are sent.
    out: Vec<u8>,
    sent: usize,
    big: Share,
    started: Instant,
    /// When the last byte was received.
    heard: Instant,
    /// When the line began that is not complete yet.
    line_begun: Instant,
    /// Since when the socket has taken none of the waiting bytes.
    stuck: Option<Instant>,
    /// Whether there may be more events than were taken.
    news_left: bool,
}

impl ServerSession<'_, '_> {
    fn turn(&mut self) -> Result<(), Over> {
        if self.shared.is_stopping() {
            return Err(Over::Dropped);
        }
        self.receive()?;
        self.answer_all()?;
        self.tell_news();
        self.flush()?;
        self.check_times(Instant::now())?;
        self.wait()
    }

    fn is_congested(&self) -> bool {
        self.out.len() - self.sent > HIGH_WATER
    }

    /// Reads the bytes that are there, up to 64 KiB, before lines are looked for again.
    fn receive(&mut self) -> Result<(), Over> {
        let mut chunk = [0; 16 << 10];
        for _ in 0..4 {
            if self.is_congested() || self.lines.has_line() {
                return Ok(());
            }
            let n = self.connection.read(&mut chunk)?;
            if n == 0 {
                return Ok(());
            }
            self.heard = Instant::now();
            if self.lines.is_empty() {
                self.line_begun = self.heard;
            }
            self.lines.push(&chunk[..n]);
            self.check_length()?;
        }
        Ok(())
    }

    fn check_length(&mut self) -> Result<(), Over> {
        let limit = if self.member.is_some() { MAX_LINE } else { MAX_FIRST_LINE };
        if self.lines.len() > limit && !self.lines.has_line() {
            return Err(Over::TurnedAway("the line is too long"));
        }
        match self.make_room(0) {
            true => Ok(()),
            false => Err(Over::TurnedAway(SHORT_OF_MEMORY)),
        }
    }

    /// Takes memory from the budget for what this session holds now and for `more` bytes to send.
    fn make_room(&mut self, more: usize) -> bool {
        let needed = self.lines.len() + self.out.len() + more;
        self.big.resize(needed.saturating_sub(FREE))
    }

    fn answer_all(&mut self) -> Result<(), Over> {
        while !self.is_congested() {
            let Some(line) = self.lines.next_line() else { return Ok(()) };
            if line.is_empty() {
                self.out.push(b'\n'); // a keep-alive is answered by one
                continue;
            }
            let call = Call::parse(line);
            self.line_begun = Instant::now();
            self.shared.metrics.session_requests.add();
            let (id, result, leaves) = match call {
                Ok(Call { id, request }) => {
                    let leaves = matches!(request, Request::Leave {});
                    (Some(id), self.answer(request), leaves)
                }
                Err(bad) => (bad.id, Err(Refusal::new(bad.message)), false),
            };
            let leaves = leaves && result.is_ok();
            if result.is_err() {
                self.shared.metrics.session_errors.add();
            }
            self.out.extend_from_slice(Answer::Reply { id, result }.line().as_bytes());
            if leaves {
                return Err(Over::Left);
            }
        }
        Ok(())
    }

    fn answer(&mut self, request: Request) -> Result<Reply, Refusal> {
        let Some((id, _)) = self.member else {
            return match request {
                Request::Hello(hello) => Ok(self.hello(&hello)),
                _ => Err(Refusal::new("say hello first")),
            };
        };
        let lists = matches!(request, Request::Search(_) | Request::List(_) | Request::Peers { .. });
        if lists && !self.make_room(LISTING) {
            return Err(short_of_memory());
        }
        let shared = self.shared;
        match request {
            Request::Hello(_) => Err(Refusal::new("this session has said hello already")),
            Request::Publish(publish) => self.publish(id, &publish),
            Request::Search(ask) => {
                Ok(Reply::Search(shared.registry(|r| r.search(&ask.words, ask.all, ask.skip))))
            }
            Request::List(ask) => Ok(Reply::List(shared.registry(|r| r.search("", ask.all, ask.skip)))),
            Request::Torrent { key } => self.torrent(&key),
            Request::Locate { key, first, end } => {
                let holders = shared.registry(|r| r.locate(id, r.resolve(&key)?, (first, end)))?;
                Ok(Reply::Locate { holders })
            }
            Request::Have { key, ranges } => {
                shared.registry(|r| r.finished(id, r.resolve(&key)?, &ranges))?;
                Ok(Reply::Have {})
            }
            Request::Peers { key: Some(key), want } => {
                let peers = shared.registry(|r| r.peers(id, r.resolve(&key)?, want))?;
                Ok(Reply::Peers { peers })
            }
            Request::Peers { key: None, want } => {
                Ok(Reply::Peers { peers: shared.registry(|r| r.all_peers(id, want)) })
            }
            Request::Unpublish { key } => {
                shared.registry(|r| r.unpublish(id, r.resolve(&key)?))?;
                Ok(Reply::Unpublish {})
            }
            Request::Leave {} => Ok(Reply::Leave {}),
        }
    }

    fn hello(&mut self, hello: &Hello) -> Reply {
        let remote = self.connection.remote();
        self.shared.metrics.sessions.add();
        self.member = Some(self.shared.registry(|registry| registry.hello(hello, remote)));
        self.shared.subscribe(self.id);
        self.news_left = true; // a mirror is told of the open offers
        log::debug!("session of {} at {remote}: {}", hello.peer_id, hello.client);
        let keep_alive = self.shared.limits.silence / 3;
        Reply::Hello {
            address: remote,
            keep_alive_ms: u64::try_from(keep_alive.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn publish(&mut self, id: SessionId, publish: &Publish) -> Result<Reply, Refusal> {
        let torrent = Torrent::parse(&publish.torrent.0).map_err(|error| Refusal::new(error.to_string()))?;
        if publish.have.bitfield(torrent.geometry().piece_count()).is_none() {
            return Err(Refusal::new("`have` names pieces that the torrent does not have"));
        }
        self.shared.keep(&torrent, publish.offer || publish.own)?;
        let hash = torrent.info_hash();
        let replaced = self.shared.registry(|registry| {
            let at_once = registry.catalogue(&torrent);
            registry.publish(id, hash, &publish.have, publish.offer)?;
            registry.own(id, hash, publish.own);
            registry.place(id, hash, publish.path.as_ref());
            registry.blocked(id, hash, publish.blocked.as_ref());
            let mut replaced = Vec::from_iter(at_once.filter(|_| registry.is_replaced(hash)));
            if publish.offer {
                replaced.extend(registry.replace(id, hash, &publish.replaces));
            }
            Ok(replaced)
        })?;
        replaced.iter().for_each(|key| self.shared.store.remove(key));
        Ok(Reply::Publish { key: torrent.key() })
    }

    fn torrent(&mut self, key: &str) -> Result<Reply, Refusal> {
        let (key, path) = self.shared.registry(|registry| {
            let hash = registry.resolve(key)?;
            if registry.is_replaced(hash) {
                return Err(Refusal::new("a newer version replaces this torrent"));
            }
            registry.key(hash).ok_or_else(|| Refusal::new("the torrent is not known any more"))
        })?;
        let bytes = self.shared.store.get(&key).map_err(|error| {
            log::error!("cannot read the torrent {key}: {error}");
            Refusal::new(format!("the tracker cannot read the torrent {key}: {error}"))
        })?;
        let length = bytes.len().div_ceil(3) * 4;
        if length > MAX_LINE {
            return Err(Refusal::new(format!(
                "the torrent is too large for a line, fetch /torrents/{key}.torrent"
            )));
        }
        match self.make_room(length) {
            true => Ok(Reply::Torrent { key, torrent: Metainfo(bytes), path }),
            false => Err(short_of_memory()),
        }
    }

    fn tell_news(&mut self) {
        self.news_left = false;
        if self.is_congested() {
            return; // the events stay in the registry until the peer has read what it got
        }
        let Some((_, read)) = &mut self.member else { return };
        let events = self.shared.registry(|registry| registry.events(read, EVENTS_AT_ONCE));
        self.news_left = events.len() == EVENTS_AT_ONCE;
        for event in events {
            self.shared.metrics.events.add();
            self.out.extend_from_slice(Answer::Event(event).line().as_bytes());
        }
    }

    /// Sends as much as the socket takes.
    fn flush(&mut self) -> Result<(), Over> {
        while self.sent < self.out.len() {
            let n = self.connection.write(&self.out[self.sent..])?;
            if n == 0 {
                self.out.drain(..self.sent);
                self.sent = 0;
                self.stuck.get_or_insert_with(Instant::now);
                return Ok(());
            }
            self.stuck = None;
            if self.is_congested() {
                // Its requests were not read while it was congested, so that it reads counts as
                // a sign of life.
                self.heard = Instant::now();
                self.line_begun = self.heard;
            }
            self.sent += n;
        }
        self.sent = 0;
        if self.out.capacity() > FREE {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        self.make_room(0);
        Ok(())
    }

    fn check_times(&mut self, now: Instant) -> Result<(), Over> {
        let limits = &self.shared.limits;
        if self.member.is_none() && now >= self.started + limits.greeting {
            return Err(Over::TurnedAway("say hello sooner"));
        }
        if now >= self.heard + limits.silence && !self.is_congested() {
            return Err(Over::Silent);
        }
        if !self.lines.is_empty() && !self.is_congested() && now >= self.line_begun + limits.line {
            return Err(Over::TurnedAway("the line took too long"));
        }
        if self.stuck.is_some_and(|since| now >= since + limits.stall) {
            return Err(Over::Behind);
        }
        Ok(())
    }

    /// Sleeps until there is something to do. A session sleeps nowhere else.
    fn wait(&mut self) -> Result<(), Over> {
        let is_congested = self.is_congested();
        if !is_congested && (self.news_left || self.lines.has_line()) {
            return Ok(());
        }
        let limits = &self.shared.limits;
        let mut until = self.heard + limits.silence;
        if let Some(since) = self.stuck {
            // A peer whose requests are not read does not count as silent.
            until = if is_congested { since + limits.stall } else { until.min(since + limits.stall) };
        }
        if self.member.is_none() {
            until = until.min(self.started + limits.greeting);
        }
        if !self.lines.is_empty() && !is_congested {
            until = until.min(self.line_begun + limits.line);
        }
        let interest = Interest { readable: !is_congested, writable: !self.out.is_empty() };
        self.connection.wait(interest, until)?;
        Ok(())
    }

    /// Takes the session out of the registry first, so that others are told at once, and then sends
    /// the last message.
    fn end(mut self, how: Over) {
        let departure = match how {
            Over::Left => Departure::Left,
            Over::Silent => Departure::Silent,
            Over::TurnedAway(_) | Over::Behind | Over::Dropped => Departure::Dropped,
        };
        // When the tracker stops, no events are sent: the peers are still there.
        if let Some((id, _)) = self.member.take()
            && !self.shared.is_stopping()
        {
            self.shared.registry(|registry| registry.leave(id, departure));
        }
        let metrics = &self.shared.metrics;
        let why = match how {
            Over::Left => None,
            Over::TurnedAway(why) => Some(why),
            Over::Silent => {
                metrics.sessions_silent.add();
                Some("nothing was heard for too long")
            }
            Over::Behind => return metrics.sessions_behind.add(),
            Over::Dropped => return,
        };
        self.lines.clear();
        if let Some(why) = why {
            metrics.session_errors.add();
            let last = Answer::Reply { id: None, result: Err(Refusal::new(why)) };
            self.out.extend_from_slice(last.line().as_bytes());
        }
        self.connection.farewell(&self.out[self.sent..]);
    }
}

fn short_of_memory() -> Refusal {
    Refusal::new(SHORT_OF_MEMORY)
}
