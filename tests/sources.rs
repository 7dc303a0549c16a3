//! A source of content that is no BitTorrent peer: a thread with a mailbox that takes pieces and delivers them, as a web
//! seed will be (BEP 19). The swarm treats it like any other source; here it reads a file.

mod common;

use common::*;
use shoal::bitfield::Bitfield;
use shoal::mailbox::{Inbox, mailbox};
use shoal::peer::download::partial::Partial;
use shoal::peer::engine::AddTorrent;
use shoal::peer::handle::{Handle, MAILBOX, Mail};
use shoal::peer::identity::SourceIdentity;
use shoal::peer::swarm::Swarm;
use shoal::torrent::{Format, Proof};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A server with the files, and the thread that asks it.
struct Server {
    bytes: Vec<u8>,
    swarm: Arc<Swarm>,
    handle: Arc<Handle>,
    inbox: Inbox<Mail>,
}

impl Server {
    /// Serves `bytes` to `swarm` as if they came from `url`. The thread ends with the reason that it is told.
    fn start(url: &str, bytes: Vec<u8>, swarm: &Arc<Swarm>) -> JoinHandle<String> {
        let (mailbox, inbox) = mailbox(MAILBOX).unwrap();
        let identity = Arc::new(SourceIdentity::Url(url.to_owned()));
        let (id, addr) = (swarm.shared.next_conn(), SocketAddr::from(([127, 0, 0, 1], 80)));
        let handle = Arc::new(Handle::new(id, addr, true, identity, Proof::V2, mailbox));
        swarm.add_source(&handle);
        let server = Server { bytes, swarm: Arc::clone(swarm), handle, inbox };
        thread::spawn(move || server.run())
    }

    fn run(mut self) -> String {
        let pieces = self.swarm.torrent.geometry().piece_count();
        self.swarm.peer_has_pieces(self.handle.id, Bitfield::full(pieces));
        self.look_for_work();
        loop {
            self.inbox.wait_for_mail(Some(LIMIT)).unwrap();
            while let Some(mail) = self.inbox.take() {
                match mail {
                    Mail::Fetch(partial) => self.fetch(partial),
                    Mail::Close(why) => {
                        self.swarm.remove_source(&self.handle, &why);
                        return why.to_owned();
                    }
                    _ => {} // an offer of help that is dropped is answered by that
                }
            }
            if self.swarm.is_complete() {
                self.swarm.remove_source(&self.handle, &"it is complete");
                return "it is complete".to_owned();
            }
        }
    }

    fn look_for_work(&self) {
        self.swarm.look_for_work(Arc::clone(&self.handle), false);
    }

    /// Fills the piece, and gives it to the workers.
    fn fetch(&self, mut partial: Partial) {
        let geometry = self.swarm.torrent.geometry();
        let start = partial.piece().index() as usize * geometry.piece_length() as usize;
        let missing: Vec<_> = partial.missing_blocks(geometry).collect();
        for block in missing {
            let at = start + block.begin() as usize;
            partial.put(block, &self.bytes[at..at + block.len() as usize], &self.handle.identity);
        }
        self.swarm.arrived(partial, &self.handle);
        self.look_for_work();
    }
}

#[test]
fn a_source_that_is_no_peer_brings_the_whole_torrent() {
    for format in [Format::V1, Format::Hybrid] {
        let stage = stage::Stage::new(300_000, 1 << 15, format);
        let leecher = peer();
        let swarm = leecher.add(AddTorrent::download(stage.torrent.clone(), stage.to.path())).unwrap();
        let server = Server::start("http://server/file", stage.bytes.clone(), &swarm);
        wait_until("it is complete", || swarm.is_complete());
        assert_same(&stage.path, &stage.to.path().join("file"));
        swarm.members().iter().for_each(|member| member.mailbox.wake());
        assert_eq!(server.join().unwrap(), "it is complete");
        assert_eq!(swarm.members().len(), 0, "it has left");
    }
}

/// A peer is banned by its address and its id; a server has neither.
#[test]
fn a_source_that_lies_is_found_out_and_ended_and_a_peer_brings_the_rest() {
    let stage = stage::Stage::new(300_000, 1 << 15, Format::V1);
    let (seed, _shared) = stage.seed(&config(None));
    let leecher = peer();
    let swarm = leecher.add(AddTorrent::download(stage.torrent.clone(), stage.to.path())).unwrap();
    let lies = stage.bytes.iter().map(|byte| !byte).collect();
    let server = Server::start("http://liar/file", lies, &swarm);
    assert_eq!(server.join().unwrap(), "it sent wrong data");
    swarm.add_addresses([seed.addr()], true);
    leecher.look_for_peers();
    wait_until("it is complete", || swarm.is_complete());
    assert_same(&stage.path, &stage.to.path().join("file"));
}
