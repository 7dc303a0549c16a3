//! The whole system through its commands, with a tracker and peers as real processes: sharing, fetching,
//! deaths, restarts and wrong input.

mod cli_support;
mod common;
mod tracker_support;

use cli_support::{Process, Swarm, program, run};
use common::{assert_same, content, wait_until};
use rustix::process::Signal;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tracker_support::Session;

/// The one line that an answer consists of.
fn one(answer: Vec<String>) -> String {
    assert_eq!(answer.len(), 1, "{answer:#?}");
    answer[0].clone()
}

/// The torrents in an answer to `status`.
fn torrents(status: &Value) -> Vec<Value> {
    status["torrents"].as_array().unwrap().clone()
}

// ---- sharing and fetching ---------------------------------------------------------------------------------

#[test]
fn what_is_in_the_upload_folder_is_published_found_and_fetched() {
    let swarm = Swarm::new();
    let files =
        ["got5.mp4", "Makefile", "my holiday film.mkv", "sub/deeper/notes.tar.gz", "sub/été.txt", "one byte"];
    for (seed, path) in (1..).zip(files) {
        let len = if path == "one byte" { 1 } else { 100_000 + 16_384 * seed };
        swarm.shares("alice", path, &content(seed as u64, len));
    }
    for left_out in ["empty", ".hidden", "film.part", ".git/config"] {
        swarm.shares("alice", left_out, if left_out == "empty" { b"" } else { b"x" });
    }
    let _alice = swarm.peer("alice", &[]);
    let mut bob = swarm.peer("bob", &[]);
    wait_until("all are published", || swarm.names().len() == files.len());
    let names = ["Makefile", "got5.mp4", "my holiday film.mkv", "notes.tar.gz", "one byte", "été.txt"];
    let mut published = swarm.names();
    published.sort();
    assert_eq!(published, names);

    assert_eq!(bob.ask("list").len(), files.len());
    let found = one(bob.ask("search: FILM my"));
    assert!(found.contains("1 seed") && found.ends_with("my holiday film.mkv"), "{found}");
    assert!(one(bob.ask("search nobody has this")).contains("is shared here now"));

    let fetched = |name: &str| swarm.download("bob", name);
    let shared = |path: &str| swarm.home("alice").join("uploads").join(path);
    assert!(one(bob.ask("DOWNLOAD: got5.mp4")).ends_with("downloads/got5.mp4: complete, 116.4 kB"));
    assert_same(&shared("got5.mp4"), &fetched("got5.mp4"));
    one(bob.ask("download my holiday film.mkv"));
    assert_same(&shared("my holiday film.mkv"), &fetched("my holiday film.mkv"));
    let key = swarm.key("Makefile").unwrap();
    one(bob.ask(&format!("get {}", key[..12].to_uppercase())));
    assert_same(&shared("Makefile"), &fetched("Makefile"));
    assert_eq!(bob.ask("download notes.tar.gz été.txt \"one byte\"").len(), 3);
    assert_same(&shared("sub/deeper/notes.tar.gz"), &fetched("sub/deeper/notes.tar.gz"));
    assert_same(&shared("sub/été.txt"), &fetched("sub/été.txt"));
    assert_same(&shared("one byte"), &fetched("one byte"));

    assert!(one(bob.ask("download got5.mp4")).contains("complete"), "again is no fault");
    let status = bob.ask("status");
    assert_eq!(status.iter().filter(|line| line.contains("100%") && line.contains("(sharing)")).count(), 6);
    assert!(one(bob.ask("preferred")).contains("sent us"));
    assert!(bob.ask("peers").len() >= 2);
    bob.say("exit");
    assert_eq!(bob.end().code(), Some(1), "`ask` says words that it does not know");
}

#[test]
fn what_one_shares_oneself_is_there_already() {
    let swarm = Swarm::new();
    swarm.shares("alice", "mine.txt", b"mine");
    let mut alice = swarm.peer("alice", &[]);
    assert!(one(alice.ask("download mine.txt")).contains("uploads/mine.txt: complete"));
    assert!(!swarm.download("alice", "mine.txt").exists());
}

