//! Texts that came from others, made harmless for a terminal and a log. Pure.
//!
//! A name or a message may hold characters that move the cursor, change colours, set the window's title, or
//! turn the direction of writing, so that `gpj.exe` reads `exe.jpg`. They are shown as JSON writes them:
//! `\u001b`.

use std::borrow::Cow;
use std::fmt::Write;

/// A text that keeps its line breaks.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_harmful(c))
}

/// A text in one line.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_harmful)
}

fn escaped(text: &str, is_harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for c in text.chars() {
        if is_harmful(c) {
            let _ = write!(shown, "\\u{:04x}", u32::from(c)); // writing to a string cannot fail
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: names and client names of others were printed as they came.
    #[test]
    fn what_moves_a_cursor_is_shown_and_not_done() {
        assert_eq!(line("\x1b[2Jfilm\r\n\x07\u{9b}K"), r"\u001b[2Jfilm\u000d\u000a\u0007\u009bK");
        assert_eq!(line("\u{202e}gpj.exe"), r"\u202egpj.exe");
        assert_eq!(lines("one\ntwo\x08"), "one\ntwo\\u0008");
        assert!(matches!(line("Übung 日本 🐟 \"x\" \\"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_stays_json() {
        let json = serde_json::json!({ "name": "\x1b\u{9b}\u{202e}" }).to_string();
        let read: serde_json::Value = serde_json::from_str(&lines(&json)).unwrap();
        assert_eq!(read["name"], "\x1b\u{9b}\u{202e}");
    }
}
