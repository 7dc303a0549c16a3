//! `make demo`: a walk through shoal with real processes on this machine, a tracker and three peers. Ada has files, ben
//! and cleo want them. The narrator asks the peers through their shells, quotes what their threads log, and checks every
//! claim; at the end every byte is compared. Runs on `main`; each process has two threads that read its output.
//!
//! Nothing is staged: all that is told is waited for. Ada's one upload slot and her limit of 12 MB/s only see to it that
//! there is time to watch.

mod actor;
mod answers;
mod files;
mod narrator;
mod stage;

use actor::{Actor, Result, until};
use answers::{Begun, Entry, Status, Torrent, Worker};
use crossbeam_channel::Receiver;
use narrator::Narrator;
use shoal::peer::progress::show_bytes;
use shoal::peer::resume::ResumeFile;
use shoal::torrent::units::thousands;
use stage::Stage;
use std::path::Path;
use std::process::ExitCode;

/// The files at the beginning, with their sizes in bytes. What is in an upload folder is published file by file; the
/// course is offered as a whole.
const FILES: &[(&str, usize)] = &[
    ("ada/uploads/poem.txt", 2_400),
    ("ada/uploads/songs/tide.ogg", 9_000_000),
    ("ada/course/lecture.mp4", 210_000_000),
    ("ada/course/notes.txt", 3_100),
    ("ada/course/slides/week-1.pdf", 5_500_000),
];
/// A file that appears in the middle.
const SHELLS: (&str, usize) = ("cleo/uploads/shells.jpg", 60_000);
/// What ends up where, beside its original.
const COPIES: &[(&str, &str)] = &[
    ("ada/uploads/songs/tide.ogg", "ben/downloads/tide.ogg"),
    ("ada/course", "ben/downloads/course"),
    ("ada/course", "cleo/downloads/course"),
];
/// Two leechers trade when each has sent the other this much, bytes.
const A_TRADE: u64 = 10_000_000;

fn main() -> ExitCode {
    match shoal::interrupt::channel().map_err(Into::into).and_then(play) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
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
    new_file(&mut stage)?;
    let key = offer(&mut stage)?;
    trade(&mut stage, &key)?;
    let vouched = kill(&mut stage, &key)?;
    resume(&mut stage, vouched)?;
    finish(&mut stage, vouched)?;
    workers(&mut stage)?;
    slots(&mut stage);
    leave(stage)
}

fn set_the_stage() -> Result<Stage> {
    let mut stage = Stage::set(|folder| {
        FILES.iter().try_for_each(|(path, len)| files::write_noise(&folder.join(path), *len))
    })?;
    let Stage { narrator, address, root, .. } = &mut stage;
    narrator.say("shoal: a tracker and three peers, each a process of its own on this machine.");
    narrator.say("Lines behind a │ are what they log: who, [thread] and message, quoted but for this:");
    narrator.say("names stand for the peers' addresses, and ~ for the folder of this demo.");
    narrator.scene("The stage");
    narrator.say(format!("~ is {}, with {} of noise in it.", root.display(), noise()));
    narrator.say(format!("The tracker listens on {address}. It knows who has what, and carries none of it."));
    narrator.say("ada    has files, one upload slot (--slots 1), and sends 12 MB/s at most (--up 12MB)");
    narrator.say("ben    fetches what is offered to everybody (--mirror)");
    narrator.say("cleo   does so too");
    Ok(stage)
}

fn noise() -> String {
    show_bytes(FILES.iter().map(|(_, len)| *len as u64).sum())
}

fn publish(stage: &mut Stage) -> Result<()> {
    stage.narrator.scene("Ada publishes her upload folder");
    stage.narrator.say("Every file in it is a torrent of its own, in subfolders too. She hashes it, and the");
    stage.narrator.say("tracker gets the hashes. That is `main`, before ada opens her shell:");
    for words in ["hashing ", "tide.ogg", "published poem.txt", "published tide.ogg"] {
        stage.quote(&stage.ada, 0, words)?;
    }
    Ok(())
}

