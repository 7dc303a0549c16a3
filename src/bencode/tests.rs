//! Tests of bencoding: tables of good and bad input, and properties.

use proptest::prelude::*;

use super::*;

#[test]
fn good_values() {
    let numbers: [(&[u8], i64); 5] = [
        (b"i0e", 0),
        (b"i-42e", -42),
        (b"i10e", 10),
        (b"i9223372036854775807e", i64::MAX),
        (b"i-9223372036854775808e", i64::MIN),
    ];
    for (input, number) in numbers {
        assert_eq!(parse(input), Ok(Value::Int(number)));
    }
    assert_eq!(parse(b"0:"), Ok(Value::Bytes(b"")));
    assert_eq!(parse(b"10:0123456789"), Ok(Value::Bytes(b"0123456789")));
    assert_eq!(parse(b"5:hello").unwrap().as_str(), Some("hello"));
    assert_eq!(parse(b"1:\xff").unwrap().as_str(), None);
    assert_eq!(parse(b"le").unwrap().as_list().unwrap().iter().count(), 0);
    assert_eq!(parse(b"de").unwrap().as_dict().unwrap().iter().count(), 0);
}

#[test]
fn lists_and_dictionaries_are_views_of_the_input() {
    let list = parse(b"li1el1:aed1:bi2eee").unwrap().as_list().unwrap();
    let values: Vec<_> = list.iter().collect();
    assert_eq!(values.len(), 3);
    assert_eq!(values[0], Value::Int(1));
    assert_eq!(values[2].as_dict().unwrap().int("b"), Some(2));

    let dict = parse(b"d4:infod1:xli1e0:ee4:spami-7e1:z0:e").unwrap().as_dict().unwrap();
    assert_eq!(dict.get("info").unwrap().as_dict().unwrap().raw(), b"d1:xli1e0:ee");
    assert_eq!(dict.int("spam"), Some(-7));
    assert_eq!(dict.bytes("z"), Some(&b""[..]));
    assert_eq!(dict.int("z"), None);
    assert_eq!(dict.get("nothing"), None);
    assert_eq!(dict.pick(["z", "nothing", "spam"]), [Some(Value::Bytes(b"")), None, Some(Value::Int(-7))]);
}

#[test]
fn bad_input_is_refused_with_the_place_and_the_reason() {
    let table: [(&[u8], usize, &str); 36] = [
        (b"", 0, "ends too early"),
        (b"x", 0, "no value starts"),
        (b"e", 0, "no value starts"),
        (b"-1:", 0, "no value starts"),
        (b"i", 1, "ends too early"),
        (b"i12", 3, "ends too early"),
        (b"ie", 0, "without digits"),
        (b"i-e", 0, "without digits"),
        (b"i-0e", 0, "negative zero"),
        (b"i00e", 0, "leading zeros"),
        (b"i01e", 0, "leading zeros"),
        (b"i-01e", 0, "leading zeros"),
        (b"i+1e", 1, "digits and an `e`"),
        (b"i 1e", 1, "digits and an `e`"),
        (b"i--1e", 2, "digits and an `e`"),
        (b"i1.5e", 2, "digits and an `e`"),
        (b"i9223372036854775808e", 0, "64 bits"),
        (b"i-9223372036854775809e", 0, "64 bits"),
        (b"5", 1, "ends too early"),
        (b"5hello", 1, "colon"),
        (b"5:hell", 0, "longer than the data"),
        (b"05:hello", 0, "leading zeros"),
        (b"00:", 0, "leading zeros"),
        (b"18446744073709551615:", 0, "beyond all bounds"),
        (b"99999999999999999999999:", 0, "beyond all bounds"),
        (b"9223372036854775807:", 0, "longer than the data"),
        (b"l", 1, "ends too early"),
        (b"li1e", 4, "ends too early"),
        (b"d", 1, "ends too early"),
        (b"di1ei2ee", 1, "key must be a string"),
        (b"dlei1ee", 1, "key must be a string"),
        (b"d1:ae", 4, "key without a value"),
        (b"d1:ai1e1:ai2ee", 13, "same key twice"),
        (b"d1:bi1e1:ai2e1:bi3ee", 19, "same key twice"),
        (b"i1ei2e", 3, "after the end"),
        (b"d1:ad1:x0:e1:b0:e\n", 17, "after the end"),
    ];
    for (input, at, why) in table {
        let error = parse(input).expect_err(&String::from_utf8_lossy(input));
        assert_eq!(error.at, at, "{}: {error}", String::from_utf8_lossy(input));
        assert!(error.why.contains(why), "{}: {error}", String::from_utf8_lossy(input));
    }
}

