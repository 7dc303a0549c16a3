//! The extension handshake (BEP 10): the extension messages that a peer accepts, each with its id; the
//! client's name, its request queue, its port, and whether it only uploads (BEP 21). Pure.

use super::upload_only;
use super::wire::Message;
use crate::bencode::{self, Dict, Value};
use std::collections::BTreeMap;

/// The id of the extension handshake among the extension messages.
pub const HANDSHAKE_ID: u8 = 0;
/// Our name and version, for people.
pub const CLIENT: &str = concat!("shoal ", env!("CARGO_PKG_VERSION"));
/// Maximum length of a client name that we keep, in characters.
const MOST_NAME: usize = 64;
/// Maximum number of extension messages of the other side that we keep; the first ones count.
const MOST_MESSAGES: usize = 32;
/// Maximum length of the name of an extension message, in bytes. A longer one counts as not told.
pub const MOST_MESSAGE_NAME: usize = 32;

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
    pub upload_only: Option<bool>,
    /// The extension messages that the peer accepts: the name of each, and its id at the peer. With id 0 it
    /// does not accept the message any more.
    pub messages: BTreeMap<String, u8>,
}

impl Extended {
    /// Reads the payload of an extension handshake, leniently. `None` if no dictionary can be made out.
    /// Values of the wrong type count as absent.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let dict = bencode::parse_leniently(payload).ok()?.0.as_dict()?;
        let client = dict.bytes("v").map(|name| {
            String::from_utf8_lossy(name).chars().filter(|c| !c.is_control()).take(MOST_NAME).collect()
        });
        let reqq = dict.int("reqq").filter(|reqq| *reqq > 0).map(|reqq| reqq.min(u32::MAX.into()) as u32);
        let port = dict.int("p").and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0);
        let upload_only = dict.int(upload_only::NAME).map(|flag| flag != 0);
        let messages = dict.get("m").and_then(|m| m.as_dict()).map(decode_messages).unwrap_or_default();
        Some(Extended { client, reqq, port, upload_only, messages })
    }

    /// Adds a further handshake of the same peer to what is known of it: what that does not mention stays as
    /// it was (BEP 10).
    pub fn update(&mut self, further: Extended) {
        self.client = further.client.or(self.client.take());
        self.reqq = further.reqq.or(self.reqq);
        self.port = further.port.or(self.port);
        self.upload_only = further.upload_only.or(self.upload_only);
        self.messages.extend(further.messages);
        self.messages.retain(|_, id| *id != 0);
        while self.messages.len() > MOST_MESSAGES {
            self.messages.pop_last();
        }
    }

    /// The payload of this handshake.
    pub fn encode(&self) -> Vec<u8> {
        bencode::dict(|dict| {
            dict.dict("m", |messages| {
                for (name, id) in &self.messages {
                    messages.int(name, (*id).into());
                }
            });
            if let Some(port) = self.port {
                dict.int("p", port.into());
            }
            if let Some(reqq) = self.reqq {
                dict.int("reqq", reqq.into());
            }
            if let Some(upload_only) = self.upload_only {
                dict.int(upload_only::NAME, upload_only.into());
            }
            if let Some(client) = &self.client {
                dict.bytes("v", client.as_bytes());
            }
        })
    }
}

/// The messages of the key `m`, as far as their names and ids are right.
fn decode_messages(messages: Dict<'_>) -> BTreeMap<String, u8> {
    let message = |(name, id): (&[u8], Value<'_>)| {
        let id = id.as_int().and_then(|id| u8::try_from(id).ok())?;
        let name = std::str::from_utf8(name).ok().filter(|name| name.len() <= MOST_MESSAGE_NAME)?;
        Some((name.to_owned(), id))
    };
    messages.iter().filter_map(message).take(MOST_MESSAGES).collect()
}

