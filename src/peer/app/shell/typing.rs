//! The lines that a shell carries out, one at a time, and the prompt for a person who types them. Runs on the
//! shell's thread; the one lock is a leaf.

use crate::logging;
use crate::peer::app::audience::Audience;
use crossbeam_channel::{Receiver, never, select};
use parking_lot::Mutex;

/// What a person sees while the shell waits for a command.
pub const PROMPT: &str = "> ";

/// Who gives a shell its lines.
pub struct Typing {
    lines: Receiver<String>,
    /// A line that came before its turn: it ended the following of a download.
    early: Mutex<Option<String>>,
    person: bool,
}

impl Typing {
    /// These lines, from a person or from a pipe.
    pub fn new(lines: Receiver<String>, person: bool) -> Self {
        Typing { lines, early: Mutex::default(), person }
    }

    /// Nobody: the only command came otherwise.
    pub fn nobody() -> Self {
        Typing::new(never(), false)
    }

    /// Whether a person is typing: then there is a prompt, and notices are shown.
    pub fn by_person(&self) -> bool {
        self.person
    }

    /// The next line, once there is one; `None` at the end, or once something comes from `stop`. What comes
    /// from `notices` is shown meanwhile.
    pub fn next<T>(
        &self,
        audience: &dyn Audience,
        stop: &Receiver<()>,
        notices: &Receiver<T>,
        mut show: impl FnMut(T),
    ) -> Option<String> {
        let early = self.early.lock().take();
        if let Some(line) = early.or_else(|| self.lines.try_recv().ok()) {
            return Some(line);
        }
        if self.person {
            let _ = audience.print(PROMPT); // the next answer will show what is wrong
            logging::set_prompt(Some(PROMPT));
        }
        let line = loop {
            select! {
                recv(self.lines) -> line => break line.ok(),
                recv(notices) -> notice => notice.into_iter().for_each(&mut show),
                recv(stop) -> _ => break None,
            }
        };
        logging::set_prompt(None);
        line
    }

    /// The lines that end the following of a download: those of a person. They are to be kept.
    pub fn enter(&self) -> Receiver<String> {
        if self.person { self.lines.clone() } else { never() }
    }

    /// Keeps a line that came before its turn.
    pub fn keep(&self, line: Option<String>) {
        *self.early.lock() = line.filter(|line| !line.is_empty());
    }
}
