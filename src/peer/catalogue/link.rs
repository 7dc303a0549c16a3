//! The thread `tracker`: connects, keeps the connection alive, and connects again. Only this thread uses the
//! socket, which is non-blocking. It sleeps in one place, [`Link::wait`], for the socket or for mail. It
//! holds no lock over the socket.
//!
//! While [`HIGH_WATER`] bytes wait to be sent or [`IN_FLIGHT`] requests wait for their answers, nothing more
//! is sent. Mail is still taken out of the mailbox, into a backlog with its own limit, since mail that is
//! left there would end every wait. Publications are asked for one by one, each when it is its turn, so ten
//! thousand of them are never in memory at once, and what is sent is up to date.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::mailbox::{Inbox, Interest};
use crate::protocol::catalogue::{Answer, Call, MAX_LINE, Refusal, Reply, Request};
use crate::protocol::lines::Lines;
use crate::torrent::InfoHash;

use super::shared::{Answered, AskError, ClientShared, LinkMail};
use crate::backoff::Backoff;

/// Bytes waiting to be sent above which no more requests are sent.
const HIGH_WATER: usize = 64 << 10;

/// Maximum number of requests that wait for an answer.
const IN_FLIGHT: usize = 64;

/// Maximum number of requests in the backlog. Beyond that, questions are refused, and publications
/// count as lost.
const BACKLOG: usize = 1024;

/// Maximum number of reads, of 16 KiB each, in a row: a tracker that sends without a pause must not keep the
/// thread from its mail, or from stopping.
const READS: usize = 64;

/// Maximum length of a line from a tracker, in bytes: a torrent, or a thousand entries.
const MAX_ANSWER: usize = MAX_LINE + (1 << 20);

/// Maximum number of lines in one connection that we do not understand. A later tracker may send events that
/// we do not know; more lines than this are a flood.
const NONSENSE: u32 = 10_000;

/// How long connecting may take, and then the answer to `hello`.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long saying goodbye may take.
const LEAVE: Duration = Duration::from_millis(500);

/// A connection that lasted longer than this was a good one, and the next wait is short.
const GOOD: Duration = Duration::from_secs(10);

/// Minimum and maximum keep-alive interval that is accepted from the tracker.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(60));

/// Runs until the client stops.
pub(super) fn run(addresses: &[SocketAddr], shared: &ClientShared, mut inbox: Inbox<LinkMail>) {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
    while !shared.is_stopping() {
        let begun = Instant::now();
        let why = connect(addresses, shared, &mut inbox).and_then(|socket| {
            let mut link = Link::new(socket, shared, &mut inbox);
            let why = link.run();
            link.fail_all();
            why
        });
        if shared.is_stopping() {
            break;
        }
        let why = why.err().unwrap_or_default();
        if begun.elapsed() > GOOD {
            backoff.succeeded();
        }
        log::debug!("no session with the tracker: {why}");
        shared.set_connection(false, &why);
        pause(shared, &mut inbox, backoff.failed());
    }
    refuse_mail(shared, &mut inbox);
}

/// Tries each address in turn. The errors are sentences for the user.
fn connect(
    addresses: &[SocketAddr],
    shared: &ClientShared,
    inbox: &mut Inbox<LinkMail>,
) -> Result<TcpStream, String> {
    let mut why = "the tracker has no address that may be used".to_owned();
    for address in addresses {
        match connect_to(*address, shared, inbox) {
            Ok(socket) => return Ok(socket),
            Err(error) => why = format!("cannot reach the tracker at {address}: {error}"),
        }
    }
    Err(why)
}

fn connect_to(
    address: SocketAddr,
    shared: &ClientShared,
    inbox: &mut Inbox<LinkMail>,
) -> io::Result<TcpStream> {
    let socket = crate::net::begin_connect(address)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let ready =
            inbox.wait(&socket, Interest::WRITE, Some(until.saturating_duration_since(Instant::now())))?;
        if shared.is_stopping() {
            return Err(io::Error::other("stopped"));
        }
        if ready.writable {
            socket.take_error()?.map_or(Ok(()), Err)?;
            socket.set_nodelay(true)?;
            crate::net::keep_alive(&socket)?;
            return Ok(socket);
        }
        if Instant::now() >= until {
            return Err(ErrorKind::TimedOut.into());
        }
        refuse_mail(shared, inbox); // mail that is left would end every wait at once
    }
}

/// Waits without a connection. Requests that come in the meantime are refused.
fn pause(shared: &ClientShared, inbox: &mut Inbox<LinkMail>, wait: Duration) {
    let until = Instant::now() + wait;
    while !shared.is_stopping() && Instant::now() < until {
        refuse_mail(shared, inbox);
        if inbox.wait_for_mail(Some(until.saturating_duration_since(Instant::now()))).is_err() {
            return;
        }
    }
    refuse_mail(shared, inbox);
}