fn search_and_download(stage: &mut Stage) -> Result<()> {
    stage.narrator.scene("Ben searches, finds and downloads");
    stage.narrator.typed(&stage.ben, "search tide");
    let found: Vec<Entry> = stage.ben.ask("search tide")?;
    let [entry] = found.as_slice() else { return Err("ben does not find tide.ogg".into()) };
    show(stage, entry);
    let seen = stage.catalogue("tide")?;
    if seen.iter().map(|entry| &entry.name).ne([&entry.name]) {
        return Err("the catalogue over HTTP is not the one of the shell".into());
    }
    stage.narrator.say(format!("Browsers see the same at http://{}/torrents?search=tide.", stage.address));
    let (ada, ben) = (stage.ada.log.mark(), stage.ben.log.mark());
    stage.narrator.typed(&stage.ben, "download tide.ogg");
    let _done: Begun = stage.ben.ask("download tide.ogg")?;
    stage
        .narrator
        .say("A thread has the connection, ada's `choke` gives ben her slot, and from then on it goes:");
    stage
        .narrator
        .say("a worker takes a missing piece, the connection's thread fetches it, a worker proves it.");
    stage.quote(&stage.ben, ben, "connected for tide.ogg")?;
    stage.quote(&stage.ada, ada, "upload slot for")?;
    let taken = stage.quote(&stage.ben, ben, "is to come from")?;
    let piece = taken.split(' ').nth(2).unwrap_or_default();
    stage.quote(&stage.ben, ben, &format!("piece {piece} of tide.ogg is proved and written"))?;
    stage.narrator.say(format!("The same for each of the {} pieces, several at a time.", entry.n_parts));
    Ok(())
}

fn show(stage: &Stage, entry: &Entry) {
    let Entry { name, size, n_parts, format, seeds, peers, .. } = entry;
    let size = thousands(*size);
    stage.narrator.say(format!(
        "{name}   {size} bytes   {n_parts} pieces   {format} torrent   {seeds} seeds   {peers} others"
    ));
}

fn new_file(stage: &mut Stage) -> Result<()> {
    stage.narrator.scene("A new file is noticed while everybody runs");
    let (cleo, ben) = (stage.cleo.log.mark(), stage.ben.log.mark());
    files::write_noise(&stage.root.join(SHELLS.0), SHELLS.1)?;
    stage
        .narrator
        .say("shells.jpg appears in cleo's upload folder. Her thread `watch` sees it, and the thread that");
    stage.narrator.say("ben keeps for the tracker is told at once: the catalogue is live.");
    stage.quote(&stage.cleo, cleo, "hashing ")?;
    stage.quote(&stage.cleo, cleo, "published shells.jpg")?;
    stage.quote(&stage.ben, ben, "added: shells.jpg")?;
    Ok(())
}

fn offer(stage: &mut Stage) -> Result<String> {
    stage.narrator.scene("One line fills the room");
    let [ada, ben, cleo] = stage.marks();
    let course = format!("upload {}", stage.root.join("ada/course").display());
    stage.narrator.typed(&stage.ada, &course);
    let Begun { key } = stage.ada.ask(&course)?;
    stage
        .narrator
        .say("A folder is one torrent of several files, and offered to all. Ben and cleo fetch it at once:");
    stage.quote(&stage.ben, ben, "offered: course")?;
    stage.quote(&stage.ben, ben, "fetching course, which was offered")?;
    stage.quote(&stage.cleo, cleo, "fetching course, which was offered")?;
    stage.narrator.say("Both want it from ada, who has one slot. Nobody has earned it yet:");
    stage.quote(&stage.ada, ada, "upload slot for")?;
    Ok(key)
}

fn trade(stage: &mut Stage, key: &str) -> Result<()> {
    stage.narrator.scene("Ben and cleo trade");
    stage
        .narrator
        .say("The one who is not in ada's slot gets what the other has already, and passes nothing on.");
    stage
        .narrator
        .say("So ada's `choke` has one slot go round, whoever has earned what: the optimistic one.");
    stage.quote(&stage.ada, 0, "optimistic slot")?;
    let (ben, cleo) = until("ben and cleo to trade", || {
        let (ben, cleo) = (stage.received(&stage.ben, key)?, stage.received(&stage.cleo, key)?);
        let trade = ben.get("cleo").min(cleo.get("ben")).is_some_and(|bytes| *bytes >= A_TRADE);
        Ok(trade.then_some((ben, cleo)))
    })?;
    stage
        .narrator
        .say("Now pieces go both ways, and each is sent by ada once. What `peers` says in their shells:");
    for (actor, received) in [(&stage.ben, ben), (&stage.cleo, cleo)] {
        let from: Vec<String> =
            received.iter().map(|(name, bytes)| format!("{} from {name}", show_bytes(*bytes))).collect();
        stage.narrator.say(format!("{:<5}  has received {}", actor.name, from.join(" and ")));
    }
    Ok(())
}

