//! The extension handshake (BEP 10): the client's name, how many requests it keeps, where it listens. Pure.

use super::wire::Message;
use crate::bencode;

/// The id of the handshake among the extension messages.
pub const HANDSHAKE_ID: u8 = 0;
/// Who we are, for people.
pub const CLIENT: &str = concat!("shoal ", env!("CARGO_PKG_VERSION"));
/// The longest client name we keep, characters.
const MOST_NAME: usize = 64;

/// What the other side told of itself. All of it is optional.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Extended {
    /// Its name and version, fit to be printed.
    pub client: Option<String>,
    /// How many requests it keeps.
    pub reqq: Option<u32>,
    /// The port on which it can be connected to.
    pub port: Option<u16>,
}

impl Extended {
    /// Reads the payload of an extension handshake. `None` if it is not a bencoded dictionary. Values of the wrong
    /// kind count as not told.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let dict = bencode::parse(payload).ok()?.as_dict()?;
        let client = dict.bytes("v").map(|name| {
            String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).take(MOST_NAME).collect()
        });
        let reqq = dict.int("reqq").map(|reqq| reqq.clamp(1, i64::from(u32::MAX)) as u32);
        let port = dict.int("p").and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        Some(Extended { client, reqq, port })
    }

    /// The payload that says this.
    pub fn encode(&self) -> Vec<u8> {
        bencode::dict(|dict| {
            dict.dict("m", |_| {});
            if let Some(port) = self.port {
                dict.int("p", port.into());
            }
            if let Some(reqq) = self.reqq {
                dict.int("reqq", reqq.into());
            }
            if let Some(client) = &self.client {
                dict.bytes("v", client.as_bytes());
            }
        })
    }
}

/// Our own handshake as a message in `out`. `port`: where we listen.
pub fn say_hello(port: Option<u16>, reqq: usize, out: &mut Vec<u8>) {
    let hello = Extended { client: Some(CLIENT.to_owned()), reqq: u32::try_from(reqq).ok(), port };
    Message::Extended { id: HANDSHAKE_ID, payload: &hello.encode() }.encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(client in "[ -~]{0,40}", reqq in 1u32.., port in 1u16..) {
            let hello = Extended { client: Some(client), reqq: Some(reqq), port: Some(port) };
            prop_assert_eq!(Extended::decode(&hello.encode()), Some(hello));
        }

        #[test]
        fn any_bytes_give_something_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Extended::decode(&bytes);
        }
    }

    #[test]
    fn odd_values_count_as_not_told() {
        assert_eq!(
            Extended::decode(b"d1:p5:hello4:reqqi-5ee"),
            Some(Extended { reqq: Some(1), ..Extended::default() })
        );
        assert_eq!(Extended::decode(b"de"), Some(Extended::default()));
        assert_eq!(Extended::decode(b"le"), None);
        assert_eq!(Extended::decode(b"d1:v3:a\nbe").unwrap().client.as_deref(), Some("ab"));
    }
}
