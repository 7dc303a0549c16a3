//! How many trips from host to host lie behind each frame: a logical clock (Lamport's), so that round trips can be
//! counted, however long each takes. A frame belongs to the flight after that of the last frame that had reached
//! its sender.

use std::collections::BTreeMap;

/// Segments that are kept: the beginning of what the hosts say.
const MOST_KEPT: usize = 1000;
/// Length in bytes of an Ethernet header.
const ETHERNET: usize = 14;
const SYN_AND_ACK: u8 = 0x12;
const SYN: u8 = 0x02;

/// A TCP segment over IPv4.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    pub from: u8,
    pub to: u8,
    pub flight: u32,
    /// Whether it asks for a connection.
    pub asks: bool,
    /// Number of bytes that it carries.
    pub carries: usize,
}

#[derive(Default)]
pub struct Flights {
    /// The last flight of which something has reached a host.
    reached: BTreeMap<u8, u32>,
    segments: Vec<Segment>,
}

impl Flights {
    /// A frame leaves a host. Returns its flight.
    pub fn leaves(&mut self, from: u8, frame: &[u8]) -> u32 {
        let flight = self.reached.get(&from).map_or(0, |reached| reached + 1);
        if self.segments.len() < MOST_KEPT {
            self.segments.extend(segment(from, flight, frame));
        }
        flight
    }

    /// A frame of this flight reaches a host.
    pub fn reaches(&mut self, host: u8, flight: u32) {
        let reached = self.reached.entry(host).or_default();
        *reached = flight.max(*reached);
    }

    /// The first segments, in the order in which they were sent.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

fn segment(from: u8, flight: u32, frame: &[u8]) -> Option<Segment> {
    let (is_ipv4, is_tcp) = (frame.get(12..14)? == [8, 0], *frame.get(23)? == 6);
    if !is_ipv4 || !is_tcp {
        return None;
    }
    let packet = &frame[ETHERNET..];
    let header = usize::from(packet[0] & 15) * 4;
    let (total, to) = (usize::from(u16::from_be_bytes([packet[2], packet[3]])), *packet.get(19)?);
    let segment = packet.get(header..total)?;
    let carries = segment.len().checked_sub(usize::from(segment.get(12)? >> 4) * 4)?;
    Some(Segment { from, to, flight, asks: segment.get(13)? & SYN_AND_ACK == SYN, carries })
}
