//! Bencoding (BEP 3): two readers that do not copy, and a small writer. Pure; no thread, no lock.
//!
//! A reader checks the whole input once, in a loop and without recursion, and returns a [`Value`] that
//! borrows from it. Nothing is copied and no tree is built: a [`List`] or [`Dict`] is the checked bytes
//! themselves, and its iterator reads them again. So the original bytes of a value are available
//! ([`Dict::raw`]), which info-hashes are computed over.
//!
//! - [`parse`] is for bytes that have an identity: an info dictionary, which peers know by its hash.
//!   Everybody must read the same in it, so it refuses what different readers take differently: numbers with
//!   leading zeros, `-0`, numbers that do not fit an `i64`, duplicate keys, and bytes after the end.
//! - [`parse_leniently`] is for bytes that only advise us: a tracker's reply, a peer's extension handshake,
//!   what stands around an info dictionary. It reads all of the above as far as it makes sense.
//!
//! Both refuse lengths beyond the input, values nested deeper than [`MAX_DEPTH`], and more than
//! [`MAX_VALUES`] values. Both accept keys out of order. BEP 3 wants them sorted, but torrents and trackers
//! with unsorted keys exist, and since nothing is ever encoded again the order does no harm.

mod write;

use std::borrow::Cow;
use std::str::FromStr;

pub use write::{DictWriter, ListWriter, dict};

/// Maximum nesting depth of lists and dictionaries. A path of [`crate::torrent::MAX_PATH_DEPTH`] folders in a
/// v2 file tree needs about 70.
pub const MAX_DEPTH: usize = 100;

/// Maximum number of values in one input; keys and ends count too. A hybrid torrent of
/// [`crate::torrent::MAX_FILES`] files, five folders deep, has about 8 million. The limit keeps the table of
/// the keys of open dictionaries under 64 MiB.
pub const MAX_VALUES: usize = 8 << 20;

/// Why some bytes are not valid bencoding, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not valid bencoding at byte {at}: {why}")]
pub struct Error {
    /// Offset of the wrong byte.
    pub at: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

/// One bencoded value, borrowing from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Int(i64),
    /// A string of any bytes.
    Bytes(&'a [u8]),
    /// A list.
    List(List<'a>),
    /// A dictionary.
    Dict(Dict<'a>),
}

impl<'a> Value<'a> {
    /// The value as it was, or for a number or a string, as it should be written.
    pub fn raw(self) -> Cow<'a, [u8]> {
        match self {
            Value::List(list) => Cow::Borrowed(list.raw),
            Value::Dict(dict) => Cow::Borrowed(dict.raw),
            Value::Int(number) => Cow::Owned(format!("i{number}e").into_bytes()),
            Value::Bytes(bytes) => Cow::Owned([format!("{}:", bytes.len()).as_bytes(), bytes].concat()),
        }
    }

    /// The number. `None` for another kind of value.
    pub fn as_int(self) -> Option<i64> {
        if let Value::Int(number) = self { Some(number) } else { None }
    }

    /// The string's bytes. `None` for another kind of value.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        if let Value::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The string. `None` for another kind of value, or if it is not UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        self.as_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The list. `None` for another kind of value.
    pub fn as_list(self) -> Option<List<'a>> {
        if let Value::List(list) = self { Some(list) } else { None }
    }

    /// The dictionary. `None` for another kind of value.
    pub fn as_dict(self) -> Option<Dict<'a>> {
        if let Value::Dict(dict) = self { Some(dict) } else { None }
    }
}

/// A list: its checked bytes, from `l` to `e`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List<'a> {
    raw: &'a [u8],
}

impl<'a> List<'a> {
    /// The values in order. Skipping a nested value takes time in proportion to its length.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let mut rest = inner(self.raw);
        std::iter::from_fn(move || take_value(&mut rest))
    }
}

/// A dictionary: its checked bytes, from `d` to `e`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dict<'a> {
    raw: &'a [u8],
}

