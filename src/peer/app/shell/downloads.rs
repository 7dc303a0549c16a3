//! The shell's `download`: begins it, follows it with bars, and tells what came of it. Runs on the shell's
//! thread.

use super::{LEFT, Shell, ShellError};
use crate::peer::app::command::excerpt;
use crate::peer::app::progress::{Gauge, TICK, show_bytes};
use crate::peer::app::report;
use crate::peer::app::room::RoomError;
use crate::peer::swarm::{State, Swarm};
use crate::protocol::catalogue::Entry;
use crossbeam_channel::select;
use serde_json::json;
use std::sync::Arc;

/// What happens to a download when the engine is stopped.
const GOES_ON: &str = "the download goes on when this peer is started again";
/// Maximum number of entries that are suggested for a name that is not quite right.
const MOST_SUGGESTED: usize = 10;

impl Shell {
    pub(super) fn download(&self, names: &[String]) -> Result<(), ShellError> {
        let (swarms, all_begun) = self.begin(names)?;
        self.follow(&swarms)?;
        if all_begun { Ok(()) } else { Err(ShellError::Told) }
    }

    /// Begins the downloads. Several words may be one name with spaces in it: that is tried first. If only
    /// some downloads can be begun, the user is told about the others, and the answer is false.
    pub(super) fn begin(&self, names: &[String]) -> Result<(Vec<Arc<Swarm>>, bool), ShellError> {
        let whole = names.join(" ");
        let refused = match self.room.download(&whole) {
            Ok(swarm) => return Ok((vec![swarm], true)),
            Err(why) if names.len() == 1 => return Err(self.explain(&whole, why)),
            Err(why) => why,
        };
        let begun: Vec<_> = names.iter().map(|name| (name, self.room.download(name))).collect();
        if begun
            .iter()
            .all(|(_, swarm)| matches!(swarm, Err(RoomError::Refused(no)) if no.choices.is_empty()))
        {
            return Err(self.explain(&whole, refused)); // the words were meant as one name
        }
        let mut swarms = Vec::new();
        let mut all_begun = true;
        for (name, swarm) in begun {
            match swarm {
                Ok(swarm) => swarms.push(swarm),
                Err(why) => {
                    all_begun = false;
                    self.complain(&self.explain(name, why));
                }
            }
        }
        Ok((swarms, all_begun))
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
        let ended = |swarm: &Arc<Swarm>| swarm.is_complete() || swarm.is_paused();
        while !swarms.iter().all(ended) {
            let gauge =
                |swarm: &Arc<Swarm>| Gauge::of(swarm, self.room.rates(swarm.torrent.info_hash()).down);
            self.audience.progress(&swarms.iter().map(gauge).collect::<Vec<_>>());
            let left_alone = select! {
                recv(self.notices) -> _ => false,
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
                return self.print(LEFT);
            }
        }
        self.audience.progress(&[]);
        let mut all_well = true;
        for swarm in swarms {
            if let Err(why) = self.report(swarm) {
                all_well = false;
                self.complain(&why);
            }
        }
        if all_well { Ok(()) } else { Err(ShellError::Told) }
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
