//! A place for a peer and a scripted one to meet: content, its torrent, a folder to download to, and how
//! connections end.

use super::{assert_same, content, torrent_of, wait_until};
use parking_lot::Mutex;
use shoal::peer::engine::{AddTorrent, Config, Engine};
use shoal::peer::handle::Handle;
use shoal::peer::identity::PeerIdentity;
use shoal::peer::swarm::{Observer, Swarm};
use shoal::protocol::handshake::PeerId;
use shoal::protocol::wire::{BlockRequest, Message};
use shoal::torrent::{BLOCK_LEN, Format, Torrent};
use std::path::PathBuf;
use std::sync::Arc;

pub const PIECE_LEN: u32 = 4 * BLOCK_LEN;
pub const LIAR: u8 = b'L';

/// Content, its torrent, and a folder to download to.
pub struct Stage {
    _from: tempfile::TempDir,
    pub to: tempfile::TempDir,
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    pub torrent: Arc<Torrent>,
    pub ends: Arc<Ends>,
}

/// Writes down how connections end.
#[derive(Default)]
pub struct Ends(pub Mutex<Vec<String>>);

impl Observer for Ends {
    fn parted(&self, _: &Swarm, _: &Handle, why: &str) {
        self.0.lock().push(why.to_owned());
    }
}

impl Stage {
    pub fn new(len: usize, piece_length: u32, format: Format) -> Self {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, bytes) = (from.path().join("file"), content(len as u64, len));
        std::fs::write(&path, &bytes).unwrap();
        let torrent = torrent_of(&path, format, Some(piece_length));
        Stage { _from: from, to, path, bytes, torrent, ends: Arc::default() }
    }

    pub fn seed(&self, config: &Config) -> (Engine, Arc<Swarm>) {
        let peer = Engine::start(config).unwrap();
        let dir = self.path.parent().unwrap();
        let swarm =
            peer.add(AddTorrent::verified(self.torrent.clone(), dir).observed_by(self.ends.clone())).unwrap();
        (peer, swarm)
    }

    pub fn leecher(&self, config: &Config) -> (Engine, Arc<Swarm>) {
        let peer = Engine::start(config).unwrap();
        let swarm = peer
            .add(AddTorrent::download(self.torrent.clone(), self.to.path()).observed_by(self.ends.clone()))
            .unwrap();
        (peer, swarm)
    }

    pub fn assert_downloaded(&self, swarm: &Swarm) {
        wait_until("the download is complete", || swarm.is_complete());
        assert_same(&self.path, &self.to.path().join("file"));
    }

    pub fn data(&self, wanted: BlockRequest) -> Vec<u8> {
        let at =
            wanted.index as usize * self.torrent.geometry().piece_length() as usize + wanted.begin as usize;
        self.bytes[at..at + wanted.len as usize].to_vec()
    }

    /// Waits until some connection ended with words like these.
    pub fn assert_ended(&self, words: &str) {
        self.assert_ended_times(words, 1);
    }

    /// Waits until so many did.
    pub fn assert_ended_times(&self, words: &str, times: usize) {
        wait_until(&format!("{times} connections end because {words:?}: {:?}", self.ends.0.lock()), || {
            self.ends.0.lock().iter().filter(|end| end.contains(words)).count() >= times
        });
    }
}

pub fn connect(leecher: &Engine, swarm: &Arc<Swarm>, seed: &Engine) {
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
}

pub fn wanted(index: u32, begin: u32, len: u32) -> BlockRequest {
    BlockRequest { index, begin, len }
}

pub fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

pub fn encoded(message: Message<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// Whether the peer would turn away one from this machine that calls itself so.
pub fn is_banned(peer: &Engine, peer_id: PeerId) -> bool {
    peer.shared.bans.has(&PeerIdentity { addr: [127, 0, 0, 1].into(), peer_id })
}
