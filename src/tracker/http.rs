//! HTTP/1.1 for BitTorrent clients, browsers and monitors: announce, scrape, catalogue, metrics. Runs on the
//! connection's thread `client-N`; takes the lock `registry` for one query at a time.
//!
//! The head of a request has a maximum length and a maximum time in which it must arrive, so a client that
//! sends a byte now and then is refused as well. A connection is kept for further requests, up to
//! [`MAX_REQUESTS`].

mod pages;

use std::time::Instant;

use super::connection::{ClientConnection, ClientEnd};
use super::shared::TrackerShared;

use crate::http::request::{HttpError, Request, parse};
use pages::respond;

/// Maximum number of requests on one connection. The client has to open a new one afterwards.
const MAX_REQUESTS: usize = 1000;

/// Serves requests until either side ends the connection. `buffer` has the first bytes.
pub fn serve(shared: &TrackerShared, connection: &mut ClientConnection, mut buffer: Vec<u8>) {
    for nth in 1..=MAX_REQUESTS {
        let request = match read_request(shared, connection, &mut buffer) {
            Ok(Ok(request)) => request,
            Ok(Err(error)) => {
                shared.metrics.http_requests.add();
                shared.metrics.http_errors.add();
                return connection.farewell(&Response::error(&error).bytes(false, false));
            }
            Err(_) => return,
        };
        shared.metrics.http_requests.add();
        let remote = shared.front.client(connection.remote(), &request.forwarded_for);
        let response = respond(shared, &request, remote);
        if response.status >= 400 {
            shared.metrics.http_errors.add();
        }
        let keep = request.keep_alive && nth < MAX_REQUESTS;
        let mut big = shared.budget.share();
        let bytes = if big.resize(response.body.len()) {
            response.bytes(request.is_head, keep)
        } else {
            Response::error(&HttpError::BUSY).bytes(request.is_head, keep)
        };
        let until = Instant::now() + shared.limits.line;
        if connection.write_all(&bytes, shared.limits.stall, until).is_err() {
            return;
        }
        if !request.keep_alive && buffer.is_empty() {
            return connection.part();
        }
        if !keep {
            return connection.farewell(&[]);
        }
    }
}

/// Reads the head of the next request. The bytes after it stay in `buffer`.
fn read_request(
    shared: &TrackerShared,
    connection: &mut ClientConnection,
    buffer: &mut Vec<u8>,
) -> Result<Result<Request, HttpError>, ClientEnd> {
    if buffer.is_empty() {
        connection.fill(buffer, Instant::now() + shared.limits.http_idle)?;
    }
    let until = Instant::now() + shared.limits.greeting;
    loop {
        match parse(buffer) {
            Ok(Some((request, length))) => {
                buffer.drain(..length);
                return Ok(Ok(request));
            }
            Ok(None) => {}
            Err(error) => return Ok(Err(error)),
        }
        match connection.fill(buffer, until) {
            Ok(()) => {}
            Err(ClientEnd::TimedOut) => return Ok(Err(HttpError::TIMEOUT)),
            Err(end) => return Err(end),
        }
    }
}

/// An HTTP response.
pub struct Response {
    status: u16,
    content_type: &'static str,
    /// What a browser calls the body if it saves it: the header `Content-Disposition`.
    disposition: Option<String>,
    body: Vec<u8>,
}

impl Response {
    fn ok(content_type: &'static str, body: impl Into<Vec<u8>>) -> Response {
        Response { status: 200, content_type, disposition: None, body: body.into() }
    }

    /// The same, to be saved as a file of this name (RFC 6266).
    fn file(content_type: &'static str, name: &str, body: Vec<u8>) -> Response {
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ';
        let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
        let encoded: String = name.bytes().map(encoded).collect();
        let disposition = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}");
        Response { disposition: Some(disposition), ..Response::ok(content_type, body) }
    }

    fn error(error: &HttpError) -> Response {
        let body = format!("{}\n", error.message);
        let content_type = "text/plain; charset=utf-8";
        Response { status: error.status, content_type, disposition: None, body: body.into() }
    }

    fn bytes(&self, is_head: bool, keep_alive: bool) -> Vec<u8> {
        let allow = if self.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let disposition = self.disposition.as_ref();
        let disposition = disposition.map(|it| format!("Content-Disposition: {it}\r\n")).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}{disposition}\
             Connection: {}\r\n\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
            if keep_alive { "keep-alive" } else { "close" },
        );
        let mut bytes = head.into_bytes();
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// A byte of a name in a header (RFC 8187).
fn encoded(byte: u8) -> String {
    let is_plain = byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte);
    if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        _ => "Service Unavailable",
    }
}
