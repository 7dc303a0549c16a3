//! The pages of the tracker's HTTP server by their paths. Runs on the threads `client-N`; takes the lock
//! `registry` for one query at a time.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Instant;

use crate::protocol::announce::{Announce, PeersAs, failure, pairs, scrape_bytes, scrape_hashes, unescape};
use crate::protocol::catalogue::{Entry, Found};
use crate::torrent::names::of_metainfo;
use crate::torrent::with_trackers;
use crate::tracker::registry::Registry;
use crate::tracker::shared::TrackerShared;

use super::Response;
use crate::http::request::{HttpError, Request};

/// The response to a request from `remote`.
pub fn respond(shared: &TrackerShared, request: &Request, remote: IpAddr) -> Response {
    match request.path.as_str() {
        "/announce" => announce(shared, &request.query, remote),
        "/scrape" => scrape(shared, &request.query),
        "/torrents" => torrents(shared, &request.query),
        "/metrics" => metrics(shared),
        "/" => index(shared),
        path => match path.strip_prefix("/torrents/").and_then(|file| file.strip_suffix(".torrent")) {
            Some(key) => torrent(shared, key, request.host.as_deref()),
            None => Response::error(&HttpError::new(404, "nothing is here; see / for what there is")),
        },
    }
}

/// `/announce` (BEP 3). A refusal is bencoded and has status 200, because clients look for it there.
fn announce(shared: &TrackerShared, query: &str, remote: IpAddr) -> Response {
    shared.metrics.announces.add();
    let reply = Announce::parse(query).and_then(|announce| {
        let reply = shared.registry(|registry| registry.announce(&announce, remote, Instant::now()));
        let peers_as = PeersAs { compact: announce.compact, no_peer_id: announce.no_peer_id };
        reply.map(|reply| reply.bytes(peers_as)).map_err(|refusal| refusal.message)
    });
    bencoded(shared, reply)
}

/// `/scrape` (BEP 48).
fn scrape(shared: &TrackerShared, query: &str) -> Response {
    shared.metrics.scrapes.add();
    let hashes = scrape_hashes(query);
    let reply = match hashes.is_empty() {
        true => Err("give the info_hash of each torrent to scrape, 20 bytes".to_owned()),
        false => {
            let scrape = |registry: &mut Registry| hashes.iter().map(|hash| registry.scrape(*hash)).collect();
            Ok(scrape_bytes(shared.registry(scrape)))
        }
    };
    bencoded(shared, reply)
}

fn bencoded(shared: &TrackerShared, reply: Result<Vec<u8>, String>) -> Response {
    let body = reply.unwrap_or_else(|reason| {
        shared.metrics.announce_errors.add();
        failure(&reason)
    });
    Response::ok("text/plain", body)
}

fn torrents(shared: &TrackerShared, query: &str) -> Response {
    let mut words = String::new();
    let mut skip = 0;
    for (name, value) in pairs(query) {
        let text = String::from_utf8_lossy(&value).replace('+', " ");
        match name {
            "search" => words = text,
            "skip" => skip = text.parse().unwrap_or(0),
            _ => {}
        }
    }
    let Found { entries, more } = shared.registry(|registry| registry.search(&words, true, skip));
    let body = serde_json::json!({ "torrents": entries, "more": more });
    Response::ok("application/json", body.to_string())
}

/// A metainfo file, with this tracker as its first.
fn torrent(shared: &TrackerShared, key: &str, host: Option<&str>) -> Response {
    let key = String::from_utf8_lossy(&unescape(key)).into_owned();
    let found = shared.registry(|registry| registry.resolve(&key).map(|hash| registry.name(hash)));
    let (key, name) = match found {
        Ok(Some(found)) => found,
        Ok(None) => return Response::error(&HttpError::new(404, "the torrent is not known any more")),
        Err(refusal) => return Response::error(&HttpError::new(404, refusal.message)),
    };
    match shared.store.get(&key) {
        Ok(bytes) => {
            let urls = shared.front.announce_urls(host, shared.port);
            let named = with_trackers(&bytes, &urls).unwrap_or(bytes);
            Response::file("application/x-bittorrent", &of_metainfo(name.as_bytes()), named)
        }
        Err(error) => {
            log::error!("cannot read the torrent {key}: {error}");
            Response::error(&HttpError::new(500, "the tracker cannot read the torrent"))
        }
    }
}

fn metrics(shared: &TrackerShared) -> Response {
    let census = shared.registry(|registry| registry.census());
    let text = shared.metrics.text(&census, shared.connections(), shared.started.elapsed().as_secs());
    Response::ok("text/plain; version=0.0.4; charset=utf-8", text)
}

fn index(shared: &TrackerShared) -> Response {
    let Found { entries, more } = shared.registry(|registry| registry.search("", true, 0));
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>shoal tracker</title>\
         </head><body>\n\
         <h1>shoal tracker</h1>\n\
         <p>Announce to <code>/announce</code>, scrape at <code>/scrape</code>. \
         <a href=\"/torrents\">/torrents</a> is this list as JSON (<code>?search=</code>), \
         <a href=\"/metrics\">/metrics</a> is for Prometheus.</p>\n\
         <table>\n<tr><th>name</th><th>bytes</th><th>seeds</th><th>peers</th><th>available</th></tr>\n",
    );
    entries.iter().for_each(|entry| row(&mut page, entry));
    page.push_str("</table>\n");
    if more > 0 {
        let _ = writeln!(page, "<p>and {more} more</p>"); // writing to a string cannot fail
    }
    page.push_str("</body></html>\n");
    Response::ok("text/html; charset=utf-8", page)
}

fn row(page: &mut String, entry: &Entry) {
    let Entry { key, size, seeds, peers, .. } = entry;
    let name = html(entry.label());
    let available = if entry.available { "yes" } else { "no" };
    // Writing to a string cannot fail.
    let _ = writeln!(
        page,
        "<tr><td><a href=\"/torrents/{key}.torrent\">{name}</a></td><td>{size}</td><td>{seeds}</td>\
         <td>{peers}</td><td>{available}</td></tr>"
    );
}

/// Escapes text for HTML: names come from peers that are not trusted.
fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
