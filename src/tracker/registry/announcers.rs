//! Clients that announce: how they come into their swarms, what they are told, and how they are forgotten. Pure.
//!
//! An announcer is known by its address and port. A peer that has a session in the swarm is not added again when
//! it announces as well.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::torrent::InfoHash;
use crate::tracker::address::Place;
use crate::tracker::protocol::announce::{
    Announce, AnnounceEvent, AnnounceReply, AnnouncedPeer, MAX_WANT, Scraped,
};
use crate::tracker::protocol::{DEFAULT_WANT, Refusal};

use super::swarm::{Contact, Have, Member, Swarm, Who};
use super::{Departure, Registry};

impl Registry {
    /// Answers an announce that came from `from` (BEP 3).
    ///
    /// # Errors
    /// When there are too many swarms.
    pub fn announce(
        &mut self,
        announce: &Announce,
        from: IpAddr,
        now: Instant,
    ) -> Result<AnnounceReply, Refusal> {
        self.announce_among(announce, from, now, |_| true)
    }

    /// The same with peers of the asker's own family of addresses alone: a packet has no room for the other (BEP 15).
    ///
    /// # Errors
    /// When there are too many swarms.
    pub fn announce_in_family(
        &mut self,
        announce: &Announce,
        from: IpAddr,
        now: Instant,
    ) -> Result<AnnounceReply, Refusal> {
        let is_v4 = from.to_canonical().is_ipv4();
        self.announce_among(announce, from, now, |ip| ip.is_ipv4() == is_v4)
    }

    fn announce_among(
        &mut self,
        announce: &Announce,
        from: IpAddr,
        now: Instant,
        fits: impl Fn(IpAddr) -> bool,
    ) -> Result<AnnounceReply, Refusal> {
        let hash = self.primary(announce.info_hash);
        let asker = Place::new(from, &[]);
        let who = Who::Announcer(SocketAddr::new(asker.observed(), announce.port));
        if announce.event == AnnounceEvent::Stopped {
            let parted = self.change(hash, Departure::Left, |swarm| swarm.part(who)).flatten();
            self.announcers -= usize::from(parted.is_some());
            return Ok(self.announce_reply(hash, &asker, Vec::new()));
        }
        let loose = self.swarms.len() - self.names.len();
        if !self.swarms.contains_key(&hash) && loose >= self.limits.torrents {
            return Err(Refusal::new("the tracker follows as many swarms as it can, try later"));
        }
        self.admit(hash, who, announce, &asker, now);
        let is_seed = announce.left == 0;
        let picked = self.swarms.get(&hash).map_or_else(Vec::new, |swarm| {
            let want = announce.want.unwrap_or(DEFAULT_WANT).min(MAX_WANT);
            swarm.pick(&asker, want, &mut self.rng, |other, member| {
                other != who
                    && member.contact.peer_id != announce.peer_id
                    && !(is_seed && member.have.is_all())
                    && member.contact.address_for(&asker).is_some_and(|address| fits(address.ip()))
            })
        });
        let peers = picked
            .into_iter()
            .map(|(member, address)| AnnouncedPeer { peer_id: Some(member.contact.peer_id), address })
            .collect();
        Ok(self.announce_reply(hash, &asker, peers))
    }

    /// Notes an announcer as a member of the swarm, unless it is one already through its session or there is no room.
    fn admit(&mut self, hash: InfoHash, who: Who, announce: &Announce, asker: &Place, now: Instant) {
        let swarm = self.swarms.entry(hash).or_default();
        let is_known = swarm.members().contains_key(&who);
        let others = if is_known { Others::default() } else { Others::count(swarm, announce, asker) };
        let is_full = swarm.members().len() >= self.limits.swarm_size
            || others.at_address >= self.limits.swarm_size_per_address
            || self.announcers >= self.limits.announcers;
        let enters = is_known || !(others.has_session || is_full);
        let contact = Arc::new(Contact {
            peer_id: announce.peer_id,
            place: asker.clone(),
            port: announce.port,
            client: String::new(),
        });
        let have = if announce.left == 0 { Have::All } else { Have::Left(announce.left) };
        let member = Member { contact, have, heard: Some(now), key: announce.key.clone() };
        let moved = self.change(hash, Departure::Lost, |swarm| {
            let moved = others.moved.and_then(|old| swarm.part(old)).is_some();
            let was_seed = swarm.members().get(&who).is_some_and(|member| member.have.is_all());
            if announce.event == AnnounceEvent::Completed && !was_seed {
                swarm.downloaded = swarm.downloaded.saturating_add(1);
            }
            if enters {
                swarm.join(who, member);
            }
            moved
        });
        self.announcers -= usize::from(moved == Some(true));
        self.announcers += usize::from(enters && !is_known);
    }

