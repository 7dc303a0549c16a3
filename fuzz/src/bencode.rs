//! Bencoding: what is read is written back byte for byte, since no value has two spellings.

use shoal::bencode::{self, Dict, DictWriter, List, ListWriter, Value};

pub fn check(data: &[u8]) {
    if let Ok((value, rest)) = bencode::parse_prefix(data) {
        let taken = &data[..data.len() - rest.len()];
        assert_eq!(bencode::parse(taken), Ok(value), "a prefix is a value by itself");
        let mut again = Vec::new();
        write(value, &mut again);
        assert_eq!(again, taken, "a value has one spelling");
        if let Value::Dict(dict) = value {
            lookups(dict);
            if sorted(value) {
                let written = bencode::dict(|writer| fill_dict(dict, writer));
                assert_eq!(written, taken, "our writer spells as our reader reads");
            }
        }
    }
    assert_eq!(
        bencode::parse(data).is_ok(),
        bencode::parse_prefix(data).is_ok_and(|(_, rest)| rest.is_empty())
    );
}

/// The value in the order of the input.
fn write(value: Value, out: &mut Vec<u8>) {
    match value {
        Value::Int(number) => out.extend(format!("i{number}e").bytes()),
        Value::Bytes(bytes) => write_bytes(bytes, out),
        Value::List(list) => {
            out.push(b'l');
            list.iter().for_each(|item| write(item, out));
            out.push(b'e');
        }
        Value::Dict(dict) => {
            let start = out.len();
            out.push(b'd');
            for (key, value) in dict.iter() {
                write_bytes(key, out);
                write(value, out);
            }
            out.push(b'e');
            assert_eq!(&out[start..], dict.raw());
        }
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(format!("{}:", bytes.len()).bytes());
    out.extend(bytes);
}

/// Every way to look a key up finds what walking finds.
fn lookups(dict: Dict) {
    for (key, value) in dict.iter().take(10) {
        let Ok(key) = std::str::from_utf8(key) else { continue };
        assert_eq!(dict.get(key), Some(value), "keys are there once");
        assert_eq!(dict.pick([key, key]), [Some(value), None]);
        assert_eq!((dict.int(key), dict.bytes(key)), (value.as_int(), value.as_bytes()));
    }
}

fn sorted(value: Value) -> bool {
    match value {
        Value::Int(_) | Value::Bytes(_) => true,
        Value::List(list) => list.iter().all(sorted),
        Value::Dict(dict) => {
            dict.iter().is_sorted_by_key(|(key, _)| key) && dict.iter().all(|(_, value)| sorted(value))
        }
    }
}

fn fill_dict(dict: Dict, writer: &mut DictWriter) {
    for (key, value) in dict.iter() {
        match value {
            Value::Int(number) => writer.int(key, number),
            Value::Bytes(bytes) => writer.bytes(key, bytes),
            Value::List(list) => writer.list(key, |inner| fill_list(list, inner)),
            Value::Dict(dict) => writer.dict(key, |inner| fill_dict(dict, inner)),
        }
    }
}

fn fill_list(list: List, writer: &mut ListWriter) {
    for value in list.iter() {
        match value {
            Value::Int(number) => writer.int(number),
            Value::Bytes(bytes) => writer.bytes(bytes),
            Value::List(list) => writer.list(|inner| fill_list(list, inner)),
            Value::Dict(dict) => writer.dict(|inner| fill_dict(dict, inner)),
        }
    }
}
