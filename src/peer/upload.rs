//! Which peers are served: the upload slots, and the order in which they are given. `slots` holds the lock
//! and runs on the `choke` thread; the decisions are pure.

pub mod choker;
pub mod interested;
pub mod ledger;
pub mod newcomers;
pub(crate) mod order;
pub(crate) mod slots;
pub mod super_seeding;
