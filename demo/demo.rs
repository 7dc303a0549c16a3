//! `make demo`: a walk through shoal with real processes on this machine, a tracker and three peers. Ada has
//! files, ben and cleo want them. The narrator asks the peers through their shells, quotes what their threads
//! log, and checks what he claims; at the end every byte is compared. Runs on `main`; each process has two
//! threads that read its output.
//!
//! Only one thing is arranged: ada has one upload slot and sends at most 12 MB/s, so that there is time
//! to watch. The demo never sleeps in the hope that something has happened: it waits for everything
//! that it tells.

mod actor;
mod answers;
mod files;
mod narrator;
mod stage;

use actor::{Actor, Result, until};
use answers::{Begun, Entry, Status, Torrent, Worker};
use crossbeam_channel::Receiver;
use shoal::peer::app::progress::show_bytes;
use shoal::peer::storage::resume::ResumeFile;
use shoal::torrent::units::thousands;
use stage::Stage;
use std::process::ExitCode;

/// The files at the beginning, with their sizes in bytes. What is in an upload folder is published file by
/// file; the course is offered as a whole.
const FILES: &[(&str, usize)] = &[
    ("ada/uploads/poem.txt", 2_400),
    ("ada/uploads/songs/tide.ogg", 9_000_000),
    ("ada/course/lecture.mp4", 210_000_000),
    ("ada/course/notes.txt", 3_100),
    ("ada/course/slides/week-1.pdf", 5_500_000),
];
/// A file that appears in the middle.
const SHELLS: (&str, usize) = ("cleo/uploads/shells.jpg", 60_000);
/// Which files each peer has in the end.
const COPIES: &[(&str, &str)] = &[
    ("ada/uploads/songs/tide.ogg", "ben/downloads/songs/tide.ogg"),
    ("ada/course", "ben/downloads/course"),
    ("ada/course", "cleo/downloads/course"),
];
/// Two leechers trade when each has sent the other this much, bytes.
const A_TRADE: u64 = 10_000_000;

