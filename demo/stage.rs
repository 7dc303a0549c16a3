//! The stage: a temporary folder, the tracker and three peers in it, and the narrator. All of it is gone when
//! it is dropped.

use crate::actor::{Actor, Log, Result, until};
use crate::answers::{Catalogue, Connection, Entry, Peers, Status, Torrent};
use crate::narrator::Narrator;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The processes of the demo, and their folder.
pub struct Stage {
    pub narrator: Narrator,
    pub tracker: Actor,
    pub address: String,
    pub ada: Actor,
    pub ben: Actor,
    pub cleo: Actor,
    /// The folder's path, without links.
    pub root: PathBuf,
    /// The last field, so that no process uses it any more when it is removed.
    pub folder: TempDir,
}

/// How each peer is set up besides its folders.
const ADA: &[&str] = &["--slots", "1", "--up", "12MB"];
const MIRROR: &[&str] = &["--mirror"];

impl Stage {
    /// Makes the folders, lets `furnish` put files into them, and starts everybody.
    pub fn set(furnish: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let folder = TempDir::with_prefix("shoal-demo-")?;
        let mut narrator = Narrator::new();
        let root = fs::canonicalize(folder.path())?;
        narrator.call(&root.display().to_string(), "~");
        for name in ["ada", "ben", "cleo"] {
            for kind in ["uploads", "downloads"] {
                fs::create_dir_all(root.join(name).join(kind))?;
            }
        }
        furnish(&root)?;
        let mut tracker = program("tracker")?;
        tracker.args(["--listen", "127.0.0.1:0", "--data"]).arg(root.join("tracker"));
        let tracker = Actor::start("tracker", &mut tracker, Log::default())?;
        let listening = tracker.answer()?;
        let address = listening.rsplit(' ').next().unwrap_or_default().to_owned();
        let mut enter = |name, flags| enter(name, flags, &address, &root, Log::default(), &mut narrator);
        let (ada, ben, cleo) = (enter("ada", ADA)?, enter("ben", MIRROR)?, enter("cleo", MIRROR)?);
        Ok(Stage { narrator, tracker, address, ada, ben, cleo, root, folder })
    }

    /// Starts cleo once more, in her old folders.
    pub fn bring_back_cleo(&mut self) -> Result<()> {
        let log = self.cleo.log.clone();
        self.cleo = enter("cleo", MIRROR, &self.address, &self.root, log, &mut self.narrator)?;
        Ok(())
    }

    /// Removes the folder. The narrator may have a last word.
    pub fn strike(self) -> Result<Narrator> {
        self.folder.close().map_err(|why| format!("cannot remove the demo's folder: {why}"))?;
        Ok(self.narrator)
    }

    // ---- telling ------------------------------------------------------------------------------------------

    pub fn scene(&mut self, title: &str) {
        self.narrator.scene(title);
    }

    pub fn say(&self, text: impl AsRef<str>) {
        self.narrator.say(text);
    }

    /// Types a line into an actor's shell, for all to see, and reads the answer.
    pub fn type_in<T: DeserializeOwned>(&self, actor: &Actor, line: &str) -> Result<T> {
        self.narrator.typed(actor.name, line);
        actor.ask(line)
    }

    /// Waits until an actor logs a line behind `mark` with `words` in it, and quotes it.
    pub fn quote(&self, actor: &Actor, mark: usize, words: &str) -> Result<String> {
        let line = actor.hear(mark, words)?;
        self.narrator.quote(actor.name, &line);
        Ok(line)
    }

    // ---- asking -------------------------------------------------------------------------------------------

    /// How far the logs of ada, ben and cleo are.
    pub fn marks(&self) -> [usize; 3] {
        [&self.ada, &self.ben, &self.cleo].map(|actor| actor.log.mark())
    }

    /// What a browser sees: the tracker's `/torrents?search=WORD`.
    pub fn catalogue(&self, word: &str) -> Result<Vec<Entry>> {
        let url = format!("http://{}/torrents?search={word}", self.address);
        let direct: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let page = direct.get(&url).call()?.body_mut().read_to_string()?;
        let Catalogue { torrents } = serde_json::from_str(&page)?;
        Ok(torrents)
    }

    /// Waits until the catalogue has the torrent with so many seeds.
    pub fn wait_for_seeds(&self, name: &str, seeds: usize) -> Result<()> {
        until(&format!("{name} to have seeds: {seeds}"), || {
            let entries = self.catalogue(name)?;
            let there = entries.iter().any(|entry| entry.name == name && entry.seeds == seeds);
            Ok(there.then_some(()))
        })
    }

    /// How far `actor` is with the torrent called `name`.
    pub fn standing(&self, actor: &Actor, name: &str) -> Result<Torrent> {
        let Status { torrents, .. } = actor.ask("status")?;
        let found = torrents.into_iter().find(|torrent| torrent.name == name);
        found.ok_or_else(|| format!("{} has no `{name}`", actor.name).into())
    }

    /// Waits until `actor` has all of the torrent.
    pub fn complete(&self, actor: &Actor, name: &str) -> Result<Torrent> {
        until(&format!("{} to have all of {name}", actor.name), || {
            Ok(Some(self.standing(actor, name)?).filter(|torrent| torrent.complete))
        })
    }

    /// Bytes of a torrent that `actor` has received from each of the others, over the connections it has now.
    pub fn received(&self, actor: &Actor, key: &str) -> Result<BTreeMap<String, u64>> {
        let Peers { connected } = actor.ask("peers")?;
        let here = connected.into_iter().filter(|connection| connection.key == key);
        Ok(here
            .map(|Connection { address, received, .. }| (self.narrator.name_of(&address), received))
            .collect())
    }
}

/// Starts a peer, and learns where it listens.
fn enter(
    name: &'static str,
    flags: &[&str],
    tracker: &str,
    folder: &Path,
    log: Log,
    narrator: &mut Narrator,
) -> Result<Actor> {
    let (ip, port) = tracker.rsplit_once(':').ok_or("the tracker does not say where it listens")?;
    let home = folder.join(name);
    let mut peer = program("peer")?;
    peer.args([ip, port, "--listen", "127.0.0.1:0", "--json"]).args(flags);
    for kind in ["uploads", "downloads", "state"] {
        peer.arg(format!("--{kind}")).arg(home.join(kind));
    }
    let mark = log.mark();
    let actor = Actor::start(name, &mut peer, log)?;
    let listening = actor.hear(mark, "listening on ")?;
    narrator.call(listening.trim_start_matches("listening on "), name);
    Ok(actor)
}

/// One of the programs of this package, which stand in the folder above that of the demo.
fn program(name: &str) -> Result<Command> {
    let own = env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let path = folder.join(name).with_extension(env::consts::EXE_EXTENSION);
    if !path.exists() {
        return Err(format!("{} is missing: `make demo` builds it", path.display()).into());
    }
    let mut command = Command::new(path);
    // The user's own settings would change the demo.
    let settings = env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SHOAL_"));
    settings.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.env("SHOAL_LOG", "shoal=trace");
    Ok(command)
}
