//! Makes the head of an untidy HTTP reply one that `ureq` reads: as a link in its chain of transports, behind
//! TLS. The body passes through as it is. [`Tidier`] is pure; the rest runs on the thread that asks.
//!
//! Trackers and what stands before them put a space before a header's colon, fold a header over two lines, or
//! call gzip `x-gzip`. Every client that we know reads these replies, but a strict parser refuses them whole.
//! Here a header that has no valid name is left out, as if it were one that nobody knows.

use std::fmt;
use std::io::{Read, Write};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

/// Maximum length of a line of a head, in bytes. A longer one ends the tidying, and `ureq` refuses it.
const MAX_LINE: usize = 16 << 10;

/// Tidies the heads of all replies.
#[derive(Debug)]
pub(super) struct Tidying;

impl Connector<Box<dyn Transport>> for Tidying {
    type Out = Tidied;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<Box<dyn Transport>>,
    ) -> Result<Option<Tidied>, ureq::Error> {
        let (input, output) = (details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(chained.map(|transport| Tidied {
            raw: TransportAdapter::new(transport, details.current_time.clone()),
            tidier: Tidier::default(),
            tidy: Vec::new(),
            buffers: LazyBuffers::new(input, output),
        }))
    }
}

/// A connection whose replies have tidy heads.
pub(super) struct Tidied {
    raw: TransportAdapter,
    tidier: Tidier,
    /// What is tidy, and did not fit into the input buffer yet.
    tidy: Vec<u8>,
    buffers: LazyBuffers,
}

impl fmt::Debug for Tidied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tidied({:?})", self.raw.get_ref())
    }
}

impl Transport for Tidied {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.raw.set_timeout(timeout);
        Ok(self.raw.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.raw.set_timeout(timeout);
        let mut bytes = [0; 4096];
        let mut has_ended = false;
        while self.tidy.is_empty() && !has_ended {
            let len = self.raw.read(&mut bytes)?;
            has_ended = len == 0;
            match has_ended {
                true => self.tidier.end(&mut self.tidy),
                false => self.tidier.take(&bytes[..len], &mut self.tidy),
            }
        }
        let room = self.buffers.input_append_buf();
        let fits = room.len().min(self.tidy.len());
        room[..fits].copy_from_slice(&self.tidy[..fits]);
        self.buffers.input_appended(fits);
        self.tidy.drain(..fits);
        Ok(fits > 0)
    }

    fn is_open(&mut self) -> bool {
        self.raw.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        self.raw.get_ref().is_tls()
    }
}

/// Reads the bytes of one reply, and gives them back with a tidy head.
#[derive(Default)]
struct Tidier {
    state: State,
    /// The line of the head that is not complete yet.
    line: Vec<u8>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The status line comes.
    #[default]
    Status,
    /// Headers come; `more` if another head follows this one, as after a status of 1xx.
    Headers {
        more: bool,
    },
    Body,
}

impl Tidier {
    /// Takes bytes of the reply, and appends what is tidy to `out`.
    fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while self.state != State::Body {
            let end = bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let (head, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.line.extend_from_slice(head);
            bytes = rest;
            if end.is_some() {
                self.on_line(out);
            } else if self.line.len() > MAX_LINE {
                self.end(out);
            } else {
                return;
            }
        }
        out.extend_from_slice(bytes);
    }

    /// The reply ended, or is none: what is left of it stays as it is.
    fn end(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.line);
        self.state = State::Body;
    }

    fn on_line(&mut self, out: &mut Vec<u8>) {
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii_end();
        match self.state {
            State::Status => {
                let status = text.split(|byte| *byte == b' ').nth(1);
                self.state = State::Headers { more: status.is_some_and(|status| status.starts_with(b"1")) };
                out.extend_from_slice(text);
            }
            State::Headers { more } if text.is_empty() => {
                self.state = if more { State::Status } else { State::Body };
            }
            _ => match tidy_header(text) {
                Some(header) => out.extend_from_slice(&header),
                None => return,
            },
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A header as `NAME: VALUE`. `None` if it has no valid name, or continues the line before.
fn tidy_header(line: &[u8]) -> Option<Vec<u8>> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_valid) {
        return None;
    }
    let is_x_gzip = name.eq_ignore_ascii_case(b"content-encoding") && value.eq_ignore_ascii_case(b"x-gzip");
    let value = if is_x_gzip { b"gzip" } else { value };
    let printable = value.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte });
    Some(name.iter().copied().chain(*b": ").chain(printable).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out, if the reply comes in chunks of `size` bytes.
    fn tidied(reply: &[u8], size: usize) -> String {
        let (mut tidier, mut out) = (Tidier::default(), Vec::new());
        reply.chunks(size).for_each(|chunk| tidier.take(chunk, &mut out));
        tidier.end(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn an_untidy_head_becomes_a_tidy_one_and_the_body_stays_as_it_is() {
        let table = [
            ("HTTP/1.1 200 OK\r\nA : 1\r\n\r\nB : 2\n", "HTTP/1.1 200 OK\r\nA: 1\r\n\r\nB : 2\n"),
            ("HTTP/1.0 200\nA:1\n\nbody", "HTTP/1.0 200\r\nA: 1\r\n\r\nbody"),
            ("HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\nB C: 3\r\nD\r\n\r\n", "HTTP/1.1 200 OK\r\nA: 1\r\n\r\n"),
            (
                "HTTP/1.1 200 OK\r\ncontent-encoding\t: X-GZIP\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n",
            ),
            ("HTTP/1.1 200 OK\r\nA: \x01:\x7f2\r\n\r\n", "HTTP/1.1 200 OK\r\nA:  : 2\r\n\r\n"),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA : 1\r\n\r\n\r\n",
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\n\r\n\r\n",
            ),
            ("HTTP/1.1 200 OK\r\nA : ", "HTTP/1.1 200 OK\r\nA : "),
            ("", ""),
        ];
        for (reply, tidy) in table {
            for size in [1, 3, 1000] {
                assert_eq!(tidied(reply.as_bytes(), size), tidy, "{reply:?} in chunks of {size}");
            }
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let endless = vec![b'a'; 10 * MAX_LINE];
        let (mut tidier, mut out) = (Tidier::default(), Vec::new());
        endless.chunks(1000).for_each(|chunk| {
            tidier.take(chunk, &mut out);
            assert!(tidier.line.len() <= MAX_LINE + 1000);
        });
        assert_eq!(out.len(), endless.len());
    }
}
