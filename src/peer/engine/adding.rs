//! How a torrent is added to a running engine, and what is kept of it for the next start. Any thread; no lock
//! of its own.

use super::{Engine, StartError};
use crate::peer::storage::older::Older;
use crate::peer::storage::recovery::{Recovered, Recovery};
use crate::peer::storage::stamp::Stamp;
use crate::peer::storage::{Before, Storage, StorageError};
use crate::peer::swarm::options::DownloadOptions;
use crate::peer::swarm::{Observer, Swarm};
use crate::torrent::Torrent;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A torrent to add to an [`Engine`].
pub struct AddTorrent {
    /// What the metainfo says.
    pub torrent: Arc<Torrent>,
    /// The folder that has the torrent's file or folder, or will have it.
    pub dir: PathBuf,
    /// What is known of the content in that folder.
    pub content: Content,
    /// Which files of a download are wanted, and in which order.
    pub options: DownloadOptions,
    /// Whether to keep its resume state for the next start, if the engine has a state folder.
    pub remember: bool,
    /// An older version that is complete, from which equal pieces are taken, and whose place a download takes
    /// once it is whole.
    pub(crate) older: Option<Older>,
    /// Whether what is complete, and was changed by its user, stays as it is; otherwise it is mended.
    pub(crate) keeps_changes: bool,
    /// Who hears what becomes of it.
    pub observer: Arc<dyn Observer>,
    /// What an earlier run knew of it, if that was read already.
    recovery: Option<Recovery>,
}

/// What is known of a torrent's content when it is added.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// It is downloaded, from where an earlier run stopped. Content that is complete under its name is
    /// seeded; anything else of that name is in the way.
    Missing,
    /// It is there under its name, and is only read. What its resume state does not call durable is verified
    /// first.
    Present,
    /// It is there under its name, and was verified a moment ago: it is not read again.
    Verified,
}

/// The observer of a torrent that has none.
struct Unobserved;

impl Observer for Unobserved {}

impl AddTorrent {
    /// Downloads into `dir`, from where an earlier run stopped.
    pub fn download(torrent: Arc<Torrent>, dir: impl AsRef<Path>) -> Self {
        AddTorrent::new(torrent, dir.as_ref(), Content::Missing)
    }

    /// Seeds the content at `dir/NAME`, after verifying what no earlier run has verified.
    pub fn seed(torrent: Arc<Torrent>, dir: impl AsRef<Path>) -> Self {
        AddTorrent::new(torrent, dir.as_ref(), Content::Present)
    }

    /// Seeds the content at `dir/NAME`, which was hashed a moment ago.
    pub fn verified(torrent: Arc<Torrent>, dir: impl AsRef<Path>) -> Self {
        AddTorrent::new(torrent, dir.as_ref(), Content::Verified)
    }

    fn new(torrent: Arc<Torrent>, dir: &Path, content: Content) -> Self {
        AddTorrent {
            torrent,
            dir: dir.to_owned(),
            content,
            options: DownloadOptions::default(),
            remember: true,
            older: None,
            keeps_changes: false,
            observer: Arc::new(Unobserved),
            recovery: None,
        }
    }

    /// Downloads only some files, or in order.
    pub fn with(self, options: DownloadOptions) -> Self {
        AddTorrent { options, ..self }
    }

    /// Takes the place of an older version.
    pub(crate) fn replacing(self, older: Option<Older>) -> Self {
        AddTorrent { older, ..self }
    }

    /// Leaves alone what its user has changed since it was complete.
    pub(crate) fn keeping_changes(self) -> Self {
        AddTorrent { keeps_changes: true, ..self }
    }

    /// Tells `observer` what becomes of it.
    pub fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        AddTorrent { observer, ..self }
    }

    /// Keeps nothing of it for the next start.
    pub fn for_this_run(self) -> Self {
        AddTorrent { remember: false, ..self }
    }

    /// Uses what an earlier run knew, which then is not read again.
    pub(crate) fn recovered(self, recovery: Recovery) -> Self {
        AddTorrent { recovery: Some(recovery), ..self }
    }
}

