//! Log lines on standard error: the thread's name and the message. `SHOAL_LOG` chooses the level. Any thread;
//! one leaf lock, on the prompt, which must stay below the log lines.

use crate::printable;
use parking_lot::Mutex;
use std::io::Write;

/// The prompt at which the user may be typing.
static PROMPT: Mutex<Option<&str>> = Mutex::new(None);

/// Sets the prompt at which the user is typing; `None` when there is none any more.
pub fn set_prompt(prompt: Option<&'static str>) {
    *PROMPT.lock() = prompt;
}

/// Starts logging at `level`, unless `SHOAL_LOG` says otherwise.
pub fn start(level: &str) {
    let env = env_logger::Env::default().filter_or("SHOAL_LOG", level);
    env_logger::Builder::from_env(env)
        .format(|out, record| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("?");
            let what = match record.level() {
                log::Level::Warn => "warning: ",
                log::Level::Error => "error: ",
                _ => "",
            };
            let said = record.args().to_string();
            let said = printable::lines(&said);
            match *PROMPT.lock() {
                Some(prompt) => write!(out, "\r[{name}] {what}{said}\n{prompt}"),
                None => writeln!(out, "[{name}] {what}{said}"),
            }
        })
        .init();
}
