//! Magnet links (BEP 9, for v2 BEP 52): text to [`Magnet`] and back. Pure.

use std::fmt::{self, Write};
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};

use super::{InfoHash, InfoHashes, Torrent};

/// Maximum length of a link in bytes. Real ones have a few kilobytes, with all their trackers.
const MAX_LEN: usize = 64 * 1024;

/// Maximum number of trackers, and of peers, taken from a link.
const MAX_ITEMS: usize = 100;

/// The prefix of every v2 hash in a link: the multihash code of SHA-256 (0x12) and its length (0x20).
const SHA256_MULTIHASH: &str = "1220";

/// The content of a magnet link. At least one of the hashes is present.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Magnet {
    /// The v1 info-hash (`xt=urn:btih:`).
    pub v1: Option<InfoHash>,
    /// The full v2 info-hash (`xt=urn:btmh:1220`).
    pub v2: Option<[u8; 32]>,
    /// Display name until the metainfo is there (`dn`). Untrusted: it may be shown, but not used as a path.
    pub name: Option<String>,
    /// Announce URLs (`tr`), in order.
    pub trackers: Vec<String>,
    /// Peers to connect to first (`x.pe`), each `HOST:PORT` with a host name or an address.
    pub peers: Vec<String>,
    /// What of the link was passed over, because it could not be read, and why: a name, a tracker or a peer.
    /// None of them is needed.
    pub passed_over: Vec<MagnetError>,
}

/// Why a text is not a magnet link that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MagnetError {
    /// The text does not begin with `magnet:?`.
    #[error("not a magnet link: it must begin with `magnet:?`")]
    NotAMagnet,
    /// The link is longer than 64 KiB.
    #[error("magnet link too long: more than {MAX_LEN} bytes")]
    TooLong,
    /// The link has no info-hash.
    #[error("magnet link without an info-hash: it needs `xt=urn:btih:` or `xt=urn:btmh:`")]
    NoHash,
    /// An info-hash of the link is broken.
    #[error(
        "magnet link with a broken info-hash in `xt`: 40 hexadecimal or 32 base32 digits after `urn:btih:`, \
        68 hexadecimal digits after `urn:btmh:`"
    )]
    BadHash,
    /// The link has two different v1 hashes, or two different v2 hashes.
    #[error("magnet link with two different info-hashes of the same kind")]
    TwoHashes,
    /// The value of this key is not percent-encoded UTF-8. Only a broken `xt` makes the link useless.
    #[error(
        "magnet link with a broken `{0}`: percent signs must be followed by two hexadecimal digits, \
        and the text be UTF-8 without control characters"
    )]
    BadText(&'static str),
    /// A peer of the link is not `HOST:PORT`. It is passed over.
    #[error("magnet link with a broken `x.pe`: it must be HOST:PORT")]
    BadPeer,
}

impl Magnet {
    /// The hashes of the link. `None` for one that was made without any.
    pub fn hashes(&self) -> Option<InfoHashes> {
        InfoHashes::new(self.v1, self.v2)
    }

    /// The info-hash to use on the wire: v1 if the link has one, otherwise v2, truncated.
    pub fn info_hash(&self) -> InfoHash {
        self.hashes().map_or(InfoHash([0; 20]), |hashes| hashes.info_hash())
    }

    /// Takes one parameter of the link.
    fn parameter(&mut self, key: &str, value: &str) -> Result<(), MagnetError> {
        match key {
            "xt" => self.topic(&decode(value, "xt")?)?,
            "dn" => self.name = Some(display_name(value)?),
            "tr" if self.trackers.len() < MAX_ITEMS => self.trackers.extend(tracker(value)?),
            "x.pe" if self.peers.len() < MAX_ITEMS => self.peers.push(peer(decode(value, "x.pe")?)?),
            _ => {}
        }
        Ok(())
    }

    fn topic(&mut self, topic: &str) -> Result<(), MagnetError> {
        if let Some(text) = strip_prefix_ignoring_case(topic, "urn:btih:") {
            put(&mut self.v1, v1_hash(text).ok_or(MagnetError::BadHash)?)
        } else if let Some(text) = strip_prefix_ignoring_case(topic, "urn:btmh:") {
            put(&mut self.v2, v2_hash(text).ok_or(MagnetError::BadHash)?)
        } else {
            // A link may also name the same content for other networks.
            Ok(())
        }
    }
}

impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(text: &str) -> Result<Self, MagnetError> {
        if text.len() > MAX_LEN {
            return Err(MagnetError::TooLong);
        }
        let query = strip_prefix_ignoring_case(text.trim(), "magnet:?").ok_or(MagnetError::NotAMagnet)?;
        let mut magnet = Magnet::default();
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            // Keys may be in capitals, and numbered (`tr.1`).
            let key = key.to_ascii_lowercase();
            let key = key.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('.');
            match magnet.parameter(key, value) {
                Ok(()) => {}
                Err(why) if key == "xt" => return Err(why),
                Err(why) if magnet.passed_over.len() < MAX_ITEMS => magnet.passed_over.push(why),
                Err(_) => {}
            }
        }
        if magnet.v1.is_none() && magnet.v2.is_none() {
            return Err(MagnetError::NoHash);
        }
        Ok(magnet)
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics =
            self.v1.map(|hash| format!("xt=urn:btih:{hash}")).into_iter().chain(
                self.v2.map(|hash| format!("xt=urn:btmh:{SHA256_MULTIHASH}{}", HEXLOWER.encode(&hash))),
            );
        f.write_str("magnet:?")?;
        f.write_str(&topics.collect::<Vec<_>>().join("&"))?;
        let name = self.name.iter().map(|name| ("dn", name));
        let trackers = self.trackers.iter().map(|url| ("tr", url));
        let peers = self.peers.iter().map(|peer| ("x.pe", peer));
        for (key, value) in name.chain(trackers).chain(peers) {
            write!(f, "&{key}=")?;
            encode(value, f)?;
        }
        Ok(())
    }
}

impl Torrent {
    /// The torrent's magnet link, with its trackers.
    pub fn magnet(&self) -> String {
        let magnet = Magnet {
            v1: self.v1_hash(),
            v2: self.v2_hash(),
            name: Some(self.name().to_owned()),
            trackers: self.trackers().concat(),
            ..Magnet::default()
        };
        magnet.to_string()
    }
}

fn put<T: PartialEq>(slot: &mut Option<T>, hash: T) -> Result<(), MagnetError> {
    match slot.replace(hash) {
        Some(other) if slot.as_ref() != Some(&other) => Err(MagnetError::TwoHashes),
        _ => Ok(()),
    }
}

fn v1_hash(text: &str) -> Option<InfoHash> {
    let bytes = match text.len() {
        40 => HEXLOWER_PERMISSIVE.decode(text.as_bytes()),
        _ => BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()),
    };
    bytes.ok()?.try_into().ok().map(InfoHash)
}

fn v2_hash(text: &str) -> Option<[u8; 32]> {
    let hash = text.strip_prefix(SHA256_MULTIHASH)?;
    HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok()?.try_into().ok()
}

/// Decodes a `dn`. Here a plus sign is a space, as in web forms.
fn display_name(value: &str) -> Result<String, MagnetError> {
    let name = decode(&value.replace('+', " "), "dn")?;
    Ok(name.chars().filter(|c| !c.is_control()).collect())
}

/// Decodes a `tr`. An empty one is no tracker.
fn tracker(value: &str) -> Result<Option<String>, MagnetError> {
    let url = decode(value, "tr")?;
    if url.contains(char::is_control) {
        Err(MagnetError::BadText("tr"))
    } else {
        Ok(Some(url).filter(|url| !url.is_empty()))
    }
}

fn peer(text: String) -> Result<String, MagnetError> {
    let (host, port) = text.rsplit_once(':').ok_or(MagnetError::BadPeer)?;
    let good = !host.is_empty()
        && !host.contains(|c: char| c.is_control() || c.is_whitespace())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    if good { Ok(text) } else { Err(MagnetError::BadPeer) }
}

/// Decodes percent-encoding (RFC 3986).
fn decode(text: &str, key: &'static str) -> Result<String, MagnetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = rest.get(..2).ok_or(MagnetError::BadText(key))?;
            bytes.extend(HEXLOWER_PERMISSIVE.decode(digits).map_err(|_| MagnetError::BadText(key))?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| MagnetError::BadText(key))
}