#[test]
fn unsorted_keys_are_read_since_torrents_have_them() {
    let dict = parse(b"d1:bi1e1:ai2ee").unwrap().as_dict().unwrap();
    assert_eq!((dict.int("a"), dict.int("b")), (Some(2), Some(1)));
    // All open dictionaries share one table of keys. An inner dictionary must not disturb an outer one.
    parse(b"d1:bd1:zi1e1:yi1ee1:ad1:bi1eee").unwrap();
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| [vec![b'l'; depth], vec![b'e'; depth]].concat();
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(parse(&nested(MAX_DEPTH + 1)).unwrap_err().why, "values are nested too deeply");
    assert_eq!(parse(&vec![b'l'; 10 << 20]).unwrap_err().why, "values are nested too deeply");
    assert_eq!(parse(&b"d1:a".repeat(1 << 20)).unwrap_err().why, "values are nested too deeply");
}

#[test]
fn count_is_bounded() {
    let many = |count: usize| [&b"l"[..], &b"0:".repeat(count), b"e"].concat();
    assert!(parse(&many(MAX_VALUES - 2)).is_ok());
    assert_eq!(parse(&many(MAX_VALUES)).unwrap_err().why, "too many values");
}

/// Bug: a tracker's reply with a newline behind it cost all its peers, and a peer whose extension handshake
/// had one was banned.
#[test]
fn what_only_advises_us_is_read_as_far_as_it_makes_sense() {
    let numbers: [(&[u8], i64); 7] = [
        (b"i0180e", 180),
        (b"i-007e", -7),
        (b"i-0e", 0),
        (b"i00e", 0),
        (b"i9223372036854775808e", i64::MAX),
        (b"i-99999999999999999999999999e", i64::MIN),
        (b"i0000000000000000000000000000000000001e", 1),
    ];
    for (input, number) in numbers {
        assert_eq!(parse_leniently(input), Ok((Value::Int(number), &b""[..])));
        assert!(parse(input).is_err(), "{}", String::from_utf8_lossy(input));
    }
    assert_eq!(parse_leniently(b"005:hello"), Ok((Value::Bytes(b"hello"), &b""[..])));

    let (value, rest) = parse_leniently(b"d8:msg_typei1eerest").unwrap();
    assert_eq!((value.as_dict().unwrap().int("msg_type"), rest), (Some(1), &b"rest"[..]));

    let (twice, _) = parse_leniently(b"d1:bi1e1:ai2e1:bi3ee").unwrap();
    let twice = twice.as_dict().unwrap();
    assert_eq!((twice.int("b"), twice.pick(["b"])), (Some(1), [Some(Value::Int(1))]), "the first counts");
}

#[test]
fn what_makes_no_sense_is_refused_by_the_lenient_reader_too() {
    let table: [&[u8]; 12] = [
        b"",
        b"\ni1e",
        b"ie",
        b"i-e",
        b"i+1e",
        b"i1.5e",
        b"i12",
        b"5:hell",
        b"-1:",
        b"d1:ae",
        b"di1ei2ee",
        b"li1e",
    ];
    for input in table {
        assert!(parse_leniently(input).is_err(), "{}", String::from_utf8_lossy(input));
    }
    assert_eq!(parse_leniently(&vec![b'l'; 10 << 20]).unwrap_err().why, "values are nested too deeply");
    let many = [&b"l"[..], &b"0:".repeat(MAX_VALUES), b"e"].concat();
    assert_eq!(parse_leniently(&many).unwrap_err().why, "too many values");
}