fn refuse_mail(shared: &ClientShared, inbox: &mut Inbox<LinkMail>) {
    while let Some(mail) = inbox.take() {
        let refusal = AskError::NotConnected(shared.down_reason());
        // A lost publication is repaired at the next connection. The one who asked may have given up waiting.
        mail.answer.map(|answer| answer.try_send(Err(refusal)));
    }
}

/// What waits for the answer to a call.
enum Waiting {
    /// The connection: `hello` must be accepted.
    Hello,
    /// A caller, who gets the answer.
    Asker(crossbeam_channel::Sender<Answered>),
    /// The host, which published this torrent; a refusal is logged.
    Publication(InfoHash),
    /// Nothing; a refusal is logged.
    Nobody,
    /// The goodbye.
    Leave,
}

/// One connection.
struct Link<'a> {
    socket: TcpStream,
    shared: &'a ClientShared,
    inbox: &'a mut Inbox<LinkMail>,
    lines: Lines,
    out: Vec<u8>,
    sent: usize,
    next_id: u64,
    waiting: HashMap<u64, Waiting>,
    to_publish: VecDeque<InfoHash>,
    backlog: VecDeque<LinkMail>,
    is_up: bool,
    keep_alive: Duration,
    /// Number of lines that we did not understand.
    nonsense: u32,
    began: Instant,
    heard: Instant,
    spoke: Instant,
    leaving_until: Option<Instant>,
    has_left: bool,
}

impl<'a> Link<'a> {
    fn new(socket: TcpStream, shared: &'a ClientShared, inbox: &'a mut Inbox<LinkMail>) -> Self {
        let now = Instant::now();
        Link {
            socket,
            shared,
            inbox,
            lines: Lines::default(),
            out: Vec::new(),
            sent: 0,
            next_id: 1,
            waiting: HashMap::new(),
            to_publish: VecDeque::new(),
            backlog: VecDeque::new(),
            is_up: false,
            keep_alive: KEEP_ALIVE.1,
            nonsense: 0,
            began: now,
            heard: now,
            spoke: now,
            leaving_until: None,
            has_left: false,
        }
    }

    /// Runs until the connection ends: `Ok` if the client stopped it, otherwise the reason.
    fn run(&mut self) -> Result<(), String> {
        self.send(Request::Hello(self.shared.host.hello()), Waiting::Hello);
        self.flush()?;
        loop {
            self.receive()?;
            if self.shared.is_stopping() && self.leave() {
                return Ok(());
            }
            self.take_mail();
            self.flush()?;
            self.check_times()?;
            self.wait()?;
        }
    }

    /// Says goodbye once. True when that is done, or has taken too long.
    fn leave(&mut self) -> bool {
        if !self.is_up || self.has_left {
            return true;
        }
        match self.leaving_until {
            None => {
                self.leaving_until = Some(Instant::now() + LEAVE);
                self.send(Request::Leave {}, Waiting::Leave);
                false
            }
            Some(until) => Instant::now() >= until,
        }
    }

    /// Whether another request may be sent, if at most so many may wait for their answers.
    fn has_room(&self, in_flight: usize) -> bool {
        self.is_up
            && self.leaving_until.is_none()
            && self.out.len() - self.sent < HIGH_WATER
            && self.waiting.len() < in_flight
    }

    /// Publishes what is due. Half of the room is left to questions, which a person waits for.
    fn publish_some(&mut self) {
        if self.is_up && self.to_publish.is_empty() {
            self.to_publish = self.shared.take_stale();
        }
        while self.has_room(IN_FLIGHT / 2) {
            let Some(hash) = self.to_publish.pop_front() else { return };
            match self.shared.host.publication(hash) {
                Some(it) => self.send(Request::Publish(it.request()), Waiting::Publication(hash)),
                None => self.send(Request::Unpublish { key: hash.to_string() }, Waiting::Nobody),
            }
        }
    }

    fn take_mail(&mut self) {
        if !self.is_up {
            return refuse_mail(self.shared, self.inbox);
        }
        while let Some(mail) = self.inbox.take() {
            if self.backlog.len() < BACKLOG {
                self.backlog.push_back(mail);
            } else {
                self.shared.has_no_room(mail);
            }
        }
        self.publish_some(); // what was due before a question was put goes out before it
        while self.has_room(IN_FLIGHT) {
            let Some(LinkMail { request, answer }) = self.backlog.pop_front() else { return };
            self.send(request, answer.map_or(Waiting::Nobody, Waiting::Asker));
        }
    }

    fn send(&mut self, request: Request, waiting: Waiting) {
        let id = self.next_id;
        self.next_id += 1;
        let line = Call { id, request }.line();
        if line.len() > MAX_LINE {
            match waiting {
                Waiting::Asker(asker) => drop(asker.try_send(Err(AskError::TooLarge))),
                _ => log::warn!("a torrent is not published: {}", AskError::TooLarge),
            }
            return;
        }
        self.waiting.insert(id, waiting);
        self.out.extend_from_slice(line.as_bytes());
    }

