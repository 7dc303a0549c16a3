//! What to fetch next from whom, and the pieces in flight. All pure but for `memory`, whose lock is a leaf.

pub mod blame;
pub(crate) mod landing;
pub mod memory;
pub mod partial;
pub mod picker;
pub(crate) mod requests;
pub(crate) mod window;
