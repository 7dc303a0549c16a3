//! Speed: limits, measured rates, and the count of all bytes that the sockets carried.

pub(crate) mod limit;
pub(crate) mod rate;
pub(crate) mod traffic;
