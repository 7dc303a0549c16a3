//! Five sources behind uneven and noisy links, and a peer that downloads from them: once it may choose the
//! next missing piece for each as it goes (every source has all pieces), once it cannot (source k has the
//! pieces whose number is k modulo 5, a static split). The noise is the same in both, from one seed.
//!
//! `cargo test` only looks whether both complete. `make uneven` measures: the choice must win by a
//! quarter at least.

mod common;

use common::{LIMIT, assert_same, config, content, raw, torrent_of, wait_until};
use shoal::bitfield::Bitfield;
use shoal::peer::engine::{AddTorrent, Engine};
use shoal::protocol::handshake::HANDSHAKE_LEN;
use shoal::protocol::wire::{BlockRequest, Message, decode};
use shoal::torrent::{BLOCK_LEN, Format, Torrent};
use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const SIZE: usize = 800_000;
const SOURCES: usize = 5;
/// Bytes per second, before the noise.
const RATES: [f64; SOURCES] = [12e3, 20e3, 30e3, 45e3, 70e3];
/// This source is gone after so many blocks, and back after so long.
const DIES: (usize, u32, Duration) = (2, 4, Duration::from_secs(4));
const SEED: u64 = 5;

/// What a source does with one block: so long it takes, for its bytes and for the noise.
struct Noise {
    random: fastrand::Rng,
    rate: f64,
    /// So many times faster than in earnest.
    speed: f64,
}

impl Noise {
    fn new(source: usize, speed: f64) -> Self {
        Noise { random: fastrand::Rng::with_seed(SEED + source as u64), rate: RATES[source], speed }
    }

    /// Each block is a little late, and one in eight is held up by a stall of one to three seconds.
    fn time(&mut self, bytes: u32) -> Duration {
        let late = self.random.f64() * 0.08;
        let stall = if self.random.u32(..8) == 0 { 1.0 + self.random.f64() * 2.0 } else { 0.0 };
        Duration::from_secs_f64((f64::from(bytes) / self.rate + late + stall) / self.speed)
    }
}

/// One scripted source, on a thread of its own.
struct Source {
    number: usize,
    addr: SocketAddr,
    torrent: Arc<Torrent>,
    data: Arc<Vec<u8>>,
    has: Bitfield,
    noise: Noise,
    served: u32,
}

impl Source {
    /// Until the peer has all it wants. How many blocks were served.
    fn run(mut self) -> u32 {
        let (dying, _, absence) = DIES;
        while self.live().is_ok() {
            assert_eq!(self.number, dying);
            thread::sleep(absence.div_f64(self.noise.speed));
        }
        self.served
    }

    /// One connection: `Ok` if this source broke it off to come back, `Err` if the peer did.
    fn live(&mut self) -> std::io::Result<()> {
        let mut socket = TcpStream::connect(self.addr)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.write_all(&raw::hello(self.torrent.info_hash(), self.number as u8, false).encode())?;
        socket.read_exact(&mut [0; HANDSHAKE_LEN])?;
        send(&mut socket, Message::Bitfield(self.has.as_bytes()))?;
        send(&mut socket, Message::Unchoke)?;
        let (mut input, mut queue): (Vec<u8>, VecDeque<BlockRequest>) = Default::default();
        let mut next: Option<(BlockRequest, Instant)> = None;
        let (dying, after, _) = DIES;
        loop {
            if next.is_none()
                && let Some(wanted) = queue.pop_front()
            {
                next = Some((wanted, Instant::now() + self.noise.time(wanted.len)));
            }
            if let Some((wanted, _)) = next.take_if(|(_, due)| *due <= Instant::now()) {
                let begin = wanted.index as usize * self.torrent.geometry().piece_length() as usize
                    + wanted.begin as usize;
                let data = &self.data[begin..begin + wanted.len as usize];
                send(&mut socket, Message::Piece { index: wanted.index, begin: wanted.begin, data })?;
                self.served += 1;
                if self.number == dying && self.served == after {
                    return Ok(());
                }
                continue;
            }
            let wait = next.map_or(LIMIT, |(_, due)| due.saturating_duration_since(Instant::now()));
            socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
            let mut bytes = [0; 4096];
            match socket.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => input.extend_from_slice(&bytes[..read]),
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(why) => return Err(why),
            }
            while let Some((message, len)) = decode(&input, 1 << 20).expect("our own messages are right") {
                match message {
                    Message::Request(wanted) => queue.push_back(wanted),
                    Message::Cancel(wanted) => queue.retain(|waits| *waits != wanted),
                    _ => {}
                }
                input.drain(..len);
            }
        }
    }
}