/// Gives how many pieces cleo's state vouches for.
fn kill(stage: &mut Stage, key: &str) -> Result<u32> {
    stage.narrator.scene("Cleo is killed in the middle");
    let state = ResumeFile::new(&stage.root.join("cleo/state"), key);
    until("cleo to vouch for some pieces", || Ok(state.load()))?;
    let Torrent { have, n_parts, .. } = stage.standing(&stage.cleo, "course")?;
    let ben = stage.ben.log.mark();
    let pid = stage.cleo.pid();
    stage.cleo.kill()?;
    stage.narrator.say(format!(
        "SIGKILL for process {pid}, which had {have} of {n_parts} pieces. No goodbye, nothing saved."
    ));
    stage
        .narrator
        .say("The system closes her sockets, so the tracker knows at once. It tells all who listen:");
    stage.quote(&stage.ben, ben, "removed: shells.jpg")?;
    let vouched = state.load().and_then(|state| state.pieces(n_parts)).map_or(0, |pieces| pieces.count());
    stage
        .narrator
        .say(format!("While she ran a worker had made her pieces durable every few seconds, and then noted"));
    stage.narrator.say(format!("them in her state folder: it vouches for {vouched} of them."));
    if vouched == 0 || vouched >= n_parts || have >= n_parts {
        return Err(format!(
            "cleo was to be killed in the middle, not with {have} pieces, {vouched} vouched for"
        )
        .into());
    }
    Ok(vouched)
}

fn resume(stage: &mut Stage, vouched: u32) -> Result<()> {
    stage.narrator.scene("Cleo comes back");
    let [_, ben, cleo] = stage.marks();
    stage.bring_back_cleo()?;
    stage
        .narrator
        .say("The same command once more. What is vouched for is taken as it is; the workers look which");
    stage.narrator.say("of the rest got to the disk in time; and only what is not there is fetched again.");
    let claim = stage.quote(&stage.cleo, cleo, "pieces are vouched for")?;
    if !claim.contains(&format!(" {vouched} pieces are vouched for")) {
        return Err(format!("cleo had vouched for {vouched} pieces, and says `{claim}`").into());
    }
    let looked = stage.quote(&stage.cleo, cleo, "looked for were on the disk")?;
    let found: u32 = looked.split(' ').nth(2).unwrap_or_default().parse()?;
    stage.narrator.say(format!("{found} more were there, so she goes on with {} pieces.", vouched + found));
    stage.narrator.say("Her shells.jpg is in the catalogue again, unread: hashes are kept by size and time.");
    stage.quote(&stage.ben, ben, "added: shells.jpg")?;
    if let Some(again) = stage.cleo.log.find(cleo, "hashing ") {
        return Err(format!("cleo hashed a file again that she knew: {again}").into());
    }
    stage.narrator.say("Ben has not forgotten what she sent him in her former life:");
    stage.quote(&stage.ben, ben, "upload slot for")?;
    Ok(())
}

fn finish(stage: &mut Stage, vouched: u32) -> Result<()> {
    stage.narrator.scene("Everybody has everything");
    let ben = stage.complete(&stage.ben, "course")?;
    let cleo = stage.complete(&stage.cleo, "course")?;
    let (all, again) = (show_bytes(cleo.size), show_bytes(cleo.downloaded));
    stage.narrator.say(format!("ben    has all {} pieces, {all}", ben.n_parts));
    stage.narrator.say(format!("cleo   has them too; of {all} she received {again} since she came back"));
    let sent = stage.standing(&stage.ada, "course")?.uploaded;
    stage.narrator.say(format!(
        "Ada sent {}, little more than it once. The rest they had from each other.",
        show_bytes(sent)
    ));
    if sent > ben.size + ben.size / 5 {
        return Err("ben and cleo had more from ada than they should if they trade".into());
    }
    let kept = cleo.size * u64::from(vouched) / u64::from(cleo.n_parts);
    // Toward the end a block may be asked of two peers, and come from both.
    if cleo.downloaded > cleo.size - kept + cleo.size / 20 {
        return Err(format!("cleo fetched {again} again, although {vouched} pieces were vouched for").into());
    }
    Ok(())
}

