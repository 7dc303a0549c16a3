//! Peers, trackers and clients that lie, flood, drip, crowd or say nothing. Each noun has a file;
//! docs/HOSTILE.md is the table of attacks, of what stops each, and of the test that shows it. Peers that break
//! a single rule are in `rules.rs`.

#[path = "../cli_support/mod.rs"]
mod cli_support;
#[path = "../common/mod.rs"]
mod common;
#[path = "../tracker_support/mod.rs"]
mod tracker_support;

mod bad_trackers;
mod clients;
mod crowds;
mod floods;
mod lies;
mod padding;
mod rules;
mod silence;
mod throughput;
mod versions;