/// Appends our own extension handshake to `out`. `port` is where we accept connections, `reqq` the length of
/// our request queue. `upload_only` means that we download nothing. `messages` are the names of the extension
/// messages that we accept, each with our id.
pub fn say_hello<'a>(
    port: Option<u16>,
    reqq: usize,
    upload_only: bool,
    messages: impl IntoIterator<Item = (&'a str, u8)>,
    out: &mut Vec<u8>,
) {
    let hello = Extended {
        client: Some(CLIENT.to_owned()),
        reqq: u32::try_from(reqq).ok(),
        port,
        upload_only: upload_only.then_some(true),
        messages: messages.into_iter().map(|(name, id)| (name.to_owned(), id)).collect(),
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
            client in "[ -~]{0,40}", reqq in 1u32.., port in 1u16.., upload_only: Option<bool>,
            messages in prop::collection::btree_map("[a-z_]{0,32}", any::<u8>(), 0..=MOST_MESSAGES),
        ) {
            let (client, reqq, port) = (Some(client), Some(reqq), Some(port));
            let hello = Extended { client, reqq, port, upload_only, messages };
            prop_assert_eq!(Extended::decode(&hello.encode()), Some(hello));
        }

        #[test]
        fn any_bytes_give_something_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let is_dict = bencode::parse_leniently(&bytes).is_ok_and(|(value, _)| value.as_dict().is_some());
            prop_assert_eq!(Extended::decode(&bytes).is_some(), is_dict);
            let named = bencode::dict(|dict| dict.bytes("v", &bytes));
            let client = Extended::decode(&named).unwrap().client.unwrap();
            prop_assert!(client.chars().count() <= MOST_NAME && !client.chars().any(char::is_control));
        }
    }

    #[test]
    fn odd_values_count_as_not_told() {
        assert_eq!(Extended::decode(b"d1:p5:hello4:reqqi-5ee"), Some(Extended::default()));
        assert_eq!(Extended::decode(b"d1:pi0e4:reqqi0ee"), Some(Extended::default()));
        assert_eq!(
            Extended::decode(b"d1:md11:upload_onlyi300ee11:upload_only3:yese"),
            Some(Extended::default())
        );
        assert_eq!(
            Extended::decode(b"d1:mi5e11:upload_onlyi0ee"),
            Some(Extended { upload_only: Some(false), ..Extended::default() }),
            "a list of messages that is none"
        );
        assert_eq!(Extended::decode(b"de"), Some(Extended::default()));
        assert_eq!(Extended::decode(b"le"), None);
        assert_eq!(Extended::decode(b"d4:reqqi007e4:reqqi9ee\n").unwrap().reqq, Some(7));
        assert_eq!(Extended::decode(b"d1:v3:a\nbe").unwrap().client.as_deref(), Some("ab"));
    }

    #[test]
    fn messages_of_the_other_side_are_bounded() {
        let told = |messages: &[(&str, i64)]| {
            let payload = bencode::dict(|dict| {
                dict.dict("m", |m| messages.iter().for_each(|(name, id)| m.int(name, *id)));
            });
            Extended::decode(&payload).unwrap().messages
        };
        let (fits, too_long) = ("x".repeat(MOST_MESSAGE_NAME), "x".repeat(MOST_MESSAGE_NAME + 1));
        let odd = [("a", -1), ("b", 0), ("c", 1), ("d", 255), ("e", 256), (&fits, 2), (&too_long, 3)];
        let kept: BTreeMap<_, _> =
            [("b", 0), ("c", 1), ("d", 255), (&fits, 2)].map(|(n, id)| (n.to_owned(), id)).into();
        assert_eq!(told(&odd), kept);
        assert_eq!(Extended::decode(b"d1:md2:\xff\xfei1e1:ci1eee").unwrap().messages.len(), 1, "not UTF-8");

        let names: Vec<String> = (0..100).map(|nth| format!("{nth:02}")).collect();
        let many: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 7)).collect();
        assert!(told(&many).keys().eq(&names[..MOST_MESSAGES]));
    }

    /// Bug: a second handshake replaced the first, and with it the ids that were still good.
    #[test]
    fn a_further_handshake_adds_to_the_first() {
        let mut known = Extended::default();
        known.update(Extended::decode(b"d1:md1:ai1e1:bi2ee1:pi9e4:reqqi500e1:v1:xe").unwrap());
        let first = known.clone();
        assert_eq!((first.client.as_deref(), first.reqq, first.port), (Some("x"), Some(500), Some(9)));
        known.update(Extended::decode(b"de").unwrap());
        assert_eq!(known, first, "it says nothing new");
        known.update(Extended::decode(b"d11:upload_onlyi1ee").unwrap());
        assert_eq!(known, Extended { upload_only: Some(true), ..first.clone() });
        known.update(Extended::decode(b"d1:md1:ai0e1:bi7e1:ci3ee4:reqqi200e11:upload_onlyi0ee").unwrap());
        let messages = [("b".to_owned(), 7), ("c".to_owned(), 3)].into();
        assert_eq!(known, Extended { messages, reqq: Some(200), upload_only: Some(false), ..first });
        for nth in 0..100 {
            known.update(Extended::decode(format!("d1:md3:z{nth:02}i5eee").as_bytes()).unwrap());
        }
        assert_eq!(known.messages.len(), MOST_MESSAGES, "no more are kept than of one handshake");
        assert_eq!(known.messages.get("b"), Some(&7));
    }

    /// What other clients have read from us all along.
    #[test]
    fn our_handshake_is_the_same_byte_for_byte() {
        let (mut whole, mut least) = (Vec::new(), Vec::new());
        say_hello(Some(6881), 1000, true, [("upload_only", 3)], &mut whole);
        say_hello(None, 1000, false, [], &mut least);
        let client = format!("1:v{}:{CLIENT}e", CLIENT.len());
        for (said, payload) in [
            (whole, format!("d1:md11:upload_onlyi3ee1:pi6881e4:reqqi1000e11:upload_onlyi1e{client}")),
            (least, format!("d1:mde4:reqqi1000e{client}")),
        ] {
            let mut expected = (payload.len() as u32 + 2).to_be_bytes().to_vec();
            expected.extend([20, 0]);
            expected.extend(payload.as_bytes());
            assert_eq!(said, expected);
        }
    }
}