impl<'a> Dict<'a> {
    /// The original bytes of the dictionary.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Keys and values in the order of the input. Skipping a nested value takes time in proportion
    /// to its length.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> {
        let mut rest = inner(self.raw);
        std::iter::from_fn(move || {
            let key = take_value(&mut rest)?.as_bytes()?;
            Some((key, take_value(&mut rest)?))
        })
    }

    /// The first value of `key`, found by a search from the start of the dictionary.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.iter().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    /// The first values of several keys, found in one pass over the dictionary.
    pub fn pick<const N: usize>(self, keys: [&str; N]) -> [Option<Value<'a>>; N] {
        let mut found = [None; N];
        for (name, value) in self.iter() {
            if let Some(at) = keys.iter().position(|key| key.as_bytes() == name) {
                found[at].get_or_insert(value);
            }
        }
        found
    }

    /// The value of `key` if it is a number.
    pub fn int(self, key: &str) -> Option<i64> {
        self.get(key)?.as_int()
    }

    /// The value of `key` if it is a string.
    pub fn bytes(self, key: &str) -> Option<&'a [u8]> {
        self.get(key)?.as_bytes()
    }
}

/// Which oddities are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Strict,
    Lenient,
}

/// Reads the one value that fills all of `input`, strictly.
///
/// # Errors
/// If `input` is not exactly one value in its only right form (BEP 3), apart from the order of keys.
pub fn parse(input: &[u8]) -> Result<Value<'_>, Error> {
    let (value, rest) = read(input, Rules::Strict)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(Error { at: input.len() - rest.len(), why: "more bytes after the end of the value" })
    }
}

/// Reads the value at the start of `input`, leniently. The second result is the rest of `input`, which
/// means something only in the messages of BEP 9. Leading zeros and `-0` are read as people mean them. A
/// number that does not fit an `i64` becomes the nearest one that does. Of duplicate keys the first counts.
///
/// # Errors
/// If no value can be made out.
pub fn parse_leniently(input: &[u8]) -> Result<(Value<'_>, &[u8]), Error> {
    read(input, Rules::Lenient)
}

fn read(input: &[u8], rules: Rules) -> Result<(Value<'_>, &[u8]), Error> {
    let end = check(input, rules)?;
    let (checked, rest) = input.split_at_checked(end).unwrap_or((input, &[]));
    match take_value(&mut &*checked) {
        Some(value) => Ok((value, rest)),
        None => Err(Error { at: 0, why: "no value" }),
    }
}

/// A list or dictionary that is still open while [`check`] runs.
struct Open {
    is_dict: bool,
    /// Dictionary: whether the next string is a key. Alternates with every value.
    wants_key: bool,
    /// Dictionary: whether each key so far was greater than the one before. Then there are no duplicates.
    sorted: bool,
    /// Where this dictionary's keys start in the table shared by all open dictionaries.
    first_key: usize,
}

/// Checks one value at the start of `input` and returns its length in bytes.
fn check(input: &[u8], rules: Rules) -> Result<usize, Error> {
    let mut at = 0;
    let mut open: Vec<Open> = Vec::new();
    let mut keys: Vec<&[u8]> = Vec::new();
    for _ in 0..MAX_VALUES {
        let byte = *input.get(at).ok_or(Error { at, why: "the data ends too early" })?;
        let depth = open.len();
        if rules == Rules::Strict {
            canonical(input, at)?;
        }
        match (byte, open.last_mut()) {
            (b'e', Some(top)) => {
                close(top, &mut keys, at, rules)?;
                open.pop();
                at += 1;
            }
            (b'0'..=b'9', Some(top)) if top.wants_key => {
                let (key, next) = string(input, at)?;
                top.sorted &= keys[top.first_key..].last().is_none_or(|last| *last < key);
                keys.push(key);
                top.wants_key = false;
                at = next;
                continue;
            }
            (_, Some(top)) if top.wants_key => return Err(Error { at, why: "a key must be a string" }),
            (b'0'..=b'9', _) => at = string(input, at)?.1,
            (b'i', _) => at = number(input, at)?.1,
            (b'l' | b'd', _) if depth == MAX_DEPTH => {
                return Err(Error { at, why: "values are nested too deeply" });
            }
            (b'l' | b'd', _) => {
                let is_dict = byte == b'd';
                open.push(Open { is_dict, wants_key: is_dict, sorted: true, first_key: keys.len() });
                at += 1;
                continue;
            }
            _ => return Err(Error { at, why: "no value starts with this byte" }),
        }
        match open.last_mut() {
            Some(top) => top.wants_key = top.is_dict,
            None => return Ok(at),
        }
    }
    Err(Error { at, why: "too many values" })
}