impl Engine {
    /// Adds a torrent. From now on connections for it are made and taken.
    ///
    /// # Errors
    /// It was added before, or its files cannot be used.
    pub fn add(&self, mut add: AddTorrent) -> Result<Arc<Swarm>, StartError> {
        if self.swarms.get(add.torrent.info_hash()).is_some() {
            return Err(StartError::Known(add.torrent.name().to_owned()));
        }
        let recovery = add.recovery.take();
        let recovery = recovery.unwrap_or_else(|| self.recovery(&add.torrent, add.remember));
        if add.content != Content::Verified && recovery.is_absent(&add.torrent, &add.dir) {
            let files = add.options.files_of(&add.torrent);
            let (disk, torrent) = (self.disk.clone(), Arc::clone(&add.torrent));
            let (storage, recovered) =
                recovery.await_folder(disk, &torrent, &add.dir, files, add.keeps_changes);
            return self.begin(add, storage, recovered);
        }
        let waits_there = |swarm: &Arc<Swarm>| swarm.is_absent() && swarm.storage.dir() == add.dir;
        if add.content == Content::Missing && self.swarms.all().iter().any(waits_there) {
            return Err(StorageError::NotThere(add.dir).into());
        }
        let storage = if add.content == Content::Missing {
            let (disk, files) = (self.disk.clone(), add.options.files_of(&add.torrent));
            let before = Before {
                known: recovery.settled(&add.dir),
                taken: self.swarms.all().iter().map(|other| other.storage.root()).collect(),
                keeps_changes: add.keeps_changes,
            };
            let older = add.older.take().or_else(|| recovery.older(&add.dir));
            let torrent = Arc::clone(&add.torrent);
            let storage = Storage::download_files(disk, torrent, &add.dir, &files, &before, older);
            let storage = match storage {
                Err(why @ StorageError::ChangedByUser(_)) => {
                    return self.begin_changed(add, &before.known, recovery, &why);
                }
                storage => storage?,
            };
            if !storage.is_all_settled() {
                let recovered = recovery.judge(&storage);
                return self.begin(add, storage, recovered);
            }
            log::debug!("{} is complete already", storage.root().display());
            add = AddTorrent { content: Content::Verified, options: DownloadOptions::default(), ..add };
            storage.into_shared()
        } else {
            Storage::shared(Arc::clone(&add.torrent), &add.dir)
        };
        let recovered = match add.content {
            Content::Verified => recovery.complete(&add.torrent),
            Content::Present | Content::Missing => recovery.judge(&storage),
        };
        self.begin(add, storage, recovered)
    }

    fn begin(
        &self,
        add: AddTorrent,
        storage: Storage,
        recovered: Recovered,
    ) -> Result<Arc<Swarm>, StartError> {
        let name = add.torrent.name();
        let Recovered { durable, found, here, unverified, trouble, file } = recovered;
        if storage.has_content() && add.content != Content::Verified {
            let (durable, unverified) = (durable.count(), unverified.len());
            log::info!("{name}: {durable} pieces are vouched for, {unverified} are looked for on the disk");
        }
        if here > 0 {
            let all = durable.len();
            log::warn!("{here} of {all} pieces of {name} were already here: it goes on from there");
        }
        let (shared, pool) = (Arc::clone(&self.shared), self.pool.clone());
        let swarm = Swarm::new(storage, &add.options, durable, file, shared, pool, add.observer);
        swarm.found_at_first(&found);
        if !self.swarms.insert(&swarm) {
            return Err(StartError::Known(name.to_owned()));
        }
        if let Some(why) = trouble {
            log::warn!("{name} was paused: {why}: it is tried again");
            swarm.distrust_the_disk();
        }
        if swarm.storage.is_awaited() {
            swarm.await_folder(unverified);
            return Ok(swarm);
        }
        let lacks_only_its_name = swarm.has_all_wanted() && !swarm.storage.is_shared();
        if swarm.storage.has_content() || swarm.storage.older().is_some() {
            swarm.check(unverified.into_iter());
        }
        // It has only empty files, or a crash came before it got its name; or the next start has to know it
        // at once.
        if lacks_only_its_name || (add.content == Content::Verified && add.remember) {
            swarm.save()?;
        }
        Ok(swarm)
    }

    /// A download that was complete, and that its user has changed since, stays as it is: what is left of it
    /// is shared once the user wants that, and what an earlier run knew is kept for then.
    fn begin_changed(
        &self,
        add: AddTorrent,
        known: &BTreeMap<usize, Stamp>,
        recovery: Recovery,
        why: &StorageError,
    ) -> Result<Arc<Swarm>, StartError> {
        let storage = Storage::changed(Arc::clone(&add.torrent), &add.dir, known);
        let recovered = recovery.judge(&storage);
        let recovered = Recovered { file: None, unverified: Vec::new(), ..recovered };
        let swarm = self.begin(add, storage, recovered)?;
        swarm.fail(&why.to_string());
        Ok(swarm)
    }

    /// What an earlier run knew of a torrent.
    pub(crate) fn recovery(&self, torrent: &Torrent, remember: bool) -> Recovery {
        let state = self.state.as_ref().filter(|_| remember);
        Recovery::load(state.map(|state| state.resume(&torrent.key())))
    }

    /// The torrents that earlier runs downloaded or offered, and what is known of each.
    pub(crate) fn resumable(&self) -> Vec<(Arc<Torrent>, Recovery)> {
        let Some(state) = &self.state else { return Vec::new() };
        let known =
            |key: String| Some((Arc::new(state.kept(&key)?), Recovery::load(Some(state.resume(&key)))));
        state.resumable().into_iter().filter_map(known).collect()
    }

    /// Removes what is kept of these torrents for the next start.
    pub fn discard(&self, torrents: &[Arc<Torrent>]) {
        if let Some(state) = &self.state {
            state.discard(&torrents.iter().map(|torrent| torrent.key()).collect::<Vec<_>>());
        }
    }
}
