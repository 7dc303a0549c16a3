//! Log lines, on standard error: the thread that says it, and what. `SHOAL_LOG` chooses the level. Any thread; one leaf
//! lock, on the prompt, which is to stand below what is logged.

use parking_lot::Mutex;
use std::io::Write;

/// The prompt behind which somebody may be typing.
static PROMPT: Mutex<Option<&str>> = Mutex::new(None);

/// Somebody is typing behind this prompt; or nobody any more.
pub fn set_prompt(prompt: Option<&'static str>) {
    *PROMPT.lock() = prompt;
}

/// Starts logging; `level` unless `SHOAL_LOG` says otherwise.
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
            match *PROMPT.lock() {
                Some(prompt) => write!(out, "\r[{name}] {what}{}\n{prompt}", record.args()),
                None => writeln!(out, "[{name}] {what}{}", record.args()),
            }
        })
        .init();
}
