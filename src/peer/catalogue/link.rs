//! The thread `tracker`: makes the connection, keeps it up, makes it again. It alone touches the socket, which is
//! non-blocking, and it sleeps in one place, [`Link::wait`], for the socket or for mail.
//!
//! As long as [`HIGH_WATER`] bytes wait to be sent or [`IN_FLIGHT`] requests wait for their answers, nothing more is sent.
//! LinkMail is taken out of the mailbox nevertheless, into a backlog with a bound of its own, since mail that is left ends every
//! wait. Publications are asked for one by one when their turn comes, so ten thousand of them are never in
//! memory at once, and what is sent is how things stand then.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::mailbox::{Inbox, Interest};
use crate::protocol::catalogue::{Answer, Call, MAX_LINE, Metainfo, Publish, Refusal, Reply, Request};
use crate::protocol::lines::Lines;
use crate::torrent::InfoHash;

use super::shared::{Answered, AskError, ClientShared, LinkMail, Publication};
use crate::backoff::Backoff;

const HIGH_WATER: usize = 64 << 10;

/// Requests that wait for an answer.
const IN_FLIGHT: usize = 64;

/// LinkMail that waits for its turn. Beyond that, questions are refused, and what is told counts as lost word.
const BACKLOG: usize = 1024;

/// So many reads, of 16 KiB, before anything else has its turn: a tracker that talks without a pause must not keep the
/// thread from its mail, or from stopping.
const READS: usize = 64;

/// The longest line that a tracker may send: a torrent, or a thousand entries.
const MAX_ANSWER: usize = MAX_LINE + (1 << 20);

/// So many lines of a connection may be beyond us: a later tracker may know events that we do not. More are a flood.
const NONSENSE: u32 = 10_000;

/// How long a connection, and then the answer to `hello`, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long leaving may take.
const LEAVE: Duration = Duration::from_millis(500);

/// After so long a connection counts as a good one, and the next wait is a short one.
const GOOD: Duration = Duration::from_secs(10);

/// Within what the tracker's keep-alive interval is believed.
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

/// Tries each address in turn. The errors are sentences for people.
fn connect(
    addresses: &[SocketAddr],
    shared: &ClientShared,
    inbox: &mut Inbox<LinkMail>,
) -> Result<TcpStream, String> {
    let mut why = "the tracker's name has no address".to_owned();
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

/// Waits without a connection. Whoever asks meanwhile is told that there is none.
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
        // What was told without a question is made good at the next connection. Nobody may wait any more for an answer.
        mail.answer.map(|answer| answer.try_send(Err(refusal)));
    }
}

/// Who waits for the answer to a call.
enum Waiting {
    /// Nobody, but the hello must be granted.
    Hello,
    /// Somebody who asked.
    Asker(crossbeam_channel::Sender<Answered>),
    /// Nobody; a refusal is logged.
    Nobody,
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
    /// Lines that said nothing that we understand.
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

    /// Runs until the connection ends: `Ok` if that was the client's options, else why.
    fn run(&mut self) -> Result<(), String> {
        self.send(Request::Hello(self.shared.host.hello()), Waiting::Hello);
        self.flush()?;
        loop {
            self.receive()?;
            if self.shared.is_stopping() && self.leave() {
                return Ok(());
            }
            self.publish_some();
            self.take_mail();
            self.flush()?;
            self.check_times()?;
            self.wait()?;
        }
    }

    /// Takes leave once; true when that is done, or has taken too long.
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

    fn has_room(&self) -> bool {
        self.is_up
            && self.leaving_until.is_none()
            && self.out.len() - self.sent < HIGH_WATER
            && self.waiting.len() < IN_FLIGHT
    }

    fn publish_some(&mut self) {
        if self.has_room() && self.to_publish.is_empty() && self.shared.take_lost_word() {
            self.to_publish = self.shared.host.published().into();
        }
        while self.has_room() {
            let Some(hash) = self.to_publish.pop_front() else { return };
            if let Some(Publication { torrent, have, offer }) = self.shared.host.publication(hash) {
                let publish = Publish { torrent: Metainfo(torrent.bytes().to_vec()), have, offer };
                self.send(Request::Publish(publish), Waiting::Nobody);
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
            } else if let Some(asker) = mail.answer {
                let _ = asker.try_send(Err(AskError::Busy)); // it may have given up
            } else {
                self.shared.lose_word();
            }
        }
        while self.has_room() {
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
                continue; // it is alive
            }
            match Answer::parse(line) {
                Ok(Answer::Event(event)) => self.shared.host.on_event(event),
                Ok(Answer::Reply { id: Some(id), result }) => self.on_answer(id, result)?,
                Ok(Answer::Reply { id: None, result: Err(refusal) }) => {
                    return Err(format!("the tracker ended the session: {refusal}"));
                }
                Ok(Answer::Reply { id: None, result: Ok(_) }) => {}
                // A later tracker may know events that this peer does not.
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
                self.shared.take_lost_word();
                self.to_publish = self.shared.host.published().into();
                self.shared.set_connection(true, "");
            }
            (Some(Waiting::Hello), Ok(_)) => return Err("the tracker did not answer hello".into()),
            (Some(Waiting::Hello), Err(refusal)) => return Err(format!("the tracker refused: {refusal}")),
            // Nobody may wait any more; there is room for one answer otherwise.
            (Some(Waiting::Asker(asker)), result) => drop(asker.try_send(result.map_err(AskError::Refused))),
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

    /// A tracker answers each keep-alive, so three without a sign of life are enough.
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

    /// Nobody waits any longer for answers that will not come.
    fn fail_all(&mut self) {
        let sent = self.waiting.drain().filter_map(|(_, waiting)| match waiting {
            Waiting::Asker(asker) => Some(asker),
            _ => None,
        });
        let unsent = self.backlog.drain(..).filter_map(|mail| mail.answer);
        for asker in sent.chain(unsent) {
            let _ = asker.try_send(Err(AskError::Lost)); // it may have given up
        }
    }
}