#[test]
fn a_name_that_several_share_is_answered_with_the_choice() {
    let swarm = Swarm::new();
    swarm.shares("alice", "this/readme.txt", b"this");
    swarm.shares("alice", "that/readme.txt", b"that");
    swarm.shares("alice", "other.txt", b"other");
    let _alice = swarm.peer("alice", &[]);
    let mut bob = swarm.peer("bob", &[]);
    wait_until("all are published", || swarm.names().len() == 3);

    let answer = bob.ask("download readme.txt other.txt");
    assert!(answer[0].contains("2 torrents are called `readme.txt`, choose by key:"), "{answer:#?}");
    let keys: Vec<String> = answer[1..3].iter().map(|line| line[..12].to_owned()).collect();
    assert!(answer[3].contains("other.txt: complete"), "the other is fetched: {answer:#?}");
    let [that, this] = ["that/readme.txt", "this/readme.txt"].map(|path| swarm.download("bob", path));
    assert!(!that.exists() && !this.exists());

    one(bob.ask(&format!("download {}", keys[0])));
    assert_eq!(fs::read(that).unwrap(), b"that");
    fs::create_dir(this.parent().unwrap()).unwrap();
    fs::write(&this, "somebody's").unwrap();
    let answer = one(bob.ask(&format!("download {}", keys[1])));
    assert!(answer.contains("in the way"), "{answer}");
    assert_eq!(fs::read(this).unwrap(), b"somebody's");
}

#[test]
fn new_changed_and_removed_files_are_noticed_while_it_runs() {
    let swarm = Swarm::new();
    let _alice = swarm.peer("alice", &[]);
    let path = swarm.shares("alice", "new folder/late.txt", b"first");
    wait_until("it is published", || swarm.key("late.txt").is_some());
    let first = swarm.key("late.txt");
    fs::write(&path, b"second, and longer").unwrap();
    wait_until("the new content is published", || {
        swarm.key("late.txt").is_some_and(|key| Some(key) != first)
    });
    let second = swarm.key("late.txt").unwrap();
    swarm.once("bob", &["download", &second]).good();
    assert_eq!(fs::read(swarm.download("bob", "new folder/late.txt")).unwrap(), b"second, and longer");
    fs::rename(&path, path.with_file_name("renamed.txt")).unwrap();
    wait_until("it goes by its new name", || swarm.names() == ["renamed.txt"]);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    wait_until("it is withdrawn", || swarm.names().is_empty());
}

#[test]
fn an_offered_folder_fills_a_room_and_the_offer_outlives_a_restart() {
    let swarm = Swarm::new();
    let lesson = swarm.home("teacher").join("lesson 5");
    fs::create_dir_all(lesson.join("extras/empty folders are left out")).unwrap();
    fs::write(lesson.join("image.iso"), content(5, 900_000)).unwrap();
    fs::write(lesson.join("extras/notes"), content(6, 40_000)).unwrap();
    fs::write(lesson.join("extras/nothing"), b"").unwrap();
    let arrived = |name: &str| {
        let fetched = swarm.download(name, "lesson 5");
        wait_until("the folder is there", || fetched.is_dir());
        assert_same(&lesson.join("image.iso"), &fetched.join("image.iso"));
        assert_same(&lesson.join("extras/notes"), &fetched.join("extras/notes"));
        assert_eq!(fs::read(fetched.join("extras/nothing")).unwrap(), b"");
    };

    let mut teacher = swarm.peer("teacher", &["--json"]);
    let _early = [swarm.peer("ann", &["--mirror"]), swarm.peer("ben", &["--mirror"])];
    let mut bystander = swarm.peer("bystander", &[]);
    let offered = teacher.ask_json("upload lesson 5");
    assert_eq!(offered["name"], "lesson 5");
    let _late = swarm.peer("cleo", &["--mirror"]);
    wait_until("the teacher sees that all three have it", || {
        let torrents = torrents(&teacher.ask_json("status"));
        let room = torrents.iter().find(|torrent| torrent["key"] == offered["key"]).unwrap()["room"].clone();
        let done = |peer: &&Value| peer["have"] == peer["n_parts"] && peer["client"] != "";
        room.as_array().unwrap().iter().filter(done).count() == 3
    });
    ["ann", "ben", "cleo"].iter().for_each(|name| arrived(name));
    assert!(one(bystander.ask("status")).contains("nothing is here yet"));

    teacher.kill();
    let mut teacher = swarm.peer("teacher", &[]);
    wait_until("it is offered still", || {
        teacher.ask("status").iter().any(|line| line.contains("offered: 3 of 3 peers have it all"))
    });
    let _latest = swarm.peer("dora", &["--mirror"]);
    arrived("dora");
    assert!(one(teacher.ask("remove lesson 5")).contains("forgotten"));
    assert!(one(teacher.ask("status")).contains("nothing is here yet"));
    assert!(lesson.join("image.iso").exists());
}

