//! What the workers of the pool do: choose the next piece for a connection, verify pieces, write them, look
//! for them on the disk, save. Runs on the `fetch-N` threads, which own nothing but their deque. The picker's
//! lock is taken once for each step.
//!
//! An error of the disk pauses its torrent and leaves the others running.

pub(crate) mod stats;
use super::download::partial::Partial;
use super::download::picker::Pick;
use super::handle::{Handle, Helper, Mail};
use super::identity::ConnId;
use super::storage::StorageError;
use super::swarm::{Arrived, Job, Look, Swarm};
use crate::mailbox::Undelivered;
use crate::pool::Turn;
use crate::torrent::{Piece, Proof};
use stats::WorkerStats;
use std::ops::Range;
use std::sync::Arc;

/// Maximum memory, in bytes, of the pieces that one worker reads from the disk and verifies together.
const CHECK_MEMORY: usize = 4 << 20;

/// Runs one job, and counts the pieces in it.
pub fn run(worker_stats: &WorkerStats, turn: Turn, job: Job) {
    match job {
        Job::Fetch { swarm, handle, again } => {
            if let Some(piece) = fetch(&swarm, &handle, again) {
                worker_stats.took(turn);
                let how = turn.stolen_from.map(|victim| format!(", a job stolen from fetch-{victim}"));
                log::trace!("piece {} is to come from {handle}{}", piece.index(), how.unwrap_or_default());
            }
        }
        Job::Finish(swarm) => {
            if swarm.needs_verifier() {
                finish(&swarm, || worker_stats.finished(turn));
            }
        }
        Job::Check(swarm, pieces, look) => check(&swarm, pieces, &look),
        Job::Save(swarm) => pause_on_error(&swarm, swarm.save()),
        Job::Complete(swarm) => pause_on_error(&swarm, swarm.complete()),
        Job::LookForFolder(swarm) => swarm.look_for_folder(),
    }
}

/// Picks the next missing piece that the connection's peer has, and mails it to the connection. Returns the
/// piece. `again`: it knew that there was nothing to begin, and is not woken to hear that there still is not.
fn fetch(swarm: &Arc<Swarm>, handle: &Arc<Handle>, again: bool) -> Option<Piece> {
    match swarm.pick(handle) {
        Pick::Fetch(partial) => {
            let piece = partial.piece();
            let posted = handle.mailbox.post(Mail::Fetch(partial));
            if let Err(Undelivered::Full(Mail::Fetch(partial)) | Undelivered::Closed(Mail::Fetch(partial))) =
                posted
            {
                swarm.gave_back(vec![partial], handle.id);
            }
            return Some(piece);
        }
        Pick::Help(..) | Pick::Nothing { interesting: true } if again => {}
        Pick::Help(piece, owner) => ask_for_help(swarm, piece, owner, handle),
        Pick::Nothing { interesting } => {
            let _ = handle.mailbox.post(Mail::NoWork { interesting }); // in vain if it ended
        }
    }
    None
}

fn ask_for_help(swarm: &Swarm, piece: Piece, owner: ConnId, helper: &Arc<Handle>) {
    let helper = Helper::new(helper);
    if let Some(owner) = swarm.member(owner) {
        let _ = owner.mailbox.post(Mail::Lend { piece, helper }); // if it ended, the dropped mail answers
    }
}

/// Verifies and writes pieces whose blocks are all here, until there are no more.
fn finish(swarm: &Arc<Swarm>, finished: impl Fn()) {
    loop {
        let arrived = swarm.next_to_verify();
        if arrived.is_empty() {
            return;
        }
        if swarm.hand_to_writer(verify(swarm, arrived)) {
            write(swarm, &finished);
        }
    }
}

/// Returns the good pieces. The others are missing again.
fn verify(swarm: &Arc<Swarm>, arrived: Vec<Arrived>) -> Vec<Partial> {
    let pieces = arrived.iter().map(|Arrived { partial, proof }| (partial.piece(), partial.data(), *proof));
    let verdicts = swarm.torrent.verify_all(&pieces.collect::<Vec<_>>());
    let mut good = Vec::new();
    for (Arrived { partial, .. }, verdict) in arrived.into_iter().zip(verdicts) {
        if verdict {
            good.push(partial);
        } else {
            log::warn!("{}: piece {} came broken", swarm.torrent.name(), partial.piece().index());
            swarm.broken(partial);
        }
    }
    good
}

