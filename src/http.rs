//! The parts of HTTP/1.1 that a server needs. Pure.

pub mod request;
