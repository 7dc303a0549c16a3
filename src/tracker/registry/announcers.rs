//! Clients that announce: how they join a swarm, which peers they are told, and when they are removed. Pure.
//!
//! An announcer is identified by its address and port. A peer that is a member through its session is not
//! added again when it announces. The cost of an announce depends on the number of peers that it is told, not
//! on the size of the swarm.

use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use crate::protocol::announce::{
    Announce, AnnounceEvent, AnnounceReply, AnnouncedPeer, Key, MAX_WANT, Scraped,
};
use crate::protocol::announce_udp::UdpAnnounce;
use crate::protocol::catalogue::{DEFAULT_WANT, PeerId, Refusal};
use crate::torrent::InfoHash;
use crate::tracker::address::PeerAddresses;

use super::crowd::MemberRef;
use super::member::{Caller, Have, Member, Who};
use super::swarm::Swarm;
use super::{Departure, Registry, RegistryLimits};

/// Maximum number of members that a [`Sweep`] checks before other threads get the registry.
const SWEEP_AT_ONCE: usize = 2048;

/// The fields of an announce that the registry uses, whether it came over HTTP or UDP.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    info_hash: InfoHash,
    peer_id: PeerId,
    port: u16,
    left: u64,
    event: AnnounceEvent,
    want: usize,
    key: Option<Key>,
    /// Whether the reply is to have the peer ids.
    wants_ids: bool,
}

impl From<&Announce> for Told {
    fn from(announce: &Announce) -> Told {
        Told {
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            port: announce.port,
            left: announce.left,
            event: announce.event,
            want: announce.want.unwrap_or(DEFAULT_WANT).min(MAX_WANT),
            key: announce.key.as_deref().and_then(Key::from_bytes),
            wants_ids: !announce.compact && !announce.no_peer_id,
        }
    }
}

impl From<&UdpAnnounce> for Told {
    fn from(announce: &UdpAnnounce) -> Told {
        Told {
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            port: announce.port,
            left: announce.left,
            event: announce.event,
            want: announce.want.map_or(DEFAULT_WANT, |want| want as usize).min(MAX_WANT),
            key: Key::from_number(announce.key),
            wants_ids: false,
        }
    }
}

/// A walk over all swarms that finds silent announcers, in small steps.
pub struct Sweep {
    swarms: Vec<InfoHash>,
    /// How many members of the last of `swarms` are still to be checked.
    left: usize,
}

impl Registry {
    /// Answers an announce that came from `from` (BEP 3).
    ///
    /// # Errors
    /// If there are too many swarms.
    pub fn announce(
        &mut self,
        told: impl Into<Told>,
        from: IpAddr,
        now: Instant,
    ) -> Result<AnnounceReply, Refusal> {
        self.announce_among(&told.into(), from, now, false)
    }

    /// As [`Registry::announce`], but only with peers of the asker's own address family: a UDP packet has no
    /// room for the other (BEP 15).
    ///
    /// # Errors
    /// If there are too many swarms.
    pub fn announce_in_family(
        &mut self,
        told: impl Into<Told>,
        from: IpAddr,
        now: Instant,
    ) -> Result<AnnounceReply, Refusal> {
        self.announce_among(&told.into(), from, now, true)
    }

    fn announce_among(
        &mut self,
        told: &Told,
        from: IpAddr,
        now: Instant,
        only_its_family: bool,
    ) -> Result<AnnounceReply, Refusal> {
        let hash = self.primary(told.info_hash);
        let asker = PeerAddresses::new(from, &[]);
        let at = SocketAddr::new(asker.observed(), told.port);
        let who = Who::Announcer(at.ip(), at.port());
        if told.event == AnnounceEvent::Stopped {
            self.change(hash, Departure::Left, |swarm| swarm.part(&who));
            let numbers = self.scraped(hash, hash);
            return Ok(self.announce_reply(numbers, &asker, Vec::new()));
        }
        let (loose, most) = (self.loose_swarms(), self.limits.torrents);
        if let Entry::Vacant(place) = self.swarms.entry(hash) {
            if loose >= most {
                return Err(Refusal::new("the tracker follows as many swarms as it can, try later"));
            }
            place.insert(Swarm::default());
        }
        let caller = Caller::Announcer { peer_id: told.peer_id, key: told.key, heard: self.tick(now) };
        let member = Member { caller, have: Have::announced(told.left, told.event) };
        let has_room = self.sums.announcers < self.limits.announcers;
        let (limits, mut rng) = (self.limits.clone(), self.rng.fork());
        let answer = self.change(hash, Departure::Lost, |swarm| {
            admit(swarm, who, member, told, has_room.then_some(&limits));
            let picked = swarm.pick(&asker, told.want, &mut rng, told.left == 0, |peer| {
                // The asker may be here a second time: by its session, or with an address of the other
                // family. A third address is somebody else's, whatever peer id was sent from there.
                let is_its_family = peer.is_v4_for(&asker) == at.is_ipv4();
                let may_be_asker = peer.is_session() || !is_its_family;
                let is_asker = peer.is_at(at) || (may_be_asker && peer.has_id(told.peer_id));
                (is_its_family || !only_its_family) && !is_asker
            });
            let announced = |peer: MemberRef| {
                let peer_id = told.wants_ids.then(|| peer.member.peer_id());
                Some(AnnouncedPeer { peer_id, address: peer.address_for(&asker)? })
            };
            let peers = picked.into_iter().filter_map(announced).collect();
            (scraped(swarm, hash), peers)
        });
        let (numbers, peers) = answer.unzip();
        Ok(self.announce_reply(numbers, &asker, peers.unwrap_or_default()))
    }