#[test]
fn what_one_command_offers_the_next_run_serves() {
    let mut swarm = Swarm::new();
    let file = swarm.place.path().join("lab.img");
    fs::write(&file, content(7, 70_000)).unwrap();
    let said = swarm.once("alice", &["upload", file.to_str().unwrap()]);
    assert!(said.err.contains("nobody serves it after this command"), "{}", said.err);
    assert!(said.good().contains("lab.img is offered to everybody"));
    assert!(swarm.names().is_empty());
    swarm.tracker.kill(); // which remembers offers while it runs
    swarm.restart_tracker();
    let _alice = swarm.peer("alice", &[]);
    let _bob = swarm.peer("bob", &["--mirror"]);
    wait_until("the mirror has it", || swarm.download("bob", "lab.img").exists());
    assert_same(&file, &swarm.download("bob", "lab.img"));
}

#[test]
fn pause_resume_and_remove() {
    let swarm = Swarm::new();
    swarm.shares("alice", "film", &content(8, 3_000_000));
    let _alice = swarm.peer("alice", &[]);
    let mut bob = swarm.peer("bob", &["--down", "200KB"]);
    wait_until("it is published", || !swarm.names().is_empty());
    bob.say("download film");
    wait_until("it began", || swarm.download("bob", "film.part").exists());
    bob.signal(Signal::TERM);
    assert_eq!(bob.end().code(), Some(1), "the download did not end well");
    bob.expect("goes on when this peer is started again");

    let mut bob = swarm.peer("bob", &["--down", "200KB"]);
    assert_eq!(one(bob.ask("pause film")), "film is paused");
    assert!(bob.ask("status")[0].contains("(paused: by the user)"));
    bob.hang_up();
    assert_eq!(bob.end().code(), Some(1), "`ask` says words that it does not know");
    let mut bob = swarm.peer("bob", &[]);
    assert!(bob.ask("status")[0].contains("(paused: as it was before the restart)"));
    assert_eq!(one(bob.ask("resume film")), "film goes on");
    assert!(one(bob.ask("download film")).contains("complete"));
    assert_eq!(one(bob.ask("remove film")), "film is forgotten; its files stay");
    assert!(swarm.download("bob", "film").exists());
    assert!(one(bob.ask("remove film")).contains("nothing called `film` is here"));
}

// ---- deaths and restarts ----------------------------------------------------------------------------------

#[test]
fn a_peer_killed_in_the_middle_of_a_download_completes_it() {
    let swarm = Swarm::new();
    let shared = swarm.shares("alice", "film.mkv", &content(9, 4_000_000));
    let _alice = swarm.peer("alice", &[]);
    wait_until("it is published", || !swarm.names().is_empty());
    let mut bob = swarm.peer("bob", &["--down", "500KB"]);
    bob.say("download film.mkv");
    let resume = swarm.home("bob").join(".shoal/resume");
    wait_until("some of it is vouched for", || fs::read_dir(&resume).is_ok_and(|files| files.count() > 0));
    bob.kill();
    assert!(!swarm.download("bob", "film.mkv").exists());
    let mut bob = swarm.peer("bob", &["--json"]);
    bob.ask_json("download film.mkv");
    assert_same(&shared, &swarm.download("bob", "film.mkv"));
    let fetched = torrents(&bob.ask_json("status"))[0]["downloaded"].as_u64().unwrap();
    assert!(fetched < 4_000_000, "what was vouched for is not fetched again: {fetched}");
}

