//! The bans as the user sees and changes them: `ban`, `unban`, `bans`. [`ban`] and [`unban`] serve the shell
//! of a running engine. [`alone`] serves a single command on the state folder, without an engine. Runs on
//! `main`; no lock of its own.

use super::command::{Command, excerpt};
use super::report;
use crate::peer::bans::{Bans, Who};
use crate::peer::handle::Handle;
use crate::peer::storage::state_dir::{StateDir, StateError};
use crate::protocol::handshake::PeerId;
use serde_json::json;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Minimum number of digits of a shortened peer id.
const FEWEST_DIGITS: usize = 6;

/// Why no ban was added or removed.
#[derive(Debug, Error)]
pub enum BanError {
    #[error(
        "`{0}` is neither an address nor the 40 digits of a peer id; `peers` shows the addresses there are"
    )]
    /// The name is neither an address nor a peer id.
    NoName(String),
    /// All peers of this machine share the address.
    #[error("all peers of this machine share {0}: name one by IP:PORT as `peers` shows it, or by its id")]
    Shared(IpAddr),
    /// No peer at this address and port is connected.
    #[error("nobody at {0} is connected")]
    NotConnected(SocketAddr),
    /// The peer id is our own.
    #[error("that is this peer itself")]
    Ourselves,
    /// No ban has this name.
    #[error("no ban is called `{0}`; `bans` lists them")]
    NoBan(String),
    /// An engine that is running uses the state folder.
    #[error(
        "the peer with the state folder {} is running: say it in its shell, or stop it first",
        .0.display()
    )]
    Running(PathBuf),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(StateError),
    /// The bans cannot be saved.
    #[error("cannot keep the bans: {0}")]
    Io(#[from] io::Error),
}

/// Bans what the user named: an address, the peer connected at IP:PORT (among `members`), or a peer id.
/// Returns what is banned now. The `accept` thread closes the connections to it.
pub fn ban(bans: &Bans, own: PeerId, members: &[Arc<Handle>], name: &str) -> Result<Vec<Who>, BanError> {
    let banned = match name.parse() {
        Ok(at) => somebody_at(at, members)?,
        Err(_) => vec![name.parse::<Who>().map_err(|()| BanError::NoName(excerpt(name)))?],
    };
    for who in &banned {
        match who {
            Who::Addr(ip) if ip.is_loopback() => return Err(BanError::Shared(*ip)),
            Who::Id(id) if *id == own => return Err(BanError::Ourselves),
            _ => {}
        }
    }
    banned.iter().for_each(|who| bans.by_hand(*who));
    Ok(banned)
}

/// The peer ids of the peers at this address and port, and the address if it is not a loopback address.
fn somebody_at(at: SocketAddr, members: &[Arc<Handle>]) -> Result<Vec<Who>, BanError> {
    let there = members.iter().filter(|member| member.known_as() == at || member.addr == at);
    let mut banned: Vec<Who> = there.filter_map(|member| member.identity.peer_id()).map(Who::Id).collect();
    if !at.ip().is_loopback() {
        banned.push(Who::Addr(at.ip().to_canonical()));
    }
    banned.sort();
    banned.dedup();
    if banned.is_empty() { Err(BanError::NotConnected(at)) } else { Ok(banned) }
}

/// Removes the bans with this name. Returns what was banned.
pub fn unban(bans: &Bans, name: &str) -> Result<Vec<Who>, BanError> {
    let digits = name.to_ascii_lowercase();
    let shortened = |who: &Who| {
        matches!(who, Who::Id(id)
            if digits.len() >= FEWEST_DIGITS && id.to_string().starts_with(&digits))
    };
    let lifted = match name.parse::<SocketAddr>() {
        Ok(at) => vec![Who::Addr(at.ip().to_canonical())],
        Err(_) => match name.parse() {
            Ok(who) => vec![who],
            Err(()) => bans.all().iter().map(|ban| ban.who).filter(shortened).collect(),
        },
    };
    let lifted: Vec<Who> = lifted.into_iter().filter(|who| bans.lift(*who)).collect();
    if lifted.is_empty() { Err(BanError::NoBan(excerpt(name))) } else { Ok(lifted) }
}

