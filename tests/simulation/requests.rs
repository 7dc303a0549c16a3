//! The state of each request that a connection sent, to be compared with the session's own state.
//!
//! Invariant: the *open* requests here are those that the session waits for. A request that the session does
//! not wait for any more is *excused*: it was cancelled, choked or refused, or the peer was snubbed. An
//! excused request may still be answered. An answer to any other request was never asked for.

use shoal::protocol::wire::BlockRequest;
use shoal::torrent::Block;
use std::collections::BTreeMap;

type Key = (u32, u32, u32);

#[derive(Copy, Clone, Default)]
struct Count {
    open: u32,
    excused: u32,
}

/// The requests of one connection.
#[derive(Default)]
pub struct Requests {
    counts: BTreeMap<Key, Count>,
    open: usize,
    excused: usize,
}

/// The request that an answer belongs to.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Awaited,
    Excused,
    Unasked,
}

impl Requests {
    pub fn asked(&mut self, wanted: BlockRequest) {
        self.counts.entry(key(wanted)).or_default().open += 1;
        self.open += 1;
    }

    /// The block is not wanted any more. Gives false if it was not waited for.
    pub fn cancelled(&mut self, wanted: BlockRequest) -> bool {
        let Some(count) = self.counts.get_mut(&key(wanted)).filter(|count| count.open > 0) else {
            return false;
        };
        count.open -= 1;
        count.excused += 1;
        self.open -= 1;
        self.excused += 1;
        true
    }

    /// A block or a refusal arrived.
    pub fn answered(&mut self, wanted: BlockRequest) -> Answer {
        let Some(count) = self.counts.get_mut(&key(wanted)) else { return Answer::Unasked };
        let answer = if count.open > 0 {
            count.open -= 1;
            self.open -= 1;
            Answer::Awaited
        } else {
            count.excused -= 1;
            self.excused -= 1;
            Answer::Excused
        };
        if count.open + count.excused == 0 {
            self.counts.remove(&key(wanted));
        }
        answer
    }

    /// The other side gave a reason to give up all requests but these.
    pub fn excuse_all_but(&mut self, awaited: impl Iterator<Item = Block>) {
        // The same block may be waited for twice: for this connection and to help another.
        let mut waiting: BTreeMap<Key, u32> = BTreeMap::new();
        awaited.for_each(|block| *waiting.entry(key(block.into())).or_default() += 1);
        for (key, count) in &mut self.counts {
            let given_up = count.open.saturating_sub(waiting.get(key).copied().unwrap_or(0));
            count.open -= given_up;
            count.excused += given_up;
            self.open -= given_up as usize;
            self.excused += given_up as usize;
        }
    }

    /// Number of requests that the session should wait for.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Number of requests that an honest peer will still answer.
    pub fn unanswered(&self) -> usize {
        self.open + self.excused
    }
}

fn key(wanted: BlockRequest) -> Key {
    (wanted.index, wanted.begin, wanted.len)
}