#[test]
fn a_tracker_that_dies_is_told_in_one_line_and_comes_back() {
    let mut swarm = Swarm::new();
    let shared = swarm.shares("alice", "got5.mp4", &content(10, 200_000));
    let mut alice = swarm.peer("alice", &[]);
    let mut bob = swarm.peer("bob", &[]);
    wait_until("it is published", || !swarm.names().is_empty());

    swarm.tracker.kill();
    for command in ["list", "search got", "download got5.mp4", "peers"] {
        wait_until("it is noticed", || {
            let line = one(bob.ask(command));
            line.starts_with("peer: ") && line.contains("the tracker")
        });
    }
    assert!(one(bob.ask("status")).contains("nothing is here yet"));
    assert!(swarm.once("carol", &["list"]).bad(1).contains("cannot reach the tracker"));
    let file = swarm.place.path().join("late.txt");
    fs::write(&file, b"late").unwrap();
    let late = one(alice.ask(&format!("upload {}", file.display())));
    assert!(late.contains("late.txt is offered as soon as the tracker is back"), "{late}");

    swarm.restart_tracker();
    wait_until("all is published again", || swarm.names() == ["got5.mp4", "late.txt"]);
    wait_until("the other is back as well", || bob.ask("list").len() == 2);
    assert!(one(bob.ask("download got5.mp4")).contains("complete"));
    assert_same(&shared, &swarm.download("bob", "got5.mp4"));
}

#[test]
fn leaving_and_dying_are_told_apart() {
    let swarm = Swarm::new();
    let mut observer = Session::hello(swarm.addr, 7);
    let _awake = observer.keep_alive();
    for (name, reason) in [("polite", "left"), ("dying", "dropped its connection")] {
        swarm.shares(name, "film", &content(name.len() as u64, 50_000));
        let mut peer = swarm.peer(name, &[]);
        assert_eq!(observer.event_named("added")["entry"]["name"], "film");
        match name {
            "polite" => {
                peer.signal(Signal::TERM);
                assert!(peer.end().success());
            }
            _ => peer.kill(),
        }
        let event = observer.event_named("removed");
        let told = event["reason"].as_str().unwrap();
        assert!(event["name"] == "film" && told.ends_with(reason), "{told}");
    }
}

