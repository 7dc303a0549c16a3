//! The shell's `download`: begins it, follows it with bars, and tells what came of it. Runs on the shell's
//! thread.

use super::{LEFT, Shell, ShellError};
use crate::peer::app::command::{Download, excerpt};
use crate::peer::app::notices::Notice;
use crate::peer::app::progress::{Gauge, TICK, plural, show_bytes};
use crate::peer::app::report;
use crate::peer::app::room::{Begun, RoomError, Wish};
use crate::peer::swarm::{State, Swarm};
use crate::protocol::catalogue::Entry;
use crossbeam_channel::select;
use serde_json::json;
use std::sync::Arc;

/// What happens to a download when the engine is stopped.
const GOES_ON: &str = "the download goes on when this peer is started again";
/// Maximum number of notices that are kept while a download is followed.
const MOST_MISSED: usize = 1000;
/// Maximum number of downloads that have a bar each.
const MOST_BARS: usize = 8;
/// Maximum number of entries that are suggested for a name that is not quite right.
const MOST_SUGGESTED: usize = 10;

/// Whether a notice is of one of these downloads, of which the user is told anyway.
fn is_of(notice: &Notice, swarms: &[Arc<Swarm>]) -> bool {
    match notice {
        Notice::Completed(hash) | Notice::Paused(hash, _) => {
            swarms.iter().any(|swarm| swarm.torrent.info_hash() == *hash)
        }
        _ => false,
    }
}

impl Shell {
    pub(super) fn download(&self, download: &Download) -> Result<(), ShellError> {
        let (swarms, all_begun) = self.begin(download)?;
        self.follow(&swarms)?;
        if all_begun { Ok(()) } else { Err(ShellError::Told) }
    }

    /// Begins the downloads. Several words may be one name with spaces in it: that is tried first. If only
    /// some downloads can be begun, the user is told about the others, and the answer is false.
    fn begin(&self, download: &Download) -> Result<(Vec<Arc<Swarm>>, bool), ShellError> {
        let Download { names, to, files } = download;
        // The resume state names the folder, and the next start may be in another one.
        let to = to.as_deref().map(std::path::absolute).transpose();
        let to = to.map_err(|why| ShellError::Failed(format!("cannot tell which folder is meant: {why}")))?;
        let wish = Wish { to: to.as_deref(), files };
        let whole = names.join(" ");
        let refused = match self.room.download(&whole, wish) {
            Ok(begun) => return Ok(self.told(begun)),
            Err(why) if names.len() == 1 => return Err(self.explain(&whole, why)),
            Err(why) => why,
        };
        let begun: Vec<_> = names.iter().map(|name| (name, self.room.download(name, wish))).collect();
        if begun
            .iter()
            .all(|(_, begun)| matches!(begun, Err(RoomError::Refused(no)) if no.choices.is_empty()))
        {
            return Err(self.explain(&whole, refused)); // the words were meant as one name
        }
        let mut all = Begun::default();
        for (name, begun) in begun {
            match begun {
                Ok(begun) => {
                    all.swarms.extend(begun.swarms);
                    all.failed.extend(begun.failed);
                }
                Err(why) => all.failed.push((name.clone(), why)),
            }
        }
        Ok(self.told(all))
    }

    /// Tells what of the downloads could not be begun. Gives the others, and whether they are all.
    fn told(&self, begun: Begun) -> (Vec<Arc<Swarm>>, bool) {
        let all_begun = begun.failed.is_empty();
        for (name, why) in begun.failed {
            self.complain(&self.explain(&name, why));
        }
        (begun.swarms, all_begun)
    }

