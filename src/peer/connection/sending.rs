//! What a connection has to say: news, requests for work, and the blocks that the other side asked for. Runs on the connection's
//! thread.

use super::{Connection, End, REST};

/// Neighbouring blocks are read from the file in one go up to so many bytes, and handed to the socket before the next are read:
/// many enough for few calls, few enough that they are still in the processor's cache when they are sent.
const READ_AHEAD: u32 = 256 * 1024;
/// So many such runs are served in a turn at most, if the socket takes all that: the rest of the connection waits meanwhile.
const RUNS: usize = 4;

impl Connection {
    /// Says `Have` for what was finished since the last turn, and ends when neither side has a use for the other.
    pub(super) fn announce_finished(&mut self) -> Result<(), End> {
        let is_idle = !self.driver.session.has_uploads() && self.outbox.is_empty();
        if self.driver.announce_finished(is_idle, &mut self.member) { Ok(()) } else { Err(End::Useless) }
    }

    /// Sends what there is to say, and the blocks that the other side asked for, as much as the socket takes: each run of
    /// neighbours is read just in time, and goes out before the next is read.
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

    /// Reads the next blocks to serve. False if it is not their time, or the disk failed.
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

    /// Hands what is ready to the socket, as far as it takes it without waiting.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        let seal = |bytes: &mut [u8]| self.transport.seal(bytes);
        self.outbox.push(self.driver.session.output(self.now), seal); // before the blocks that are read next
        self.driver.session.output(self.now).clear();
        self.outbox.flush(&mut self.transport)?;
        if self.outbox.is_clogged() { Err(End::Clogged) } else { Ok(()) }
    }
}
