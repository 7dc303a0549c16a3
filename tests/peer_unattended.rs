//! A peer that nobody types to: it runs until it is told to stop, and other processes give it commands.

mod cli_support;
mod common;

use cli_support::{Process, Swarm};
use common::wait_until;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// The only line of an answer.
fn one(answer: Vec<String>) -> String {
    assert_eq!(answer.len(), 1, "{answer:#?}");
    answer[0].clone()
}

const STAYS: &str = "running until SIGINT or SIGTERM";

/// Bug: it ended at once, with exit status 0, so `nohup peer --mirror … &` filled no machine.
#[test]
fn a_peer_without_input_runs_until_it_is_told_to_stop() {
    let swarm = Swarm::new();
    let closed_pipe = |mut peer: Process| {
        peer.hang_up();
        peer
    };
    let no_input = |name: &str| {
        let mut command = swarm.peer_command(name, &["--mirror"]);
        command.env("SHOAL_LOG", "info");
        command
    };
    let nothing = Process::start_with(no_input("null"), Stdio::null());
    let empty = closed_pipe(Process::start(no_input("empty")));
    for (mut peer, signal) in [(nothing, Signal::TERM), (empty, Signal::INT)] {
        peer.expect(STAYS);
        peer.signal(signal);
        assert!(peer.end().success());
    }
}

#[test]
fn a_shell_ends_when_the_commands_that_were_piped_in_are_carried_out() {
    let swarm = Swarm::new();
    let mut peer = swarm.peer("a", &[]);
    peer.say("status");
    peer.hang_up();
    peer.expect("nothing is here yet");
    assert!(peer.end().success());
}

/// Bug: a second `peer … status` beside a running peer failed, since the state folder was in use.
#[test]
fn a_command_beside_a_running_peer_is_carried_out_by_that_one() {
    let swarm = Swarm::new();
    let mut running = swarm.peer("a", &[]);
    running.hang_up();
    let film = swarm.place.path().join("film.bin");
    fs::write(&film, vec![7; 300_000]).unwrap();

    let upload = swarm.once("a", &["upload", "../film.bin"]).good();
    assert!(upload.contains("film.bin is offered to everybody"), "{upload}");
    assert!(swarm.once("a", &["status"]).good().contains("(offered: nobody fetches it yet)"));
    let status: serde_json::Value = swarm.once("a", &["--json", "status"]).good().parse().unwrap();
    assert_eq!(
        (&status["torrents"][0]["size"], &status["torrents"][0]["complete"]),
        (&300_000.into(), &true.into())
    );
    let key = status["torrents"][0]["key"].as_str().unwrap();
    assert_eq!(swarm.once("a", &["pause", &key[..8]]).good(), "film.bin is paused\n");
    assert_eq!(swarm.once("a", &["resume", "film.bin"]).good(), "film.bin goes on\n");

    let mut other = swarm.peer("b", &[]);
    other.hang_up();
    let got = swarm.once("b", &["download", "film.bin"]).good();
    assert!(got.contains("film.bin: complete, 300.0 kB"), "{got}");
    assert_eq!(fs::read(swarm.download("b", "film.bin")).unwrap(), vec![7; 300_000]);

    assert!(swarm.once("a", &["download", "nothing"]).bad(1).contains("`nothing`"));
    assert_eq!(swarm.once("a", &["exit"]).good(), "");
    assert!(running.end().success());
    assert!(swarm.once("a", &["status"]).good().contains("film.bin"), "without a running peer as before");
}

#[test]
fn only_its_user_can_give_a_peer_commands_and_only_for_its_trackers() {
    let swarm = Swarm::new();
    let mut running = swarm.peer("a", &[]);
    running.hang_up();
    let socket = swarm.home("a").join(".shoal/control");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let elsewhere = cli_support::run("peer", &swarm.home("a"), &["127.0.0.1", "1", "status"]).bad(1);
    assert!(elsewhere.contains(&format!("is at {}, not at 127.0.0.1:1", swarm.addr)), "{elsewhere}");
    running.signal(Signal::TERM);
    assert!(running.end().success());
    assert!(!socket.exists());
}

/// The path of a socket may have about a hundred bytes; that of a folder has no such bound.
#[test]
fn a_state_folder_with_a_long_path_has_a_control_socket_too() {
    let swarm = Swarm::new();
    let long = format!("{}/{}", "d".repeat(120), "e".repeat(120));
    fs::create_dir_all(swarm.home("a").join(&long)).unwrap();
    let args = ["--state", long.as_str()];
    let mut running = swarm.peer("a", &args);
    running.hang_up();
    assert_eq!(swarm.once("a", &[&args[..], &["status"]].concat()).good(), "nothing is here yet\n");
    assert_eq!(swarm.once("a", &[&args[..], &["exit"]].concat()).good(), "");
    assert!(running.end().success());
}

/// What a killed peer leaves behind is in nobody's way.
#[test]
fn the_socket_of_a_killed_peer_is_replaced() {
    let swarm = Swarm::new();
    let mut killed = swarm.peer("a", &[]);
    swarm.once("a", &["status"]).good();
    killed.kill();
    assert_eq!(swarm.once("a", &["status"]).good(), "nothing is here yet\n");
    let mut again = swarm.peer("a", &[]);
    assert_eq!(swarm.once("a", &["exit"]).good(), "");
    assert!(again.end().success());
}

#[test]
fn commands_piped_in_beside_a_running_peer_are_carried_out_by_that_one() {
    let swarm = Swarm::new();
    swarm.shares("a", "film", &[7; 50_000]);
    let mut running = swarm.peer("a", &[]);
    wait_until("it is published", || !swarm.names().is_empty());
    let mut beside = Process::start(swarm.peer_command("a", &[]));
    beside.say("frobnicate");
    beside.say("status");
    beside.say("exit");
    beside.expect("there is no command `frobnicate`");
    beside.expect("film");
    assert_eq!(beside.end().code(), Some(1), "one command went wrong");
    assert!(one(running.ask("status")).contains("film"), "`exit` left it running");
}

/// A peer that is started by another program.
fn behind(starter: &[&str], swarm: &Swarm) -> Command {
    let peer = swarm.peer_command("a", &[]);
    let mut command = Command::new(starter[0]);
    command.args(&starter[1..]).arg(peer.get_program()).args(peer.get_args());
    command.current_dir(swarm.home("a"));
    command
}

/// A terminal that is closed ends a peer as SIGTERM does, but for one under `nohup`, which shall go on.
#[test]
fn a_peer_under_nohup_outlives_its_terminal() {
    let swarm = Swarm::new();
    // This test may run under `nohup` itself.
    let mut attached = Process::start(behind(&["env", "--default-signal=HUP"], &swarm));
    attached.listening();
    attached.say("status");
    attached.expect("nothing is here yet");
    attached.signal(Signal::HUP);
    assert!(attached.end().success());

    let mut unattended = Process::start_with(behind(&["nohup"], &swarm), Stdio::null());
    unattended.expect(STAYS);
    unattended.signal(Signal::HUP);
    assert_eq!(swarm.once("a", &["status"]).good(), "nothing is here yet\n");
    unattended.signal(Signal::TERM);
    assert!(unattended.end().success());
}
