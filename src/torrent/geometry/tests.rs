//! Tests of geometry by properties: pieces, blocks and spans cover the content exactly.

use proptest::prelude::*;

use super::*;

/// Lengths of files in bytes, and whether each is padding.
type Files = Vec<(u64, bool)>;

fn v1(files: &Files, piece_length: u32) -> Geometry {
    let mut layout = Layout::new(piece_length);
    for (len, pad) in files {
        if *pad { layout.pad(*len) } else { layout.file(*len) }.unwrap();
    }
    layout.finish(false, u32::MAX).unwrap()
}

/// As in v2 and hybrid torrents. `tail` also pads the last file.
fn aligned(files: &Files, piece_length: u32, tail: bool) -> Geometry {
    let mut layout = Layout::new(piece_length);
    for (len, _) in files {
        if *len > 0 {
            layout.pad(layout.to_next_piece()).unwrap();
        }
        layout.file(*len).unwrap();
    }
    if tail {
        layout.pad(layout.to_next_piece()).unwrap();
    }
    layout.finish(true, u32::MAX).unwrap()
}

#[test]
fn v1_pieces_run_across_files() {
    let geometry = v1(&vec![(10, false), (0, false), (25, false)], 16);
    let piece = geometry.piece(0).unwrap();
    let spans: Vec<_> = geometry.spans(piece, 0, 16).collect();
    let span = |file, offset, len| Span { file, offset, len };
    assert_eq!(spans, [span(Some(0), 0, 10), span(Some(2), 0, 6)]);
    let last = geometry.piece(2).unwrap();
    assert_eq!((geometry.piece_len(last), geometry.padded_len(last)), (3, 3));
    assert_eq!(geometry.piece(3), None);
    assert_eq!((geometry.pieces_of(0), geometry.pieces_of(1), geometry.pieces_of(2)), (0..1, 0..0, 0..3));
}

#[test]
fn v1_padding_is_part_of_the_pieces() {
    let geometry = v1(&vec![(10, false), (6, true), (5, false)], 16);
    let piece = geometry.piece(0).unwrap();
    assert_eq!((geometry.piece_len(piece), geometry.padded_len(piece)), (16, 16));
    assert_eq!(geometry.spans(piece, 0, 16).last(), Some(Span { file: None, offset: 0, len: 6 }));
    assert_eq!(geometry.total_len(), 15);
}

#[test]
fn aligned_pieces_end_with_their_file() {
    let geometry = aligned(&vec![(10, false), (5, false)], 16, false);
    let [first, second] = [geometry.piece(0).unwrap(), geometry.piece(1).unwrap()];
    assert_eq!((geometry.piece_len(first), geometry.padded_len(first)), (10, 16));
    assert_eq!((geometry.piece_len(second), geometry.padded_len(second)), (5, 5));
    let with_tail = aligned(&vec![(10, false), (5, false)], 16, true);
    assert_eq!((with_tail.piece_len(second), with_tail.padded_len(second)), (5, 16));
    assert!(geometry.places_files_like(&with_tail));
}

/// Bug: libtorrent 2.0 requests the last block of a v2 file whole, and was shown out.
#[test]
fn behind_a_file_zeros_are_served_up_to_the_end_of_its_piece() {
    let geometry = aligned(&vec![(20_000, false), (10, false)], 32_768, false);
    for (index, file, rest) in [(0, 0, 20_000), (1, 1, 10)] {
        let whole = geometry.requested(index, 0, 32_768).unwrap();
        let spans: Vec<_> = geometry.spans(whole.piece(), 0, 32_768).collect();
        let span = |file, len| Span { file, offset: 0, len };
        assert_eq!(spans, [span(Some(file), rest), span(None, 32_768 - rest)]);
        assert!(geometry.requested(index, 32_767, 1).is_some());
        for (begin, len) in [(0, 32_769), (32_767, 2), (32_768, 1)] {
            assert_eq!(geometry.requested(index, begin, len), None, "{begin} {len}");
        }
    }
    let v1 = v1(&vec![(20_000, false)], 32_768);
    assert!(v1.requested(0, 0, 20_000).is_some() && v1.requested(0, 0, 20_001).is_none());
}

#[test]
fn in_v1_a_block_goes_on_over_the_padding_to_its_full_length_or_the_end_of_the_stream() {
    let padded = |geometry: &Geometry, index| {
        let piece = geometry.piece(index).unwrap();
        let block = geometry.padded(geometry.block(piece, geometry.block_count(piece) - 1));
        (block.begin(), block.len())
    };
    let files = vec![(20_000, false), (10, false), (50, false)];
    let geometry = aligned(&files, 32_768, false);
    assert_eq!([0, 1, 2].map(|piece| padded(&geometry, piece)), [(16_384, 16_384), (0, 16_384), (0, 50)]);
    assert_eq!(padded(&aligned(&files, 32_768, true), 2), (0, 16_384));
    assert_eq!(padded(&v1(&files, 32_768), 0), (16_384, 20_060 - 16_384));
}

