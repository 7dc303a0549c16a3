//! A connection as all other threads see it: its mailbox, and counters that it keeps up to date. Only its own
//! thread knows more. Any thread; both locks are leaves, taken when the peer is introduced, and when a piece
//! is looked for.

use super::download::partial::Partial;
use super::identity::ConnId;
use super::identity::SourceIdentity;
use crate::mailbox::Mailbox;
use crate::torrent::{Block, Piece, Proof};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Maximum number of pieces of mail in a connection's mailbox: one answer to its one request for work, and in
/// the endgame a few pieces of mail for each block of the pieces that it owns or helps with. If it is full,
/// its thread is stuck.
#[doc(hidden)]
pub const MAILBOX: usize = 4096;

/// Mail to a connection. `H` is an offer of help; see [`Helper`].
#[doc(hidden)]
pub enum Mail<H = Helper> {
    /// Fetch what is missing of this piece.
    Fetch(Partial),
    /// There is nothing to fetch from your peer now.
    NoWork {
        /// Whether your peer has something that we lack.
        interesting: bool,
    },
    /// Lend `helper` some of the blocks that your peer still owes of this piece.
    Lend {
        /// A piece that you own.
        piece: Piece,
        /// The connection that offers its help.
        helper: H,
    },
    /// Fetch these blocks for `owner`.
    Help {
        /// The connection that owns the piece.
        owner: ConnId,
        /// What to fetch.
        blocks: Vec<Block>,
    },
    /// A block of your piece, fetched from `from`.
    Helped {
        /// Which block.
        block: Block,
        /// Its bytes.
        data: Vec<u8>,
        /// Who sent it.
        from: Arc<SourceIdentity>,
    },
    /// `helper` will not fetch these blocks.
    NotHelped {
        /// The connection that was to fetch them.
        helper: ConnId,
        /// What it will not fetch.
        blocks: Vec<Block>,
    },
    /// The owner has this block by now, so it need not be fetched.
    HelpNotNeeded(Block),
    /// Your peer has an upload slot.
    Admit,
    /// Your peer has lost its upload slot.
    Evict,
    /// End, for this reason.
    Close(&'static str),
}

/// A connection that offers its help and waits for an answer. It always gets one: if the owner that it was
/// sent to ends before it reads the mail, the mail is dropped, which answers that there is no work. Without
/// an answer it would wait without end.
#[doc(hidden)]
pub struct Helper {
    handle: Option<Arc<Handle>>,
    id: ConnId,
}

impl Helper {
    /// An offer of help from this connection.
    pub fn new(handle: &Arc<Handle>) -> Self {
        Helper { handle: Some(Arc::clone(handle)), id: handle.id }
    }

    /// The connection that offers its help.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Has it fetch these blocks for `owner`.
    pub fn accept(mut self, owner: ConnId, blocks: Vec<Block>) {
        if let Some(handle) = self.handle.take() {
            let _ = handle.mailbox.post(Mail::Help { owner, blocks }); // if it ended, the owner learns that
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            let _ = handle.mailbox.post(Mail::NoWork { interesting: true }); // in vain if it ended
        }
    }
}

/// A connection as all other threads see it.
pub struct Handle {
    /// The name of the connection.
    #[doc(hidden)]
    pub id: ConnId,
    /// The address at the other end of the socket. [`Handle::known_as`] is better for people.
    pub addr: SocketAddr,
    /// Whether we connected, and not the peer.
    pub outgoing: bool,
    /// Who is to blame for blocks that come over this connection.
    #[doc(hidden)]
    pub identity: Arc<SourceIdentity>,
    /// By which hashes the pieces of this connection are verified.
    #[doc(hidden)]
    pub proof: Proof,
    /// Where the connection takes its mail.
    #[doc(hidden)]
    pub mailbox: Mailbox<Mail>,
    /// What the connection counts.
    #[doc(hidden)]
    pub numbers: Numbers,
    began: Instant,
    client: Mutex<Introduced>,
    /// The only pieces that may be fetched now, if not all may.
    only: Mutex<Option<Vec<Piece>>>,
}

#[derive(Clone, Default)]
struct Introduced {
    client: Option<String>,
    listens_on: Option<u16>,
}

/// The counters of a connection. Written by its thread, read by any.
#[derive(Default)]
#[doc(hidden)]
pub struct Numbers {
    /// When the last byte came in, in milliseconds after the connection began.
    heard: AtomicU64,
    /// Bytes of content that came in.
    pub received: AtomicU64,
    /// Bytes of content that went out.
    pub sent: AtomicU64,
    /// Number of pieces that the peer has.
    pub peer_pieces: AtomicU32,
    /// Whether the peer serves us.
    pub serves_us: AtomicBool,
    /// Whether the peer wants to be served.
    pub wants_us: AtomicBool,
    /// Whether the peer waits for blocks that it requested.
    pub asks_us: AtomicBool,
    /// Whether the peer has an upload slot.
    pub admitted: AtomicBool,
    /// Whether the connection tells its peer of finished pieces without being woken for each.
    pub tells_later: AtomicBool,
}

impl Handle {
    /// The handle of a connection that begins now.
    #[doc(hidden)]
    pub fn new(
        id: ConnId,
        addr: SocketAddr,
        outgoing: bool,
        identity: Arc<SourceIdentity>,
        proof: Proof,
        mailbox: Mailbox<Mail>,
    ) -> Self {
        let (numbers, began) = (Numbers::default(), Instant::now());
        let (client, only) = (Mutex::default(), Mutex::default());
        Handle { id, addr, outgoing, identity, proof, mailbox, numbers, began, client, only }
    }

