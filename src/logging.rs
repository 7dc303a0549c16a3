//! Log lines, on standard error: the thread that says it, and what. `SHOAL_LOG` chooses the level.

use std::io::Write;

/// Starts logging; `level` unless `SHOAL_LOG` says otherwise.
pub fn start(level: &str) {
    let env = env_logger::Env::default().filter_or("SHOAL_LOG", level);
    env_logger::Builder::from_env(env)
        .format(|out, record| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("?");
            match record.level() {
                log::Level::Warn => writeln!(out, "[{name}] warning: {}", record.args()),
                log::Level::Error => writeln!(out, "[{name}] error: {}", record.args()),
                _ => writeln!(out, "[{name}] {}", record.args()),
            }
        })
        .init();
}