/// Writes verified pieces and marks them as good, until there are no more.
fn write(swarm: &Arc<Swarm>, finished: impl Fn()) {
    while let Some(partial) = swarm.next_to_write() {
        let (piece, generation) = (partial.piece(), swarm.write_generation());
        if let Err(why) = swarm.storage.write(piece, partial.data()) {
            swarm.bad(piece);
            swarm.disk_failed(&why);
            continue;
        }
        swarm.acquit(piece, partial.data());
        drop(partial); // its memory is free for the next piece before a starved connection is told to look
        good(swarm, piece, generation);
        finished();
        log::trace!("piece {} of {} is proved and written", piece.index(), swarm.torrent.name());
    }
}

fn good(swarm: &Arc<Swarm>, piece: Piece, generation: u32) {
    let last = swarm.good(piece, generation);
    swarm.wake_for_finished();
    if last {
        pause_on_error(swarm, swarm.complete());
    }
}

/// Looks which of these pieces are on the disk, several side by side.
fn check(swarm: &Arc<Swarm>, pieces: Range<u32>, look: &Look) {
    let geometry = swarm.torrent.geometry();
    let side_by_side = (CHECK_MEMORY / geometry.longest_piece().max(1) as usize).max(1);
    let all: Vec<Piece> = pieces.clone().filter_map(|index| geometry.piece(index)).collect();
    let (mut memory, mut found) = (Vec::new(), 0);
    for pieces in all.chunks(side_by_side) {
        let generation = swarm.write_generation();
        let there = read_all(swarm, pieces, &mut memory);
        if there.iter().any(|(_, data, _)| data.is_empty()) && swarm.is_away() {
            swarm.look_later(pieces.iter().copied());
            continue;
        }
        let mut missing = Vec::new();
        for ((piece, data, _), good) in there.iter().zip(swarm.torrent.verify_all(&there)) {
            match good {
                true => found += u32::from(keep(swarm, *piece, data, generation)),
                false => missing.push(*piece),
            }
        }
        found += take_from_older(swarm, &missing, &mut memory, generation);
    }
    if let Some(found) = look.add(pieces, found) {
        let name = swarm.torrent.name();
        log::info!("{name}: {found} of the {} pieces looked for were on the disk", look.pieces);
    }
}

/// Takes the pieces that an older version holds, too. The others are missing. Returns how many it took.
fn take_from_older(swarm: &Arc<Swarm>, pieces: &[Piece], memory: &mut Vec<u8>, generation: u32) -> u32 {
    let Some(older) = swarm.storage.older().filter(|_| !pieces.is_empty()) else {
        pieces.iter().for_each(|piece| swarm.bad(*piece));
        return 0;
    };
    let there = read_each(swarm, pieces, memory, |piece, data| older.read(&swarm.torrent, piece, data));
    let mut taken = 0;
    for ((piece, data, _), is_equal) in there.iter().zip(swarm.torrent.verify_all(&there)) {
        if !is_equal {
            swarm.bad(*piece);
        } else if let Err(why) = swarm.storage.write(*piece, data) {
            swarm.bad(*piece);
            swarm.disk_failed(&why);
        } else {
            good(swarm, *piece, generation);
            taken += 1;
        }
    }
    taken
}

/// Reads each piece from the disk: all of it or, as where a file was cut short, nothing.
fn read_all<'a>(swarm: &Swarm, pieces: &[Piece], memory: &'a mut Vec<u8>) -> Vec<(Piece, &'a [u8], Proof)> {
    read_each(swarm, pieces, memory, |piece, data| swarm.storage.read(piece, 0, data).is_ok())
}

/// The same by `read`, which fills its buffer or gives false.
fn read_each<'a>(
    swarm: &Swarm,
    pieces: &[Piece],
    memory: &'a mut Vec<u8>,
    read: impl Fn(Piece, &mut [u8]) -> bool,
) -> Vec<(Piece, &'a [u8], Proof)> {
    let len = |piece: &Piece| swarm.torrent.geometry().piece_len(*piece) as usize;
    memory.resize(pieces.iter().map(len).sum::<usize>().max(memory.len()), 0);
    let mut rest = &mut memory[..];
    let all = pieces.iter().map(|piece| {
        let (data, after) = std::mem::take(&mut rest).split_at_mut(len(piece));
        rest = after;
        let there = read(*piece, data);
        (*piece, if there { &*data } else { &[] }, Proof::V2)
    });
    all.collect()
}

/// A piece was found on the disk. False if it cannot be kept.
fn keep(swarm: &Arc<Swarm>, piece: Piece, data: &[u8], generation: u32) -> bool {
    let found = swarm.found(piece, data);
    match &found {
        Ok(()) => good(swarm, piece, generation),
        Err(why) => {
            swarm.bad(piece);
            swarm.disk_failed(why);
        }
    }
    found.is_ok()
}

fn pause_on_error(swarm: &Swarm, outcome: Result<(), StorageError>) {
    if let Err(why) = outcome {
        swarm.fail(&why.to_string());
    }
}
