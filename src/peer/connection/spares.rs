//! Memory for what is being sent, lent from one connection to the next. A connection needs a large piece of
//! it only from the read of some blocks until the socket has taken them; so hundreds that are busy now and
//! then need a few, and the last one used is in the processor's cache still. An allocator would not give back
//! what each of them had once. Any thread; one leaf lock.

use parking_lot::Mutex;

/// Length in bytes from which memory is lent.
pub const LARGE: usize = 64 * 1024;
/// Maximum number of pieces that wait for the next connection.
const KEPT: usize = 16;
/// Maximum length of one that is kept, in bytes.
const MOST: usize = 1 << 20;

static SPARES: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Memory that another connection has used, or none.
pub fn take() -> Vec<u8> {
    SPARES.lock().pop().unwrap_or_default()
}

/// Keeps memory for the next connection.
pub fn give(memory: Vec<u8>) {
    let mut spares = SPARES.lock();
    if memory.len() <= MOST && spares.len() < KEPT {
        spares.push(memory);
    }
}