/// Percent-encodes everything except the unreserved characters of RFC 3986.
fn encode(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                f.write_char(byte.into())?
            }
            _ => write!(f, "%{byte:02X}")?,
        }
    }
    Ok(())
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "133ee747eef87abbfdaccbb1069c3a23d0fd741a";
    const V2: &str = "12209b76ef310c013136ffed5dcf903d4456dc715b0f062995c4148cbfb91506c2a1";

    #[test]
    fn a_full_link_survives_the_round_trip() {
        let text = format!(
            "magnet:?xt=urn:btih:{V1}&xt=urn:btmh:{V2}&dn=a%20b%26%C3%A9\
             &tr=http%3A%2F%2Ft%3A1%2Fa%3Fx%3D1&x.pe=10.0.0.1%3A6881"
        );
        let magnet: Magnet = text.parse().unwrap();
        assert_eq!(magnet.name.as_deref(), Some("a b&é"));
        assert_eq!(magnet.trackers, ["http://t:1/a?x=1"]);
        assert_eq!(magnet.peers, ["10.0.0.1:6881"]);
        assert_eq!(magnet.info_hash().to_string(), V1);
        assert_eq!(magnet.to_string(), text);
    }

    #[test]
    fn spellings_that_occur() {
        let hash: InfoHash = V1.parse().unwrap();
        let base32 = BASE32_NOPAD.encode(&hash.0);
        for text in [
            format!("MAGNET:?XT=x&xt=urn:btih:{}", V1.to_uppercase()),
            format!("magnet:?XT=urn:btih:{V1}&TR=&Xt.2=urn:sha1:ABC"),
            format!("magnet:?xt=urn:btih:{base32}"),
            format!("magnet:?xt=urn:btih:{}", base32.to_lowercase()),
            format!("magnet:?xt.1=urn%3Abtih%3A{V1}&tr.1=&xl=5&nonsense&xt.2=urn:sha1:ABC"),
            format!("  magnet:?xt=URN:BTIH:{V1}&xt=urn:btih:{V1}\n"),
        ] {
            let magnet = text.parse::<Magnet>().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((magnet.v1, magnet.trackers.len()), (Some(hash), 0), "{text}");
        }
        let magnet: Magnet = format!("magnet:?dn=two+words&xt=urn:btmh:{V2}").parse().unwrap();
        assert_eq!(magnet.name.as_deref(), Some("two words"));
        assert_eq!(magnet.info_hash().to_string(), V2[4..44]);
    }

    #[test]
    fn what_is_no_link_says_why() {
        let other = V1.replace('1', "2");
        let table = [
            ("", MagnetError::NotAMagnet),
            ("http://example.com/", MagnetError::NotAMagnet),
            ("magnet:", MagnetError::NotAMagnet),
            ("magnet:?", MagnetError::NoHash),
            ("magnet:?dn=x", MagnetError::NoHash),
            ("magnet:?xt=urn:sha1:ABC", MagnetError::NoHash),
            ("magnet:?xt=urn:btih:", MagnetError::BadHash),
            ("magnet:?xt=urn:btih:xyz", MagnetError::BadHash),
            ("magnet:?xt=urn:btih:gggggggggggggggggggggggggggggggggggggggg", MagnetError::BadHash),
            ("magnet:?xt=urn:btmh:133ee747eef87abbfdaccbb1069c3a23d0fd741a", MagnetError::BadHash),
            ("magnet:?xt=urn:btmh:1220", MagnetError::BadHash),
            (&format!("magnet:?xt=urn:btih:{V1}&xt=urn:btih:{other}"), MagnetError::TwoHashes),
            ("magnet:?xt=%&dn=x", MagnetError::BadText("xt")),
            (&format!("magnet:?xt=urn:btih:{V1}&dn={}", "x".repeat(MAX_LEN)), MagnetError::TooLong),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Magnet>(), Err(error), "{}", &text[..text.len().min(90)]);
        }
    }

    /// Bug: one broken name, tracker or peer, and the whole link was refused.
    #[test]
    fn a_bad_parameter_is_passed_over_with_a_word() {
        let table = [
            ("dn=%", MagnetError::BadText("dn")),
            ("dn=%zz", MagnetError::BadText("dn")),
            ("tr=%ff", MagnetError::BadText("tr")),
            ("tr=http%3A%2F%2Fa%0Ab", MagnetError::BadText("tr")),
            ("x.pe=nowhere", MagnetError::BadPeer),
            ("x.pe=a:0", MagnetError::BadPeer),
            ("x.pe=a:65536", MagnetError::BadPeer),
            ("x.pe=%", MagnetError::BadText("x.pe")),
        ];
        for (bad, why) in table {
            let text = format!("magnet:?{bad}&xt=urn:btih:{V1}&dn=good&tr=udp://t:1&x.pe=a:1");
            let magnet: Magnet = text.parse().unwrap_or_else(|why| panic!("{bad}: {why}"));
            assert_eq!((magnet.name.as_deref(), magnet.passed_over), (Some("good"), vec![why]), "{bad}");
            assert_eq!(
                (magnet.trackers, magnet.peers),
                (vec!["udp://t:1".into()], vec!["a:1".into()]),
                "{bad}"
            );
        }
        let many: Magnet = format!("magnet:?xt=urn:btih:{V1}{}", "&tr=%".repeat(1000)).parse().unwrap();
        assert_eq!(many.passed_over.len(), MAX_ITEMS);
    }

    /// Without what was passed over, which the link's own spelling does not repeat.
    fn good_part(magnet: &Magnet) -> Magnet {
        Magnet { passed_over: Vec::new(), ..magnet.clone() }
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_a_link_or_an_error(text in ".{0,200}") {
            if let Ok(magnet) = text.parse::<Magnet>() {
                proptest::prop_assert_eq!(magnet.to_string().parse::<Magnet>(), Ok(good_part(&magnet)));
            }
            match format!("magnet:?xt=urn:btih:{V1}&{text}").parse::<Magnet>() {
                Ok(magnet) => {
                    proptest::prop_assert_eq!(magnet.v1, V1.parse().ok());
                    proptest::prop_assert_eq!(magnet.to_string().parse::<Magnet>(), Ok(good_part(&magnet)));
                }
                Err(why) => {
                    let is_whole = !matches!(why, MagnetError::NotAMagnet | MagnetError::NoHash);
                    proptest::prop_assert!(is_whole, "it begins as a link does, and has a hash: {why}");
                }
            }
        }

        #[test]
        fn any_name_survives(name in "[^\\p{Cc}]{0,40}") {
            let magnet = Magnet { v1: V1.parse().ok(), name: Some(name), ..Magnet::default() };
            proptest::prop_assert_eq!(magnet.to_string().parse::<Magnet>(), Ok(magnet));
        }
    }
}
