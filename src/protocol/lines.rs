//! Splits a stream of bytes into lines. Pure; used at both ends of a session.

/// How many bytes of capacity an empty buffer keeps. The memory of a longer line is freed once the
/// line has been read.
const KEEP: usize = 64 << 10;

/// Bytes that were received and not read yet.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Where the first unread line begins.
    start: usize,
    /// Up to here no line end was found. Not before `start`.
    searched: usize,
}

impl Lines {
    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Number of unread bytes, of complete lines and of the incomplete last one.
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether there are no unread bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a complete line is there.
    pub fn has_line(&mut self) -> bool {
        self.find_end().is_some()
    }

    /// The next complete line, without its end (`\n` or `\r\n`).
    pub fn next_line(&mut self) -> Option<&[u8]> {
        let end = self.find_end()?;
        let line = &self.buffer[self.start..end];
        self.start = end + 1;
        self.searched = self.start;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// Drops everything, and frees the memory.
    pub fn clear(&mut self) {
        *self = Lines::default();
    }

    fn find_end(&mut self) -> Option<usize> {
        match self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                // The next call finds it at once.
                self.searched += at;
                Some(self.searched)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_however_the_bytes_came_in() {
        let text = b"one\r\n\ntwo\nthree";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut read = Vec::new();
            for chunk in text.chunks(size) {
                lines.push(chunk);
                while lines.has_line() {
                    read.push(lines.next_line().unwrap().to_vec());
                }
            }
            assert_eq!(read, [b"one".to_vec(), Vec::new(), b"two".to_vec()]);
            assert_eq!(lines.len(), 5);
            assert_eq!(lines.next_line(), None);
        }
    }

    #[test]
    fn a_long_line_s_memory_is_given_back() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; 4 * KEEP]);
        lines.push(b"\n");
        assert_eq!(lines.next_line().map(<[u8]>::len), Some(4 * KEEP));
        lines.push(b"y");
        assert!(lines.buffer.capacity() <= KEEP && lines.len() == 1);
    }
}