    /// Bytes came in.
    pub(crate) fn heard(&self, now: Instant) {
        let millis = now.saturating_duration_since(self.began).as_millis();
        self.numbers.heard.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long nothing has come in.
    pub fn silence(&self, now: Instant) -> Duration {
        let heard = Duration::from_millis(self.numbers.heard.load(Ordering::Relaxed));
        self.age(now).saturating_sub(heard)
    }

    /// How long ago the connection began.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// The peer told its client's name, and the port on which it listens.
    pub(crate) fn introduce(&self, client: Option<String>, listens_on: Option<u16>) {
        *self.client.lock() = Introduced { client, listens_on };
    }

    /// From now on only these pieces are looked for over this connection; any if there are none.
    pub(crate) fn set_only(&self, pieces: Option<Vec<Piece>>) {
        *self.only.lock() = pieces;
    }

    /// The only pieces that are looked for over this connection, if not all are: the peer chokes us and
    /// allows only these.
    pub(crate) fn only(&self) -> Option<Vec<Piece>> {
        self.only.lock().clone()
    }

    /// The name and version of the peer's client; the start of its peer id if it has not told them.
    pub fn client(&self) -> String {
        let told = self.client.lock().client.clone();
        told.unwrap_or_else(|| match &*self.identity {
            SourceIdentity::Peer(peer) => peer.peer_id.0[..8].escape_ascii().to_string(),
            SourceIdentity::Url(url) => url.clone(),
        })
    }

    /// Where the peer can be connected to, as far as we know.
    pub fn listens_on(&self) -> Option<SocketAddr> {
        if self.outgoing {
            return Some(self.addr);
        }
        self.client.lock().listens_on.map(|port| SocketAddr::new(self.addr.ip(), port))
    }

    /// The address that names the peer to people: where it listens, once we know that. The port from which it
    /// connected says nothing.
    pub fn known_as(&self) -> SocketAddr {
        self.listens_on().unwrap_or(self.addr)
    }

    /// Whether the peer has an upload slot.
    pub fn is_admitted(&self) -> bool {
        self.numbers.admitted.load(Ordering::Relaxed)
    }

    /// Content received so far, in bytes.
    pub fn received(&self) -> u64 {
        self.numbers.received.load(Ordering::Relaxed)
    }

    /// Content sent so far, in bytes.
    pub fn sent(&self) -> u64 {
        self.numbers.sent.load(Ordering::Relaxed)
    }
}

impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.known_as(), self.client())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{Inbox, mailbox};
    use crate::peer::identity::PeerIdentity;
    use crate::protocol::handshake::PeerId;

    fn connection(id: u64) -> (Arc<Handle>, Inbox<Mail>) {
        let (mailbox, inbox) = mailbox(4).unwrap();
        let addr: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let peer = PeerIdentity { addr: addr.ip(), peer_id: PeerId::random() };
        let identity = Arc::new(peer.into());
        (Arc::new(Handle::new(ConnId(id), addr, true, identity, Proof::V2, mailbox)), inbox)
    }

    /// Bug: the helper waited without end when the owner of the piece ended and had not read the offer.
    #[test]
    fn an_offer_of_help_is_answered_even_if_nobody_reads_it() {
        let (owner, owners_inbox) = connection(1);
        let (helper, mut inbox) = connection(2);
        let geometry = crate::testing::geometry(1, 1 << 14);
        let piece = geometry.piece(0).unwrap();
        owner.mailbox.post(Mail::Lend { piece, helper: Helper::new(&helper) }).ok().unwrap();
        assert!(inbox.take().is_none());
        drop(owners_inbox);
        assert!(matches!(inbox.take(), Some(Mail::NoWork { interesting: true })), "it was under way");
        assert!(owner.mailbox.post(Mail::Lend { piece, helper: Helper::new(&helper) }).is_err());
        assert!(matches!(inbox.take(), Some(Mail::NoWork { interesting: true })), "it was never delivered");
        Helper::new(&helper).accept(owner.id, Vec::new());
        assert!(matches!(inbox.take(), Some(Mail::Help { .. })));
        assert!(inbox.take().is_none(), "an answer is not followed by another");
    }
}
