//! The extensions that we speak (BEP 10): one table with the function that handles each message, and the
//! extension handshake that is made from it. Pure.
//!
//! Only this file decides what a private torrent forbids (BEP 27). Such an extension is not offered, its
//! messages are ignored, and [`Session::their_id`] does not give its id, so it is not sent either.

use super::event::{Event, Violation};
use super::flood::{BYTES, IDLE};
use super::{REQQ, Session};
use crate::protocol::extension::{self, Extended};
use crate::protocol::upload_only;
use crate::protocol::wire::Message;
use std::time::Instant;

/// One extension that we speak.
pub(super) struct Extension {
    /// Its name in the extension handshake, of both sides.
    pub name: &'static str,
    /// The id under which we accept its messages. Not 0, which is the handshake.
    pub id: u8,
    /// Whether a private torrent forbids it, because it finds peers without the torrent's trackers (BEP 27).
    pub forbidden_if_private: bool,
    /// What a message means, given its payload.
    pub on_message: fn(&mut Session, &[u8], Instant) -> Result<(), Violation>,
}

/// The extensions that we speak. Each name and each id is here only once.
pub(super) const TABLE: &[Extension] = &[Extension {
    name: upload_only::NAME,
    id: 3,
    forbidden_if_private: false,
    on_message: Session::on_upload_only,
}];

/// The extensions that we speak about a torrent.
pub(super) fn offered(is_private: bool) -> impl Iterator<Item = &'static Extension> {
    allowed(TABLE, is_private)
}

/// The rows of `table` that are allowed for a torrent.
pub(super) fn allowed(table: &[Extension], is_private: bool) -> impl Iterator<Item = &Extension> {
    table.iter().filter(move |extension| !(is_private && extension.forbidden_if_private))
}

impl Session {
    fn offered(&self) -> impl Iterator<Item = &'static Extension> + use<> {
        offered(self.torrent.private())
    }

    /// Introduces us. `own_port` is where others may connect to us.
    pub(super) fn say_hello(&mut self, own_port: Option<u16>) {
        let messages = self.offered().map(|extension| (extension.name, extension.id));
        extension::say_hello(own_port, REQQ, self.upload_only, messages, &mut self.out);
    }

    /// The id under which the other side accepts an extension. `None` if it does not, or if the torrent
    /// forbids the extension.
    fn their_id(&self, name: &str) -> Option<u8> {
        let extension = self.offered().find(|extension| extension.name == name)?;
        self.introduced.as_ref()?.messages.get(extension.name).copied()
    }

    pub(super) fn on_extended(&mut self, id: u8, payload: &[u8], now: Instant) -> Result<(), Violation> {
        self.spend(IDLE + (payload.len() / BYTES) as u64, now)?;
        if !self.agreement.extended {
            return Err(Violation::NotAgreed("extended"));
        }
        if id == extension::HANDSHAKE_ID {
            if let Some(hello) = Extended::decode(payload) {
                self.on_hello(hello);
            }
            return Ok(()); // what cannot be read tells us nothing
        }
        match self.offered().find(|extension| extension.id == id) {
            Some(extension) => (extension.on_message)(self, payload, now),
            None => Ok(()), // we offered no such message
        }
    }

    /// It introduces itself, or changes what it said before.
    fn on_hello(&mut self, hello: Extended) {
        if let Some(queue) = hello.reqq {
            self.requests.set_queue(queue);
        }
        let known = self.introduced.get_or_insert_default();
        known.update(hello);
        self.events.push_back(Event::Introduced(known.clone()));
        self.tell_upload_only();
    }

    fn on_upload_only(&mut self, payload: &[u8], _now: Instant) -> Result<(), Violation> {
        self.introduced.get_or_insert_default().upload_only = Some(upload_only::decode(payload));
        Ok(())
    }

    /// Says once that we only serve from now on: by the extension message if the other side accepts it, or
    /// else by another handshake. Before the other side has introduced itself we cannot know.
    pub(super) fn tell_upload_only(&mut self) {
        if !self.upload_only || self.told_upload_only || self.introduced.is_none() {
            return;
        }
        match self.their_id(upload_only::NAME) {
            Some(id) => {
                Message::Extended { id, payload: &upload_only::encode(true) }.encode(&mut self.out);
            }
            None => self.say_hello(None),
        }
        self.told_upload_only = true;
    }
}
