//! Speed: limits, measured rates, and the count of all bytes that the sockets carried.

pub mod limit;
pub mod rate;
pub mod traffic;
