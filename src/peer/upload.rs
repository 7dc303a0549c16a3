//! Who is served: the upload slots, and the order in which they are given.

pub mod choker;
pub mod interested;
pub mod ledger;
pub mod order;
pub mod slots;
pub mod super_seeding;
