//! Bencoding (BEP 3): a reader that does not copy, and a small writer. Pure; no thread, no lock.
//!
//! [`parse`] checks the whole input once, in a loop and without recursion, and returns a [`Value`] that
//! borrows from it. Nothing is copied and no tree is built: a [`List`] or [`Dict`] is the checked bytes
//! themselves, and its iterator reads them again. So the original bytes of a value are available
//! ([`Dict::raw`]), which info-hashes are computed over.
//!
//! Refused are numbers with leading zeros, `-0`, numbers that do not fit an `i64`, lengths beyond the input,
//! duplicate keys, values nested deeper than [`MAX_DEPTH`], more than [`MAX_VALUES`] values, and bytes after
//! the end. Accepted are keys out of order. BEP 3 wants them sorted, but torrents and trackers with unsorted
//! keys exist, and since nothing is ever encoded again the order does no harm.

mod write;

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

    /// The value of `key`, found by a search from the start of the dictionary.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.iter().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    /// The values of several keys, found in one pass over the dictionary.
    pub fn pick<const N: usize>(self, keys: [&str; N]) -> [Option<Value<'a>>; N] {
        let mut found = [None; N];
        for (name, value) in self.iter() {
            if let Some(at) = keys.iter().position(|key| key.as_bytes() == name) {
                found[at] = Some(value);
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

/// Reads the one value that fills all of `input`.
pub fn parse(input: &[u8]) -> Result<Value<'_>, Error> {
    let (value, rest) = parse_prefix(input)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(Error { at: input.len() - rest.len(), why: "more bytes after the end of the value" })
    }
}

/// Reads the value at the start of `input`. The second result is the rest of `input` (as in the
/// messages of BEP 9).
pub fn parse_prefix(input: &[u8]) -> Result<(Value<'_>, &[u8]), Error> {
    let end = check(input)?;
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
fn check(input: &[u8]) -> Result<usize, Error> {
    let mut at = 0;
    let mut open: Vec<Open> = Vec::new();
    let mut keys: Vec<&[u8]> = Vec::new();
    for _ in 0..MAX_VALUES {
        let byte = *input.get(at).ok_or(Error { at, why: "the data ends too early" })?;
        let depth = open.len();
        match (byte, open.last_mut()) {
            (b'e', Some(top)) => {
                close(top, &mut keys, at)?;
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

/// Ends a list or dictionary at `at`, and looks for duplicate keys.
fn close(top: &Open, keys: &mut Vec<&[u8]>, at: usize) -> Result<(), Error> {
    if top.is_dict && !top.wants_key {
        return Err(Error { at, why: "a key without a value" });
    }
    if !top.sorted {
        let mine = &mut keys[top.first_key..];
        mine.sort_unstable();
        if mine.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error { at, why: "the dictionary that ends here has the same key twice" });
        }
    }
    keys.truncate(top.first_key);
    Ok(())
}

/// Reads `LENGTH:BYTES` at `at`. Returns the bytes and where they end.
fn string(input: &[u8], at: usize) -> Result<(&[u8], usize), Error> {
    let digits = digits(input, at);
    let after = at + digits.len();
    if digits.len() > 1 && digits[0] == b'0' {
        return Err(Error { at, why: "a length with leading zeros" });
    }
    match input.get(after) {
        Some(b':') => {}
        Some(_) => return Err(Error { at: after, why: "a length must end with a colon" }),
        None => return Err(Error { at: after, why: "the data ends too early" }),
    }
    let length: usize = ascii(digits)
        .and_then(|text| text.parse().ok())
        .ok_or(Error { at, why: "a length beyond all bounds" })?;
    let start = after + 1;
    let end = start.checked_add(length).ok_or(Error { at, why: "a length beyond all bounds" })?;
    let bytes = input.get(start..end).ok_or(Error { at, why: "a string is longer than the data" })?;
    Ok((bytes, end))
}

/// Reads `iNUMBERe` at `at`. Returns the number and where it ends.
fn number(input: &[u8], at: usize) -> Result<(i64, usize), Error> {
    let negative = input.get(at + 1) == Some(&b'-');
    let start = at + 1 + usize::from(negative);
    let digits = digits(input, start);
    let end = start + digits.len();
    match input.get(end) {
        Some(b'e') => {}
        Some(_) => return Err(Error { at: end, why: "a number must be digits and an `e`" }),
        None => return Err(Error { at: end, why: "the data ends too early" }),
    }
    match digits {
        [] => return Err(Error { at, why: "a number without digits" }),
        [b'0'] if negative => return Err(Error { at, why: "a negative zero" }),
        [b'0', _, ..] => return Err(Error { at, why: "a number with leading zeros" }),
        _ => {}
    }
    let value = ascii(&input[at + 1..end]).and_then(|text| text.parse().ok());
    Ok((value.ok_or(Error { at, why: "a number that does not fit in 64 bits" })?, end + 1))
}

fn digits(input: &[u8], at: usize) -> &[u8] {
    let rest = input.get(at..).unwrap_or_default();
    let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    &rest[..count]
}

fn ascii(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
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
