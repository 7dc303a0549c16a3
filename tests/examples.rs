//! The programs in `examples/`, run against each other over loopback.

mod common;

use common::{assert_same, content};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where cargo puts an example: beside the folder of this test. `cargo test` builds all of them.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --examples` first", path.display());
    Command::new(path)
}

/// A seed that ends with this, and the address it printed.
struct Seed(Child, String);

impl Seed {
    fn start(path: &Path, folder: &Path) -> Seed {
        let mut seed = example("seed");
        seed.arg(path).arg("127.0.0.1:0").current_dir(folder);
        let mut child = seed.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.split([' ', ';']).find(|word| word.starts_with("127.0.0.1:"));
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}")).to_owned();
        Seed(child, address)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let _ = self.0.kill(); // a test that failed
        let _ = self.0.wait();
    }
}

/// Seeds `path`, downloads it, compares, and has the seed end by itself. The folder with the download.
fn from_seed_to_download(path: &Path) -> tempfile::TempDir {
    let (folder, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut seed = Seed::start(path, folder.path());
    let name = path.file_name().unwrap();
    let torrent = folder.path().join(format!("{}.torrent", name.display()));
    let output = example("download").arg(torrent).arg(to.path()).arg(&seed.1).output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{errors}");
    assert!(said.contains("100 % of ") && said.contains(" is complete\n"), "{said}");
    assert_same(path, &to.path().join(name));
    drop(seed.0.stdin.take()); // the end of its input
    assert!(seed.0.wait().unwrap().success());
    to
}

#[test]
fn what_the_seed_serves_is_what_the_download_writes() {
    let from = tempfile::tempdir().unwrap();
    let folder = from.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let (film, text) = (content(1, 3_000_000), content(2, 1000));
    std::fs::write(folder.join("film"), &film).unwrap();
    std::fs::write(folder.join("text"), &text).unwrap();
    let file = from_seed_to_download(&folder.join("film"));
    assert!(std::fs::read(file.path().join("film")).unwrap() == film);
    let both = from_seed_to_download(&folder);
    assert!(std::fs::read(both.path().join("folder/film")).unwrap() == film);
    assert!(std::fs::read(both.path().join("folder/text")).unwrap() == text);
}

#[test]
fn wrong_arguments_are_answered_with_the_usage() {
    let cases: [(&str, &[&str], &str); 6] = [
        ("seed", &[], "which file or folder?"),
        ("seed", &["film", "here"], "here is not an address to listen on"),
        ("seed", &["film", "127.0.0.1:0", "more"], "more than one file or folder"),
        ("download", &["film.torrent"], "to which folder?"),
        ("download", &["film.torrent", "."], "from which peers?"),
        ("download", &["film.torrent", ".", "127.0.0.1"], "127.0.0.1 is not the address of a peer"),
    ];
    for (name, words, why) in cases {
        let output = example(name).args(words).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name} {words:?}: {errors}");
        assert!(errors.contains(why) && errors.contains(&format!("usage: {name} ")), "{errors}");
    }
    let output = example("download").args(["/nowhere.torrent", ".", "127.0.0.1:1"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("cannot read /nowhere.torrent"), "{errors}");
}
