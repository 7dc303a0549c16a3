//! A disk that takes its time: what has come in is not complete before it is safe.

use super::*;
use parking_lot::{Condvar, Mutex};
use shoal::disk::{Between, Disk, Op};
use shoal::peer::app::progress::Gauge;
use shoal::peer::engine::Config;
use std::io;

/// Stands between a peer and the disk, and holds each sync of a file until it is let go.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock() = true;
        self.opened.notify_all();
    }
}

impl Between for Gate {
    fn pass(&self, op: &Op<'_>, go: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        if matches!(op, Op::Sync(_)) {
            self.opened.wait_while(&mut self.is_open.lock(), |is_open| !*is_open);
        }
        go()
    }
}

/// Bug: the bar said `complete` while the file still had another name and was not on the disk, which takes a slow
/// one some seconds.
#[test]
fn a_download_is_saved_before_it_is_called_complete() {
    let source = Source::file("file", 300_000);
    let (seed, to, gate) = (peer(), tempfile::tempdir().unwrap(), Arc::<Gate>::default());
    source.share(&seed);
    let disk = Disk::with(Arc::clone(&gate) as Arc<dyn Between>);
    let leecher = Engine::start(&Config { disk, ..config(None) }).unwrap();
    let swarm = source.download(&leecher, &seed, to.path());
    let doing = || Gauge::of("file", &swarm, 0).doing;
    wait_until("all of it came", || swarm.progress().is_complete());
    assert_eq!(doing(), "saving it");
    assert!(!to.path().join("file").exists());
    gate.open();
    wait_until("it has its name", || swarm.is_complete());
    assert_eq!(doing(), "complete");
    assert_same(&source.path, &to.path().join("file"));
}