    fn announce_reply(&self, hash: InfoHash, asker: &Place, peers: Vec<AnnouncedPeer>) -> AnnounceReply {
        let scraped = self.scraped(hash, hash);
        let interval = u32::try_from(self.limits.interval.as_secs()).unwrap_or(u32::MAX).max(1);
        AnnounceReply {
            interval,
            min_interval: Some((interval / 4).max(1)),
            complete: scraped.map_or(0, |swarm| swarm.complete),
            incomplete: scraped.map_or(0, |swarm| swarm.incomplete),
            downloaded: scraped.map_or(0, |swarm| swarm.downloaded),
            peers,
            external_ip: Some(asker.observed()).filter(|ip| !ip.is_loopback()),
            warning: None,
        }
    }

    /// The numbers of the swarms that are known among `hashes` (BEP 48).
    pub fn scrape(&self, hashes: &[InfoHash]) -> Vec<Scraped> {
        hashes.iter().filter_map(|hash| self.scrape_one(*hash)).collect()
    }

    /// The numbers of one swarm, if it is known.
    pub fn scrape_one(&self, hash: InfoHash) -> Option<Scraped> {
        self.scraped(self.primary(hash), hash)
    }

    fn scraped(&self, hash: InfoHash, asked: InfoHash) -> Option<Scraped> {
        let swarm = self.swarms.get(&hash)?;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(Scraped {
            info_hash: asked,
            complete: count(swarm.seeds()),
            downloaded: swarm.downloaded,
            incomplete: count(swarm.members().len() - swarm.seeds()),
        })
    }

    /// The hashes of all swarms, for [`Registry::sweep`].
    pub fn hashes(&self) -> Vec<InfoHash> {
        self.swarms.keys().copied().collect()
    }

    /// Removes the announcers of these swarms that were not heard of for two intervals. The caller gives
    /// a few swarms at a time, so that nobody waits long for the lock.
    pub fn sweep(&mut self, hashes: &[InfoHash], now: Instant) {
        let patience = self.limits.interval * 2;
        for hash in hashes {
            let Some(swarm) = self.swarms.get(hash) else { continue };
            let is_silent = |member: &Member| {
                member.heard.is_some_and(|heard| now.saturating_duration_since(heard) > patience)
            };
            let silent: Vec<Who> =
                swarm.members().iter().filter(|(_, member)| is_silent(member)).map(|(who, _)| *who).collect();
            self.announcers -= silent.len();
            self.change(*hash, Departure::Silent, |swarm| {
                silent.into_iter().for_each(|who| drop(swarm.part(who)));
            });
        }
    }
}

/// What a new announcer finds in its swarm.
#[derive(Default)]
struct Others {
    /// It has a session, which tells more.
    has_session: bool,
    /// Members at its address.
    at_address: usize,
    /// Itself, at its former address.
    moved: Option<Who>,
}

impl Others {
    fn count(swarm: &Swarm, announce: &Announce, asker: &Place) -> Others {
        let mut others = Others::default();
        for (who, member) in swarm.members() {
            let same_id = member.contact.peer_id == announce.peer_id;
            let place = &member.contact.place;
            others.at_address += usize::from(place.observed() == asker.observed());
            match who {
                Who::Session(_) => others.has_session |= same_id && place.observed() == asker.observed(),
                Who::Announcer(address) => {
                    let same_key = announce.key.is_some() && member.key == announce.key;
                    // A client on both families announces from two addresses, and has not moved.
                    if same_id && same_key && address.is_ipv4() == asker.observed().is_ipv4() {
                        others.moved = Some(*who);
                    }
                }
            }
        }
        others
    }
}
