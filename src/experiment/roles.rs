//! What a seeder and a leecher do, step by step, on `main`; no lock. First all leechers fetch the A files
//! from the seeder at the same time, then the seeder fetches the B files from all of them. All wait for each
//! other before each file, so that each file is measured under the same load. The seeder leaves when it has
//! everything, and then the leechers end, too.

use super::client::{Client, Kind, Settings};
use super::meeting::{Meeting, Member};
use super::plan::Plan;
use super::rows::{Row, Rows};
use super::stop::Stop;
use super::{Failure, Role, SIZES, Size, contents};
use crate::lock;
use crate::torrent::Torrent;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for an earlier process that still uses the folder before trying again.
const HANDOVER: Duration = Duration::from_millis(100);
/// Maximum number of such waits.
const HANDOVERS: u32 = 100;

/// One role's part in the experiment.
#[derive(Clone, Debug)]
pub struct Part {
    /// What this process does.
    pub role: Role,
    /// Its name in the rows, which tells the leechers apart.
    pub name: String,
    /// `HOST:PORT`.
    pub tracker: String,
    /// Number of leechers in the experiment.
    pub leechers: usize,
    /// How often each file is fetched.
    pub plan: Plan,
    /// Folder of the results of all clients.
    pub results: PathBuf,
    /// Folder of the eight files and of the fetched copies, with a folder for each name.
    pub files: PathBuf,
    /// The client under test.
    pub kind: Kind,
    /// How the client is started.
    pub client: Settings,
}

/// Runs one role to its end.
pub fn play(part: &Part, stop: &Stop) -> Result<(), Failure> {
    let dir = part.files.join(&part.name);
    let fetched = dir.join("fetched");
    for path in [&dir, &part.kind.results(&part.results)] {
        fs::create_dir_all(path).map_err(Failure::file("make", path))?;
    }
    let _alone_here = occupy(&dir, stop)?;
    let dir = fs::canonicalize(&dir).map_err(Failure::file("find", &dir))?;
    let mut client = part.kind.start(&part.client, stop)?;
    let own = SIZES.iter().map(|size| contents::provide(part.role.has(), *size, &dir));
    let own: Vec<Arc<Torrent>> = own.collect::<Result<_, _>>()?;
    for torrent in &own {
        client.serve(torrent, &dir, stop)?;
    }
    let meeting = Meeting::join(&part.tracker, part.role, &part.name, client.port())?;
    for torrent in &own {
        meeting.publish(torrent, true)?;
    }
    log::info!("{}: {} serves on port {}", part.name, part.kind, client.port());
    let mut player = Player { part, client, meeting, stop, fetched };
    if part.role == Role::Seed {
        player.wait_for_the_leechers(&own)?;
    }
    let fetched = SIZES.into_iter().map(|size| player.fetch_as_planned(size));
    let fetched: Vec<Arc<Torrent>> = fetched.collect::<Result<_, _>>()?;
    if let (Role::Leech, Some(torrent)) = (part.role, fetched.last()) {
        player.wait_for_the_seeder(torrent)?;
    }
    Ok(())
}

/// Locks the folder, so that no other process uses it.
fn occupy(dir: &Path, stop: &Stop) -> Result<File, Failure> {
    for _ in 0..HANDOVERS {
        if let Ok(held) = lock::hold(dir, || File::open(dir)) {
            return Ok(held);
        }
        stop.pause(HANDOVER)?;
    }
    Err(Failure::Broken(format!("another experiment uses {}; give this one another --name", dir.display())))
}

struct Player<'a> {
    part: &'a Part,
    client: Box<dyn Client>,
    meeting: Meeting,
    stop: &'a Stop,
    /// Folder of the fetched copy; it does not exist between two repetitions.
    fetched: PathBuf,
}

impl Player<'_> {
    /// The seeder begins to fetch when every leecher has every A file.
    fn wait_for_the_leechers(&self, own: &[Arc<Torrent>]) -> Result<(), Failure> {
        for torrent in own {
            let what = format!("{} leechers to have {}", self.part.leechers, torrent.name());
            let all = |members: &[Member]| {
                let done = members.iter().filter(|member| member.role == Role::Leech && member.has_all);
                (done.count() >= self.part.leechers).then_some(())
            };
            self.meeting.wait_for(&what, torrent, self.stop, all)?;
        }
        Ok(())
    }

    /// A leecher serves until the seeder is no member of this swarm any more.
    fn wait_for_the_seeder(&self, torrent: &Torrent) -> Result<(), Failure> {
        let gone = |members: &[Member]| members.iter().all(|member| member.role != Role::Seed).then_some(());
        self.meeting.wait_for("the seeder to be done", torrent, self.stop, gone)
    }

    /// Fetches a file as often as rows are missing.
    fn fetch_as_planned(&mut self, size: Size) -> Result<Arc<Torrent>, Failure> {
        let (part, set) = (self.part, self.part.role.wants());
        let (name, rows) =
            (set.file(size), Rows::new(&part.kind.results(&part.results), set, size, part.role));
        let torrent = self.meeting.find(&name, self.stop)?;
        let (wanted, done) = (part.plan.repetitions(size), rows.count(&part.name)?);
        if done < wanted {
            self.meeting.publish(&torrent, false)?;
            let from = self.wait_until_all_are_ready(&torrent)?;
            for repetition in done + 1..=wanted {
                rows.append(&self.repeat(repetition, size, &torrent, &from)?)?;
            }
        }
        log::info!("{}: {name} fetched {} times, {done} of them earlier", part.name, wanted.max(done));
        self.meeting.publish(&torrent, true)?;
        Ok(torrent)
    }

    /// Waits until all others are ready, and gives the addresses of those that serve the torrent.
    fn wait_until_all_are_ready(&self, torrent: &Torrent) -> Result<Vec<SocketAddr>, Failure> {
        let role = self.part.role;
        let (servers, others) = match role {
            Role::Seed => (self.part.leechers, 0),
            Role::Leech => (1, self.part.leechers.saturating_sub(1)),
        };
        let ready = |members: &[Member]| {
            let serves = |member: &&Member| member.role == role.other() && member.has_all;
            let from: Vec<SocketAddr> = members.iter().filter(serves).map(|member| member.addr).collect();
            let beside_us = members.iter().filter(|member| member.role == role).count();
            (from.len() >= servers && beside_us >= others).then_some(from)
        };
        let what =
            format!("all {} leechers and the seeder to be ready for {}", self.part.leechers, torrent.name());
        self.meeting.wait_for(&what, torrent, self.stop, ready)
    }

    /// One repetition. Nothing of the one before is left.
    fn repeat(
        &mut self,
        repetition: u32,
        size: Size,
        torrent: &Arc<Torrent>,
        from: &[SocketAddr],
    ) -> Result<Row, Failure> {
        self.clear()?;
        fs::create_dir(&self.fetched).map_err(Failure::file("make", &self.fetched))?;
        let measured = self.client.fetch(torrent, &self.fetched, from, self.stop)?;
        contents::compare(self.part.role.wants(), size, &self.fetched)?;
        self.clear()?;
        Ok(Row::new(repetition, &self.part.name, size, &measured))
    }

    fn clear(&self) -> Result<(), Failure> {
        match fs::remove_dir_all(&self.fetched) {
            Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::file("remove", &self.fetched)(why))
            }
            _ => Ok(()),
        }
    }
}
