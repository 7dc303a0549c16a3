use super::*;

#[test]
fn good() {
    assert_eq!(parse(b"i-42e"), Ok(Value::Int(-42)));
    assert_eq!(parse(b"i0e"), Ok(Value::Int(0)));
    assert_eq!(parse(b"i-9223372036854775808e"), Ok(Value::Int(i64::MIN)));
    assert_eq!(parse(b"0:"), Ok(Value::Bytes(b"")));
    assert_eq!(parse(b"5:hello").unwrap().as_str(), Some("hello"));
    let list = parse(b"li1el1:aed1:bi2eee").unwrap().as_list().unwrap();
    let values: Vec<_> = list.iter().collect();
    assert_eq!(values.len(), 3);
    assert_eq!(values[0], Value::Int(1));
    assert_eq!(values[2].as_dict().unwrap().int("b"), Some(2));
    assert_eq!(parse(b"le").unwrap().as_list().unwrap().iter().count(), 0);
    assert_eq!(parse(b"de").unwrap().as_dict().unwrap().iter().count(), 0);
}
