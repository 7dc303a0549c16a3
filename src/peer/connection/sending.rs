//! What a connection sends: `Have` for finished pieces, requests, and the blocks that the other side
//! requested. Runs on the connection's thread.

use super::{Connection, End, REST};

/// Maximum number of bytes of neighbouring blocks read from the file in one call, and handed to the socket
/// before the next are read. Enough for few calls, and few enough to be in the processor's cache when they
/// are sent.
const READ_AHEAD: u32 = 256 * 1024;
/// Maximum number of such runs sent in one turn, if the socket takes them all. The rest of the connection
/// waits meanwhile.
const RUNS: usize = 4;

impl Connection {
    /// Sends `Have` for finished pieces, once it is time for that. Ends the connection if neither side has a
    /// use for the other.
    pub(super) fn announce_finished(&mut self) -> Result<(), End> {
        let is_idle = !self.driver.session.has_uploads() && self.outbox.is_empty();
        let is_of_use = self.driver.announce_finished(is_idle, self.now, &mut self.member);
        if is_of_use { Ok(()) } else { Err(End::Useless) }
    }

    /// Sends messages, and the blocks that the other side requested, as much as the socket takes. Each run of
    /// neighbouring blocks is read just before it is sent.
    pub(super) fn serve(&mut self) -> Result<(), End> {
        self.flush()?;
        for _ in 0..RUNS {
            let is_due = self.driver.session.has_uploads() && !self.is_held(self.serve_at);
            let is_full = !self.outbox.is_empty(); // the socket
            if !is_due || is_full {
                break;
            }
            let read = self.read_run();
            self.flush()?; // the blocks, or the refusals
            if !read {
                break;
            }
        }
        Ok(())
    }

    /// Reads the next blocks to send. False if the rate limit does not allow any now, or the disk failed.
    fn read_run(&mut self) -> bool {
        let shared = &self.member.swarm.shared;
        self.serve_at = shared.up.ready(self.now).err().map(|wait| self.now + wait);
        if self.serve_at.is_some() {
            return false;
        }
        self.driver.session.next_uploads(shared.up.portion(READ_AHEAD), &mut self.run);
        let storage = &self.member.swarm.storage;
        let seal = |bytes: &mut [u8]| self.transport.seal(bytes);
        let read = |piece, begin, into: &mut [u8]| storage.read(piece, begin, into);
        match self.outbox.push_blocks(&self.run, read, seal) {
            Ok(bytes) => {
                shared.up.spend(bytes);
                self.rest_at = Some(self.now + REST);
                self.member.sent(bytes);
                self.driver.session.uploaded(self.now);
                true
            }
            Err(why) => {
                self.run.iter().for_each(|block| self.driver.session.refuse(*block));
                self.member.swarm.disk_failed(&why);
                false
            }
        }
    }

    /// Writes what is ready, as much as the socket takes without waiting.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        let seal = |bytes: &mut [u8]| self.transport.seal(bytes);
        self.outbox.push(self.driver.session.output(self.now), seal); // before the blocks that are read next
        self.driver.session.output(self.now).clear();
        self.outbox.flush(&mut self.transport)?;
        if self.outbox.is_clogged() { Err(End::Clogged) } else { Ok(()) }
    }
}
