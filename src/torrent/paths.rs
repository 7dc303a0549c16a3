//! Checks the names in a metainfo file, which are untrusted. Only names that stay inside the torrent's own
//! folder pass, in torrents that we read and in those that we create. Pure.

/// Maximum number of components of a path in a torrent. Shared content seldom goes deeper than 20.
pub const MAX_PATH_DEPTH: usize = 64;

/// Maximum length of a name in bytes on common file systems.
const MAX_NAME_LEN: usize = 255;

/// Names that open a device on some system, in any folder.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// Why `name` cannot be a path component, as the end of a sentence; `None` if it can.
pub fn unsafe_name(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("is empty"),
        "." => Some("is `.`"),
        ".." => Some("is `..`"),
        _ if name.len() > MAX_NAME_LEN => Some("is longer than 255 bytes"),
        _ if name.contains('/') => Some("contains a slash"),
        _ if name.contains('\\') => Some("contains a backslash"),
        _ if name.chars().any(char::is_control) => Some("contains a control character"),
        _ if is_drive(name) => Some("is a drive"),
        _ if is_device(name) => Some("is the name of a device"),
        _ => None,
    }
}

fn is_drive(name: &str) -> bool {
    let mut chars = name.chars();
    matches!(
        (chars.next(), chars.next(), chars.next()),
        (Some(letter), Some(':'), None) if letter.is_ascii_alphabetic()
    )
}

/// `CON`, `nul`, `COM1` and similar names. With an extension (`aux.c`, a file of the Linux kernel) they are
/// devices only on Windows, and refused only there.
fn is_device(name: &str) -> bool {
    let stem = if cfg!(windows) { name.split('.').next().unwrap_or(name) } else { name };
    let stem = stem.trim_end_matches([' ', '.']).to_ascii_lowercase();
    let port = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    DEVICES.contains(&stem.as_str()) || port.is_some_and(|n| matches!(n.as_bytes(), [b'0'..=b'9']))
}

/// The first path that occurs twice, or that is both a file and a folder. Case matters: `A` and `a`
/// are two names.
pub fn collision<'a>(paths: impl Iterator<Item = &'a [String]>) -> Option<&'a [String]> {
    let mut sorted: Vec<&[String]> = paths.collect();
    sorted.sort_unstable();
    // After sorting, everything below a path comes directly behind it.
    sorted.windows(2).find(|pair| pair[1].starts_with(pair[0])).map(|pair| pair[0])
}
