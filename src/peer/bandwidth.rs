//! How fast content passes: limits, measured rates, and the count of all that the sockets carried.

pub mod limit;
pub mod rate;
pub mod traffic;
