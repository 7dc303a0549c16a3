//! The tracker's session, both ends: calls and answers survive being written and read again, and lines come
//! out the same however the bytes come in.

use shoal::protocol::catalogue::{Answer, Call, Held, Request};
use shoal::protocol::lines::Lines;

pub fn check(data: &[u8]) {
    lines(data);
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(call) = Call::parse(line) {
            assert_eq!(Call::parse(one_line(&call.line())), Ok(call.clone()));
            ranges(call.request);
        }
        if let Ok(answer) = Answer::parse(line) {
            assert_eq!(Answer::parse(one_line(&answer.clone().line())), Ok(answer));
        }
    }
}

/// The line without its end, which is its only one.
fn one_line(line: &str) -> &[u8] {
    let line = line.strip_suffix('\n').unwrap();
    assert!(!line.is_empty() && !line.contains('\n'));
    line.as_bytes()
}

fn ranges(request: Request) {
    let Request::Publish(publish) = request else { return };
    for n_parts in [0, 1, 8, 1000] {
        let Some(bits) = publish.have.bitfield(n_parts) else { continue };
        assert!(bits.count() <= n_parts);
        assert_eq!(Held::from(&bits).bitfield(n_parts), Some(bits));
    }
}

fn lines(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let unfinished = expected.pop().map_or(0, <[u8]>::len);
    let mut lines = Lines::default();
    let mut expected = expected.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    for chunk in bytes.chunks(1 + usize::from(*size)) {
        lines.push(chunk);
        // Not always at once, so that several wait.
        if size % 3 != 0 || chunk.len() % 2 == 0 {
            while let Some(line) = lines.next_line() {
                assert_eq!(Some(line), expected.next());
            }
        }
    }
    while lines.has_line() {
        assert_eq!(lines.next_line(), expected.next());
    }
    assert_eq!((expected.next(), lines.len()), (None, unfinished));
}