/// Ends a list or dictionary at `at`. Strictly, it has no duplicate keys.
fn close(top: &Open, keys: &mut Vec<&[u8]>, at: usize, rules: Rules) -> Result<(), Error> {
    if top.is_dict && !top.wants_key {
        return Err(Error { at, why: "a key without a value" });
    }
    if !top.sorted && rules == Rules::Strict {
        let mine = &mut keys[top.first_key..];
        mine.sort_unstable();
        if mine.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error { at, why: "the dictionary that ends here has the same key twice" });
        }
    }
    keys.truncate(top.first_key);
    Ok(())
}

/// Checks that the number or the length at `at`, if there is one, is written in its only right form.
fn canonical(input: &[u8], at: usize) -> Result<(), Error> {
    let is_number = input.get(at) == Some(&b'i');
    let is_negative = is_number && input.get(at + 1) == Some(&b'-');
    let start = at + usize::from(is_number) + usize::from(is_negative);
    let wrong = |why| Err(Error { at, why });
    let digits = digits(input, start);
    match digits {
        [b'0'] if is_negative => wrong("a negative zero"),
        [b'0', _, ..] if is_number => wrong("a number with leading zeros"),
        [b'0', _, ..] => wrong("a length with leading zeros"),
        [_, ..] if is_number && exact::<i64>(&input[at + 1..start + digits.len()]).is_none() => {
            wrong("a number that does not fit in 64 bits")
        }
        _ => Ok(()),
    }
}

/// Reads `LENGTH:BYTES` at `at`. Returns the bytes and where they end.
fn string(input: &[u8], at: usize) -> Result<(&[u8], usize), Error> {
    let digits = digits(input, at);
    let after = at + digits.len();
    match input.get(after) {
        Some(b':') => {}
        Some(_) => return Err(Error { at: after, why: "a length must end with a colon" }),
        None => return Err(Error { at: after, why: "the data ends too early" }),
    }
    let length: usize = exact(digits).ok_or(Error { at, why: "a length beyond all bounds" })?;
    let start = after + 1;
    let end = start.checked_add(length).ok_or(Error { at, why: "a length beyond all bounds" })?;
    let bytes = input.get(start..end).ok_or(Error { at, why: "a string is longer than the data" })?;
    Ok((bytes, end))
}

/// Reads `iNUMBERe` at `at`. Returns the number, or the nearest `i64`, and where it ends.
fn number(input: &[u8], at: usize) -> Result<(i64, usize), Error> {
    let is_negative = input.get(at + 1) == Some(&b'-');
    let start = at + 1 + usize::from(is_negative);
    let digits = digits(input, start);
    let end = start + digits.len();
    match input.get(end) {
        Some(b'e') if digits.is_empty() => Err(Error { at, why: "a number without digits" }),
        Some(b'e') => {
            let nearest = if is_negative { i64::MIN } else { i64::MAX };
            Ok((exact(&input[at + 1..end]).unwrap_or(nearest), end + 1))
        }
        Some(_) => Err(Error { at: end, why: "a number must be digits and an `e`" }),
        None => Err(Error { at: end, why: "the data ends too early" }),
    }
}

fn digits(input: &[u8], at: usize) -> &[u8] {
    let rest = input.get(at..).unwrap_or_default();
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    &rest[..count]
}

/// The number that these digits say, if it fits.
fn exact<N: FromStr>(digits: &[u8]) -> Option<N> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What is between the first and the last byte of a list or dictionary.
fn inner(raw: &[u8]) -> &[u8] {
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

/// Takes one value from the start of `rest`, which holds only checked values. `None` at the end.
fn take_value<'a>(rest: &mut &'a [u8]) -> Option<Value<'a>> {
    let input = *rest;
    let (value, length) = match input.first()? {
        b'i' => number(input, 0).ok().map(|(number, end)| (Value::Int(number), end))?,
        b'l' => {
            let end = skip(input)?;
            (Value::List(List { raw: &input[..end] }), end)
        }
        b'd' => {
            let end = skip(input)?;
            (Value::Dict(Dict { raw: &input[..end] }), end)
        }
        _ => string(input, 0).ok().map(|(bytes, end)| (Value::Bytes(bytes), end))?,
    };
    *rest = &input[length..];
    Some(value)
}

/// Length of the checked value at the start of `input`.
fn skip(input: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut depth = 0usize;
    loop {
        match input.get(at)? {
            b'l' | b'd' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'e' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b'i' => at = number(input, at).ok()?.1,
            _ => at = string(input, at).ok()?.1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests;
