//! What each fuzz target checks, one module each with a `check` that takes any bytes. It panics if a property
//! does not hold; "does not crash" is the least of them. The files in `fuzz_targets/` only call these.

pub mod bencode;
pub mod http;
pub mod magnet;
pub mod metainfo;
pub mod resume;
pub mod session;
pub mod tracker_lines;
pub mod udp;
pub mod wire;
