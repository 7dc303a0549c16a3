//! Tests of the crowd: compared with a plain map, and what it draws.

use std::collections::{HashMap, HashSet};

use super::*;
use crate::protocol::catalogue::PeerId;
use crate::tracker::registry::member::{Caller, Have, Tick};

fn member(left: u64) -> Member {
    let caller = Caller::Announcer { peer_id: PeerId([1; 20]), key: None, heard: Tick(0) };
    Member { caller, have: Have::from_left(left) }
}

fn who(rng: &mut fastrand::Rng) -> Who {
    Who::Announcer([10, 0, rng.u8(..3), rng.u8(..4)].into(), rng.u16(1..5))
}

fn ip(who: &Who) -> IpAddr {
    let Who::Announcer(ip, _) = who else { panic!("only announcers here") };
    *ip
}

/// Checks the invariants at the top of `crowd.rs` and `lists.rs`.
fn check(crowd: &Crowd) {
    assert_eq!(crowd.spots.len(), crowd.members.len());
    match &crowd.lists {
        Some(lists) => lists.check(crowd.spots.iter().zip(&crowd.members)),
        None => assert!(crowd.len() <= SMALL),
    }
}

#[test]
fn it_holds_what_a_map_would_hold_however_members_come_and_go() {
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut crowd, mut model) = (Crowd::default(), HashMap::new());
    for turn in 0..20_000u64 {
        let who = who(&mut rng);
        // More and more, then fewer and fewer.
        if rng.u64(..20_000) > turn {
            model.entry(who).or_insert_with(|| {
                crowd.insert(who, member(turn + 1));
                turn + 1
            });
        } else {
            let left = crowd.remove(&who).map(|member| match member.have {
                Have::Left(left) => left,
                _ => panic!("it was no seed"),
            });
            assert_eq!(left, model.remove(&who));
        }
        check(&crowd);
    }
    assert!(model.keys().all(|who| crowd.get(who).is_some()));
    assert!(crowd.len() < SMALL, "the lists by address came and went");
    let here = ip(&who(&mut rng));
    assert_eq!(crowd.at_address(here), model.keys().filter(|who| ip(who) == here).count());
}

#[test]
fn a_draw_begins_anywhere_and_gives_everybody_once() {
    let mut rng = fastrand::Rng::with_seed(6);
    let mut crowd = Crowd::default();
    assert_eq!(crowd.all(&mut rng).count(), 0);
    for subnet in 0..3 {
        for host in [0, 90, 170] {
            (1..=4)
                .for_each(|port| crowd.insert(Who::Announcer([10, 0, subnet, host].into(), port), member(1)));
        }
    }
    let subnet = Subnet::of([10, 0, 1, 9].into());
    assert_eq!(crowd.near(Subnet::of([10, 9, 0, 0].into()), &mut rng).count(), 0);
    let (mut first, mut first_near) = (HashSet::new(), HashSet::new());
    for _ in 0..2000 {
        let all: Vec<Who> = crowd.all(&mut rng).map(|peer| peer.who()).collect();
        let near: Vec<Who> = crowd.near(subnet, &mut rng).map(|peer| peer.who()).collect();
        assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (36, 36));
        assert_eq!((near.len(), near.iter().collect::<HashSet<_>>().len()), (12, 12));
        assert!(near.iter().all(|who| Subnet::of(ip(who)) == subnet));
        first.insert(all[0]);
        first_near.insert(near[0]);
    }
    assert_eq!((first.len(), first_near.len()), (36, 12), "somebody is never the first");
    // The same if nearly all members are on the subnet.
    (0..9).for_each(|host| crowd.insert(Who::Announcer([10, 0, 1, 20 + host].into(), 1), member(1)));
    (5..30).for_each(|port| crowd.insert(Who::Announcer([10, 0, 1, 0].into(), port), member(1)));
    assert!(crowd.lists.as_ref().unwrap().is_most(subnet, crowd.len()));
    let near: HashSet<Who> = crowd.near(subnet, &mut rng).map(|peer| peer.who()).collect();
    assert_eq!((near.len(), near.iter().all(|who| Subnet::of(ip(who)) == subnet)), (46, true));
}

#[test]
fn an_announcer_is_found_by_its_key_wherever_it_stands() {
    let mut rng = fastrand::Rng::with_seed(9);
    let (mut crowd, mut model) = (Crowd::default(), HashMap::new());
    for turn in 0..10_000 {
        let id = rng.u8(..60);
        let who = Who::Announcer([10, 0, 0, id].into(), 1);
        let (peer_id, key) = (PeerId([id; 20]), Key::from_number(u32::from(id) + 1));
        let wanted = if turn < 5000 { 40 } else { 4 };
        if crowd.remove(&who).is_some() {
            model.remove(&id);
        } else if crowd.len() < wanted {
            let caller = Caller::Announcer { peer_id, key, heard: Tick(0) };
            crowd.insert(who, Member { caller, have: Have::from_left(1) });
            model.insert(id, who);
        }
        check(&crowd);
        let found = |ip: IpAddr| crowd.by_key(peer_id, key.unwrap(), ip);
        assert_eq!(found([10, 9, 9, 9].into()), model.get(&id).copied());
        assert_eq!(found("::1".parse().unwrap()), None, "of the other family");
    }
}
