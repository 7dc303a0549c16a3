//! The `torrent` program: what it prints, where, and with which exit status.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn torrent(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_torrent")).args(args).current_dir(folder).output().unwrap()
}

/// Standard output of a run that succeeds, and says nothing else.
fn good(folder: &Path, args: &[&str]) -> String {
    let output = torrent(folder, args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one line on standard error of a run that fails.
fn bad(folder: &Path, args: &[&str]) -> String {
    let output = torrent(folder, args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty() && stderr.starts_with("torrent: "), "{stderr}");
    stderr
}

fn input(folder: &Path) {
    fs::create_dir_all(folder.join("show/extras")).unwrap();
    fs::write(folder.join("got5.mp4"), vec![5; 1_234_567]).unwrap();
    fs::write(folder.join("show/one"), vec![1; 50_000]).unwrap();
    fs::write(folder.join("show/extras/two"), vec![2; 20_000]).unwrap();
}

#[test]
fn create_show_magnet_and_verify() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    input(folder);
    let created = good(folder, &["create", "got5.mp4", "--tracker", "http://127.0.0.1:6969/announce"]);
    assert!(created.ends_with("torrent : got5.mp4.torrent\n"), "{created}");

    let shown = good(folder, &["show", "got5.mp4.torrent"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "Name : got5.mp4");
    let key = lines[1].strip_prefix("Key : ").unwrap();
    assert_eq!(key.len(), 40);
    assert_eq!(lines[2..5], ["size : 1,234,567", "n_parts : 76", "format : hybrid"]);
    assert!(created.starts_with(&lines[..4].join("\n")));

    let json: serde_json::Value =
        serde_json::from_str(&good(folder, &["show", "got5.mp4.torrent", "--json"])).unwrap();
    assert_eq!(json["key"], key);
    assert_eq!((&json["size"], &json["n_parts"]), (&1_234_567.into(), &76.into()));
    assert_eq!(json["trackers"][0][0], "http://127.0.0.1:6969/announce");

    let created = lines.iter().find_map(|line| line.strip_prefix("created : ")).unwrap();
    assert!(created.starts_with("20") && created.ends_with('Z'), "a date, not a number: {created}");

    let magnet = good(folder, &["magnet", "got5.mp4.torrent"]);
    assert!(magnet.starts_with(&format!("magnet:?xt=urn:btih:{key}&xt=urn:btmh:1220")), "{magnet}");
    assert_eq!(magnet.trim_end(), json["magnet"]);

    let verified = good(folder, &["verify", "got5.mp4.torrent", "."]);
    assert_eq!(verified, "got5.mp4: 1 of 1 files good, 76 of 76 pieces\n");
}

#[test]
fn every_format_and_option() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    input(folder);
    for (format, key_len) in [("v1", 40), ("v2", 64), ("hybrid", 40)] {
        let file = format!("{format}.torrent");
        let options = ["--piece-length", "32KiB", "--private", "--comment", "two\nlines", "--format", format];
        good(folder, &[&["create", "show", "-o", &file][..], &options].concat());
        let shown = good(folder, &["show", &file]);
        assert!(
            shown.contains("piece length : 32,768\nprivate : yes\ncomment : two\\u000alines\n"),
            "{shown}"
        );
        assert!(shown.contains("         20,000  extras/two\n"), "{shown}");
        assert_eq!(shown.lines().nth(1).unwrap().len(), "Key : ".len() + key_len);
        good(folder, &["verify", &file, "."]);
    }
}

#[test]
fn verify_names_what_is_missing_or_wrong() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    input(folder);
    good(folder, &["create", "show", "-o", "s.torrent"]);
    fs::write(folder.join("show/one"), vec![9; 50_000]).unwrap();
    fs::remove_file(folder.join("show/extras/two")).unwrap();
    let output = torrent(folder, &["verify", "s.torrent", "."]);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(1), 0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "./show/extras/two: missing\n./show/one: damaged, 4 of its pieces do not match\n\
         show: 0 of 2 files good, 0 of 6 pieces\n"
    );
    assert!(bad(folder, &["verify", "s.torrent", "nowhere"]).contains("there is no folder nowhere"));
}

/// Bug: a torrent was refused for names that not every disk takes.
#[test]
fn names_that_are_others_on_disk_are_shown_with_the_reason() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::create_dir_all(folder.join("a\\b")).unwrap();
    fs::write(folder.join("a\\b/new\nline"), vec![1; 50_000]).unwrap();
    fs::write(folder.join("a\\b/plain"), vec![2; 20_000]).unwrap();
    let created = good(folder, &["create", "a\\b"]);
    assert!(created.ends_with("torrent : a_b.torrent\n"), "{created}");

    let shown = good(folder, &["show", "a_b.torrent"]);
    assert!(shown.starts_with("Name : a_b\nKey : "), "{shown}");
    assert!(shown.contains("\nin the torrent : `a\\b`, which contains a backslash\nformat"), "{shown}");
    let file = "new_line\n                          in the torrent : `new\\nline`, which contains a control character\n";
    assert!(shown.contains(file), "{shown}");
    assert!(shown.ends_with("  plain\n"), "{shown}");

    let json: serde_json::Value =
        serde_json::from_str(&good(folder, &["show", "a_b.torrent", "--json"])).unwrap();
    assert_eq!((&json["name"], &json["in_torrent"]["name"]), (&"a_b".into(), &"a\\b".into()));
    let [line, plain] = &json["files"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!((&line["path"], &line["in_torrent"]["name"]), (&"new_line".into(), &"new\nline".into()));
    assert_eq!(line["in_torrent"]["why"][0], "contains a control character");
    assert_eq!((&plain["path"], plain.get("in_torrent")), (&"plain".into(), None));

    let verified = good(folder, &["verify", "a_b.torrent", "."]);
    assert_eq!(verified, "a_b: 2 of 2 files good, 6 of 6 pieces\n");
    fs::remove_file(folder.join("a\\b/plain")).unwrap();
    let output = torrent(folder, &["verify", "a_b.torrent", "."]);
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("./a\\b/plain: missing\n"));

    // A name that leaves no room for the ending of the torrent's file.
    let long = "x".repeat(250);
    fs::write(folder.join(&long), b"content").unwrap();
    let created = good(folder, &["create", &long]);
    assert!(created.ends_with(&format!("torrent : {}.torrent\n", "x".repeat(240))), "{created}");
}

