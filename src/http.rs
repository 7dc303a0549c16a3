//! The server's parts of HTTP/1.1, for whoever answers it.

pub mod request;
