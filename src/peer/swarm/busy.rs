//! Which torrents have something to do. Two threads look at them each second; of thousands that rest, none is
//! looked at again until something has stirred. No lock of its own.

use super::Swarm;
use super::shared::Shared;
use super::table::Swarms;
use std::sync::Arc;

/// The torrents that have something to do, as one thread knows them.
#[derive(Default)]
pub(crate) struct Busy {
    /// All torrents, and how often something had stirred, when they were last looked through.
    seen: Option<(Arc<[Arc<Swarm>]>, u64)>,
    busy: Vec<Arc<Swarm>>,
}

impl Busy {
    /// Those that are busy now. What makes a torrent busy must be followed by [`Shared::stir`], unless the
    /// torrent is new.
    pub fn among(
        &mut self,
        swarms: &Swarms,
        shared: &Shared,
        is_busy: impl Fn(&Swarm) -> bool,
    ) -> Vec<Arc<Swarm>> {
        let (stirs, all) = (shared.stirs(), swarms.all());
        let is_same = |(seen, before): &(Arc<[_]>, u64)| Arc::ptr_eq(seen, &all) && *before == stirs;
        if !self.seen.as_ref().is_some_and(is_same) {
            self.busy = all.iter().filter(|swarm| is_busy(swarm)).cloned().collect();
            self.seen = Some((all, stirs));
        }
        self.busy.clone()
    }
}
