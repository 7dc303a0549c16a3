//! Bencoding: what is read strictly is written back byte for byte, since no value has two spellings. What is
//! read leniently is read again from what is written of it.

use shoal::bencode::{self, Dict, DictWriter, List, ListWriter, Value};

pub fn check(data: &[u8]) {
    strict(data);
    lenient(data);
}

fn strict(data: &[u8]) {
    let Ok(value) = bencode::parse(data) else { return };
    assert_eq!(bencode::parse_leniently(data), Ok((value, &[][..])), "both read the same");
    assert_eq!(spelt(value), data, "a value has one spelling");
    if let Value::Dict(dict) = value {
        lookups(dict);
        if sorted(value) {
            let written = bencode::dict(|writer| fill_dict(dict, writer));
            assert_eq!(written, data, "our writer spells as our reader reads");
        }
    }
}

fn lenient(data: &[u8]) {
    let Ok((value, rest)) = bencode::parse_leniently(data) else { return };
    let taken = &data[..data.len() - rest.len()];
    assert_eq!(bencode::parse_leniently(taken), Ok((value, &[][..])), "what follows it counts not");
    let spelling = spelt(value);
    let Ok((again, &[])) = bencode::parse_leniently(&spelling) else { panic!("our own spelling is odd") };
    assert_eq!(spelt(again), spelling, "what is written is read again");
    if let Ok(strict) = bencode::parse(&spelling) {
        assert_eq!(strict, again, "but for its keys, nothing is odd any more");
    }
}

fn spelt(value: Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
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
            out.push(b'd');
            for (key, value) in dict.iter() {
                write_bytes(key, out);
                write(value, out);
            }
            out.push(b'e');
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
