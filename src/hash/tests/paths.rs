//! Tests of every code path and of the choice between them, against the crates `sha1` and `sha2`.

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::super::choice::{self, Hash};
use super::super::*;

const NAMES: [&str; 6] = ["avx512", "avx2", "sha-ni", "sha-ni x2", "sha-ni x4", "portable"];

/// Calls `test` with each code path, and with the choice. Prints the code paths that this processor
/// does not support.
fn on_all<const W: usize>(hash: &'static Hash<W>, mut test: impl FnMut(&str, &Hash<W>)) {
    test("best", hash);
    for name in NAMES {
        match hash.only(name) {
            Some(hash) => test(name, &hash),
            None => println!("{name} is not tested: this processor does not have it"),
        }
    }
}

/// Random bytes, the same for the same length.
fn noise(len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(len as u64);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

fn plain_sha1(messages: &[&[u8]]) -> Vec<[u8; 20]> {
    messages.iter().map(|message| sha1(message)).collect()
}

fn plain_sha256(messages: &[&[u8]]) -> Vec<Hash256> {
    messages.iter().map(|message| sha256(message)).collect()
}

/// Which code paths give other hashes of these messages than the crates.
fn wrong(messages: &[&[u8]]) -> Vec<String> {
    let (sha1, sha256) = (plain_sha1(messages), plain_sha256(messages));
    let mut wrong = Vec::new();
    on_all(&choice::SHA1, |name, hash| {
        wrong.extend((sha1s(hash, messages) != sha1).then(|| format!("SHA-1 by {name}")));
    });
    on_all(&choice::SHA256, |name, hash| {
        wrong.extend((sha256s(hash, messages) != sha256).then(|| format!("SHA-256 by {name}")));
    });
    wrong
}

/// What [`wrong`] gives when all agree.
const NONE: [&str; 0] = [];

/// The examples of FIPS 180-4.
#[test]
fn the_standard_s_examples() {
    let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    let sha1 = [
        (&b""[..], "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
        (b"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        (two_blocks, "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
    ];
    let sha256 = [
        (&b""[..], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (two_blocks, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
    ];
    on_all(&choice::SHA1, |name, hash| {
        let hashes = sha1s(hash, &sha1.map(|(message, _)| message)).into_iter();
        assert!(hashes.map(|hash| HEXLOWER.encode(&hash)).eq(sha1.map(|(_, hex)| hex)), "{name}");
    });
    on_all(&choice::SHA256, |name, hash| {
        let hashes = sha256s(hash, &sha256.map(|(message, _)| message)).into_iter();
        assert!(hashes.map(|hash| HEXLOWER.encode(&hash)).eq(sha256.map(|(_, hex)| hex)), "{name}");
    });
}

#[test]
fn no_message_at_all() {
    assert_eq!(wrong(&[]), NONE);
    assert!(sha1_many(&[]).is_empty() && sha256_many(&[]).is_empty());
}

#[test]
fn any_number_of_messages() {
    let data = noise(40 * 1_000);
    for count in 1..=40 {
        let equal: Vec<&[u8]> = data.chunks(1_000).take(count).collect();
        assert_eq!(wrong(&equal), NONE, "{count} messages");
    }
}

/// The padding may fit behind the message, or need a block of its own.
#[test]
fn every_length_about_a_block() {
    let data = noise(200);
    let messages: Vec<&[u8]> = (0..=data.len()).map(|len| &data[..len]).collect();
    assert_eq!(wrong(&messages), NONE);
}

#[test]
fn every_alignment() {
    let data = noise(64 + 500);
    let messages: Vec<&[u8]> = (0..64).map(|offset| &data[offset..offset + 500]).collect();
    assert_eq!(wrong(&messages), NONE);
}

/// One long message outlasts the others, and the code path changes meanwhile.
#[test]
fn lanes_that_end_at_different_times() {
    let data = noise(100_000);
    let mut messages: Vec<&[u8]> = (0..20).map(|n| &data[n..][..n * n * 10]).collect();
    messages.insert(3, &data);
    assert_eq!(wrong(&messages), NONE);
}

#[test]
fn zeros_behind_a_message_count() {
    let data = noise(300);
    let messages =
        [(&data[..], 0), (&data[..100], 28), (&data[..0], 100_000), (&data[..64], 1), (&data[..0], 0)];
    let whole = messages.map(|(data, zeros)| sha1_padded(data, zeros));
    assert_eq!(sha1_many_padded(&messages), whole);
}

#[test]
fn a_layer_of_nodes() {
    for nodes in [2, 4, 30, 32, 34, 200] {
        let layer: Vec<Hash256> = (0..nodes).map(|n: u32| sha256(&n.to_be_bytes())).collect();
        let above: Vec<Hash256> = layer.chunks(2).map(|pair| sha256(&pair.concat())).collect();
        on_all(&choice::SHA256, |name, hash| assert_eq!(parents(hash, &layer), above, "{nodes} by {name}"));
    }
}

/// The rule chooses only kernels that this processor supports.
#[test]
fn the_choice_is_one_of_those_that_are_there() {
    for messages in 1..=40 {
        assert!((choice::SHA1.best(messages).is_there)());
        assert!((choice::SHA256.best(messages).is_there)());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_messages(seed: u64, lengths in prop::collection::vec((0..64_usize, 0..3_000_usize), 1..=40)) {
        let mut random = fastrand::Rng::with_seed(seed);
        let data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(3_064).collect();
        let messages: Vec<&[u8]> = lengths.iter().map(|(offset, len)| &data[*offset..offset + len]).collect();
        prop_assert_eq!(wrong(&messages), NONE);
    }

    /// The result must not depend on how the messages are cut into parts, nor on the parts of other messages.
    #[test]
    fn parts_make_the_whole(
        cuts in prop::collection::vec((0..1_000_usize, 0..1_000_usize, 0..300_usize), 1..=20),
    ) {
        let data = noise(1_000);
        let mut hashes = Sha1s::new(cuts.len());
        let cuts: Vec<_> =
            cuts.into_iter().map(|(one, two, zeros)| (one.min(two), one.max(two), zeros)).collect();
        for part in 0..3 {
            let bounds = cuts.iter().map(|(one, two, _)| [0, *one, *two, data.len()]);
            hashes.feed(&bounds.map(|at| &data[at[part]..at[part + 1]]).collect::<Vec<_>>());
        }
        hashes.feed_zeros(&cuts.iter().map(|(_, _, zeros)| *zeros).collect::<Vec<_>>());
        let whole: Vec<_> = cuts.iter().map(|(_, _, zeros)| sha1_padded(&data, *zeros)).collect();
        prop_assert_eq!(hashes.finish(), whole);
    }
}
