//! Odd names one by one, many at a time, and any at all.

use super::*;
use proptest::prelude::*;

/// The paths on disk of files with these names in the torrent.
fn paths(originals: &[Original]) -> Vec<String> {
    of_files(originals).iter().map(|named| named.path.join("/")).collect()
}

fn reasons(original: Original) -> Vec<Why> {
    of_files(&[original])[0].renamed.as_ref().map_or_else(Vec::new, |renamed| renamed.why.clone())
}

#[test]
fn every_kind_of_name_gets_a_safe_one() {
    let long = "x".repeat(300) + ".mp4";
    let cut = "x".repeat(236) + ".mp4";
    let table: &[(Original, &str, &[Why])] = &[
        (&[b"a", b"b.txt"], "a/b.txt", &[]),
        (&[b"/etc/passwd"], "_etc_passwd", &[Why::Slash]),
        (&[b"a\\b"], "a_b", &[Why::Backslash]),
        (&[b"a\nb\x7f"], "a_b_", &[Why::Control]),
        (&["a\u{85}\u{2028}b".as_bytes()], "a__b", &[Why::Control]),
        (&["\u{202e}gpj.exe".as_bytes()], "_gpj.exe", &[Why::Direction]),
        (&[b"..", b"..", b"x"], "_/_/x", &[Why::Dots]),
        (&[b"."], "_", &[Why::Dots]),
        (&[b"", b"x"], "x", &[Why::Empty]),
        (&[b"a", b"", b"x", b""], "a/x", &[Why::Empty]),
        (&[b"", b""], "_", &[Why::Empty]),
        (&[], "_", &[Why::Empty]),
        (&[b"CON"], "_CON", &[Why::Device]),
        (&[b"nul. "], "_nul. ", &[Why::Device]),
        (&[b"LPT9", b"c:"], "_LPT9/c_", &[Why::Device, Why::Drive]),
        (&[b"caf\xe9"], "caf\u{fffd}", &[Why::NotUtf8]),
        (&[b"\x82est/MB"], "\u{fffd}est_MB", &[Why::NotUtf8, Why::Slash]),
        (&[long.as_bytes()], &cut, &[Why::TooLong]),
    ];
    for (original, path, why) in table {
        assert_eq!((paths(&[original]), reasons(original)), (vec![(*path).to_owned()], why.to_vec()));
    }
    for name in ["...", ".hidden", "a b", "aux.c", "console", "com10", "a:b", "ü", "-rf", "~", "C:x", "a?*"]
    {
        assert_eq!(reasons(&[name.as_bytes()]), [], "{name}");
    }
}

#[test]
fn a_long_name_is_cut_at_a_character_and_keeps_its_extension() {
    let cut = |name: String| paths(&[&[name.as_bytes()]]).remove(0);
    let wide = cut("\u{e9}".repeat(150) + ".torrent");
    assert_eq!((wide.len(), wide.ends_with("\u{e9}.torrent")), (240, true));
    assert_eq!(cut("\u{e9}".repeat(150) + "x.mp4"), "\u{e9}".repeat(118) + ".mp4");
    assert_eq!(cut("a".repeat(250) + "." + &"b".repeat(30)), "a".repeat(240), "that is no extension");
    let fits = "\u{e9}".repeat(127) + "x";
    assert_eq!(cut(fits.clone()), fits, "255 bytes fit");
    // What is made longer, as it is a device or one of two, fits as well.
    let device = "con".to_owned() + &" ".repeat(252);
    assert_eq!(cut(device.clone()).len(), 241);
    let both = paths(&[&[fits.as_bytes()], &[fits.as_bytes()]]);
    assert!(both[0] == fits && both[1].len() <= 255 && both[1].ends_with(".1"), "{both:?}");
}

#[test]
fn a_path_that_is_too_deep_or_too_long_loses_folders_in_its_middle() {
    let deep: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let deep: Vec<&[u8]> = deep.iter().map(String::as_bytes).collect();
    let path = of_files(&[&deep]).remove(0).path;
    assert_eq!((path.len(), &*path[62], &*path[63]), (64, "62", "299"));
    assert_eq!(reasons(&deep), [Why::TooDeep]);
    let folder = [b'x'; 200];
    let long: Vec<&[u8]> = std::iter::repeat_n(&folder[..], 20).chain([&b"last"[..]]).collect();
    let path = of_files(&[&long]).remove(0).path;
    assert_eq!((path.len(), &*path[path.len() - 1]), (10, "last"));
    assert_eq!(reasons(&long), [Why::TooLong]);
}

#[test]
fn files_of_one_name_are_told_apart() {
    let table: &[(&[Original], &[&str])] = &[
        (&[&[b"a.txt"], &[b"a.txt"], &[b"a.txt"]], &["a.txt", "a.1.txt", "a.2.txt"]),
        (&[&[b"a.txt"], &[b"a.1.txt"], &[b"a.txt"]], &["a.txt", "a.1.txt", "a.2.txt"]),
        (&[&[b"A"], &[b"a"], &[b"A!"]], &["A", "a.1", "A!"]),
        (&[&["ФАЙЛ".as_bytes()], &["файл".as_bytes()]], &["ФАЙЛ", "файл.1"]),
        (&[&[b"X", b"a"], &[b"x", b"b"], &[b"x", b"A"]], &["X/a", "x/b", "x/A.1"]),
        // An old encoding of two Russian names.
        (&[&[b"\xc0.txt"], &[b"\xc1.txt"]], &["\u{fffd}.txt", "\u{fffd}.1.txt"]),
        (&[&[b"a"], &[b"a", b"b"]], &["a.1", "a/b"]),
        (&[&[b"a", b"b"], &[b"a"], &[b"A"]], &["a/b", "a.1", "A.2"]),
        (&[&[b"a"], &[b"a", b"b"], &[b"a", b"b", b"c"]], &["a.1", "a/b.1", "a/b/c"]),
        (&[&[b"a"], &[b"a.1", b"x"], &[b"a"]], &["a", "a.1/x", "a.2"]),
        (&[&[b"a\\b"], &[b"a_b"], &[b"a/b"]], &["a_b.1", "a_b", "a_b.2"]),
        (&[&[], &[b""], &[b"."]], &["_", "_.1", "_.2"]),
    ];
    for (originals, expected) in table {
        assert_eq!(paths(originals), *expected);
    }
    let named = of_files(&[&[b"a\\b"], &[b"a\\b"]]);
    let renamed = named[1].renamed.as_ref().unwrap();
    assert_eq!((&*renamed.original(), renamed.why()), ("a\\b", &[Why::Backslash, Why::SameName][..]));
}

