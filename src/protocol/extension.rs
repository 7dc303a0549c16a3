//! The extension handshake (BEP 10): the client's name, its request queue, its port, and whether it
//! only uploads (BEP 21). Pure.

use super::wire::Message;
use crate::bencode;

/// The id of the extension handshake among the extension messages.
pub const HANDSHAKE_ID: u8 = 0;
/// The id under which we accept `upload_only`: a message of one byte, 0 or 1, by which a peer says that it
/// only uploads from now on. libtorrent introduced it, so that BEP 21's key of the handshake can change;
/// the message has the key's name.
pub const UPLOAD_ONLY_ID: u8 = 3;
const UPLOAD_ONLY: &str = "upload_only";
/// Our name and version, for people.
pub const CLIENT: &str = concat!("shoal ", env!("CARGO_PKG_VERSION"));
/// Maximum length of a client name that we keep, in characters.
const MOST_NAME: usize = 64;

/// The content of an extension handshake. Every field is optional.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Extended {
    /// The client's name and version, safe to print.
    pub client: Option<String>,
    /// Maximum number of requests that the peer keeps in its queue.
    pub reqq: Option<u32>,
    /// The TCP port on which the peer accepts connections.
    pub port: Option<u16>,
    /// Whether the peer downloads nothing, although it may not have every piece (BEP 21).
    pub upload_only: bool,
    /// The id under which the peer accepts the `upload_only` message.
    pub upload_only_id: Option<u8>,
}

impl Extended {
    /// Reads the payload of an extension handshake. `None` if it is not a bencoded dictionary. Values of
    /// the wrong type count as absent.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let dict = bencode::parse(payload).ok()?.as_dict()?;
        let client = dict.bytes("v").map(|name| {
            String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).take(MOST_NAME).collect()
        });
        let reqq = dict.int("reqq").map(|reqq| reqq.clamp(1, i64::from(u32::MAX)) as u32);
        let port = dict.int("p").and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let upload_only = dict.int(UPLOAD_ONLY).is_some_and(|flag| flag != 0);
        let messages = dict.get("m").and_then(|m| m.as_dict());
        let id = messages.and_then(|messages| messages.int(UPLOAD_ONLY));
        let upload_only_id = id.and_then(|id| u8::try_from(id).ok()).filter(|id| *id != 0);
        Some(Extended { client, reqq, port, upload_only, upload_only_id })
    }

    /// The payload of this handshake.
    pub fn encode(&self) -> Vec<u8> {
        bencode::dict(|dict| {
            dict.dict("m", |messages| {
                if let Some(id) = self.upload_only_id {
                    messages.int(UPLOAD_ONLY, id.into());
                }
            });
            if let Some(port) = self.port {
                dict.int("p", port.into());
            }
            if let Some(reqq) = self.reqq {
                dict.int("reqq", reqq.into());
            }
            if self.upload_only {
                dict.int(UPLOAD_ONLY, 1);
            }
            if let Some(client) = &self.client {
                dict.bytes("v", client.as_bytes());
            }
        })
    }
}

/// Appends our own extension handshake to `out`. `port` is where we accept connections, `reqq` the length of
/// our request queue. `upload_only` means that we download nothing.
pub fn say_hello(port: Option<u16>, reqq: usize, upload_only: bool, out: &mut Vec<u8>) {
    let hello = Extended {
        client: Some(CLIENT.to_owned()),
        reqq: u32::try_from(reqq).ok(),
        port,
        upload_only,
        upload_only_id: Some(UPLOAD_ONLY_ID),
    };
    Message::Extended { id: HANDSHAKE_ID, payload: &hello.encode() }.encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            client in "[ -~]{0,40}", reqq in 1u32.., port in 1u16.., upload_only: bool, id in 1u8..,
        ) {
            let (client, reqq, port) = (Some(client), Some(reqq), Some(port));
            let hello = Extended { client, reqq, port, upload_only, upload_only_id: Some(id) };
            prop_assert_eq!(Extended::decode(&hello.encode()), Some(hello));
        }

        #[test]
        fn any_bytes_give_something_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let is_dict = bencode::parse(&bytes).is_ok_and(|value| value.as_dict().is_some());
            prop_assert_eq!(Extended::decode(&bytes).is_some(), is_dict);
            let named = bencode::dict(|dict| dict.bytes("v", &bytes));
            let client = Extended::decode(&named).unwrap().client.unwrap();
            prop_assert!(client.chars().count() <= MOST_NAME && !client.chars().any(char::is_control));
        }
    }

    #[test]
    fn odd_values_count_as_not_told() {
        assert_eq!(
            Extended::decode(b"d1:p5:hello4:reqqi-5ee"),
            Some(Extended { reqq: Some(1), ..Extended::default() })
        );
        assert_eq!(
            Extended::decode(b"d1:md11:upload_onlyi300ee11:upload_only3:yese"),
            Some(Extended::default())
        );
        assert_eq!(Extended::decode(b"de"), Some(Extended::default()));
        assert_eq!(Extended::decode(b"le"), None);
        assert_eq!(Extended::decode(b"d1:v3:a\nbe").unwrap().client.as_deref(), Some("ab"));
    }
}