#[test]
fn blocks_are_exactly_our_own() {
    let geometry = v1(&vec![(100_000, false)], 65_536);
    let [first, last] = [geometry.piece(0).unwrap(), geometry.piece(1).unwrap()];
    assert_eq!((geometry.block_count(first), geometry.block_count(last)), (4, 3));
    let short = geometry.block(last, 2);
    assert_eq!((short.begin(), short.len()), (32_768, 1_696));
    assert_eq!(geometry.block_at(last, 32_768, 1_696), Some(short));
    for (begin, len) in
        [(32_768, 16_384), (32_767, 1_696), (0, 16_383), (0, 0), (49_152, 1), (u32::MAX, u32::MAX)]
    {
        assert_eq!(geometry.block_at(last, begin, len), None, "{begin} {len}");
    }
}

#[test]
fn requests_are_served_within_a_piece_up_to_128_kib() {
    let geometry = v1(&vec![(1 << 20, false)], 1 << 18);
    let good = [(0, 0, 1), (3, (1 << 18) - 1, 1), (1, 5, 128 << 10), (0, 0, 16_384)];
    for (index, begin, len) in good {
        assert!(geometry.requested(index, begin, len).is_some(), "{index} {begin} {len}");
    }
    let bad = [
        (4, 0, 1),
        (u32::MAX, 0, 1),
        (0, 0, 0),
        (0, 1 << 18, 1),
        (0, (1 << 18) - 1, 2),
        (0, 0, (128 << 10) + 1),
        (0, u32::MAX, 2),
        (0, 1, u32::MAX),
    ];
    for (index, begin, len) in bad {
        assert_eq!(geometry.requested(index, begin, len), None, "{index} {begin} {len}");
    }
}

#[test]
fn streams_beyond_63_bits_and_too_many_pieces_are_refused() {
    let mut layout = Layout::new(16);
    layout.file(i64::MAX as u64).unwrap();
    assert_eq!(layout.file(1), None);
    assert_eq!(layout.pad(u64::MAX), None);
    assert_eq!(layout.finish(false, u32::MAX), None);
    let mut layout = Layout::new(16);
    layout.file(33).unwrap();
    assert_eq!(layout.finish(false, 2), None);
}

fn files() -> impl Strategy<Value = Files> {
    let len = prop_oneof![Just(0), 1..40u64, 1..40_000u64];
    prop::collection::vec((len, prop::bool::weighted(0.2)), 1..12)
}

proptest! {
    #[test]
    fn pieces_blocks_and_spans_tile_the_stream(files in files(), shift in 4..16u32, kind in 0..3) {
        let piece_length = 1 << shift;
        let geometry = match kind {
            0 => v1(&files, piece_length),
            _ => aligned(&files, piece_length, kind == 2),
        };
        let mut reached = std::collections::HashMap::new();
        for piece in geometry.pieces() {
            let (len, padded) = (geometry.piece_len(piece), geometry.padded_len(piece));
            prop_assert!(0 < len && len <= padded && padded <= piece_length);
            let mut at = 0;
            for nth in 0..geometry.block_count(piece) {
                let block = geometry.block(piece, nth);
                prop_assert_eq!(block.begin(), at);
                prop_assert!(!block.is_empty() && block.len() <= BLOCK_LEN);
                prop_assert_eq!(geometry.block_at(piece, at, block.len()), Some(block));
                prop_assert_eq!(geometry.requested(piece.index(), at, block.len()), Some(block));
                let whole = geometry.padded(block);
                prop_assert_eq!((whole.piece(), whole.begin()), (piece, at));
                prop_assert_eq!(whole.len(), BLOCK_LEN.min(padded - at));
                at += block.len();
            }
            prop_assert_eq!(at, len);
            // Each file is covered once, from its first byte, without a gap.
            for span in geometry.spans(piece, 0, padded) {
                prop_assert!(span.len > 0);
                if let Some(file) = span.file {
                    let end = reached.entry(file).or_insert(0);
                    prop_assert_eq!(*end, span.offset);
                    *end += span.len as u64;
                    prop_assert!(geometry.pieces_of(file).contains(&piece.index()));
                }
            }
            let covered: usize = geometry.spans(piece, 0, padded).map(|span| span.len).sum();
            prop_assert_eq!(covered, padded as usize);
            if kind > 0 {
                prop_assert!(geometry.spans(piece, 0, len).all(|span| span.file.is_some()));
            }
        }
        let total: u64 = reached.values().sum();
        prop_assert_eq!(total, geometry.total_len());
    }

    #[test]
    fn a_request_that_passes_stays_inside_and_its_spans_cover_it(
        files in files(), index in 0..40u32, begin in 0..70_000u32, len in 0..200_000u32,
        any in any::<(u32, u32)>(), tail: bool,
    ) {
        let geometry = aligned(&files, 1 << 14, tail);
        for (begin, len) in [(begin, len), any, (begin, any.1), (any.0, len)] {
            let Some(block) = geometry.requested(index, begin, len) else { continue };
            prop_assert!(block.begin() + block.len() <= geometry.piece_length());
            let covered: usize = geometry.spans(block.piece(), begin, len).map(|span| span.len).sum();
            prop_assert_eq!(covered, len as usize);
        }
    }
}
