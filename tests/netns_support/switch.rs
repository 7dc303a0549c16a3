//! The switch: a thread in a namespace of its own that gets every Ethernet frame in a UDP packet (VXLAN, RFC
//! 7348), finds out for which host it is, and holds it back, loses it, or lets later ones overtake it, all by
//! chance from one seed. It owns the socket; its two locks, one after the other, are held for a look at the weather
//! and for a note of each frame.

use super::flights::{Flights, Segment};
use parking_lot::Mutex;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The switch among the hosts.
pub const OWN: u8 = 254;
/// VXLAN's header, before the frame.
const HEADER: usize = 8;
/// Frames held back at once; more are lost, as they are by any queue.
const MOST_HELD: usize = 20_000;
/// How often it looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// The address at which a host takes and sends its frames.
pub fn under(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 254, 0, host)
}

/// What happens to frames, in each direction.
#[derive(Copy, Clone, Default, Debug)]
pub struct Weather {
    pub delay: Duration,
    /// The part of all frames that is lost, 0 to 1.
    pub loss: f64,
    /// The part that is not delayed, and so overtakes others.
    pub overtaking: f64,
}

/// How frames fared. What is not lost is `carried`.
#[derive(Copy, Clone, Debug)]
pub struct Counts {
    pub carried: u64,
    pub lost: u64,
    pub overtook: u64,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    weather: Mutex<Weather>,
    carried: AtomicU64,
    lost: AtomicU64,
    overtook: AtomicU64,
    flights: Mutex<Flights>,
}

pub struct Switch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Starts the thread in `namespace`.
    pub fn start(namespace: &str, port: u16) -> io::Result<Switch> {
        let namespace = File::open(format!("/var/run/netns/{namespace}"))?;
        let shared = Arc::new(Shared::default());
        let (for_thread, (ready, is_ready)) = (Arc::clone(&shared), crossbeam_channel::bounded(1));
        let thread = std::thread::Builder::new().name("switch".into()).spawn(move || {
            match open(&namespace, port) {
                Ok(socket) => {
                    let _ = ready.send(Ok(()));
                    let (hosts, random) = (BTreeSet::new(), fastrand::Rng::with_seed(1));
                    let held = BinaryHeap::new();
                    Worker { socket, port, shared: for_thread, hosts, random, held, numbered: 0 }.run();
                }
                Err(why) => drop(ready.send(Err(why))),
            }
        })?;
        is_ready.recv().map_err(io::Error::other)??;
        Ok(Switch { shared, thread: Some(thread) })
    }

    pub fn set_weather(&self, weather: Weather) {
        *self.shared.weather.lock() = weather;
    }

    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { carried, lost, overtook, .. } = &*self.shared;
        Counts { carried: read(carried), lost: read(lost), overtook: read(overtook) }
    }

    /// The first TCP segments of the network, in the order in which they were sent.
    pub fn segments(&self) -> Vec<Segment> {
        self.shared.flights.lock().segments().to_vec()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Moves this thread, and no other, to the namespace.
fn open(namespace: &File, port: u16) -> io::Result<UdpSocket> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
}

/// A frame that waits: when it is to go, the how-manieth it is, so that those of one instant keep their
/// order, where to, its flight, and the packet.
type Held = Reverse<(Instant, u64, u8, u32, Vec<u8>)>;

struct Worker {
    socket: UdpSocket,
    port: u16,
    shared: Arc<Shared>,
    /// Those that have sent something.
    hosts: BTreeSet<u8>,
    random: fastrand::Rng,
    held: BinaryHeap<Held>,
    numbered: u64,
}

impl Worker {
    fn run(mut self) {
        let mut packet = vec![0; 65_536];
        while !self.shared.stopping.load(Ordering::Acquire) {
            self.send_due();
            let due =
                self.held.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
            let wait = due.unwrap_or(LOOK).clamp(Duration::from_millis(1), LOOK);
            self.socket.set_read_timeout(Some(wait)).unwrap();
            match self.socket.recv_from(&mut packet) {
                Ok((len, from)) => self.take(&mut packet[..len], from),
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(why) if why.kind() == ErrorKind::ConnectionRefused => {} // a host has gone
                Err(why) => panic!("the switch cannot go on: {why}"),
            }
        }
    }

    fn send_due(&mut self) {
        while let Some(Reverse((due, ..))) = self.held.peek()
            && *due <= Instant::now()
        {
            let Some(Reverse((_, _, host, flight, packet))) = self.held.pop() else { return };
            self.shared.flights.lock().reaches(host, flight);
            let _ = self.socket.send_to(&packet, (under(host), self.port)); // the host may have gone
        }
    }

    fn take(&mut self, packet: &mut [u8], from: SocketAddr) {
        let IpAddr::V4(ip) = from.ip() else { return };
        let source = ip.octets()[3];
        self.hosts.insert(source);
        let Some(frame) = packet.get_mut(HEADER..).filter(|frame| frame.len() >= 14) else { return };
        fill_checksum(frame);
        let flight = self.shared.flights.lock().leaves(source, frame);
        // Host 7 has the Ethernet address 02:00:00:00:00:07; the rest is for everybody, as ARP's
        // questions are.
        let target = if frame[..5] == [2, 0, 0, 0, 0] { Some(frame[5]) } else { None };
        let others: Vec<u8> = self.hosts.iter().copied().filter(|host| *host != source).collect();
        for host in others.into_iter().filter(|host| target.is_none_or(|target| target == *host)) {
            self.pass(host, flight, packet);
        }
    }

    fn pass(&mut self, host: u8, flight: u32, packet: &[u8]) {
        let Weather { delay, loss, overtaking } = *self.shared.weather.lock();
        if self.random.f64() < loss || self.held.len() >= MOST_HELD {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.shared.carried.fetch_add(1, Ordering::Relaxed);
        let mut due = Instant::now() + delay;
        if self.random.f64() < overtaking {
            let held_for_it = |Reverse((_, _, to, ..)): &Held| *to == host;
            self.shared.overtook.fetch_add(self.held.iter().any(held_for_it).into(), Ordering::Relaxed);
            due -= delay;
        }
        self.numbered += 1;
        self.held.push(Reverse((due, self.numbered, host, flight, packet.to_vec())));
    }
}

/// Fills in the checksum of a TCP segment (RFC 9293, 3.1), which the kernel leaves to the hardware, and
/// there is none.
fn fill_checksum(frame: &mut [u8]) {
    let (is_ipv4, is_tcp) = (frame[12..14] == [8, 0], frame.get(23) == Some(&6));
    if !is_ipv4 || !is_tcp || frame.len() < 54 {
        return;
    }
    let start = 14 + usize::from(frame[14] & 15) * 4;
    let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    if start + 20 > end || end > frame.len() {
        return;
    }
    frame[start + 16..start + 18].fill(0);
    let len = (end - start) as u64;
    let words = |bytes: &[u8]| -> u64 {
        let word = |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low));
        bytes.chunks(2).map(word).sum()
    };
    let mut sum = words(&frame[26..34]) + 6 + len + words(&frame[start..end]);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    frame[start + 16..start + 18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
