//! A `.torrent` that lies at a URL. Blocks the caller; no lock.

use crate::torrent::{MAX_METAINFO_LEN, Torrent, TorrentError};
use std::io::Read;
use std::time::Duration;
use thiserror::Error;

/// How long it may take to get one.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the server's name and the connection may take, each.
const CONNECT: Duration = Duration::from_secs(10);

/// Why there is no torrent.
#[derive(Debug, Error)]
pub enum WebError {
    /// The server cannot be reached, or does not answer to the end.
    #[error("cannot fetch {url}: {why}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// What lies there is no torrent.
    #[error("{url}: {why}")]
    Torrent {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        why: TorrentError,
    },
}

/// Whether this is a URL that [`torrent_at`] understands.
pub fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| {
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    })
}

/// Fetches the torrent at a URL, of at most [`MAX_METAINFO_LEN`] bytes. Redirects are followed.
///
/// # Errors
/// If it cannot be fetched, or is no torrent.
pub fn torrent_at(url: &str) -> Result<Torrent, WebError> {
    let failed = |why: String| WebError::Unreachable { url: url.to_owned(), why };
    let bytes = fetch(url).map_err(failed)?;
    Torrent::parse(&bytes).map_err(|why| WebError::Torrent { url: url.to_owned(), why })
}

fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let agent = ureq::Agent::config_builder()
        .user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .build()
        .new_agent();
    let mut response = agent.get(url).call().map_err(|why| why.to_string())?;
    if !response.status().is_success() {
        return Err(format!("the answer is HTTP status {}", response.status()));
    }
    let mut bytes = Vec::new();
    let most = MAX_METAINFO_LEN as u64 + 1; // one byte too long is no torrent
    let read = response.body_mut().as_reader().take(most).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|why| why.to_string())
}