fn send(socket: &mut TcpStream, message: Message<'_>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    socket.write_all(&bytes)
}

/// How long a download takes from five sources, of which each has what `has` says of a source and a piece;
/// and how many blocks each of them served.
fn download(piece_length: u32, speed: f64, has: impl Fn(usize, u32) -> bool) -> (Duration, Vec<u32>) {
    let place = tempfile::tempdir().unwrap();
    let (path, downloads) = (place.path().join("file.bin"), place.path().join("downloads"));
    let data = Arc::new(content(SEED, SIZE));
    fs::write(&path, &*data).unwrap();
    fs::create_dir(&downloads).unwrap();
    let torrent = torrent_of(&path, Format::V1, Some(piece_length));
    let peer = Engine::start(&config(None)).unwrap();
    let swarm = peer.add(AddTorrent::download(Arc::clone(&torrent), &downloads)).unwrap();
    let begun = Instant::now();
    let sources: Vec<_> = (0..SOURCES)
        .map(|number| {
            let mut bits = Bitfield::new(torrent.geometry().piece_count());
            (0..torrent.geometry().piece_count()).filter(|piece| has(number, *piece)).for_each(|piece| {
                bits.set(piece);
            });
            let noise = Noise::new(number, speed);
            let (torrent, data) = (Arc::clone(&torrent), Arc::clone(&data));
            let source = Source { number, addr: peer.addr(), torrent, data, has: bits, noise, served: 0 };
            thread::spawn(move || source.run())
        })
        .collect();
    wait_until("the download is complete", || swarm.is_complete());
    let took = begun.elapsed();
    assert_same(&path, &downloads.join("file.bin"));
    peer.stop();
    (took, sources.into_iter().map(|source| source.join().unwrap()).collect())
}

fn everything(_: usize, _: u32) -> bool {
    true
}

fn every_fifth(source: usize, piece: u32) -> bool {
    piece as usize % SOURCES == source
}

#[test]
fn an_uneven_room_of_sources_gives_every_byte_with_and_without_a_choice() {
    for piece_length in [16 << 10, 64 << 10] {
        for (what, has) in [("choice", everything as fn(usize, u32) -> bool), ("split", every_fifth)] {
            let (took, served) = download(piece_length, 10.0, has);
            println!("{what}, {piece_length} B pieces: {took:.2?}, {served:?} blocks");
            let blocks = SIZE.div_ceil(BLOCK_LEN as usize);
            assert!(served.iter().sum::<u32>() as usize >= blocks, "{served:?} of {blocks} blocks");
            assert!(what == "choice" || !served.contains(&0), "nobody else has what it has: {served:?}");
        }
    }
}

#[test]
#[ignore = "a comparison of times, for a machine that has nothing else to do: make uneven"]
fn choosing_the_next_missing_piece_beats_a_static_split_by_a_quarter() {
    let mut ratios = Vec::new();
    for piece_length in [16 << 10, 64 << 10] {
        let (split, _) = download(piece_length, 1.0, every_fifth);
        let (choice, _) = download(piece_length, 1.0, everything);
        let ratio = choice.as_secs_f64() / split.as_secs_f64();
        let kib = piece_length >> 10;
        println!("{kib} KiB pieces: chosen {choice:.1?}, split {split:.1?}, ratio {ratio:.2}");
        ratios.push(ratio);
    }
    assert!(ratios.iter().all(|ratio| *ratio <= 0.75), "not a quarter faster: {ratios:.2?}");
}