/// The same program, on a terminal of its own.
fn on_a_terminal(command: &Command) -> Process {
    let words: Vec<_> = [command.get_program()].into_iter().chain(command.get_args()).collect();
    let line = words.join(OsStr::new(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--command"]).arg(line).arg("/dev/null");
    script.current_dir(command.get_current_dir().unwrap());
    Process::start(script)
}

/// Bug: a line that was typed while a bar was drawn only ended the bar, and was lost.
#[test]
fn what_is_typed_while_a_download_is_followed_is_carried_out() {
    let swarm = Swarm::new();
    swarm.shares("alice", "film", &content(15, 3_000_000));
    let _alice = swarm.peer("alice", &[]);
    wait_until("it is published", || !swarm.names().is_empty());
    let mut bob = on_a_terminal(&swarm.peer_command("bob", &["--down", "100KB"]));
    bob.expect("`help` lists the commands");
    let follow = |shell: &mut Process| {
        shell.say("download film");
        shell.say("status");
        shell.expect("goes on in the background");
        shell.expect("parts of 3.0 MB");
    };
    follow(&mut bob);
    let mut beside = on_a_terminal(&swarm.peer_command("bob", &[]));
    beside.expect("a peer runs here already");
    follow(&mut beside);
    beside.say("exit");
    assert!(beside.end().success());
    bob.say("exit");
    assert!(bob.end().success());
}

// ---- wrong input ------------------------------------------------------------------------------------------

#[test]
fn each_wrong_line_gets_one_line_and_the_shell_goes_on() {
    let swarm = Swarm::new();
    swarm.shares("alice", "got5.mp4", b"content");
    let mut alice = swarm.peer("alice", &[]);
    for (line, complaint) in [
        ("frobnicate", "there is no command `frobnicate`"),
        ("download", "`download` needs a name or key"),
        ("search", "`search` needs words"),
        ("upload", "`upload` needs the path"),
        ("pause", "`pause` needs a name or key"),
        ("list everything", "`list` takes nothing behind it"),
        ("download \"got5", "a quotation mark is missing"),
        ("download nobody has this", "no torrent is known by the name or key `nobody has this`"),
        ("download 000000000000", "no torrent is known"),
        ("upload nowhere/to be found", "cannot open nowhere/to be found: No such file"),
        ("upload /dev/null", "neither a file nor a folder"),
        ("pause nobody", "nothing called `nobody` is here"),
        ("resume nobody", "nothing called `nobody` is here"),
        ("remove got", "nothing called `got` is here"),
    ] {
        let answer = one(alice.ask(line));
        assert!(answer.starts_with("peer: ") && answer.contains(complaint), "{line}: {answer}");
    }
    let like = alice.ask("download got");
    assert!(
        like[0].contains("nothing is called `got`; there is:") && like[1].ends_with("got5.mp4"),
        "{like:?}"
    );
    assert!(alice.ask("").is_empty() && alice.ask("# a remark").is_empty());
    assert!(one(alice.ask("list")).ends_with("got5.mp4"));
}

#[test]
fn piped_commands_tell_how_they_went() {
    let swarm = Swarm::new();
    swarm.shares("alice", "got5.mp4", b"content");
    let piped = |lines: &str, args: &[&str]| {
        let mut command = swarm.peer_command("alice", args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        cli_support::said(&child.wait_with_output().unwrap())
    };
    let well = piped("help\nstatus\nlist", &[]);
    assert!(well.err.lines().all(|line| line.starts_with("listening on ")), "{}", well.err);
    let out = well.good();
    assert!(!out.contains('>') && out.lines().last().unwrap().ends_with("got5.mp4"), "{out}");
    let ill = piped("frobnicate\nlist\nexit\nfrobnicate\n", &["--json"]);
    assert_eq!((ill.status, ill.err.matches("frobnicate").count()), (1, 1), "{}", ill.err);
    let json: Value = serde_json::from_str(&ill.out).unwrap();
    assert_eq!(json[0]["name"], "got5.mp4");
    let flood = piped(&"x".repeat(300_000), &[]);
    assert!(flood.status == 1 && flood.err.len() < 2_000, "{}", flood.err.len());
}

#[test]
fn one_command_in_json() {
    let swarm = Swarm::new();
    swarm.shares("alice", "got5.mp4", &content(11, 50_000));
    let _alice = swarm.peer("alice", &[]);
    wait_until("it is published", || !swarm.names().is_empty());
    let ask = |args: &[&str]| -> Value {
        serde_json::from_str(&swarm.once("bob", &[args, &["--json"]].concat()).good()).unwrap()
    };
    assert_eq!(ask(&["search", "got"])[0]["size"], 50_000);
    assert_eq!(ask(&["search", "nix"]), serde_json::json!([]));
    assert!(!swarm.home("bob").join("downloads").exists(), "a question makes no folders");
    assert!(!swarm.home("bob").join(".shoal").exists());
    let got = ask(&["download", "got5.mp4"]);
    assert_eq!((&got["size"], got["key"].as_str()), (&50_000.into(), swarm.key("got5.mp4").as_deref()));
    assert_eq!(
        Path::new(got["path"].as_str().unwrap()),
        swarm.download("bob", "got5.mp4").canonicalize().unwrap()
    );
    assert_eq!(ask(&["peers"])["tracker"].as_array().unwrap().len(), 1);
    assert_eq!(ask(&["preferred"])[0]["received"], 50_000);
    assert_eq!(ask(&["pause", "got5.mp4"])["name"], "got5.mp4");
    assert!(swarm.once("bob", &["download", "nix", "--json"]).bad(1).contains("no torrent is known"));
}

#[test]
fn exit_statuses_and_clear_lines_at_the_start() {
    let swarm = Swarm::new();
    let home = swarm.home("alice");
    fs::write(home.join("a file"), b"x").unwrap();
    fs::write(home.join("broken.toml"), b"slots = 3\nslotz = 4\n").unwrap();
    fs::write(home.join("tracker.toml"), b"tracker = \"h:p\"").unwrap();
    fs::write(home.join("none.toml"), b"slots = 0").unwrap();
    let port = swarm.addr.port().to_string();
    let taken = swarm.addr.to_string();
    let failing: &[(&[&str], &str)] = &[
        (&["--listen", &taken, "status"], "cannot listen on 127.0.0.1"),
        (&["--uploads", "nowhere", "status"], "the upload folder nowhere does not exist"),
        (&["--downloads", "a file", "status"], "the download folder a file is a file"),
        (&["--config", "tracker.toml", "status"], "tracker.toml, line 1: `h:p` is not a tracker's HOST:PORT"),
        (&["--config", "none.toml", "status"], "none.toml, line 1: expected a number, 1 or more"),
        (&["--state", "a file/below", "status"], "cannot use the state folder a file/below"),
        (&["--config", "nowhere", "status"], "cannot read the configuration nowhere"),
        (&["--config", "broken.toml", "status"], "broken.toml, line 2: unknown field `slotz`"),
        (&["download", "nobody has this"], "no torrent is known"),
        (&["upload", "nowhere"], "cannot open nowhere"),
    ];
    for (args, complaint) in failing {
        let said = run("peer", &home, &[&["127.0.0.1", &port], *args].concat()).bad(1);
        assert!(said.starts_with("peer: ") && said.contains(complaint), "{args:?}: {said}");
    }
    let wrong: &[&[&str]] = &[
        &[],
        &["127.0.0.1"],
        &["127.0.0.1", "many"],
        &["127.0.0.1", &port, "frobnicate"],
        &["127.0.0.1", &port, "download"],
        &["127.0.0.1", &port, "status", "now"],
        &["127.0.0.1", &port, "--slots", "few"],
        &["127.0.0.1", &port, "--slots", "0"],
        &["127.0.0.1", &port, "--up", "0"],
        &["127.0.0.1", &port, "--frob"],
    ];
    for args in wrong {
        assert_eq!(run("peer", &home, args).status, 2, "{args:?}");
    }
    let known = |name: &str, words: &[&str]| {
        let mut command = program("peer", &home);
        command.env(name, &taken).args(words).stdin(Stdio::null()).output().unwrap()
    };
    assert!(cli_support::said(&known("SHOAL_TRACKER", &["list"])).good().contains("nothing is shared"));
    assert!(cli_support::said(&known("SHOAL_TRACKER", &["search", "2024"])).good().contains("`2024`"));
    assert!(cli_support::said(&known("ELSEWHERE", &["list"])).err.contains("which tracker?"));
    assert!(run("peer", &home, &["127.0.0.1", "1", "help"]).good().contains("download NAME|KEY"));
    assert!(run("peer", &home, &["--help"]).good().contains("download NAME|KEY"));
    assert_eq!(run("tracker", &home, &["--listen", "nonsense"]).status, 2);
    assert!(run("tracker", &home, &["--listen", &taken]).bad(1).contains("cannot listen on"));
    let data = swarm.place.path().join("catalogue");
    let in_use = run("tracker", &home, &["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    assert!(in_use.bad(1).contains("in use by another tracker"));
}

#[test]
fn a_tracker_that_is_not_there() {
    let place = tempfile::tempdir().unwrap();
    let closed = "1"; // nobody listens there, and no test is given it
    for args in [&["list"][..], &["--listen", "127.0.0.1:0", "status"], &["--listen", "127.0.0.1:0"]] {
        let line = run("peer", place.path(), &[&["127.0.0.1", closed], args].concat()).bad(1);
        assert_eq!(line.matches("cannot reach the tracker").count(), 1, "{line}");
    }
    let line = run("peer", place.path(), &["no-such-host.invalid", "6969", "list"]).bad(1);
    assert!(line.contains("cannot find the tracker no-such-host.invalid"), "{line}");
}

#[test]
fn settings_come_from_flags_the_environment_and_a_file() {
    let swarm = Swarm::new();
    let home = swarm.home("alice");
    for folder in ["from file", "from env", "from flag"] {
        fs::create_dir(home.join(folder)).unwrap();
        fs::write(home.join(folder).join(format!("{folder}.txt")), folder).unwrap();
    }
    fs::write(home.join("shoal.toml"), "uploads = \"from file\"\nup = \"5MB\"\nmirror = true\n").unwrap();
    let status = |env: &[(&str, &str)], args: &[&str]| {
        let mut command = swarm.peer_command("alice", &["--config", "shoal.toml"]);
        command.args(args).arg("status").envs(env.iter().copied()).stdin(Stdio::null());
        cli_support::said(&command.output().unwrap())
    };
    assert!(status(&[], &[]).good().contains("from file.txt"));
    let env = [("SHOAL_UPLOADS", "from env"), ("SHOAL_MIRROR", "1")];
    assert!(status(&env, &[]).good().contains("from env.txt"));
    assert!(status(&env, &["--uploads", "from flag"]).good().contains("from flag.txt"));
    assert_eq!(status(&[("SHOAL_SLOTS", "few")], &[]).status, 2);
}

#[test]
fn two_peers_do_not_share_a_state_folder() {
    let swarm = Swarm::new();
    let _alice = swarm.peer("alice", &[]);
    let line = swarm.once("alice", &[]).bad(1);
    assert!(line.contains(".shoal is in use by another peer") && line.contains("--state"), "{line}");
}

#[test]
fn nothing_in_the_way_is_overwritten_and_other_downloads_go_on() {
    let swarm = Swarm::new();
    swarm.shares("alice", "got5.mp4", &content(12, 60_000));
    swarm.shares("alice", "other.mp4", &content(13, 60_000));
    let _alice = swarm.peer("alice", &[]);
    wait_until("both are published", || swarm.names().len() == 2);
    let mine = swarm.download("bob", "got5.mp4");
    fs::create_dir_all(mine.parent().unwrap()).unwrap();
    fs::write(&mine, b"mine").unwrap();
    let said = swarm.once("bob", &["download", "got5.mp4", "other.mp4"]);
    assert_eq!(said.status, 1);
    assert!(
        said.err.contains("got5.mp4 is in the way: move it, or download to another folder"),
        "{}",
        said.err
    );
    assert!(said.out.contains("other.mp4: complete"), "{}", said.out);
    assert_eq!(fs::read(&mine).unwrap(), b"mine");

    fs::remove_file(&mine).unwrap();
    assert!(swarm.once("bob", &["download", "got5.mp4"]).good().contains("complete"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_download_folder_that_takes_no_files() {
    let swarm = Swarm::new();
    swarm.shares("alice", "got5.mp4", &content(14, 60_000));
    let _alice = swarm.peer("alice", &[]);
    wait_until("it is published", || !swarm.names().is_empty());
    // Not even root writes there.
    let said = swarm.once("bob", &["--downloads", "/proc", "download", "got5.mp4"]);
    assert!(said.status == 1 && said.err.contains("/proc"), "{}", said.err);
    assert!(said.err.lines().last().unwrap().starts_with("peer: "), "{}", said.err);
}

// ---- torrents without the catalogue -----------------------------------------------------------------------

fn torrent(folder: &Path, args: &[&str]) -> Process {
    let mut command = program("torrent", folder);
    command.args(args);
    Process::start(command)
}

#[test]
fn torrents_are_seeded_and_downloaded_through_an_http_tracker_and_by_address() {
    let swarm = Swarm::new();
    let (seeds, leeches) = (swarm.home("seed"), swarm.home("leech"));
    fs::write(seeds.join("film"), content(15, 500_000)).unwrap();
    fs::create_dir_all(seeds.join("show/extras")).unwrap();
    fs::write(seeds.join("show/one"), content(16, 70_000)).unwrap();
    fs::write(seeds.join("show/extras/two"), content(17, 30_000)).unwrap();
    let url = format!("http://{}/announce", swarm.addr);
    run("torrent", &seeds, &["create", "film", "--tracker", &url]).good();
    run("torrent", &seeds, &["create", "show", "--format", "v1"]).good();
    let listen = ["--listen", "127.0.0.1:0"];
    let mut film = torrent(&seeds, &[&["seed", "film.torrent", "."], &listen[..]].concat());
    film.listening();
    let mut show = torrent(&seeds, &[&["seed", "show.torrent", "."], &listen[..]].concat());
    let peer = show.listening().to_string();

    let by_tracker =
        [&["download", "../seed/film.torrent", "../seed/film.torrent", "-d", "got"], &listen[..]].concat();
    let mut first = torrent(&leeches, &by_tracker);
    let by_address =
        [&["download", "../seed/show.torrent", "-d", "got", "--peer", &peer], &listen[..]].concat();
    let second = run("torrent", &leeches, &by_address); // into the same folder at the same time
    assert_eq!(second.good(), "got/show: complete\n");
    first.expect("got/film: complete");
    assert!(first.end().success());
    assert_same(&seeds.join("film"), &leeches.join("got/film"));
    assert_same(&seeds.join("show"), &leeches.join("got/show"));
    assert_eq!(run("torrent", &leeches, &by_tracker).good(), "got/film: complete\n", "again is no fault");

    film.signal(Signal::TERM);
    assert!(film.end().success());
}

#[test]
fn a_download_that_is_stopped_goes_on_with_the_same_command() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    fs::write(folder.join("film"), content(18, 3_000_000)).unwrap();
    run("torrent", folder, &["create", "film"]).good();
    let mut seed = torrent(folder, &["seed", "film.torrent", ".", "--listen", "127.0.0.1:0"]);
    let peer = seed.listening().to_string();
    let command = [
        "download",
        "film.torrent",
        "-d",
        "got",
        "--peer",
        &peer,
        "--listen",
        "127.0.0.1:0",
        "--down",
        "300KB",
    ];
    let mut leech = torrent(folder, &command);
    wait_until("it began", || folder.join("got/film.part").exists());
    let twice = run("torrent", folder, &command).bad(1);
    assert!(twice.contains("film is being downloaded to this folder already"), "{twice}");
    leech.signal(Signal::INT);
    assert_eq!(leech.end().code(), Some(1));
    leech.expect("the same command goes on from here");
    assert_eq!(run("torrent", folder, &command[..8]).good(), "got/film: complete\n");
    assert_same(&folder.join("film"), &folder.join("got/film"));
}

/// A v1 torrent of one file, in pieces of 16 KiB.
fn single_file(name: &str, length: &str, pieces: usize) -> String {
    let (hashes, len, n) = ("h".repeat(20 * pieces), 20 * pieces, name.len());
    format!("d4:infod6:lengthi{length}e4:name{n}:{name}12:piece lengthi16384e6:pieces{len}:{hashes}ee")
}

#[test]
fn a_name_that_leads_out_of_the_download_folder_leads_into_it() {
    let place = tempfile::tempdir().unwrap();
    for name in ["..", "/etc/passwd", "../../up", "..\\up"] {
        let folder = place.path().join("of").join(format!("{}", name.len()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("it.torrent"), single_file(name, "100", 1)).unwrap();
        let mut download = program("torrent", &folder);
        download.args(["download", "it.torrent", "-d", "got", "--listen", "127.0.0.1:0"]);
        let _download = Process::start(download);
        let names = |folder: &Path| -> Vec<String> {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut names: Vec<_> =
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.sort();
            names
        };
        let has_part = || names(&folder.join("got")).iter().any(|name| name.ends_with(".part"));
        wait_until("the download has begun", has_part);
        assert_eq!(names(&folder.join("got")).len(), 2, "{name}: the download, and what is known of it");
        assert_eq!(names(&folder), ["got", "it.torrent"]);
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}

#[test]
fn bad_torrents_get_one_line_and_write_nothing() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let bad: &[(&str, Vec<u8>, &str)] = &[
        ("text", b"hello, this is no torrent".to_vec(), "not a torrent"),
        ("nothing", Vec::new(), "not a torrent"),
        ("cut", single_file("film", "100", 1).into_bytes()[..60].to_vec(), "not a torrent"),
        ("huge", single_file("film", "9223372036854775807", 1).into_bytes(), "broken torrent"),
        ("few", single_file("film", "100000", 1).into_bytes(), "broken torrent"),
        ("deep", [vec![b'l'; 1_000_000], vec![b'e'; 1_000_000]].concat(), "not a torrent"),
    ];
    for (name, bytes, complaint) in bad {
        let file = format!("{name}.torrent");
        fs::write(folder.join(&file), bytes).unwrap();
        for args in [&["download", &file, "-d", "got"][..], &["seed", &file, "."], &["show", &file]] {
            let line = run("torrent", folder, args).bad(1);
            assert!(line.starts_with("torrent: ") && line.contains(&file), "{args:?}: {line}");
            assert!(line.contains(complaint) || name == &"huge", "{args:?}: {line}");
        }
    }
    for (given, complaint) in [
        ("nowhere.torrent", "cannot read nowhere.torrent"),
        ("magnet:?dn=film", "magnet link without an info-hash"),
        ("magnet:?xt=urn:btih:xyz", "magnet"),
        (".", "cannot read ."),
    ] {
        let line = run("torrent", folder, &["download", given, "-d", "got"]).bad(1);
        assert!(line.contains(complaint), "{given}: {line}");
    }
    assert!(!folder.join("got").exists());

    fs::write(folder.join("film"), b"as it should be").unwrap();
    run("torrent", folder, &["create", "film"]).good();
    fs::create_dir(folder.join("other")).unwrap();
    fs::write(folder.join("other/film"), b"something else!").unwrap();
    let download =
        run("torrent", folder, &["download", "film.torrent", "-d", "other", "--listen", "127.0.0.1:0"]);
    assert!(download.bad(1).contains("other/film is in the way"));
    assert_eq!(fs::read(folder.join("other/film")).unwrap(), b"something else!");
    let seed = run("torrent", folder, &["seed", "film.torrent", "other", "--listen", "127.0.0.1:0"]);
    assert!(seed.bad(1).contains("film is not all there, or not what the torrent says"));
    let below_a_file = run("torrent", folder, &["download", "film.torrent", "-d", "film/x"]);
    assert!(below_a_file.bad(1).contains("film/x"));
}
