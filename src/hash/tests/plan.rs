//! Tests of the plan that follows from measured times.

use proptest::prelude::*;

use super::super::calibration::{Calibration, Cost, measure};
use super::super::choice;

/// Lanes and nanoseconds of SHA-256 on a Zen 4, whose SHA instructions are better than its vectors.
const ZEN: [(usize, u64); 5] = [(16, 1090), (8, 1000), (1, 133), (2, 145), (4, 252)];

/// The same on a server by Intel, where it is the other way round.
const INTEL: [(usize, u64); 5] = [(16, 900), (8, 1600), (1, 260), (2, 290), (4, 600)];

fn costs(of: &[(usize, u64)]) -> Vec<Cost> {
    of.iter().map(|(lanes, time)| Cost { lanes: *lanes, time: *time }).collect()
}

/// The lanes of the kernels that the plan takes one after the other, for messages of one length.
fn lanes(costs: &[Cost], messages: usize) -> Vec<usize> {
    let calibration = Calibration::new();
    calibration.note(costs.to_vec());
    let (mut left, mut lanes) = (messages, Vec::new());
    while left > 0 {
        let cost = costs[calibration.first(left)];
        lanes.push(cost.lanes);
        left = left.saturating_sub(cost.lanes);
    }
    lanes
}

#[test]
fn what_is_left_over_is_counted() {
    let zen = costs(&ZEN);
    assert_eq!(lanes(&zen, 1), [1]);
    assert_eq!(lanes(&zen, 2), [2]);
    assert_eq!(lanes(&zen, 3), [4], "two and then one would take longer");
    assert_eq!(lanes(&zen, 5), [4, 1]);
    assert_eq!(lanes(&zen, 6), [4, 2]);
    assert_eq!(lanes(&zen, 16), [4; 4]);
    assert_eq!(lanes(&zen, 40), [4; 10]);
}

#[test]
fn wide_vectors_where_they_are_better() {
    let intel = costs(&INTEL);
    assert_eq!(lanes(&intel, 2), [2]);
    assert_eq!(lanes(&intel, 5), [2, 2, 1]);
    assert_eq!(lanes(&intel, 7), [16], "four times two would take longer");
    assert_eq!(lanes(&intel, 18), [16, 2]);
    assert_eq!(lanes(&intel, 100), [16, 16, 16, 16, 16, 16, 2, 2]);
}

/// The other half of the core may be busy when it is measured first.
#[test]
fn the_shortest_time_counts() {
    let calibration = Calibration::new();
    let disturbed = |cost: Cost| Cost { time: if cost.lanes == 4 { 400 } else { cost.time }, ..cost };
    calibration.note(costs(&ZEN).into_iter().map(disturbed).collect());
    let lanes = || ZEN[calibration.first(4)].0;
    assert_eq!(lanes(), 2);
    calibration.note(costs(&ZEN));
    assert_eq!(lanes(), 4);
    calibration.note(costs(&ZEN).into_iter().map(|cost| Cost { time: 3 * cost.time, ..cost }).collect());
    assert_eq!(lanes(), 4);
}

#[test]
fn it_is_measured_a_few_times_and_not_for_a_small_file() {
    let calibration = Calibration::new();
    assert!((0..30).all(|_| !calibration.is_due()));
    assert_eq!((0..1_000_000).filter(|_| calibration.is_due()).count(), 5);
}

#[test]
fn every_kernel_of_this_processor_is_measured() {
    let mut measured = measure(&choice::SHA1.kernels);
    measured.extend(measure(&choice::SHA256.kernels));
    let odd: Vec<_> = measured.iter().filter(|cost| !(1..u64::MAX).contains(&cost.time)).collect();
    // Without a choice nothing is measured.
    let alone = choice::SHA1.kernels.len() == 1;
    assert!(alone || odd.is_empty(), "{odd:?}");
}

proptest! {
    #[test]
    fn no_kernel_alone_would_be_faster(
        times in prop::collection::vec(1..2_000_u64, 5),
        messages in 1..=32_usize,
    ) {
        let cost = |(lanes, time)| Cost { lanes, time };
        let costs: Vec<Cost> = [16, 8, 4, 2, 1].into_iter().zip(times).map(cost).collect();
        let time_of =
            |lanes: usize| costs.iter().find(|cost| cost.lanes == lanes).map_or(0, |cost| cost.time);
        let planned: u64 = lanes(&costs, messages).into_iter().map(time_of).sum();
        for alone in &costs {
            prop_assert!(planned <= alone.time * messages.div_ceil(alone.lanes) as u64);
        }
    }
}
