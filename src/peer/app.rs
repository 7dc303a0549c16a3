//! What a person does with a peer: the shell and its commands, the upload folder, the room of a tracker, settings.
//! Nothing below knows of it.

pub mod banning;
pub mod command;
pub mod library;
pub mod notices;
pub mod progress;
pub mod report;
pub mod room;
pub mod settings;
pub mod shell;
pub mod standalone;
pub mod watch;
