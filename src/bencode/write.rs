//! Writes bencoding (BEP 3). Nested values are closures, so everything that was opened is closed. Pure.

/// Writes one dictionary: `dict(|d| d.int("interval", 1800))` gives `d8:intervali1800ee`.
pub fn dict(fill: impl FnOnce(&mut DictWriter)) -> Vec<u8> {
    let mut out = Vec::new();
    write_dict(&mut out, fill);
    out
}

/// Writes the entries of a dictionary. Keys must come in ascending order of their bytes (BEP 3);
/// debug builds check it.
pub struct DictWriter<'a> {
    out: &'a mut Vec<u8>,
    #[cfg(debug_assertions)]
    last_key: Option<Vec<u8>>,
}

impl DictWriter<'_> {
    /// Writes a number.
    pub fn int(&mut self, key: impl AsRef<[u8]>, value: i64) {
        self.key(key.as_ref());
        write_int(self.out, value);
    }

    /// Writes a string of any bytes.
    pub fn bytes(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.key(key.as_ref());
        write_bytes(self.out, value.as_ref());
    }

    /// Writes a list, whose values `fill` writes.
    pub fn list(&mut self, key: impl AsRef<[u8]>, fill: impl FnOnce(&mut ListWriter)) {
        self.key(key.as_ref());
        write_list(self.out, fill);
    }

    /// Writes a dictionary, whose entries `fill` writes.
    pub fn dict(&mut self, key: impl AsRef<[u8]>, fill: impl FnOnce(&mut DictWriter)) {
        self.key(key.as_ref());
        write_dict(self.out, fill);
    }

    /// Writes a value that is already bencoded, such as an info dictionary whose bytes must not change.
    pub fn raw(&mut self, key: impl AsRef<[u8]>, bencoded: &[u8]) {
        self.key(key.as_ref());
        self.out.extend_from_slice(bencoded);
    }

    fn key(&mut self, key: &[u8]) {
        #[cfg(debug_assertions)]
        {
            debug_assert!(self.last_key.as_deref().is_none_or(|last| last < key), "keys out of order");
            self.last_key = Some(key.to_vec());
        }
        write_bytes(self.out, key);
    }
}

/// Writes the values of a list.
pub struct ListWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl ListWriter<'_> {
    /// Writes a number.
    pub fn int(&mut self, value: i64) {
        write_int(self.out, value);
    }

    /// Writes a string of any bytes.
    pub fn bytes(&mut self, value: impl AsRef<[u8]>) {
        write_bytes(self.out, value.as_ref());
    }

    /// Writes a list, whose values `fill` writes.
    pub fn list(&mut self, fill: impl FnOnce(&mut ListWriter)) {
        write_list(self.out, fill);
    }

    /// Writes a dictionary, whose entries `fill` writes.
    pub fn dict(&mut self, fill: impl FnOnce(&mut DictWriter)) {
        write_dict(self.out, fill);
    }
}

fn write_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(format!("i{value}e").as_bytes());
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

fn write_list(out: &mut Vec<u8>, fill: impl FnOnce(&mut ListWriter)) {
    out.push(b'l');
    fill(&mut ListWriter { out });
    out.push(b'e');
}

fn write_dict(out: &mut Vec<u8>, fill: impl FnOnce(&mut DictWriter)) {
    out.push(b'd');
    fill(&mut DictWriter {
        out,
        #[cfg(debug_assertions)]
        last_key: None,
    });
    out.push(b'e');
}
