//! A metainfo file with more trackers than it had. Pure. The info dictionary keeps its bytes, and so the
//! torrent its identity.

use super::metainfo;
use super::{Torrent, TorrentError};
use crate::bencode::{self, Value};

impl Torrent {
    /// The same torrent with these announce URLs before its own, each a tier (BEP 12).
    ///
    /// # Errors
    /// With them it is larger than a metainfo file may be.
    pub fn with_trackers(&self, urls: &[String]) -> Result<Torrent, TorrentError> {
        Torrent::parse(&with_trackers(self.bytes(), urls).ok_or(TorrentError::NotATorrent)?)
    }
}

/// A metainfo file with these announce URLs before its own, each a tier (BEP 12). What is odd in it, such as
/// keys out of order, is put right, except in the info dictionary, whose bytes stay. `None` if it is none.
pub fn with_trackers(metainfo: &[u8], urls: &[String]) -> Option<Vec<u8>> {
    let root = bencode::parse_leniently(metainfo).ok()?.0.as_dict()?;
    let [own, announce] = root.pick(["announce-list", "announce"]);
    let own = metainfo::trackers(own, announce);
    let new = urls.iter().filter(|url| !own.iter().flatten().any(|own| own == *url));
    let tiers: Vec<Vec<String>> = new.map(|url| vec![url.clone()]).chain(own.iter().cloned()).collect();
    let mut entries: Vec<(&[u8], Value)> = root.iter().collect();
    entries.retain(|(key, _)| !matches!(*key, b"announce" | b"announce-list"));
    entries.sort_by_key(|(key, _)| *key); // it keeps the first of a key that comes twice before the others
    entries.dedup_by_key(|(key, _)| *key);
    Some(bencode::dict(|d| {
        let after = entries.partition_point(|(key, _)| *key < &b"announce"[..]);
        let (before, after) = entries.split_at(after);
        before.iter().for_each(|(key, value)| d.raw(key, &value.raw()));
        if let Some(first) = tiers.iter().flatten().next() {
            d.bytes("announce", first);
            d.list("announce-list", |list| {
                for tier in &tiers {
                    list.list(|urls| tier.iter().for_each(|url| urls.bytes(url)));
                }
            });
        }
        after.iter().for_each(|(key, value)| d.raw(key, &value.raw()));
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::create::{Options, create};

    #[test]
    fn new_trackers_come_first_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("film");
        std::fs::write(&path, vec![1; 100_000]).unwrap();
        let trackers = vec![vec!["http://own/announce".to_owned()]];
        let options = Options { trackers, comment: Some("ours".to_owned()), ..Options::default() };
        let torrent = Torrent::parse(&create(&path, &options, &|_| ()).unwrap()).unwrap();
        let urls = ["http://new/announce", "udp://new:1/announce", "http://own/announce"].map(str::to_owned);
        let more = torrent.with_trackers(&urls).unwrap();
        assert_eq!(more.trackers().concat(), [&urls[..2], &urls[2..]].concat());
        assert_eq!((more.hashes(), more.comment()), (torrent.hashes(), Some("ours")));
        assert_eq!(torrent.with_trackers(&[]).unwrap().trackers(), torrent.trackers());
    }

    #[test]
    fn an_odd_metainfo_file_is_put_right_around_its_info() {
        let info = b"d6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaae";
        assert!(with_trackers(b"d4:info", &[]).is_none(), "it is cut off");
        let odd = [&b"d1:xl1:yi7ee4:info"[..], info, b"4:info", info, b"1:a1:be\n"].concat();
        let torrent = Torrent::parse(&odd).unwrap();
        let with = with_trackers(&odd, &["http://t/announce".to_owned()]).unwrap();
        bencode::parse(&with).unwrap();
        let more = Torrent::parse(&with).unwrap();
        assert_eq!((more.hashes(), more.trackers().len()), (torrent.hashes(), 1));
        assert!(with.ends_with(b"1:xl1:yi7eee"));
    }
}
