//! A network of hosts on this machine: each has a network namespace of its own, with its own addresses,
//! routes and sockets, in which the real programs run. All that hosts send each other passes through a
//! [`Switch`], which does to it what networks do.
//!
//! Hosts are called by numbers from 1 to 250. Host 7 has the interface `eth0` with the address 10.0.0.7,
//! a VXLAN device that puts every Ethernet frame into a UDP packet and sends that to the switch. It does
//! so over a veth pair and a bridge in the switch's namespace, which the programs know nothing of. So no
//! part of the machine's own network is touched, and the kernel needs no module that many lack, as they
//! do `sch_netem`.
//!
//! All of it has the number of this process in its name, and goes when the [`Lab`] is dropped.

#![allow(dead_code)] // each test file uses its own part of it

mod flights;
mod switch;

pub use flights::Segment;
pub use switch::Weather;

use crate::cli_support::program;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use switch::Switch;

/// The port of VXLAN packets.
const VXLAN: u16 = 4789;

/// The switch and its hosts.
pub struct Lab {
    /// What all namespaces' names begin with.
    name: String,
    switch: Option<Switch>,
    hosts: Vec<u8>,
}

impl Lab {
    /// A network without hosts. `None`, and a line that says why, where this machine does not
    /// let us have one.
    pub fn new() -> Option<Lab> {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let name = format!("shoal-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let mut lab = Lab { name, switch: None, hosts: Vec::new() };
        match lab.set_up() {
            Ok(()) => Some(lab),
            Err(why) => {
                eprintln!(
                    "SKIPPED: no network namespaces with VXLAN here (they need root and iproute2): {why}"
                );
                None
            }
        }
    }

    fn set_up(&mut self) -> Result<(), String> {
        let hub = self.hub();
        ip(&["netns", "add", &hub])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        ip(&["-n", &hub, "link", "add", "name", "hub", "type", "bridge"])?;
        ip(&["-n", &hub, "addr", "add", &format!("{}/24", switch::under(switch::OWN)), "dev", "hub"])?;
        ip(&["-n", &hub, "link", "set", "hub", "up"])?;
        self.switch = Some(Switch::start(&hub, VXLAN).map_err(|why| format!("the switch: {why}"))?);
        self.try_host(250)?; // whether the rest is possible is seen now, and not in the middle of a test
        Ok(())
    }

    /// Adds a host, and gives its address.
    pub fn host(&mut self, number: u8) -> String {
        self.try_host(number).expect("another host was possible");
        address(number)
    }

    fn try_host(&mut self, number: u8) -> Result<(), String> {
        let (hub, host) = (self.hub(), self.namespace(number));
        let (veth, under) = (format!("veth{number}"), format!("{}/24", switch::under(number)));
        self.hosts.push(number);
        ip(&["netns", "add", &host])?;
        ip(&["-n", &host, "link", "set", "lo", "up"])?;
        ip(&[
            "-n", &hub, "link", "add", "name", &veth, "type", "veth", "peer", "name", "under", "netns", &host,
        ])?;
        ip(&["-n", &hub, "link", "set", &veth, "master", "hub", "up"])?;
        ip(&["-n", &host, "addr", "add", &under, "dev", "under"])?;
        ip(&["-n", &host, "link", "set", "under", "up"])?;
        let mac = format!("02:00:00:00:00:{number:02x}");
        let (switch, port) = (switch::under(switch::OWN).to_string(), VXLAN.to_string());
        let device =
            ["link", "add", "name", "eth0", "mtu", "1400", "address", &mac, "type", "vxlan", "id", "1"];
        let remote = ["remote", &switch, "dstport", &port, "nolearning"];
        ip(&[&["-n", &host][..], &device, &remote].concat())?;
        // One packet, one frame: what is lost is lost by the packet.
        ip(&["-n", &host, "link", "set", "eth0", "gso_max_segs", "1"])?;
        ip(&["-n", &host, "addr", "add", &format!("{}/24", address(number)), "dev", "eth0"])?;
        ip(&["-n", &host, "link", "set", "eth0", "up"])
    }

    /// A command for one of our programs on a host.
    pub fn program(&self, host: u8, name: &str, folder: &Path) -> Command {
        let plain = program(name, folder);
        let mut command = self.foreign_program(host, plain.get_program(), folder);
        for (variable, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        command
    }

    /// A command for any other program on a host.
    pub fn foreign_program(&self, host: u8, name: impl AsRef<OsStr>, folder: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(host)]).arg(name).current_dir(folder);
        command
    }

    /// From now on all frames fare like this.
    pub fn set_weather(&self, weather: Weather) {
        self.switch().set_weather(weather);
    }

    /// Frames that were carried, lost, and overtaken by later ones.
    pub fn counts(&self) -> switch::Counts {
        self.switch().counts()
    }

    /// The first TCP segments of the network, in the order in which they were sent.
    pub fn segments(&self) -> Vec<Segment> {
        self.switch().segments()
    }

    /// Takes a host's interface down: nobody gets a FIN, or anything else.
    pub fn unplug(&self, host: u8) {
        ip(&["-n", &self.namespace(host), "link", "set", "eth0", "down"]).unwrap();
    }

    pub fn plug_in(&self, host: u8) {
        ip(&["-n", &self.namespace(host), "link", "set", "eth0", "up"]).unwrap();
    }

    /// Takes a host away with all that its system knew, as the mains do. Its processes have been killed. It
    /// may be made again.
    pub fn cut_off(&mut self, host: u8) {
        ip(&["-n", &self.hub(), "link", "del", &format!("veth{host}")]).unwrap();
        ip(&["netns", "del", &self.namespace(host)]).unwrap();
        self.hosts.retain(|other| *other != host);
    }

    fn switch(&self) -> &Switch {
        self.switch.as_ref().expect("it runs as long as the network is there")
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn namespace(&self, host: u8) -> String {
        format!("{}-{host}", self.name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.switch = None;
        let hosts = self.hosts.iter().map(|host| self.namespace(*host));
        for namespace in hosts.chain([self.hub()]) {
            let _ = ip(&["netns", "del", &namespace]); // it may never have been made
        }
    }
}

/// The address of a host.
pub fn address(host: u8) -> String {
    format!("10.0.0.{host}")
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|why| format!("ip: {why}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", args.join(" "), said.trim()))
}
