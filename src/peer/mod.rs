pub mod announce;
