//! What to fetch next, and what has come of it.

pub mod blame;
pub mod landing;
pub mod memory;
pub mod partial;
pub mod picker;
pub mod requests;
pub mod window;