    fn announce_reply(
        &self,
        numbers: Option<Scraped>,
        asker: &PeerAddresses,
        peers: Vec<AnnouncedPeer>,
    ) -> AnnounceReply {
        let interval = u32::try_from(self.limits.interval.as_secs()).unwrap_or(u32::MAX).max(1);
        AnnounceReply {
            interval,
            min_interval: Some((interval / 4).max(1)),
            complete: numbers.map_or(0, |swarm| swarm.complete),
            incomplete: numbers.map_or(0, |swarm| swarm.incomplete),
            downloaded: numbers.map_or(0, |swarm| swarm.downloaded),
            peers,
            external_ip: Some(asker.observed()).filter(|ip| !ip.is_loopback()),
            ..AnnounceReply::default()
        }
    }

    /// The numbers of a swarm (BEP 48). They are zeros if it is not known: then it has no members.
    pub fn scrape(&self, hash: InfoHash) -> Scraped {
        self.scraped(self.primary(hash), hash).unwrap_or(Scraped::nobody(hash))
    }

    fn scraped(&self, hash: InfoHash, asked: InfoHash) -> Option<Scraped> {
        self.swarms.get(&hash).map(|swarm| scraped(swarm, asked))
    }

    /// Begins a sweep for silent announcers.
    pub fn begin_sweep(&self) -> Sweep {
        Sweep { swarms: self.swarms.keys().copied().collect(), left: usize::MAX }
    }

    /// Checks some more announcers, and removes those that were silent for two intervals. Gives
    /// false at the end.
    pub fn sweep(&mut self, sweep: &mut Sweep, now: Instant) -> bool {
        let mut looks = 0;
        while looks < SWEEP_AT_ONCE {
            let Some(hash) = sweep.swarms.last().copied() else { return false };
            sweep.left = self.sweep_swarm(hash, sweep.left, SWEEP_AT_ONCE - looks, now, &mut looks);
            if sweep.left == 0 {
                sweep.swarms.pop();
                sweep.left = usize::MAX;
            }
        }
        true
    }

    /// Checks some members of a swarm, those before the index `end`, from the back. A removed member is
    /// replaced by the last one, which has been checked already. Gives the index up to which members are
    /// still to be checked.
    fn sweep_swarm(
        &mut self,
        hash: InfoHash,
        end: usize,
        at_most: usize,
        now: Instant,
        looks: &mut usize,
    ) -> usize {
        let now = self.tick(now);
        let patience = (self.limits.interval * 2).as_millis();
        let is_silent = |member: &Member| match member.caller {
            Caller::Announcer { heard, .. } => u128::from(now.since(heard)) > patience,
            Caller::Session(_) => false,
        };
        *looks += 1;
        let Some(swarm) = self.swarms.get(&hash) else { return 0 };
        let end = end.min(swarm.len());
        let first = end.saturating_sub(at_most);
        *looks += end - first;
        let peers = (first..end).filter_map(|place| swarm.nth(place));
        let silent: Vec<Who> = peers.filter(|peer| is_silent(peer.member)).map(|peer| peer.who()).collect();
        if !silent.is_empty() {
            self.change(hash, Departure::Silent, |swarm| {
                silent.iter().rev().for_each(|who| drop(swarm.part(who)));
            });
        }
        first
    }
}

/// Adds an announcer to the swarm, unless it is a member through its session or the swarm is full. `limits`
/// is `None` if there are too many announcers in all swarms together.
fn admit(swarm: &mut Swarm, who: Who, member: Member, told: &Told, limits: Option<&RegistryLimits>) {
    let Who::Announcer(ip, _) = who else { return };
    let renewed = swarm.renew(who, member);
    if told.event == AnnounceEvent::Completed && !matches!(renewed, Ok(true)) {
        swarm.downloaded = swarm.downloaded.saturating_add(1);
    }
    let Err(member) = renewed else { return };
    if let Some(former) = told.key.and_then(|key| swarm.announcer(told.peer_id, key, ip)) {
        swarm.part(&former); // it has moved
    }
    let has_room = limits.is_some_and(|limits| {
        swarm.len() < limits.swarm_size && swarm.at_address(ip) < limits.swarm_size_per_address
    });
    if has_room && swarm.session_of(told.peer_id, ip).is_none() {
        swarm.enter(who, member);
    }
}

fn scraped(swarm: &Swarm, asked: InfoHash) -> Scraped {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Scraped {
        info_hash: asked,
        complete: count(swarm.seeds()),
        downloaded: swarm.downloaded,
        incomplete: count(swarm.leeches()),
        downloaders: count(swarm.downloaders()),
    }
}