/// A quarter of a million files of one name, or of long names that differ only in what is cut off.
#[test]
fn many_files_of_one_name_take_no_longer_than_others() {
    let same: [&[u8]; 1] = [b"same.txt"];
    let originals = vec![&same[..]; 200_000];
    assert_eq!(of_files(&originals)[199_999].path, ["same.199999.txt"]);
    let names: Vec<String> = (0..40_000).map(|n| format!("{}{n:06}", "x".repeat(245))).collect();
    let names: Vec<[&[u8]; 1]> = names.iter().map(|name| [name.as_bytes()]).collect();
    let twice: Vec<Original> = names.iter().chain(&names).map(|path| &path[..]).collect();
    let all: HashSet<Vec<String>> = of_files(&twice).into_iter().map(|named| named.path).collect();
    assert_eq!(all.len(), 80_000);
}

#[test]
fn a_torrent_without_a_name_is_called_by_its_key() {
    for original in [&b""[..], b".", b".."] {
        assert_eq!(of_torrent(original, "abc").0, "abc");
    }
    assert_eq!(of_torrent(b"temp/../../abc", "").0, "temp_.._.._abc");
    assert_eq!(of_torrent(b"plain", ""), ("plain".to_owned(), None));
}

#[test]
fn the_names_of_the_torrent_itself_lead_nowhere_else() {
    let literal = |original: Original| of_files(&[original])[0].renamed.as_ref().unwrap().literal();
    assert_eq!(literal(&[b"a\\b", b"c"]), Some(PathBuf::from("a\\b/c")));
    assert_eq!(literal(&[b"\xff"]), Some(PathBuf::from(OsStr::from_bytes(b"\xff"))));
    for outside in
        [&[&b"/etc"[..]][..], &[b"..", b"x"], &[b"a/../../x"], &[b".", b"x"], &[b"", b"x"], &[b"\0"]]
    {
        assert_eq!(literal(outside), None);
    }
}

/// Names that are likely to be odd, or alike.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(&b"aAbB.1_/\\:\x00\n\xc0\xe9 "[..]), 0..4),
        prop::sample::select(vec!["con", "NUL", "..", ".", "", "a.1", "C:", "com1"]).prop_map(Vec::from),
        (200..300usize, "[.]?[a-z]{0,20}").prop_map(|(len, end)| ("é".repeat(len / 2) + &end).into_bytes()),
        prop::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #[test]
    fn any_names_give_paths_that_are_safe_and_apart(
        originals in prop::collection::vec(prop::collection::vec(name(), 0..70), 0..30),
    ) {
        let borrowed: Vec<Vec<&[u8]>> =
            originals.iter().map(|path| path.iter().map(Vec::as_slice).collect()).collect();
        let borrowed: Vec<Original> = borrowed.iter().map(Vec::as_slice).collect();
        let named = of_files(&borrowed);
        prop_assert_eq!(&named, &of_files(&borrowed), "the same each time");
        for Named { path, .. } in &named {
            prop_assert!((1..=MAX_PATH_DEPTH).contains(&path.len()));
            prop_assert!(path.iter().map(|name| name.len() + 1).sum::<usize>() < MAX_PATH_LEN + 16);
            for name in path {
                prop_assert!((1..=255).contains(&name.len()) && name != "." && name != "..", "{}", name);
                prop_assert!(!name.contains(['/', '\\']) && !name.chars().any(char::is_control));
                prop_assert!(!is_device(name) && !is_drive(name));
            }
        }
        let folded = |named: &Named| named.path.iter().map(|name| name.to_lowercase()).collect();
        let all: Vec<Vec<String>> = named.iter().map(folded).collect();
        for (at, one) in all.iter().enumerate() {
            prop_assert!(all.iter().enumerate().all(|(other, path)| other == at || !path.starts_with(one)));
        }
        // A name differs only for a reason.
        for (original, named) in borrowed.iter().zip(&named) {
            let is_same = original.iter().copied().eq(named.path.iter().map(String::as_bytes));
            prop_assert_eq!(is_same, named.renamed.is_none());
        }
        // What is safe and apart is left alone, unless a number has made a long path too long.
        let len = |path: &[String]| path.iter().map(|name| name.len() + 1).sum::<usize>();
        let named: Vec<Named> = named.into_iter().filter(|named| len(&named.path) <= MAX_PATH_LEN).collect();
        let again: Vec<Vec<&[u8]>> =
            named.iter().map(|named| named.path.iter().map(String::as_bytes).collect()).collect();
        let again: Vec<Original> = again.iter().map(Vec::as_slice).collect();
        for (before, after) in named.iter().zip(of_files(&again)) {
            prop_assert_eq!(&before.path, &after.path);
            prop_assert!(after.renamed.is_none());
        }
    }
}
