//! Measures the pure parts: `make micro`, or `make micro ONLY=picker` for some of them. No thread, no
//! socket, no file.
//!
//! The shapes are those of large torrents and full swarms. Each figure stands for one call of what it names;
//! where a call does many things, the line below it says how many of them, or bytes, it does in a second.

mod bencode;
mod hash;
mod picker;
mod wire;

fn main() {
    divan::main();
}
