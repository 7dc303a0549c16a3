//! Creates a torrent of a file or folder, and seeds it until Enter is pressed or the input ends.
//!
//!     cargo run --example seed -- ~/films/film 0.0.0.0:6881

use shoal::torrent::create::{Options, create};
use shoal::{AddTorrent, Config, Engine, Torrent};
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const USAGE: &str = "usage: seed FILE|FOLDER [IP:PORT]
The torrent is written to NAME.torrent in the current folder. IP:PORT is where to listen.";

fn main() -> ExitCode {
    let (path, listen) = match arguments() {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match seed(&path, listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("seed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<(PathBuf, Option<SocketAddr>), String> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let [path, listen @ ..] = &words[..] else { return Err("which file or folder?".into()) };
    let listen = match listen {
        [] => None,
        [word] => {
            let word = word.to_string_lossy();
            Some(
                word.parse()
                    .map_err(|_| format!("{word} is not an address to listen on, as 0.0.0.0:6881"))?,
            )
        }
        _ => return Err("more than one file or folder and one address".into()),
    };
    Ok((path.into(), listen))
}

fn seed(path: &Path, listen: Option<SocketAddr>) -> Result<(), Box<dyn Error>> {
    let path = fs::canonicalize(path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    let metainfo = create(&path, &Options::default(), &|_bytes| ())?;
    let torrent = Arc::new(Torrent::parse(&metainfo)?);
    let file = format!("{}.torrent", torrent.name());
    fs::write(&file, metainfo).map_err(|why| format!("cannot write {file}: {why}"))?;
    let engine = Engine::start(&Config { listen, ..Config::default() })?;
    let folder = path.parent().ok_or("the root of the file system has no name")?;
    engine.add(AddTorrent::verified(torrent, folder))?; // its hashes are a moment old
    println!("{file} is served at {}; Enter ends it", engine.addr());
    std::io::stdin().read_line(&mut String::new())?;
    Ok(()) // dropping the engine ends its connections and its threads
}
