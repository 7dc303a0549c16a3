//! The extension message `upload_only`: one byte, 0 or 1, by which a peer says whether it only uploads
//! from now on. libtorrent introduced it, so that BEP 21's key of the extension handshake can change. Pure.

/// Its name in the extension handshake. BEP 21's key of the handshake has the same name.
pub const NAME: &str = "upload_only";

/// Whether the sender only uploads. A message without a byte says that it does not.
pub fn decode(payload: &[u8]) -> bool {
    payload.first().is_some_and(|flag| *flag != 0)
}

/// The payload that says whether we only upload.
pub fn encode(upload_only: bool) -> [u8; 1] {
    [upload_only.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for upload_only in [false, true] {
            assert_eq!(decode(&encode(upload_only)), upload_only);
        }
        assert!(!decode(&[]) && decode(&[7, 0]));
    }
}