fn main() -> ExitCode {
    match shoal::interrupt::channel().map_err(Into::into).and_then(play) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            actor::print_last_words();
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

fn play(interrupt: Receiver<()>) -> Result<()> {
    let _first_and_only = actor::INTERRUPT.set(interrupt);
    let mut stage = set_the_stage()?;
    publish(&mut stage)?;
    search_and_download(&mut stage)?;
    notice_a_new_file(&mut stage)?;
    let key = offer(&mut stage)?;
    trade(&mut stage, &key)?;
    let vouched = kill(&mut stage, &key)?;
    resume(&mut stage, vouched)?;
    finish(&mut stage, vouched)?;
    show_workers(&mut stage)?;
    show_slots(&mut stage);
    leave(&mut stage)?;
    compare(stage)
}

fn set_the_stage() -> Result<Stage> {
    let mut stage = Stage::set(|folder| {
        FILES.iter().try_for_each(|(path, len)| files::write_noise(&folder.join(path), *len))
    })?;
    stage.say(
        "shoal: a tracker and three peers, each a process of its own on this machine.
         What stands behind a │ are lines that they log: who, [thread], message. They are quoted as they
         are, but for names in place of the peers' addresses, and ~ for the folder of this demo.",
    );
    stage.scene("The stage");
    let noise = show_bytes(FILES.iter().map(|(_, len)| *len as u64).sum());
    stage.say(format!("~ is {}, with {noise} of noise in some files.", stage.root.display()));
    stage.say(format!("The tracker listens on {}. It knows who has what.", stage.address));
    stage.say(
        "ada    has the files, one upload slot (--slots 1), and sends 12 MB/s at most (--up 12MB)
         ben    fetches what is offered to everybody (--mirror)
         cleo   does so too",
    );
    Ok(stage)
}

fn publish(stage: &mut Stage) -> Result<()> {
    stage.scene("Ada publishes her upload folder");
    stage.say(
        "Every file in it is a torrent of its own, in subfolders too. Ada hashes it, and the tracker
         gets the hashes, never the content. Her thread `main` does that before it opens the shell:",
    );
    for words in ["poem.txt", "tide.ogg", "published poem.txt", "published tide.ogg"] {
        stage.quote(&stage.ada, 0, words)?;
    }
    Ok(())
}

fn search_and_download(stage: &mut Stage) -> Result<()> {
    stage.scene("Ben searches, finds and downloads");
    let found: Vec<Entry> = stage.type_in(&stage.ben, "search tide")?;
    let [Entry { name, size, n_parts, format, seeds, .. }] = found.as_slice() else {
        return Err("ben does not find tide.ogg, or more than that".into());
    };
    let bytes = thousands(*size);
    stage.say(format!("{name}, {bytes} bytes in {n_parts} pieces, a {format} torrent, seeds: {seeds}"));
    let url = format!("http://{}/torrents?search=tide", stage.address);
    stage.say(format!("Browsers and scripts find it at {url} too."));
    if stage.catalogue("tide")?.iter().map(|entry| &entry.name).ne([name]) {
        return Err(format!("{url} says something else").into());
    }
    let [ada, ben, _] = stage.marks();
    let _done: Begun = stage.type_in(&stage.ben, "download tide.ogg")?;
    stage.say(
        "Each side has a thread that owns the connection. Ada's `choke` lets ben into her slot, and from
         then on: a worker takes a missing piece, the connection fetches it, a worker proves it.",
    );
    stage.quote(&stage.ben, ben, "connected for tide.ogg")?;
    stage.quote(&stage.ada, ada, "upload slot for")?;
    let taken = stage.quote(&stage.ben, ben, "is to come from")?;
    let piece = taken.split(' ').nth(2).unwrap_or_default();
    stage.quote(&stage.ben, ben, &format!("piece {piece} of tide.ogg is proved and written"))?;
    stage.say(format!("So it went with each of the {n_parts} pieces, several at a time. He has it all."));
    Ok(())
}

fn notice_a_new_file(stage: &mut Stage) -> Result<()> {
    stage.scene("A new file is noticed while everybody runs");
    let [_, ben, cleo] = stage.marks();
    files::write_noise(&stage.root.join(SHELLS.0), SHELLS.1)?;
    stage.say(
        "shells.jpg appears in cleo's upload folder. Her thread `watch` sees it and publishes it; the
         thread that ben has for the tracker is told at once. The catalogue is live.",
    );
    stage.quote(&stage.cleo, cleo, "hashing ")?;
    stage.quote(&stage.cleo, cleo, "published shells.jpg")?;
    stage.quote(&stage.ben, ben, "added: shells.jpg")?;
    Ok(())
}

/// Gives the key of the offered torrent.
fn offer(stage: &mut Stage) -> Result<String> {
    stage.scene("One line fills the room");
    let [ada, ben, cleo] = stage.marks();
    let course = stage.root.join("ada/course");
    let Begun { key } = stage.type_in(&stage.ada, &format!("upload {}", course.display()))?;
    stage.say("A folder is one torrent of several files, offered to all. Ben and cleo fetch it at once:");
    stage.quote(&stage.ben, ben, "offered: course")?;
    stage.quote(&stage.ben, ben, "fetching course, which was offered")?;
    stage.quote(&stage.cleo, cleo, "fetching course, which was offered")?;
    stage.say("Both ask ada, who has one slot. Nobody ever sent her anything, so the first to come gets it:");
    stage.quote(&stage.ada, ada, "upload slot for")?;
    Ok(key)
}

fn trade(stage: &mut Stage, key: &str) -> Result<()> {
    stage.scene("Ben and cleo trade");
    stage.say(
        "Whoever is not in the slot gets what the other one has by now, piece by piece, and has nothing
         to give in return. But every 10 s `choke` weighs all anew, and one slot goes round whatever
         anybody has earned, the optimistic one. So in a moment:",
    );
    stage.quote(&stage.ada, 0, "optimistic slot")?;
    let both = until("ben and cleo to trade", || {
        let (ben, cleo) = (stage.received(&stage.ben, key)?, stage.received(&stage.cleo, key)?);
        let traded = ben.get("cleo").min(cleo.get("ben")).is_some_and(|bytes| *bytes >= A_TRADE);
        Ok(traded.then_some([("ben", ben), ("cleo", cleo)]))
    })?;
    stage.say(
        "Now pieces have gone both ways. By `peers` in the shells of the two, on connections that stand,",
    );
    for (name, received) in both {
        let from = received.iter().map(|(from, bytes)| format!("{} from {from}", show_bytes(*bytes)));
        stage.say(format!("{name:<5}  has received {}", from.collect::<Vec<_>>().join(" and ")));
    }
    Ok(())
}

/// Gives the number of pieces that are durable in cleo's state.
fn kill(stage: &mut Stage, key: &str) -> Result<u32> {
    stage.scene("Cleo is killed in the middle, and cannot say goodbye");
    let state = ResumeFile::new(&stage.root.join("cleo/state"), key);
    until("cleo to vouch for some pieces", || Ok(state.load()))?;
    let Torrent { have, n_parts, .. } = stage.standing(&stage.cleo, "course")?;
    let (mark, process) = (stage.ben.log.mark(), stage.cleo.id());
    stage.cleo.kill()?;
    stage.say(format!(
        "SIGKILL for process {process}, which had {have} of {n_parts} pieces. Nothing is saved any more.
         The system closes her sockets, and the tracker tells everybody what went with her:"
    ));
    stage.quote(&stage.ben, mark, "removed: shells.jpg")?;
    let vouched = state.load().and_then(|state| state.pieces(n_parts)).map_or(0, |pieces| pieces.count());
    stage.say(format!(
        "Every few seconds a worker of hers had made the pieces durable, and then noted them in her
         state folder. It vouches for {vouched} of them."
    ));
    if vouched == 0 || have == n_parts {
        return Err(format!("that was not the middle: {have} pieces, {vouched} vouched for").into());
    }
    Ok(vouched)
}

fn resume(stage: &mut Stage, vouched: u32) -> Result<()> {
    stage.scene("Cleo comes back");
    let [_, ben, cleo] = stage.marks();
    stage.bring_back_cleo()?;
    stage.say(
        "The same command once more. What is vouched for is taken as it is; the workers look which of
         the other pieces got to the disk all the same; only what is not there is fetched.",
    );
    let claim = stage.quote(&stage.cleo, cleo, "pieces are vouched for")?;
    if !claim.contains(&format!(" {vouched} pieces are vouched for")) {
        return Err(format!("cleo's state vouched for {vouched} pieces, and she says `{claim}`").into());
    }
    let look = stage.quote(&stage.cleo, cleo, "looked for were on the disk")?;
    let found: u32 = look.split(' ').nth(2).unwrap_or_default().parse()?;
    stage.say(format!(
        "So she goes on with {} pieces. Her shells.jpg is in the catalogue again, without having been read
         again: hashes are kept by path, size and time.",
        vouched + found
    ));
    stage.quote(&stage.ben, ben, "added: shells.jpg")?;
    if let Some(line) = stage.cleo.log.find(cleo, "hashing ") {
        return Err(format!("cleo hashed a file that she knew: {line}").into());
    }
    stage.say("Ben's ledger knows what she sent him in her former life:");
    stage.quote(&stage.ben, ben, "upload slot for")?;
    Ok(())
}

fn finish(stage: &mut Stage, vouched: u32) -> Result<()> {
    stage.scene("Everybody has everything");
    let ben = stage.complete(&stage.ben, "course")?;
    let cleo = stage.complete(&stage.cleo, "course")?;
    stage.wait_for_seeds("course", 3)?;
    let sent = stage.standing(&stage.ada, "course")?.uploaded;
    let [all, again, once] = [cleo.size, cleo.downloaded, sent].map(show_bytes);
    stage.say(format!(
        "ben    has all {} pieces, {all}
         cleo   has them too; of {all} she received {again} in her second life
         ada    sent {once}: once what there is, for two copies. The rest ben and cleo had from each other.",
        ben.n_parts
    ));
    // Toward the end a block may be asked of two peers, and come from both.
    let slack = cleo.size / 10;
    let kept = cleo.size * u64::from(vouched) / u64::from(cleo.n_parts);
    if cleo.downloaded > cleo.size - kept + slack {
        return Err(format!("cleo received {again}, although {vouched} pieces were vouched for").into());
    }
    if sent > cleo.size + slack {
        return Err(format!("ada sent {once}, which is more than ben and cleo need from her").into());
    }
    Ok(())
}

fn show_workers(stage: &mut Stage) -> Result<()> {
    stage.scene("Who did the work");
    stage.say(
        "A worker takes jobs from its own deque first, then a batch from the common queue, and where
         both are empty it steals from the others. By `status`, in pieces, cleo's since she came back:",
    );
    for actor in [&stage.ben, &stage.cleo] {
        let Status { workers, .. } = actor.ask("status")?;
        for (number, Worker { taken, stolen, finished }) in workers.iter().enumerate() {
            stage.say(format!(
                "{:<5}  fetch-{number}  took {taken:>4}, {stolen:>2} of them stolen, and finished {finished:>4}",
                actor.name
            ));
        }
        if workers.iter().all(|worker| worker.taken == 0) {
            return Err(format!("{} has everything, and no worker took a piece", actor.name).into());
        }
    }
    let thefts = [&stage.ben, &stage.cleo].map(|actor| (actor.name, actor.log.find(0, "a job stolen from")));
    for (name, line) in thefts {
        line.inspect(|line| stage.narrator.quote(name, line));
    }
    Ok(())
}

fn show_slots(stage: &mut Stage) {
    stage.scene("Who was let in, in which order, and why");
    stage.say(
        "First those who send to us now, the fastest before the rest; then those who sent us most; then
         whoever came first. All that the three `choke` threads said, with the seconds since the beginning:",
    );
    let actors = [&stage.ada, &stage.ben, &stage.cleo];
    let said = |actor: &&Actor| {
        let lines = actor.log.all("upload slot for").into_iter();
        lines.map(|(at, line)| (at, actor.name, line)).collect::<Vec<_>>()
    };
    let mut lines: Vec<_> = actors.iter().flat_map(said).collect();
    lines.sort();
    lines.iter().for_each(|(at, name, line)| stage.narrator.quote_at(*at, name, line));
}

fn leave(stage: &mut Stage) -> Result<()> {
    stage.scene("Goodbye");
    let mark = stage.ben.log.mark();
    stage.say("Cleo and ada leave politely. What only they had goes with them, and everybody learns why:");
    stage.narrator.typed("cleo", "exit");
    stage.cleo.tell("exit")?;
    stage.quote(&stage.ben, mark, "removed: shells.jpg")?;
    stage.narrator.typed("ada", "exit");
    stage.ada.tell("exit")?;
    stage.quote(&stage.ben, mark, "removed: poem.txt")?;
    stage.wait_for_seeds("course", 1)?;
    if let Some(line) = stage.ben.log.find(mark, "removed: course") {
        return Err(format!("ben has all of the course, and yet: {line}").into());
    }
    stage.ben.tell("exit")?;
    [&mut stage.cleo, &mut stage.ada, &mut stage.ben].into_iter().try_for_each(Actor::end)?;
    stage.tracker.terminate()?;
    stage.tracker.end()?;
    stage.say(
        "The course stays: ben has all of it. Then he goes too, and the tracker gets a SIGTERM.
         All four processes ended with status 0, every thread joined.",
    );
    Ok(())
}

fn compare(mut stage: Stage) -> Result<()> {
    stage.scene("Every byte is compared");
    let mut compared = 0;
    for (original, copy) in COPIES {
        let bytes = files::compare(&stage.root.join(original), &stage.root.join(copy))?;
        stage.say(format!("~/{copy:<22}  {:>11} bytes, the same as ~/{original}", thousands(bytes)));
        compared += bytes;
    }
    stage.strike()?.conclude(&show_bytes(compared));
    Ok(())
}