#[test]
fn failures_are_one_line_and_status_1() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    input(folder);
    fs::write(folder.join("not.torrent"), b"hello, this is no torrent").unwrap();
    fs::write(folder.join("empty"), b"").unwrap();
    for command in ["show", "magnet"] {
        assert!(bad(folder, &[command, "not.torrent"]).contains("not a torrent"));
        assert!(bad(folder, &[command, "nowhere.torrent"]).contains("cannot read nowhere.torrent"));
    }
    assert!(bad(folder, &["verify", "not.torrent", "."]).contains("not a torrent"));
    assert!(bad(folder, &["create", "nowhere"]).contains("cannot read nowhere"));
    assert!(bad(folder, &["create", "empty"]).contains("no bytes"));
    assert!(bad(folder, &["create", "got5.mp4", "-o", "no/such/folder.torrent"]).contains("cannot write"));
}

/// Bug: who gave the file instead of the folder that holds it was told that not all was there, or `File exists
/// (os error 17)`.
#[test]
fn a_file_in_place_of_a_folder_is_told_with_what_to_give_instead() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    input(folder);
    good(folder, &["create", "show/extras/two"]);
    good(folder, &["create", "show/extras"]);
    for command in ["seed", "verify"] {
        let file = bad(folder, &[command, "two.torrent", "show/extras/two"]);
        assert!(file.contains("is not a folder; give the folder that holds it: show/extras"), "{file}");
        let content = bad(folder, &[command, "extras.torrent", "show/extras"]);
        assert!(content.contains("content itself; give the folder that holds it: show\n"), "{content}");
        assert!(bad(folder, &[command, "two.torrent", "nowhere"]).contains("there is no folder nowhere"));
    }
    let into = bad(folder, &["download", "two.torrent", "-d", "got5.mp4"]);
    assert!(into.contains("got5.mp4 is a file; give -d the folder to download into"), "{into}");
}

/// Bug: a URL was taken for the name of a file.
#[test]
fn a_torrent_is_read_from_a_url() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    input(folder);
    good(folder, &["create", "got5.mp4"]);
    let metainfo = fs::read(folder.join("got5.mp4.torrent")).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let answers = ["200 OK", "404 Not Found", "200 OK"].into_iter().zip([&metainfo[..], b"", b"<html>"]);
    let serve = move || {
        for ((status, body), stream) in answers.zip(server.incoming()) {
            let mut stream = stream.unwrap();
            let mut request = BufReader::new(stream.try_clone().unwrap()).lines();
            assert_eq!(request.next().unwrap().unwrap(), "GET /x.torrent HTTP/1.1");
            request.find(|line| line.as_ref().unwrap().is_empty()).unwrap().unwrap();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            )
            .unwrap();
            stream.write_all(body).unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(serve);
        let url = format!("http://{addr}/x.torrent");
        assert_eq!(good(folder, &["show", &url]), good(folder, &["show", "got5.mp4.torrent"]));
        assert!(bad(folder, &["download", &url]).contains("HTTP status 404"));
        assert!(bad(folder, &["magnet", &url]).contains("x.torrent: not a torrent"));
    });
    assert!(
        bad(folder, &["download", "http://127.0.0.1:1/x.torrent"])
            .contains("cannot fetch http://127.0.0.1:1")
    );
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    input(folder);
    fs::write(folder.join("got5.mp4.torrent"), b"precious").unwrap();
    assert!(bad(folder, &["create", "got5.mp4"]).contains("exists already"));
    assert!(bad(folder, &["create", "got5.mp4", "-o", "show"]).contains("exists already"));
    std::os::unix::fs::symlink("elsewhere", folder.join("link")).unwrap();
    assert!(bad(folder, &["create", "got5.mp4", "-o", "link"]).contains("exists already"));
    assert_eq!(fs::read(folder.join("got5.mp4.torrent")).unwrap(), b"precious");
    assert!(!folder.join("elsewhere").exists());
}

#[test]
fn wrong_usage_is_status_2() {
    let place = tempfile::tempdir().unwrap();
    input(place.path());
    for args in [
        &[][..],
        &["frobnicate"],
        &["create"],
        &["create", "got5.mp4", "--piece-length", "3"],
        &["create", "got5.mp4", "--piece-length", "512MiB"],
        &["create", "got5.mp4", "--piece-length", "lots"],
        &["create", "got5.mp4", "--format", "v3"],
        &["create", "got5.mp4", "--tracker", "nonsense"],
        &["show"],
        &["verify", "x.torrent"],
    ] {
        assert_eq!(torrent(place.path(), args).status.code(), Some(2), "{args:?}");
    }
    assert!(!place.path().join("got5.mp4.torrent").exists());
}