    /// The error for the user. It lists the keys to choose from if the name is ambiguous, and similar names
    /// if it is unknown.
    pub(super) fn explain(&self, name: &str, why: RoomError) -> ShellError {
        let RoomError::Refused(refusal) = &why else { return why.into() };
        let shown = excerpt(name);
        let list = |entries: &[Entry]| report::entries(entries).trim_end().to_owned();
        if !refusal.choices.is_empty() {
            let (count, choices) = (refusal.choices.len(), list(&refusal.choices));
            return ShellError::Failed(format!(
                "{count} torrents are called `{shown}`, choose by key:\n{choices}"
            ));
        }
        match self.room.search(name) {
            Ok(mut like) if !like.is_empty() => {
                like.truncate(MOST_SUGGESTED);
                ShellError::Failed(format!("nothing is called `{shown}`; there is:\n{}", list(&like)))
            }
            _ => why.into(),
        }
    }

    /// Waits for downloads, with bars on a terminal. Enter leaves them to the background.
    pub(super) fn follow(&self, swarms: &[Arc<Swarm>]) -> Result<(), ShellError> {
        let enter = self.typing.enter();
        let mut missed = Vec::new();
        let ended = |swarm: &Arc<Swarm>| swarm.is_complete() || swarm.is_paused();
        while !swarms.iter().all(ended) {
            let gauge = |swarm: &Arc<Swarm>| {
                Gauge::of(self.room.label(swarm), swarm, self.room.rates(swarm.torrent.info_hash()).down)
            };
            let gauges: Vec<Gauge> = swarms.iter().map(gauge).collect();
            match swarms.len() {
                0..=MOST_BARS => self.audience.progress(&gauges),
                _ => self.audience.progress(&[Gauge::of_all(&gauges)]),
            }
            let left_alone = select! {
                recv(self.notices) -> notice => {
                    missed.extend(notice.ok().filter(|notice| !is_of(notice, swarms)));
                    missed.truncate(MOST_MISSED);
                    false
                }
                recv(enter) -> line => {
                    self.typing.keep(line.ok());
                    true
                }
                recv(self.stop) -> _ => {
                    self.audience.progress(&[]);
                    return Err(ShellError::Stopped(GOES_ON));
                }
                default(TICK) => self.audience.is_gone(),
            };
            if left_alone {
                self.audience.progress(&[]);
                self.tell_missed(missed);
                return self.print(LEFT);
            }
        }
        self.audience.progress(&[]);
        let complete = swarms.iter().filter(|swarm| swarm.is_complete());
        self.told.lock().extend(complete.map(|swarm| swarm.torrent.info_hash()));
        self.tell_missed(missed);
        let mut all_well = true;
        let (complete, rest): (Vec<_>, Vec<_>) = swarms.iter().partition(|swarm| swarm.is_complete());
        let told = if complete.len() > MOST_BARS && !self.json {
            let total = complete.iter().map(|swarm| swarm.progress().total).sum();
            let count = plural(complete.len() as u64, "file");
            self.print(&format!("{count}: complete, {}\n", show_bytes(total)))?;
            rest
        } else {
            swarms.iter().collect()
        };
        for swarm in told {
            if let Err(why) = self.report(swarm) {
                all_well = false;
                self.complain(&why);
            }
        }
        if all_well { Ok(()) } else { Err(ShellError::Told) }
    }

    /// What happened while a download was followed.
    fn tell_missed(&self, missed: Vec<Notice>) {
        match self.typing.by_person() {
            true => self.words(missed).iter().for_each(|line| drop(self.print(&format!("{line}\n")))),
            false => missed.iter().for_each(|notice| self.log_notice(notice)),
        }
    }

    pub(super) fn report(&self, swarm: &Swarm) -> Result<(), ShellError> {
        let progress = swarm.progress();
        if let State::Paused(why) = &progress.state
            && !swarm.is_complete()
        {
            return Err(ShellError::Failed(format!("{} is paused: {why}", swarm.torrent.name())));
        }
        let path = swarm.storage.root();
        if self.json {
            return self
                .print_json(&json!({ "key": swarm.torrent.key(), "path": path, "size": progress.total }));
        }
        self.print(&format!("{}: complete, {}\n", path.display(), show_bytes(progress.total)))
    }
}
