//! One announce over HTTP (BEP 3, 7, 23). The reply is bounded in size and time. Runs on the announcer's
//! thread; no lock.

use crate::protocol::announce::{Announce, AnnounceReply};
use std::io::Read;
use std::time::Duration;
use ureq::Agent;

/// Maximum length of a reply, in bytes: more than a hundred thousand peers.
const MAX_REPLY: u64 = 1 << 20;

/// How long resolving the tracker's name may take, and connecting likewise: `stop` cannot interrupt these. A
/// lost first packet is sent again after one second.
const CONNECT: Duration = Duration::from_millis(1500);

/// An HTTP client for trackers. A request takes at most `patience` in all.
pub(super) fn agent(patience: Duration) -> Agent {
    let config = Agent::config_builder()
        .user_agent(concat!("shoal/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(patience))
        .timeout_resolve(Some(CONNECT.min(patience)))
        .timeout_connect(Some(CONNECT.min(patience)))
        .max_redirects(3)
        .http_status_as_error(false)
        .max_response_header_size(16 << 10)
        // Announces are minutes apart, and an idle connection would only take a place at the tracker.
        .max_idle_connections(0)
        // With a proxy, the tracker would see its address and give that to other peers.
        .proxy(None)
        .build();
    Agent::new_with_config(config)
}

/// Announces to the tracker at `url`. The error is a text for the user.
pub(super) fn announce(agent: &Agent, url: &str, announce: &Announce) -> Result<AnnounceReply, String> {
    let joint = if url.contains('?') { '&' } else { '?' };
    fetch(agent, &format!("{url}{joint}{}", announce.query()))
}

fn fetch(agent: &Agent, url: &str) -> Result<AnnounceReply, String> {
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    let status = response.status();
    let mut body = Vec::new();
    // The limit is on the decompressed body, so that a few compressed bytes cannot become very many.
    let read = response.body_mut().as_reader().take(MAX_REPLY + 1).read_to_end(&mut body);
    read.map_err(|error| format!("reading the reply failed: {error}"))?;
    if body.len() as u64 > MAX_REPLY {
        return Err("the reply is longer than a megabyte".into());
    }
    match AnnounceReply::parse(&body) {
        // Some trackers refuse with an error status; that body is read. An error page of another server
        // is not useful.
        Err(_) if !status.is_success() && !body.starts_with(b"d14:failure reason") => {
            Err(format!("the answer is HTTP status {status}"))
        }
        parsed => parsed,
    }
}
