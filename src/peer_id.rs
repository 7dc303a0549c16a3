//! The id of a peer, on the wire and at the tracker. Pure.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// The first bytes of a shoal peer's id (BEP 20): the client's two letters, and its version.
const CLIENT: &[u8; 8] = b"-SH0100-";

/// The 20 bytes that identify a peer (BEP 3, 20); 40 hexadecimal digits in JSON.
#[derive(Copy, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub [u8; 20]);

impl PeerId {
    /// A new id for a shoal peer: our prefix, and twelve random letters or digits.
    pub fn random() -> Self {
        let mut id = [0; 20];
        id[..8].copy_from_slice(CLIENT);
        id[8..].fill_with(|| fastrand::alphanumeric() as u8);
        PeerId(id)
    }

    /// Whether this is the id of a shoal peer. Such a peer keeps its id when it restarts.
    pub fn is_shoal(&self) -> bool {
        self.0.starts_with(&CLIENT[..3])
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The bytes as text, because most clients use letters.
impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(PeerId).ok_or_else(|| de::Error::custom("a peer id is 40 hexadecimal digits"))
    }
}