/// What was done, as text for the user or as JSON.
pub fn confirm(changed: &[Who], what: &str, in_json: bool) -> String {
    if in_json {
        let names: Vec<String> = changed.iter().map(Who::to_string).collect();
        return format!("{}\n", json!({ what: names }));
    }
    changed.iter().map(|who| format!("{who} is {what}\n")).collect()
}

/// Carries out the command on the state folder of an engine that is not running. `None` if it is another
/// command. The list can be read while the engine is running, too.
pub fn alone(state: &Path, command: &Command, in_json: bool) -> Option<Result<String, BanError>> {
    let open = || {
        let state = StateDir::open(state).map_err(|why| match why {
            StateError::InUse(path) => BanError::Running(path),
            other => BanError::State(other),
        })?;
        let (bans, own) = (Bans::open(Some(&state.bans())), state.peer_id().map_err(BanError::State)?);
        Ok((state, bans, own))
    };
    match command {
        Command::Bans => {
            let bans = Bans::open(Some(&StateDir::bans_under(state))).all();
            let in_json = in_json.then(|| format!("{}\n", report::with_banned(json!({}), &bans)));
            Some(Ok(in_json.unwrap_or_else(|| report::bans(&bans))))
        }
        Command::Ban(name) => Some(open().and_then(|(_lock, bans, own)| {
            let banned = ban(&bans, own, &[], name)?;
            bans.save()?;
            Ok(confirm(&banned, "banned", in_json))
        })),
        Command::Unban(name) => Some(open().and_then(|(_lock, bans, _)| {
            let lifted = unban(&bans, name)?;
            bans.save()?;
            Ok(confirm(&lifted, "unbanned", in_json))
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: PeerId = PeerId([7; 20]);

    fn refused(name: &str) -> String {
        let bans = Bans::open(None);
        let why = ban(&bans, OWN, &[], name).unwrap_err().to_string();
        assert!(bans.all().is_empty() && !why.contains('\n'));
        why
    }

    #[test]
    fn what_cannot_be_banned_gets_one_clear_sentence() {
        assert!(refused("nonsense").contains("neither an address"));
        assert!(refused("127.0.0.1").contains("share 127.0.0.1"));
        assert!(refused("127.0.0.1:6881").contains("nobody at 127.0.0.1:6881"));
        assert!(refused(&OWN.to_string()).contains("this peer itself"));
    }

    #[test]
    fn bans_are_lifted_by_the_names_they_were_made_with() {
        let bans = Bans::open(None);
        let id = PeerId([0xab; 20]).to_string();
        for name in ["10.0.0.1", "10.0.0.2:6881", &id, "fe80::1"] {
            ban(&bans, OWN, &[], name).unwrap();
        }
        assert_eq!(bans.all().len(), 4);
        for name in ["10.0.0.1", "10.0.0.2:6881", "ABABAB", "fe80::1"] {
            assert_eq!(unban(&bans, name).unwrap().len(), 1, "{name}");
            assert!(unban(&bans, name).unwrap_err().to_string().contains("no ban is called"));
        }
    }

    #[test]
    fn the_state_folder_of_a_peer_that_runs_is_only_read() {
        let dir = tempfile::tempdir().unwrap();
        let run = |command: &Command| alone(dir.path(), command, false).unwrap();
        let ban = Command::Ban("10.0.0.1".into());
        assert_eq!(run(&ban).unwrap(), "10.0.0.1 is banned\n");
        let running = StateDir::open(dir.path()).unwrap();
        assert!(run(&ban).unwrap_err().to_string().contains("is running"));
        assert!(run(&Command::Bans).unwrap().starts_with("10.0.0.1 "));
        drop(running);
        assert_eq!(run(&Command::Unban("10.0.0.1".into())).unwrap(), "10.0.0.1 is unbanned\n");
        assert_eq!(run(&Command::Bans).unwrap(), "nobody is banned\n");
        assert!(alone(dir.path(), &Command::List, false).is_none());
    }
}
