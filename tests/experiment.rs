//! The program `experiment` with all its processes on this machine: a few repetitions of each size, killed in
//! the middle and continued.

mod cli_support;
mod common;

use cli_support::program;
use common::wait_until;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

const LEECHERS: usize = 2;

/// All roles here, with the small sizes so often and the large ones once.
fn experiment(folder: &Path, small: u32) -> Command {
    let mut command = program("experiment", folder);
    command.args(["--leechers", &LEECHERS.to_string()]);
    command.args(["--repetitions", &format!("10kB={small},100kB=2,1MB=1,10MB=1")]);
    command
}

fn rows(folder: &Path, file: &str) -> Vec<String> {
    match fs::read_to_string(folder.join("results").join(file)) {
        Ok(text) => text.lines().skip(1).map(str::to_owned).collect(),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(why) => panic!("{file}: {why}"),
    }
}

/// Each peer has each repetition once, in order, and all numbers are possible.
fn assert_good(folder: &Path, file: &str, size: f64, peers: &[&str], repetitions: usize) {
    let rows = rows(folder, file);
    let cells = |row: &String| row.split(',').map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    assert_eq!(rows.len(), peers.len() * repetitions, "{file}: {rows:?}");
    for peer in peers {
        let of_peer: Vec<&str> =
            rows.iter().filter(|row| row[1] == *peer).map(|row| row[0].as_str()).collect();
        let expected: Vec<String> = (1..=repetitions).map(|n| n.to_string()).collect();
        assert_eq!(of_peer, expected, "{file}, {peer}");
    }
    for row in rows {
        let number = |cell: usize| row[cell].parse::<f64>().unwrap();
        let (seconds, kbps, received, sent, overhead) =
            (number(2), number(3), number(4), number(5), number(6));
        assert!((kbps * seconds * 125.0 / size - 1.0).abs() < 0.01, "{file}: {row:?}");
        assert!(received > size && sent > 68.0, "{file}: content, and a handshake at least: {row:?}");
        assert!((overhead - (received + sent) / size).abs() < 1e-5, "{file}: {row:?}");
        assert!(overhead < 2.0, "{file}: {row:?}");
    }
}

/// Kills the whole experiment as soon as a file has so many rows.
fn kill_at(folder: &Path, file: &str, count: usize) {
    let mut command = experiment(folder, 50);
    let mut parent = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("there are some rows", || {
        assert!(parent.try_wait().unwrap().is_none(), "it ended before it could be killed");
        rows(folder, file).len() >= count
    });
    parent.kill().unwrap();
    parent.wait().unwrap();
}

#[test]
fn all_roles_on_one_machine_and_what_is_killed_goes_on_with_the_rows_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    kill_at(folder, "A_10kB_leech_results.csv", 10);
    let csv = folder.join("results/A_10kB_leech_results.csv");
    // The roles end with their parent, and whoever comes next waits for that; a row of theirs may still come.
    kill_at(folder, "A_10kB_leech_results.csv", 20);
    let before = rows(folder, "A_10kB_leech_results.csv");
    assert!(!folder.join("results/bittorrent_summary.csv").exists());

    let output = experiment(folder, 50).stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{err}");
    assert_eq!(rows(folder, "A_10kB_leech_results.csv")[..before.len()], before, "rows are kept");
    for (label, size, repetitions) in
        [("10kB", 1e4, 50), ("100kB", 1e5, 2), ("1MB", 1e6, 1), ("10MB", 1e7, 1)]
    {
        let leechers = ["leech-1", "leech-2"];
        assert_good(folder, &format!("A_{label}_leech_results.csv"), size, &leechers, repetitions);
        assert_good(folder, &format!("B_{label}_seed_results.csv"), size, &["seed"], repetitions);
        assert!(out.contains(&format!("| {label} | ")), "{out}");
        for (name, file) in [("seed", "A_"), ("leech-1", "B_"), ("leech-2", "B_")] {
            let path = folder.join("results/files").join(name).join(format!("{file}{label}"));
            assert_eq!(fs::metadata(&path).unwrap().len(), size as u64, "{}", path.display());
        }
    }
    let summary = fs::read_to_string(folder.join("results/bittorrent_summary.csv")).unwrap();
    let labels: Vec<&str> = summary.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(labels, ["File Size", "10kB", "100kB", "1MB", "10MB"]);
    assert!(summary.lines().skip(1).all(|line| line.split(',').all(|cell| !cell.is_empty())), "{summary}");
    for plot in ["throughput.svg", "overhead.svg"] {
        assert!(fs::read_to_string(folder.join("results").join(plot)).unwrap().contains("shoal, upload"));
    }

    // Nothing is missing: nothing is measured again.
    let whole = fs::read(&csv).unwrap();
    assert!(experiment(folder, 50).stdin(Stdio::null()).output().unwrap().status.success());
    assert_eq!(fs::read(&csv).unwrap(), whole);
}

#[test]
fn wrong_usage_and_what_cannot_start_are_told_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| cli_support::run("experiment", dir.path(), args);
    for args in [
        &["--role", "seed"][..],
        &["--role", "leech"],
        &["--role", "seed", "nowhere"],
        &["--repetitions", "10kB"],
        &["--leechers", "0"],
        &["--client", "other"],
        &["--name", "a,b"],
    ] {
        assert_eq!(run(args).status, 2, "{args:?}");
    }
    let no_tracker = run(&["--role", "leech", "127.0.0.1:1"]).bad(1);
    assert!(no_tracker.contains("no tracker at 127.0.0.1:1"), "{no_tracker}");
    let no_python = run(&["--client", "libtorrent", "--python", "no-such-python"]).bad(1);
    assert!(no_python.contains("--python"), "{no_python}");
    let no_rows = run(&["--role", "report", "--results", "empty"]).bad(1);
    assert!(no_rows.contains("there are no rows in empty"), "{no_rows}");
}