#[test]
fn writing() {
    let bytes = dict(|d| {
        d.int("interval", -5);
        d.list("list", |l| {
            l.int(1);
            l.bytes("two");
            l.list(|l| l.int(3));
            l.dict(|d| d.bytes("k", [0xff]));
        });
        d.dict("more", |d| d.raw("raw", b"le"));
    });
    assert_eq!(bytes, b"d8:intervali-5e4:listli1e3:twoli3eed1:k1:\xffee4:mored3:rawleee");
    assert!(parse(&bytes).is_ok());
}

/// Any value, as a tree that can be written and compared.
#[derive(Debug, Clone, PartialEq)]
enum Tree {
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Tree>),
    Dict(std::collections::BTreeMap<Vec<u8>, Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![any::<i64>().prop_map(Tree::Int), any::<Vec<u8>>().prop_map(Tree::Bytes)];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::List),
            prop::collection::btree_map(any::<Vec<u8>>(), inner, 0..6).prop_map(Tree::Dict),
        ]
    })
}

fn write_into_list(tree: &Tree, list: &mut ListWriter) {
    match tree {
        Tree::Int(number) => list.int(*number),
        Tree::Bytes(bytes) => list.bytes(bytes),
        Tree::List(items) => list.list(|l| items.iter().for_each(|item| write_into_list(item, l))),
        Tree::Dict(items) => {
            list.dict(|d| items.iter().for_each(|(key, item)| write_into_dict(key, item, d)))
        }
    }
}

fn write_into_dict(key: &[u8], tree: &Tree, dict: &mut DictWriter) {
    match tree {
        Tree::Int(number) => dict.int(key, *number),
        Tree::Bytes(bytes) => dict.bytes(key, bytes),
        Tree::List(items) => dict.list(key, |l| items.iter().for_each(|item| write_into_list(item, l))),
        Tree::Dict(items) => {
            dict.dict(key, |d| items.iter().for_each(|(key, item)| write_into_dict(key, item, d)))
        }
    }
}

fn read(value: Value) -> Tree {
    match value {
        Value::Int(number) => Tree::Int(number),
        Value::Bytes(bytes) => Tree::Bytes(bytes.to_vec()),
        Value::List(list) => Tree::List(list.iter().map(read).collect()),
        Value::Dict(dict) => {
            Tree::Dict(dict.iter().map(|(key, value)| (key.to_vec(), read(value))).collect())
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(tree in tree()) {
        let bytes = dict(|d| write_into_dict(b"x", &tree, d));
        let value = parse(&bytes).unwrap().as_dict().unwrap().get("x").unwrap();
        prop_assert_eq!(read(value), tree);
    }

    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in any::<Vec<u8>>()) {
        if let Ok((value, rest)) = parse_leniently(&bytes) {
            read(value);
            prop_assert!(rest.len() < bytes.len());
        }
    }

    #[test]
    fn both_readers_read_the_same_in_what_both_accept(text in "[dlie0-9:-]{0,60}") {
        match (parse(text.as_bytes()), parse_leniently(text.as_bytes())) {
            (Ok(strict), Ok((lenient, rest))) => {
                prop_assert_eq!(read(strict), read(lenient));
                prop_assert!(rest.is_empty());
            }
            (Ok(_), Err(error)) => prop_assert!(false, "{text}: {error}"),
            (Err(_), Ok((value, _))) => drop(read(value)),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn bytes_that_look_like_bencoding_give_a_value_or_an_error(text in "[dlie0-9:-]{0,60}") {
        match parse(text.as_bytes()) {
            // Its keys may come in another order, but nothing is lost and nothing made up.
            Ok(value) => {
                let again = dict(|d| write_into_dict(b"x", &read(value), d));
                prop_assert_eq!(again.len(), text.len() + "d1:xe".len());
            }
            Err(error) => prop_assert!(error.at <= text.len(), "{}", error),
        }
    }
}