fn workers(stage: &mut Stage) -> Result<()> {
    stage.narrator.scene("Who did the work");
    stage
        .narrator
        .say("A worker takes jobs from its own deque first, then a batch from the common queue, and when");
    stage.narrator.say("both are empty it steals from the others. The end of `status`, which counts pieces:");
    for actor in [&stage.ben, &stage.cleo] {
        let Status { workers, .. } = actor.ask("status")?;
        for (number, Worker { taken, stolen, finished }) in workers.iter().enumerate() {
            stage.narrator.say(format!(
                "{:<5}  fetch-{number} took {taken:>5} pieces, {stolen:>4} of them stolen, and finished {finished:>5}",
                actor.name
            ));
        }
        if workers.iter().map(|worker| worker.taken).sum::<u64>() == 0 {
            return Err(format!("{} has everything, and no worker took a piece", actor.name).into());
        }
    }
    for actor in [&stage.ben, &stage.cleo] {
        if let Some(line) = actor.log.find(0, "a job stolen from") {
            stage.narrator.quote(actor.name, &line);
        }
    }
    Ok(())
}

fn slots(stage: &mut Stage) {
    stage.narrator.scene("Who was let in, in what order, and why");
    stage
        .narrator
        .say("The `choke` threads of all three, with the seconds since the beginning. First come those");
    stage
        .narrator
        .say("who send to us now, the fastest before the rest; then those who did before; then first come.");
    let actors = [&stage.ada, &stage.ben, &stage.cleo];
    let mut lines: Vec<_> = actors
        .iter()
        .flat_map(|actor| {
            actor.log.all("upload slot for").into_iter().map(|(at, line)| (at, actor.name, line))
        })
        .collect();
    lines.sort();
    for (at, name, line) in lines {
        stage.narrator.quote_at(at, name, &line);
    }
}

fn leave(mut stage: Stage) -> Result<()> {
    stage.narrator.scene("Goodbye");
    let mark = stage.ben.log.mark();
    stage.narrator.typed(&stage.cleo, "exit");
    stage.cleo.tell("exit")?;
    stage.quote(&stage.ben, mark, "removed: shells.jpg")?;
    stage.narrator.typed(&stage.ada, "exit");
    stage.ada.tell("exit")?;
    stage.quote(&stage.ben, mark, "removed: poem.txt")?;
    let course = stage.catalogue("course")?;
    if !course.iter().any(|entry| entry.name == "course" && entry.available && entry.seeds == 1) {
        return Err("ben has all of the course, and it is not in the catalogue".into());
    }
    stage
        .narrator
        .say("The course stays, since ben has all of it. He leaves too, and the tracker gets SIGTERM.");
    stage.ben.tell("exit")?;
    let Stage { narrator, tracker, ada, ben, cleo, root, folder, .. } = stage;
    [ada, ben, cleo].into_iter().try_for_each(Actor::end)?;
    tracker.terminate()?;
    tracker.end()?;
    narrator.say("All four processes ended with status 0: every thread was joined.");
    compare(narrator, &root)?;
    folder.close()?;
    Ok(())
}

fn compare(mut narrator: Narrator, root: &Path) -> Result<()> {
    narrator.scene("Every byte is compared");
    let mut compared = 0;
    for (original, copy) in COPIES {
        let bytes = files::compare(&root.join(original), &root.join(copy))?;
        narrator.say(format!("~/{copy}  {} bytes, all as in ~/{original}", thousands(bytes)));
        compared += bytes;
    }
    narrator.say(format!(
        "\n{} in {:.0} seconds, every byte right, one process killed on the way. It is all well.",
        show_bytes(compared),
        narrator.seconds()
    ));
    Ok(())
}
