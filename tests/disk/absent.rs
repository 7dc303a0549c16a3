//! A folder that is not there for a while, as a share that is not mounted: what is in it waits, nothing is made
//! in its place, and nothing is hashed again when it is back.

use super::*;
use crate::common::truth::durable_in;
use shoal::peer::engine::Config;
use shoal::peer::swarm::Job;

/// What was saved of a torrent; nothing at first.
fn resume_of(state: &Path, torrent: &Torrent) -> Option<serde_json::Value> {
    let path = state.join("resume").join(format!("{}.json", torrent.key()));
    Some(serde_json::from_slice(&fs::read(path).ok()?).unwrap())
}

fn is_absent(swarm: &Swarm) -> bool {
    matches!(swarm.progress().state, State::Absent(_))
}

struct Away {
    place: tempfile::TempDir,
    seed: Engine,
    source: Source,
}

impl Away {
    fn new() -> Self {
        let source = Source::file("file", 3_000_000);
        let seed = peer();
        source.share(&seed);
        Away { place: tempfile::tempdir().unwrap(), seed, source }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn leave(&self) {
        fs::rename(self.at("to"), self.at("away")).unwrap();
    }

    fn come_back(&self) {
        let _ = fs::remove_dir(self.at("to")); // where it was mounted
        fs::rename(self.at("away"), self.at("to")).unwrap();
    }

    fn leecher(&self) -> Engine {
        Engine::start(&config(Some(&self.at("state")))).unwrap()
    }

    fn finished(&self) {
        let leecher = self.leecher();
        let swarm = self.source.download(&leecher, &self.seed, &self.at("to"));
        wait_until("it is complete", || swarm.is_complete());
    }

    fn vouched(&self) -> u32 {
        let Some(resume) = resume_of(&self.at("state"), &self.source.torrent) else { return 0 };
        let bytes = serde_json::to_vec(&resume).unwrap();
        durable_in(&bytes, self.source.torrent.geometry().piece_count()).count()
    }
}

/// Bug: an empty folder was made, and everything fetched again.
#[test]
fn a_folder_that_is_absent_at_the_start_is_waited_for_and_nothing_is_hashed_when_it_is_back() {
    for mounted_on_an_empty_folder in [false, true] {
        let away = Away::new();
        away.finished();
        let before = resume_of(&away.at("state"), &away.source.torrent);
        away.leave();
        if mounted_on_an_empty_folder {
            fs::create_dir(away.at("to")).unwrap();
        }
        let leecher = away.leecher();
        let add = || AddTorrent::download(away.source.torrent.clone(), away.at("to"));
        let swarm = leecher.add(add()).unwrap();
        assert!(is_absent(&swarm) && swarm.is_complete() && !swarm.is_running());
        let made = fs::read_dir(away.at("to")).map_or(0, |entries| entries.count());
        assert_eq!((made, away.at("to").exists()), (0, mounted_on_an_empty_folder), "nothing is made");
        let other = Source::file("other", 100_000);
        let refused = leecher.add(AddTorrent::download(other.torrent.clone(), away.at("to"))).err().unwrap();
        assert!(refused.to_string().contains("to is not there"), "{refused}");
        drop((swarm, leecher));
        assert_eq!(resume_of(&away.at("state"), &away.source.torrent), before, "nothing is forgotten");

        let leecher = away.leecher();
        let swarm = leecher.add(add()).unwrap();
        assert!(is_absent(&swarm));
        away.come_back();
        wait_until("it goes on", || {
            assert_eq!(swarm.progress().checking, 0, "nothing is hashed");
            swarm.is_running()
        });
        assert_eq!(swarm.progress().left, 0);
        let (third, to) = (peer(), tempfile::tempdir().unwrap());
        let thirds = away.source.download(&third, &leecher, to.path());
        wait_until("it is served again", || thirds.is_complete());
        leecher.stop();
        assert_eq!(resume_of(&away.at("state"), &away.source.torrent), before);
    }
}

/// Bug: nothing was vouched for any more, and everything hashed again.
#[test]
fn a_folder_that_goes_away_in_the_middle_of_a_download_costs_nothing_but_time() {
    for restart in [false, true] {
        let away = Away::new();
        let lacking = tempfile::tempdir().unwrap();
        let mut some = fs::read(&away.source.path).unwrap();
        some[1_500_000..].fill(0);
        fs::write(lacking.path().join("file"), &some).unwrap();
        let partly = peer();
        let serves = partly.add(AddTorrent::seed(away.source.torrent.clone(), lacking.path())).unwrap();
        wait_until("it is checked", || serves.progress().checking == 0);
        let half = serves.progress().have;
        let leecher = away.leecher();
        let swarm = away.source.download(&leecher, &partly, &away.at("to"));
        wait_until("half of it is here", || swarm.progress().have == half);
        swarm.save().unwrap();
        wait_until("it is vouched for", || away.vouched() == half);
        away.leave();
        swarm.pool.push(Job::Save(Arc::clone(&swarm)));
        wait_until("it is missed", || is_absent(&swarm));
        assert_eq!((away.vouched(), away.at("to").exists()), (half, false));
        let (leecher, swarm) = match restart {
            false => (leecher, swarm),
            true => {
                drop((swarm, leecher));
                assert_eq!(away.vouched(), half);
                let leecher = away.leecher();
                let add = AddTorrent::download(away.source.torrent.clone(), away.at("to"));
                let swarm = leecher.add(add).unwrap();
                assert!(is_absent(&swarm) && !away.at("to").exists());
                (leecher, swarm)
            }
        };
        assert_eq!(swarm.progress().have, half);
        away.come_back();
        wait_until("it goes on", || swarm.is_running());
        swarm.add_addresses([away.seed.addr()], true);
        leecher.look_for_peers();
        wait_until("it is complete", || swarm.is_complete());
        assert_same(&away.source.path, &away.at("to/file"));
        let all = away.source.torrent.geometry().total_len();
        let fetched = swarm.progress().downloaded;
        assert!(
            fetched <= all && (!restart || fetched <= all - u64::from(half - 1) * (1 << 15)),
            "{fetched}"
        );
    }
}

/// Bug: a seed was paused for good, and said so as if a file were broken.
#[test]
fn a_folder_that_goes_away_under_a_seed_is_told_in_one_line_and_served_again_when_it_is_back() {
    let (source, place) = (Source::file("file", 3_000_000), tempfile::tempdir().unwrap());
    let (dir, away) = (place.path().join("share"), place.path().join("away"));
    fs::create_dir(&dir).unwrap();
    fs::copy(&source.path, dir.join("file")).unwrap();
    let metainfo = source.dir.path().join("it.torrent");
    let mut command = crate::cli_support::program("torrent", place.path());
    command.args(["seed", metainfo.to_str().unwrap(), "share", "--listen", "127.0.0.1:0", "--up", "500KB"]);
    let mut seed = crate::cli_support::Process::start(command);
    let addr = seed.listening();
    fs::rename(&dir, &away).unwrap();
    let (leecher, to) = (peer(), tempfile::tempdir().unwrap());
    let swarm = leecher.add(AddTorrent::download(source.torrent.clone(), to.path())).unwrap();
    swarm.add_addresses([addr], true);
    leecher.look_for_peers();
    let line = seed.expect("share is not there");
    assert!(line.contains("it is looked for again"), "{line}");
    fs::rename(&away, &dir).unwrap();
    seed.expect("share is there again");
    wait_until("it is served again", || {
        leecher.look_for_peers();
        swarm.is_complete()
    });
    assert_same(&source.path, &to.path().join("file"));
    seed.signal(rustix::process::Signal::INT);
    assert!(seed.end().success());
}

/// A real mount, in a namespace of its own: where it was there is an empty folder on the same disk.
#[test]
fn a_share_that_is_unmounted_under_a_seed_is_served_again_when_it_is_mounted() {
    let may = Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    if !may.is_ok_and(|may| may.status.success()) {
        return println!("skipped: mounting takes root and unshare");
    }
    let (source, place) = (Source::file("file", 3_000_000), tempfile::tempdir().unwrap());
    for folder in ["real", "share"] {
        fs::create_dir(place.path().join(folder)).unwrap();
    }
    fs::copy(&source.path, place.path().join("real/file")).unwrap();
    let script = r#"
        mount --bind real share || exit 9
        "$1" seed "$2" share --listen 127.0.0.1:0 --up 500KB 2>seed & seed=$!
        trap 'kill $seed 2>/dev/null' EXIT
        until grep -q "listening on" seed; do sleep 0.1; done
        "$1" download "$2" -d to --listen 127.0.0.1:0 --peer "$(sed -n 's/listening on //p' seed)" 2>to.log &
        umount -l share || exit 8
        until grep -q "share is not there" seed; do sleep 0.1; done
        ls -A share >made
        mount --bind real share || exit 7
        wait $! || exit 6
        kill -INT $seed; wait $seed
    "#;
    let status = Command::new("timeout")
        .args(["120", "unshare", "-m", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_torrent")])
        .arg(source.dir.path().join("it.torrent"))
        .current_dir(place.path())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let said = |name: &str| fs::read_to_string(place.path().join(name)).unwrap_or_default();
    assert!(status.success(), "{status}: {}{}", said("seed"), said("to.log"));
    assert_eq!((said("made").as_str(), said("seed").matches("is not there").count()), ("", 1));
    assert_same(&source.path, &place.path().join("to/file"));
}

/// What comes back changed is not served; it is the user's to see to.
#[test]
fn a_folder_that_comes_back_changed_pauses_the_torrent() {
    let away = Away::new();
    away.finished();
    away.leave();
    let leecher = away.leecher();
    let swarm = leecher.add(AddTorrent::download(away.source.torrent.clone(), away.at("to"))).unwrap();
    let file = fs::File::options().write(true).open(away.at("away/file")).unwrap();
    file.set_len(1_000_000).unwrap();
    away.come_back();
    wait_until("it is paused", || swarm.is_paused());
    let why = reason(&swarm);
    assert!(why.contains("was removed or replaced") || why.contains("was changed"), "{why}");
    drop((swarm, leecher));
    // The next start sees what is left, and fetches the rest.
    let leecher = away.leecher();
    let swarm = away.source.download(&leecher, &away.seed, &away.at("to"));
    wait_until("it is whole again", || swarm.is_complete());
    assert_same(&away.source.path, &away.at("to/file"));
}

/// What is gone when the folder is back is missing, and fetched anew: nothing ends with a hole.
#[test]
fn a_part_that_is_gone_when_the_folder_is_back_is_fetched_anew() {
    for restart in [false, true] {
        let away = Away::new();
        let leecher = Engine::start(&Config { down: Some(1_000_000), ..config(Some(&away.at("state"))) });
        let leecher = leecher.unwrap();
        let swarm = away.source.download(&leecher, &away.seed, &away.at("to"));
        wait_until("some of it is vouched for", || {
            swarm.pool.push(Job::Save(Arc::clone(&swarm)));
            away.at("state/resume").exists() && swarm.progress().have > 10 && away.vouched() > 0
        });
        away.leave();
        swarm.pool.push(Job::Save(Arc::clone(&swarm)));
        wait_until("it is missed", || is_absent(&swarm));
        let (leecher, swarm) = match restart {
            false => (leecher, swarm),
            true => {
                drop((swarm, leecher));
                let leecher = away.leecher();
                let add = AddTorrent::download(away.source.torrent.clone(), away.at("to"));
                let swarm = leecher.add(add).unwrap();
                (leecher, swarm)
            }
        };
        fs::remove_file(away.at("away/file.part")).unwrap();
        away.come_back();
        wait_until("it is there again", || !is_absent(&swarm));
        assert_eq!(swarm.is_paused(), !restart);
        wait_until("it is complete", || {
            if !swarm.is_running() {
                swarm.unpause(); // a save that was under way may find it gone too, and pause it once more
            }
            swarm.add_addresses([away.seed.addr()], true);
            leecher.look_for_peers();
            swarm.is_complete()
        });
        assert_same(&away.source.path, &away.at("to/file"));
    }
}

/// A user's pause outlasts the absence.
#[test]
fn a_torrent_that_is_paused_while_its_folder_is_away_goes_on_when_it_is_told_to() {
    let away = Away::new();
    away.finished();
    away.leave();
    let leecher = away.leecher();
    let swarm = leecher.add(AddTorrent::download(away.source.torrent.clone(), away.at("to"))).unwrap();
    swarm.pause("by the user");
    swarm.unpause();
    wait_until("it is missed again", || is_absent(&swarm));
    swarm.pause("by the user");
    away.come_back();
    assert!(swarm.is_paused());
    swarm.unpause();
    wait_until("it goes on", || swarm.is_running());
}

/// Bug: without the folder everything was withdrawn; at the next start it was made anew, and when it was back,
/// all was hashed again.
#[test]
fn the_folders_of_a_peer_may_be_away_for_a_while() {
    let swarm = crate::cli_support::Swarm::new();
    swarm.shares("giver", "film", &content(1, 300_000));
    let home = swarm.home("giver");
    let (uploads, downloads, away) = (home.join("uploads"), home.join("downloads"), home.join("away"));
    // In its folder as it is: `peer_command` would make `uploads`.
    let start = |name: &str| {
        let mut command = crate::cli_support::program("peer", &swarm.place.path().join(name));
        let (ip, port) = (swarm.addr.ip().to_string(), swarm.addr.port().to_string());
        command.args([&ip, &port, "--listen", "127.0.0.1:0"]).env("SHOAL_LOG", "info");
        crate::cli_support::Process::start(command)
    };
    let mut giver = start("giver");
    giver.expect("published film");
    fs::rename(&uploads, &away).unwrap();
    giver.expect("uploads is not there");
    fs::rename(&away, &uploads).unwrap();
    giver.expect("uploads is there again");
    swarm.once("taker", &["download", "film"]).good();
    giver.kill();

    fs::rename(&uploads, &away).unwrap();
    let mut giver = start("giver");
    giver.expect("uploads is not there");
    assert!(!uploads.exists());
    fs::rename(&away, &uploads).unwrap();
    // Nothing is said in between: it would be hashed then.
    let line = |giver: &mut crate::cli_support::Process| giver.expect("film");
    assert!(line(&mut giver).contains("published film"));

    swarm.shares("other", "song", &content(2, 300_000));
    let mut other = start("other");
    other.expect("published song");
    giver.say("download song");
    giver.expect("song: complete");
    giver.kill();
    fs::rename(&downloads, &away).unwrap();
    let mut giver = start("giver");
    giver.expect("downloads is not there");
    assert!(!downloads.exists());
    let waits = giver.ask("status");
    assert!(waits.iter().any(|line| line.contains("song") && line.contains("is not there")), "{waits:#?}");
    other.kill();
    fs::rename(&away, &downloads).unwrap();
    giver.expect("downloads is there again");
    swarm.once("taker", &["download", "song"]).good();
}
