//! How the tracker looks from outside: by which URLs it is reached, and who really asks if a proxy stands
//! before it. Pure.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// How the tracker looks from outside.
#[derive(Debug, Clone, Default)]
pub struct Front {
    /// Where others reach it over HTTP, if that is not where the request says.
    pub public_url: Option<PublicUrl>,
    /// The proxies whose word on who asks is taken.
    pub trusted_proxies: Vec<IpNet>,
}

/// The URL of the tracker's front page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// Without a slash at the end.
    url: String,
    host: String,
}

impl FromStr for PublicUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = text.trim_end_matches('/');
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let authority = rest.and_then(|rest| rest.split('/').next());
        let is_plain =
            !url.contains(['?', '#', '@']) && !url.chars().any(|c| c.is_whitespace() || c.is_control());
        match authority.and_then(Authority::parse).filter(|_| is_plain) {
            Some(Authority { host, .. }) => Ok(PublicUrl { url: url.to_owned(), host: host.to_owned() }),
            None => Err("expected a URL with http:// or https://, such as https://example.org/tracker"),
        }
    }
}

/// A host with or without a port, as in the header `Host`.
struct Authority<'a> {
    /// An IPv6 address is in brackets.
    host: &'a str,
    has_port: bool,
}

impl<'a> Authority<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let end =
            if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
        let (host, rest) = text.split_at(end);
        let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => matches!(inner.parse(), Ok(IpAddr::V6(_))),
            None => {
                !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
            }
        };
        let has_port = !rest.is_empty();
        let is_port = |rest: &str| rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        (is_host && (!has_port || is_port(rest))).then_some(Authority { host, has_port })
    }
}

impl Front {
    /// The announce URLs of the tracker, for HTTP and for UDP. `host` is what the request calls it; `port` is
    /// where it listens. None if nobody says how it is reached.
    pub fn announce_urls(&self, host: Option<&str>, port: u16) -> Vec<String> {
        if let Some(PublicUrl { url, host }) = &self.public_url {
            return vec![format!("{url}/announce"), format!("udp://{host}:{port}/announce")];
        }
        let Some(asked) = host else { return Vec::new() };
        let Some(Authority { host, has_port }) = Authority::parse(asked) else { return Vec::new() };
        let udp = if has_port { asked.to_owned() } else { format!("{host}:{port}") };
        vec![format!("http://{asked}/announce"), format!("udp://{udp}/announce")]
    }

    /// Whether this is a proxy whose word on who asks is taken.
    pub fn is_trusted(&self, proxy: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&proxy.to_canonical()))
    }

    /// Who asks, if the request came from `remote` and passed the addresses of `forwarded_for`
    /// (`X-Forwarded-For`): the last of them that is no trusted proxy itself. The others can be made up.
    pub fn client(&self, remote: IpAddr, forwarded_for: &str) -> IpAddr {
        let mut client = remote;
        for address in forwarded_for.rsplit(',') {
            if !self.is_trusted(client) {
                break;
            }
            let Some(before) = address_in(address.trim()) else { break };
            client = before;
        }
        client
    }
}

/// An address, as proxies write them: with a port at times, IPv6 in brackets at times.
fn address_in(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').split(']').next().unwrap_or_default();
    let with_port = || text.parse::<std::net::SocketAddr>().map(|address| address.ip());
    text.parse().or_else(|_| with_port()).or_else(|_| bare.parse()).ok().map(|ip: IpAddr| ip.to_canonical())
}

/// The addresses of a proxy: one, or a network such as `10.0.0.0/8`.
///
/// # Errors
/// The text is neither.
pub fn proxy(text: &str) -> Result<IpNet, &'static str> {
    let one = || text.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
    text.parse().or_else(|_| one()).map_err(|_| "expected an address, or a network such as 10.0.0.0/8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_announce_urls_are_those_of_the_public_url_or_of_the_request() {
        let plain = Front::default();
        let urls = |front: &Front, host| front.announce_urls(host, 6969);
        assert_eq!(urls(&plain, Some("lab:7000")), ["http://lab:7000/announce", "udp://lab:7000/announce"]);
        assert_eq!(urls(&plain, Some("lab")), ["http://lab/announce", "udp://lab:6969/announce"]);
        assert_eq!(
            urls(&plain, Some("[2001:db8::1]:80")),
            ["http://[2001:db8::1]:80/announce", "udp://[2001:db8::1]:80/announce"]
        );
        for bad in [None, Some(""), Some("a b"), Some("a/b"), Some("a:b"), Some("[::1"), Some("a\r\nb")] {
            assert_eq!(urls(&plain, bad), [""; 0], "{bad:?}");
        }
        let public_url = "https://example.org/bt/".parse().ok();
        let front = Front { public_url, ..Front::default() };
        assert_eq!(
            urls(&front, Some("inside:1")),
            ["https://example.org/bt/announce", "udp://example.org:6969/announce"]
        );
        for bad in ["example.org", "ftp://x", "http://", "http://a b", "http://a/?q", "http://user@a"] {
            assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_who_asks() {
        let front = Front {
            trusted_proxies: vec![proxy("127.0.0.1").unwrap(), proxy("10.0.0.0/8").unwrap()],
            ..Front::default()
        };
        let client = |remote, forwarded| front.client(ip(remote), forwarded);
        assert_eq!(client("127.0.0.1", "192.0.2.7"), ip("192.0.2.7"));
        assert_eq!(client("::ffff:127.0.0.1", "192.0.2.7"), ip("192.0.2.7"));
        assert_eq!(client("127.0.0.1", "1.2.3.4, 192.0.2.7, 10.1.1.1"), ip("192.0.2.7"));
        assert_eq!(client("192.0.2.9", "192.0.2.7"), ip("192.0.2.9"), "anybody may send the header");
        assert_eq!(client("127.0.0.1", ""), ip("127.0.0.1"));
        assert_eq!(client("127.0.0.1", "192.0.2.7, nonsense"), ip("127.0.0.1"));
        assert_eq!(client("127.0.0.1", "[2001:db8::1]:443"), ip("2001:db8::1"));
        assert_eq!(client("127.0.0.1", "[2001:db8::1]"), ip("2001:db8::1"));
        assert_eq!(client("127.0.0.1", "192.0.2.7:1234"), ip("192.0.2.7"));
        assert_eq!(Front::default().client(ip("127.0.0.1"), "192.0.2.7"), ip("127.0.0.1"));
        assert!(proxy("10.0.0.0/64").is_err() && proxy("proxy").is_err());
    }
}
