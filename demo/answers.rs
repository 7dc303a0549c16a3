//! What the shell answers with `--json`, as far as the demo reads it.

use serde::Deserialize;

/// `status`.
#[derive(Deserialize)]
pub struct Status {
    pub torrents: Vec<Torrent>,
    pub workers: Vec<Worker>,
}

#[derive(Deserialize)]
pub struct Torrent {
    pub name: String,
    pub have: u32,
    pub n_parts: u32,
    pub size: u64,
    pub downloaded: u64,
    pub uploaded: u64,
    pub complete: bool,
}

#[derive(Deserialize)]
pub struct Worker {
    pub taken: u64,
    pub stolen: u64,
    pub finished: u64,
}

/// `peers`.
#[derive(Deserialize)]
pub struct Peers {
    pub connected: Vec<Connection>,
}

#[derive(Deserialize)]
pub struct Connection {
    pub address: String,
    pub key: String,
    pub received: u64,
}

/// An entry of the catalogue: `search`, and the tracker's `/torrents`.
#[derive(Deserialize)]
pub struct Entry {
    pub name: String,
    pub size: u64,
    pub n_parts: u32,
    pub format: String,
    pub seeds: usize,
}

/// The tracker's `/torrents`.
#[derive(Deserialize)]
pub struct Catalogue {
    pub torrents: Vec<Entry>,
}

/// `upload` and `download`.
#[derive(Deserialize)]
pub struct Begun {
    pub key: String,
}
