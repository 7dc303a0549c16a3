//! Magnet links: what is read from a link is what its own spelling says.

use shoal::torrent::Magnet;

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(magnet) = text.parse::<Magnet>() else { return };
    assert!(magnet.v1.is_some() || magnet.v2.is_some());
    assert!(
        magnet
            .name
            .iter()
            .chain(&magnet.trackers)
            .chain(&magnet.peers)
            .all(|text| !text.contains(char::is_control))
    );
    let again = magnet.to_string();
    // Percent signs make it three times as long at most, and what is too long is not read.
    if again.len() <= 64 * 1024 {
        assert_eq!(again.parse::<Magnet>(), Ok(Magnet { passed_over: Vec::new(), ..magnet }));
    }
}
