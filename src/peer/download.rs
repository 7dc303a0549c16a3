//! What to fetch next from whom, and the pieces in flight. All pure but for `memory`, whose lock is a leaf.

pub mod blame;
pub mod landing;
pub mod memory;
pub mod partial;
pub mod picker;
pub mod requests;
pub mod window;
