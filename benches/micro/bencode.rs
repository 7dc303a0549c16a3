//! Metainfo files of 10,000 files in 10,000 pieces.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use shoal::bencode::{self, DictWriter};
use shoal::torrent::Torrent;

const FILES: usize = 10_000;
const PIECES: usize = 10_000;
const PIECE_LENGTH: usize = 1 << 18;
/// Every file is as long as a piece, so that v1 and v2 have as many pieces.
const LENGTH: i64 = PIECE_LENGTH as i64;

fn folder(number: usize) -> String {
    format!("folder-{:03}", number / 100)
}

fn file(number: usize) -> String {
    format!("some-file-{number:05}.bin")
}

/// The list of files of BEP 3.
fn write_files(info: &mut DictWriter) {
    info.list("files", |files| {
        for number in 0..FILES {
            files.dict(|entry| {
                entry.int("length", LENGTH);
                entry.list("path", |path| {
                    path.bytes(folder(number));
                    path.bytes(file(number));
                });
            });
        }
    });
}

/// The tree of files of BEP 52.
fn write_tree(info: &mut DictWriter) {
    info.dict("file tree", |root| {
        for first in (0..FILES).step_by(100) {
            root.dict(folder(first), |inner| {
                for number in first..first + 100 {
                    inner.dict(file(number), |node| {
                        node.dict("", |entry| {
                            entry.int("length", LENGTH);
                            entry.bytes("pieces root", [number as u8; 32]);
                        });
                    });
                }
            });
        }
    });
}

fn metainfo(write: impl FnOnce(&mut DictWriter)) -> Vec<u8> {
    bencode::dict(|top| {
        top.bytes("announce", "http://127.0.0.1:6969/announce");
        top.dict("info", write);
        top.dict("piece layers", |_| {});
    })
}

fn v1() -> Vec<u8> {
    metainfo(|info| {
        write_files(info);
        info.bytes("name", "many files");
        info.int("piece length", PIECE_LENGTH as i64);
        info.bytes("pieces", vec![7; PIECES * 20]);
    })
}

fn v2() -> Vec<u8> {
    metainfo(|info| {
        write_tree(info);
        info.int("meta version", 2);
        info.bytes("name", "many files");
        info.int("piece length", PIECE_LENGTH as i64);
    })
}

fn bytes_of(format: &str) -> Vec<u8> {
    match format {
        "v1" => v1(),
        _ => v2(),
    }
}

/// The bytes are checked; no more is made of them.
#[divan::bench(args = ["v1", "v2"])]
fn parse(bencher: Bencher, format: &str) {
    let bytes = bytes_of(format);
    bencode::parse(&bytes).unwrap();
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| bencode::parse(black_box(&bytes)).is_ok());
}

/// From the bytes to a torrent: names, lengths and hashes checked, the files laid out.
#[divan::bench(args = ["v1", "v2"])]
fn torrent(bencher: Bencher, format: &str) {
    let bytes = bytes_of(format);
    let torrent = Torrent::parse(&bytes).unwrap();
    assert_eq!((torrent.files().len(), torrent.geometry().piece_count() as usize), (FILES, PIECES));
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| Torrent::parse(black_box(&bytes)).is_ok());
}

#[divan::bench(args = ["v1", "v2"])]
fn write(bencher: Bencher, format: &str) {
    bencher.counter(BytesCount::of_slice(&bytes_of(format))).bench(|| bytes_of(black_box(format)));
}