    fn receive(&mut self) -> Result<(), String> {
        let mut chunk = [0; 16 << 10];
        for _ in 0..READS {
            match self.socket.read(&mut chunk) {
                Ok(0) if self.leaving_until.is_some() => self.has_left = true,
                Ok(0) => return Err("the tracker closed the connection".into()),
                Ok(n) => {
                    self.heard = Instant::now();
                    self.lines.push(&chunk[..n]);
                    self.read_lines()?;
                    if self.lines.len() > MAX_ANSWER {
                        return Err("the tracker sent a line without end".into());
                    }
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("the connection to the tracker broke: {error}")),
            }
            return Ok(());
        }
        Ok(())
    }

    fn read_lines(&mut self) -> Result<(), String> {
        while let Some(line) = self.lines.next_line() {
            if line.is_empty() {
                continue; // a sign of life
            }
            match Answer::parse(line) {
                Ok(Answer::Event(event)) => self.shared.host.on_event(event),
                Ok(Answer::Reply { id: Some(id), result }) => self.on_answer(id, result)?,
                Ok(Answer::Reply { id: None, result: Err(refusal) }) => {
                    return Err(format!("the tracker ended the session: {refusal}"));
                }
                Ok(Answer::Reply { id: None, result: Ok(_) }) => {}
                // A later tracker may send events that this engine does not know.
                Err(error) => {
                    log::debug!("{error}");
                    self.nonsense += 1;
                    if self.nonsense > NONSENSE {
                        return Err("the tracker talks nonsense".into());
                    }
                }
            }
        }
        Ok(())
    }

    fn on_answer(&mut self, id: u64, result: Result<Reply, Refusal>) -> Result<(), String> {
        match (self.waiting.remove(&id), result) {
            (Some(Waiting::Hello), Ok(Reply::Hello { keep_alive_ms, .. })) => {
                self.keep_alive = Duration::from_millis(keep_alive_ms).clamp(KEEP_ALIVE.0, KEEP_ALIVE.1);
                self.is_up = true;
                self.to_publish = self.shared.take_all();
                self.shared.set_connection(true, "");
            }
            (Some(Waiting::Hello), Ok(_)) => return Err("the tracker did not answer hello".into()),
            (Some(Waiting::Hello), Err(refusal)) => return Err(format!("the tracker refused: {refusal}")),
            // The caller may have given up; otherwise its channel has room for one answer.
            (Some(Waiting::Asker(asker)), result) => drop(asker.try_send(result.map_err(AskError::Refused))),
            (Some(Waiting::Publication(hash)), result) => {
                self.shared.host.on_published(hash, result.is_ok());
                result.err().iter().for_each(|refusal| log::warn!("the tracker refused: {refusal}"));
            }
            (Some(Waiting::Nobody), Err(refusal)) => log::warn!("the tracker refused: {refusal}"),
            (Some(Waiting::Leave), _) => self.has_left = true,
            (Some(Waiting::Nobody) | None, _) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(n) => {
                    self.sent += n;
                    self.spoke = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.out.drain(..self.sent);
                    self.sent = 0;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("the connection to the tracker broke: {error}")),
            }
        }
        self.sent = 0;
        if self.out.capacity() > 2 * HIGH_WATER {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Ok(())
    }

    /// Checks the timeouts. A tracker answers each keep-alive, so three intervals without a sign of
    /// life are enough.
    fn check_times(&mut self) -> Result<(), String> {
        let now = Instant::now();
        if !self.is_up && now >= self.began + PATIENCE {
            return Err("what is at the tracker's address does not answer like a tracker".into());
        }
        if self.is_up && now >= self.heard + 3 * self.keep_alive.max(Duration::from_secs(1)) {
            return Err("the tracker went silent".into());
        }
        if self.is_up && self.out.is_empty() && now >= self.spoke + self.keep_alive {
            self.out.push(b'\n');
            self.flush()?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), String> {
        let mut until = if self.is_up {
            (self.spoke + self.keep_alive).min(self.heard + 3 * self.keep_alive.max(Duration::from_secs(1)))
        } else {
            self.began + PATIENCE
        };
        if let Some(leaving) = self.leaving_until {
            until = until.min(leaving);
        }
        let interest = Interest { readable: true, writable: !self.out.is_empty() };
        let timeout = until.saturating_duration_since(Instant::now());
        self.inbox.wait(&self.socket, interest, Some(timeout)).map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Tells all callers that wait that there will be no answer.
    fn fail_all(&mut self) {
        let sent = self.waiting.drain().filter_map(|(_, waiting)| match waiting {
            Waiting::Asker(asker) => Some(asker),
            _ => None,
        });
        let unsent = self.backlog.drain(..).filter_map(|mail| mail.answer);
        for asker in sent.chain(unsent) {
            let _ = asker.try_send(Err(AskError::Lost)); // the caller may have given up
        }
    }
}
