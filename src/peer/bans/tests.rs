//! Tests of the bans: kept, found again, bounded, and removed.

use super::*;

fn identity(number: u8) -> PeerIdentity {
    PeerIdentity { addr: [10, 0, 0, number].into(), peer_id: PeerId([number; 20]) }
}

fn who(number: u32) -> Who {
    Who::Addr(IpAddr::from(number.to_be_bytes()))
}

fn ban(number: u32, cause: Cause, since: u64) -> Ban {
    Ban { who: who(number), cause, since, until: None }
}

#[test]
fn a_liar_is_banned_by_address_and_by_name() {
    let bans = Bans::open(None);
    bans.liar(&identity(1));
    assert!(bans.has(&identity(1)));
    assert!(bans.has(&PeerIdentity { addr: [10, 9, 9, 9].into(), ..identity(1) }), "at another address");
    assert!(bans.has(&PeerIdentity { peer_id: PeerId([9; 20]), ..identity(1) }), "under another name");
    assert!(bans.has_addr("::ffff:10.0.0.1".parse().unwrap()), "through a socket for both kinds");
    assert!(!bans.has(&identity(2)));
}

#[test]
fn what_all_peers_of_a_machine_share_is_not_banned() {
    let bans = Bans::open(None);
    let local = |id| PeerIdentity { addr: [127, 0, 0, 1].into(), peer_id: PeerId([id; 20]) };
    bans.liar(&local(1));
    assert!(bans.has(&local(1)) && !bans.has(&local(2)));
    for _ in 0..100 {
        bans.offended(&local(3));
    }
    assert!(bans.has(&local(3)) && !bans.has(&local(2)));
}

#[test]
fn bans_outlive_a_restart_and_can_be_lifted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bans.json");
    let bans = Bans::open(Some(&path));
    bans.save().unwrap();
    assert!(!path.exists(), "nothing to keep");
    bans.liar(&identity(1));
    bans.by_hand("10.0.0.7".parse().unwrap());
    bans.save().unwrap();

    let again = Bans::open(Some(&path));
    assert_eq!(again.all(), bans.all());
    assert!(again.has(&identity(1)) && again.has_addr([10, 0, 0, 7].into()));
    assert!(again.lift("10.0.0.7".parse().unwrap()) && !again.lift("10.0.0.7".parse().unwrap()));
    again.save().unwrap();
    assert_eq!(Bans::open(Some(&path)).all().len(), 2);
}

#[test]
fn a_broken_file_is_no_bans_and_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bans.json");
    for text in ["{ not json", "[{\"who\":\"nobody\",\"cause\":\"lied\",\"since\":0,\"until\":null}]"] {
        std::fs::write(&path, text).unwrap();
        assert!(Bans::open(Some(&path)).all().is_empty());
    }
}

#[test]
fn who_breaks_the_rules_again_and_again_is_banned_for_a_while() {
    let mut list = List::default();
    let id = Who::Id(PeerId([1; 20]));
    assert!(!list.offended(id, 0) && !list.offended(id, 10));
    assert!(!list.offended(id, 10 + MEMORY + 1), "the first two are forgotten");
    assert!(!list.offended(id, 1000));
    assert!(list.offended(id, 1001));
    let over = Ban { who: id, cause: Cause::BrokeRules, since: 1001, until: Some(1001 + MEMORY) };
    list.add(over, 1001);
    assert!(list.has(id, 1001 + MEMORY - 1) && !list.has(id, 1001 + MEMORY));
    let address = who(1);
    assert!(
        (1..OFFENCES_OF_ADDRESS).all(|_| !list.offended(address, 5)),
        "a whole house may stand behind it"
    );
    assert!(list.offended(address, 5));
}

#[test]
fn bans_and_offenders_have_a_bound_and_a_flood_of_names_lifts_no_ban_of_the_user() {
    let mut list = List::default();
    list.add(ban(0, Cause::ByHand, 0), 0);
    for number in 1..MOST as u32 + 100 {
        list.add(ban(number, Cause::Lied, number.into()), 0);
        list.offended(who(number), number.into());
    }
    assert_eq!((list.bans.len(), list.offenders.len()), (MOST, MOST_OFFENDERS));
    assert!(list.has(who(0), 0) && !list.has(who(1), 0), "the oldest of the least weight goes");
}

#[test]
fn the_weightier_cause_stays() {
    let mut list = List::default();
    list.add(ban(1, Cause::Lied, 0), 0);
    list.add(Ban { until: Some(10), ..ban(1, Cause::BrokeRules, 5) }, 5);
    assert!(list.has(who(1), 100));
    list.add(ban(1, Cause::ByHand, 6), 6);
    assert_eq!(list.bans[&who(1)].cause, Cause::ByHand);
}
