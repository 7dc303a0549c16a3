//! What the pool's workers do: choose the next piece for a connection, and see a finished piece through. Runs on the
//! `fetch-N` threads, which own nothing but their deque; the picker's lock is taken once for each step.
//!
//! An error of the disk pauses its torrent and leaves the others running.

use super::conn_id::ConnId;
use super::handle::{Handle, Helper, Mail};
use super::partial::Partial;
use super::picker::Pick;
use super::pool::Turn;
use super::storage::StorageError;
use super::swarm::{Job, Look, Swarm};
use super::tally::Tally;
use crate::mailbox::Undelivered;
use crate::torrent::{Piece, Proof};
use std::ops::Range;
use std::sync::Arc;

/// Runs one job, and counts the pieces in it.
pub fn run(tally: &Tally, turn: Turn, job: Job) {
    match job {
        Job::Fetch(swarm, handle) => {
            if let Some(piece) = fetch(&swarm, &handle) {
                tally.took(turn);
                let how = turn.stolen_from.map(|victim| format!(", a job stolen from fetch-{victim}"));
                log::trace!("piece {} is to come from {handle}{}", piece.index(), how.unwrap_or_default());
            }
        }
        Job::Finish(swarm, partial, proof) => {
            let piece = partial.piece();
            if finish(&swarm, partial, proof) {
                tally.finished(turn);
                log::trace!("piece {} of {} is proved and written", piece.index(), swarm.torrent.name());
            }
        }
        Job::Check(swarm, pieces, look) => check(&swarm, pieces, &look),
        Job::Save(swarm) => pause_on_error(&swarm, swarm.save()),
        Job::Complete(swarm) => pause_on_error(&swarm, swarm.complete()),
    }
}

/// Takes the next missing piece that the connection's peer has, and mails it to the connection. Gives the piece.
fn fetch(swarm: &Arc<Swarm>, handle: &Arc<Handle>) -> Option<Piece> {
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
        Pick::Help(piece, owner) => ask_for_help(swarm, piece, owner, handle),
        Pick::Nothing { interesting } => {
            let _ = handle.mailbox.post(Mail::NoWork { interesting }); // it ended: nobody to tell
        }
    }
    None
}

fn ask_for_help(swarm: &Swarm, piece: Piece, owner: ConnId, helper: &Arc<Handle>) {
    let helper = Helper::new(helper);
    if let Some(owner) = swarm.member(owner) {
        let _ = owner.mailbox.post(Mail::Lend { piece, helper }); // it ended: the letter answers by itself
    }
}

/// Verifies, writes and marks a piece of which all blocks came. False if it is missing again.
fn finish(swarm: &Arc<Swarm>, partial: Partial, proof: Proof) -> bool {
    let piece = partial.piece();
    if !swarm.torrent.verify(piece, partial.data(), proof) {
        log::warn!("{}: piece {} came broken", swarm.torrent.name(), piece.index());
        swarm.broken(partial);
        return false;
    }
    let era = swarm.era();
    if let Err(why) = swarm.storage.write(piece, partial.data()) {
        swarm.bad(piece);
        swarm.disk_failed(&why);
        return false;
    }
    swarm.acquit(piece, partial.data());
    drop(partial); // its memory is free for the next piece before anybody hears the news
    good(swarm, piece, era);
    true
}

fn good(swarm: &Arc<Swarm>, piece: Piece, era: u32) {
    let last = swarm.good(piece, era);
    swarm.spread_news();
    if last {
        pause_on_error(swarm, swarm.complete());
    }
}

/// Looks which pieces are on the disk.
fn check(swarm: &Arc<Swarm>, pieces: Range<u32>, look: &Look) {
    let geometry = swarm.torrent.geometry();
    let (mut data, mut found) = (Vec::new(), 0);
    for piece in pieces.clone().filter_map(|index| geometry.piece(index)) {
        data.resize(geometry.piece_len(piece) as usize, 0);
        let era = swarm.era();
        let there = swarm.storage.read(piece, 0, &mut data).is_ok(); // a file cut short lacks the piece, no more
        let there = there && swarm.torrent.verify(piece, &data, Proof::V2);
        match there.then(|| swarm.found(piece, &data)) {
            Some(Ok(())) => {
                found += 1;
                good(swarm, piece, era);
            }
            Some(Err(why)) => {
                swarm.bad(piece);
                swarm.disk_failed(&why);
            }
            None => swarm.bad(piece),
        }
    }
    if let Some(found) = look.add(pieces, found) {
        let name = swarm.torrent.name();
        log::info!("{name}: {found} of the {} pieces looked for were on the disk", look.pieces);
    }
}

fn pause_on_error(swarm: &Swarm, outcome: Result<(), StorageError>) {
    if let Err(why) = outcome {
        swarm.fail(&why.to_string());
    }
}
