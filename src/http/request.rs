//! Reads the head of an HTTP request from bytes. Pure.

use std::borrow::Cow;

/// Maximum length of a request's head in bytes. A scrape of about 200 swarms fits.
const MAX_HEAD: usize = 16 << 10;

/// Maximum number of header lines.
const MAX_HEADERS: usize = 64;

/// A GET or HEAD request without a body. The tracker accepts no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The path without the query, not percent-decoded.
    pub path: String,
    /// The part after the `?`, not percent-decoded; empty without one.
    pub query: String,
    /// Whether the method is HEAD instead of GET.
    pub is_head: bool,
    /// Whether the connection stays open after the reply.
    pub keep_alive: bool,
    /// The header `Host`: what the client calls the server.
    pub host: Option<String>,
    /// All headers `X-Forwarded-For`, joined with commas: whom proxies say the request came from.
    pub forwarded_for: String,
}

/// The reply to a request that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    /// The HTTP status code.
    pub status: u16,
    /// One sentence on what is wrong.
    pub message: Cow<'static, str>,
}

impl HttpError {
    /// Status 408: the request took too long to arrive.
    pub const TIMEOUT: HttpError = HttpError::fixed(408, "the request took too long to arrive");
    /// Status 503: the tracker is short of memory.
    pub const BUSY: HttpError = HttpError::fixed(503, "the tracker is short of memory, try again later");

    const fn fixed(status: u16, message: &'static str) -> HttpError {
        HttpError { status, message: Cow::Borrowed(message) }
    }

    /// An error with this status code and message.
    pub fn new(status: u16, message: impl Into<Cow<'static, str>>) -> HttpError {
        HttpError { status, message: message.into() }
    }
}

/// Reads the request at the start of `buffer`, and how many bytes it takes. `None` while it is incomplete.
pub fn parse(buffer: &[u8]) -> Result<Option<(Request, usize)>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let too_large =
        HttpError::fixed(431, "the head of the request is longer than 16 KiB or has too many lines");
    let length = match request.parse(&buffer[..buffer.len().min(MAX_HEAD)]) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if buffer.len() >= MAX_HEAD => return Err(too_large),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(too_large),
        Err(error) => return Err(HttpError::new(400, format!("not an HTTP request: {error}"))),
    };
    let is_head = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(HttpError::fixed(405, "only GET and HEAD are answered here")),
    };
    if has_body(request.headers) {
        return Err(HttpError::fixed(413, "a request must not have a body"));
    }
    let target =
        HttpError::fixed(400, "the target of the request must begin with a slash, or be a whole URL");
    let (path, query) = request.path.and_then(path_and_query).ok_or(target)?;
    let keep_alive = match header(request.headers, "connection") {
        Some(value) if value.eq_ignore_ascii_case(b"close") => false,
        Some(value) if value.eq_ignore_ascii_case(b"keep-alive") => true,
        _ => request.version == Some(1),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
    let host = header(request.headers, "host").map(text);
    let forwarded =
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("x-forwarded-for"));
    let forwarded_for = forwarded.map(|header| text(header.value)).collect::<Vec<_>>().join(",");
    let (path, query) = (path.to_owned(), query.to_owned());
    Ok(Some((Request { path, query, is_head, keep_alive, host, forwarded_for }, length)))
}

/// The path and the query of a request's target. The target is a path, or a whole URL, which a server must
/// take as well (RFC 9112, 3.2.2). A fragment is not part of a request, and is dropped if one is sent.
fn path_and_query(target: &str) -> Option<(&str, &str)> {
    let target = target.split('#').next()?;
    let local = match target.split_once("://") {
        Some((scheme, rest)) if ["http", "https"].iter().any(|http| scheme.eq_ignore_ascii_case(http)) => {
            &rest[rest.find(['/', '?']).unwrap_or(rest.len())..]
        }
        _ => Some(target).filter(|target| target.starts_with('/'))?,
    };
    let (path, query) = local.split_once('?').unwrap_or((local, ""));
    Some((if path.is_empty() { "/" } else { path }, query))
}

fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn has_body(headers: &[httparse::Header]) -> bool {
    header(headers, "transfer-encoding").is_some()
        || header(headers, "content-length").is_some_and(|length| length.trim_ascii() != b"0")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(text: &str) -> u16 {
        parse(text.as_bytes()).unwrap_err().status
    }

    #[test]
    fn a_request_and_what_follows_it() {
        let text = b"GET /announce?a=b%20c HTTP/1.1\r\nHost: x\r\n\r\nGET /";
        let (request, length) = parse(text).unwrap().unwrap();
        assert_eq!((request.path.as_str(), request.query.as_str()), ("/announce", "a=b%20c"));
        assert!(request.keep_alive && !request.is_head);
        assert_eq!((request.host.as_deref(), request.forwarded_for.as_str()), (Some("x"), ""));
        let behind = b"GET / HTTP/1.0\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8\r\nx-forwarded-for: ::1\r\n\r\n";
        let (behind, _) = parse(behind).unwrap().unwrap();
        assert_eq!((behind.host, behind.forwarded_for.as_str()), (None, "1.2.3.4, 5.6.7.8,::1"));
        assert_eq!(&text[length..], b"GET /");
        assert_eq!(parse(&text[length..]).unwrap(), None);
    }

    /// Bug: `GET http://host/announce?... HTTP/1.1` was refused.
    #[test]
    fn a_whole_url_is_a_target_too() {
        let target = |target: &str| {
            let text = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
            let (request, _) = parse(text.as_bytes()).unwrap().unwrap();
            (request.path, request.query)
        };
        for (whole, path, query) in [
            ("http://host:6969/announce?a=b%20c&d=/", "/announce", "a=b%20c&d=/"),
            ("HTTP://[::1]:80/announce?a=http://x/", "/announce", "a=http://x/"),
            ("https://host", "/", ""),
            ("http://host?a=b", "/", "a=b"),
            ("/announce?a=b#c", "/announce", "a=b"),
        ] {
            assert_eq!(target(whole), (path.to_owned(), query.to_owned()), "{whole}");
        }
    }

    #[test]
    fn connections_are_kept_as_the_versions_have_it() {
        let keep = |text: &str| parse(text.as_bytes()).unwrap().unwrap().0.keep_alive;
        assert!(!keep("GET / HTTP/1.0\r\n\r\n"));
        assert!(keep("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        assert!(!keep("GET / HTTP/1.1\r\nconnection: close\r\n\r\n"));
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(status("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"), 405);
        assert_eq!(status("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n"), 413);
        assert_eq!(status("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 413);
        assert_eq!(status("GET ftp://x/ HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET announce?x=http://y/ HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("\u{1}\u{2}\r\n\r\n"), 400);
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_HEAD))), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1))), 431);
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            match parse(&bytes) {
                Ok(Some((_, length))) => prop_assert!(bytes[..length].ends_with(b"\n")),
                Ok(None) => prop_assert!(!bytes.contains(&0), "no request goes on like this"),
                Err(error) => prop_assert!([400, 405, 413, 431].contains(&error.status)),
            }
        }

        #[test]
        fn never_panics_on_almost_requests(
            text in "(GET|HEAD|PUT) /[ -~]{0,40} HTTP/1.[01]\r\n([ -~]{0,20}: [ -~]{0,20}\r\n){0,4}\r\n",
        ) {
            match parse(text.as_bytes()) {
                Ok(Some((request, length))) => {
                    prop_assert_eq!(length, text.len());
                    let method = if request.is_head { "HEAD /" } else { "GET /" };
                    prop_assert!(text.starts_with(method) && request.path.starts_with('/'));
                }
                Ok(None) => prop_assert!(false, "all of it is there"),
                Err(error) => prop_assert!([400, 405, 413].contains(&error.status), "{}", error.message),
            }
        }
    }
}
