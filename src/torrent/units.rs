//! Numbers as people write and read them. Pure.

/// Reads a number of bytes as written on a command line: `262144`, `256KiB`, `5MB`, `1.5GiB`. Units are of
/// 1000 (`kB`, `MB`, `GB`, `TB`) or of 1024 (`KiB`, `MiB`, `GiB`, `TiB`), in any case. A bare `K`, `M`,
/// `G` or `T` is a unit of 1024.
///
/// # Errors
/// One sentence: the text is not such a number, or the number is too large.
pub fn parse_bytes(text: &str) -> Result<u64, &'static str> {
    const WRONG: &str = "expected a number of bytes such as 262144, 256KiB or 5MB";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(WRONG),
    };
    let too_large = "more bytes than there can be";
    if number.contains('.') {
        let bytes = number.parse::<f64>().map_err(|_| WRONG)? * factor as f64;
        return if bytes < i64::MAX as f64 { Ok(bytes as u64) } else { Err(too_large) };
    }
    match number.parse::<u64>() {
        Ok(number) => number.checked_mul(factor).ok_or(too_large),
        Err(_) if number.is_empty() => Err(WRONG),
        Err(_) => Err(too_large),
    }
}

/// A number with a comma after every three digits from the right: `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_words() {
        let table = [
            ("0", 0),
            ("262144", 262_144),
            ("256KiB", 262_144),
            ("256 kib", 262_144),
            ("256K", 262_144),
            ("5MB", 5_000_000),
            ("1.5GiB", 3 << 29),
            ("0.5kB", 500),
        ];
        for (text, bytes) in table {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "x",
            "-1",
            "1KK",
            "1..5M",
            ".",
            "KiB",
            "99999999999999999999",
            "99999999TiB",
            "99999999.5TiB",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn thousands_are_separated() {
        let table =
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (100_000, "100,000")];
        for (number, text) in table {
            assert_eq!(thousands(number), text);
        }
    }
}
