//! What a user does with the engine: the shell and its commands, the upload folder, the room of a tracker,
//! settings. The modules below do not know this one.

pub mod audience;
pub mod banning;
pub mod command;
pub mod control;
pub mod library;
pub mod notices;
mod pace;
pub mod progress;
pub(crate) mod report;
pub mod room;
pub mod settings;
pub mod shell;
pub mod standalone;
pub mod visitors;
pub mod watch;
pub mod web;
