//! The terminal that bars are drawn on, which a person may make narrower or wider at any time.
//!
//! The bars are one long line: each fills a row to its end, and the terminal goes on in the next one. Most
//! terminals lay such a line out anew when their width changes, so that it takes more or fewer rows than
//! were drawn. What was drawn is removed by its rows as they are now; otherwise some would stay, or lines
//! above would go with them. Runs on the thread that draws; the lock is a leaf, held while one call is
//! noted down.

use indicatif::TermLike;
use parking_lot::Mutex;
use rustix::termios::tcgetwinsize;
use std::fmt::Debug;
use std::io::{self, Write, stderr};

/// Columns and rows where they cannot be found out.
const USUAL: (u16, u16) = (80, 24);

/// A terminal, as far as bars need it.
pub trait Screen: Debug + Send + Sync {
    /// Its columns and rows now.
    fn size(&self) -> (u16, u16);
    /// Shows text and carries out what is in it for the terminal.
    fn put(&self, text: &str) -> io::Result<()>;
}

/// Standard error.
#[derive(Debug)]
pub struct StandardError;

impl Screen for StandardError {
    fn size(&self) -> (u16, u16) {
        let size = tcgetwinsize(stderr()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or(USUAL, |size| (size.ws_col, size.ws_row))
    }

    fn put(&self, text: &str) -> io::Result<()> {
        stderr().lock().write_all(text.as_bytes())
    }
}

/// A terminal that removes what was drawn, whatever its width was then.
#[derive(Debug)]
pub struct Resizable<S> {
    screen: S,
    /// Whether a line that is too long for a new width goes on in the next row.
    reflows: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What goes to the screen next.
    text: String,
    /// Number of columns when something was drawn last.
    width: Option<u16>,
    /// Whether anything was drawn then.
    is_drawn: bool,
    /// Whether anything is drawn by the text.
    draws: bool,
    /// What was drawn is removed already: there is nothing to do for more orders to do so.
    is_removed: bool,
}

impl<S: Screen> Resizable<S> {
    pub fn new(screen: S, reflows: bool) -> Self {
        Resizable { screen, reflows, state: Mutex::default() }
    }

    fn order(&self, order: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.is_removed {
            state.text.push_str(order);
        }
        Ok(())
    }
}

impl<S: Screen> TermLike for Resizable<S> {
    fn width(&self) -> u16 {
        self.screen.size().0
    }

    fn height(&self) -> u16 {
        self.screen.size().1
    }

    /// The first order of a removal: up from the last of `n + 1` rows.
    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        let now = self.width();
        let before = {
            let mut state = self.state.lock();
            let before = state.width.replace(now);
            before.filter(|before| *before != now && state.is_drawn && self.reflows)
        };
        match before {
            Some(before) => {
                let cells = (n + 1) * usize::from(before);
                let up = cells.div_ceil(usize::from(now).max(1)) - 1;
                let up = if up > 0 { format!("\x1b[{up}A") } else { String::new() };
                self.order(&format!("{up}\r\x1b[J"))?;
                self.state.lock().is_removed = true;
                Ok(())
            }
            None if n > 0 => self.order(&format!("\x1b[{n}A")),
            None => Ok(()),
        }
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.order(&format!("\x1b[{n}B")) } else { Ok(()) }
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.order(&format!("\x1b[{n}C")) } else { Ok(()) }
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        if n > 0 { self.order(&format!("\x1b[{n}D")) } else { Ok(()) }
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.write_str(s)?;
        self.write_str("\n")
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.is_removed = false;
        state.draws = true;
        state.text.push_str(s);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.order("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let text = {
            let mut state = self.state.lock();
            state.is_removed = false;
            state.is_drawn = std::mem::take(&mut state.draws);
            std::mem::take(&mut state.text)
        };
        self.screen.put(&text)
    }
}

/// Whether the terminal that we run in lays out long lines anew: all that are in wide use do, but not these.
pub fn reflows() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    let cuts = ["linux", "rxvt", "vt"].iter().any(|name| term.starts_with(name));
    !cuts && std::env::var_os("XTERM_VERSION").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
    use std::sync::Arc;

    /// Notes down what is put on it.
    #[derive(Debug, Clone, Default)]
    struct Paper {
        columns: Arc<Mutex<u16>>,
        text: Arc<Mutex<String>>,
    }

    impl Screen for Paper {
        fn size(&self) -> (u16, u16) {
            (*self.columns.lock(), 24)
        }

        fn put(&self, text: &str) -> io::Result<()> {
            self.text.lock().push_str(text);
            Ok(())
        }
    }

    impl Paper {
        /// How it is to be cleaned of three bars that were drawn 60 columns wide, now that it has so many.
        fn cleaned_at(columns: u16, reflows: bool) -> String {
            let paper = Paper::default();
            *paper.columns.lock() = 60;
            let terminal = Resizable::new(paper.clone(), reflows);
            let bars = MultiProgress::with_draw_target(ProgressDrawTarget::term_like(Box::new(terminal)));
            let style = ProgressStyle::with_template("{prefix} {wide_msg}").unwrap();
            let drawn = ["a", "b", "c"].map(|name| {
                let bar = bars.add(ProgressBar::new(9).with_style(style.clone()).with_prefix(name));
                bar.tick();
                bar
            });
            bars.suspend(|| {
                let text = std::mem::take(&mut *paper.text.lock());
                assert!(["a ", "b ", "c "].iter().all(|name| text.contains(name)), "{text:?}");
            });
            paper.text.lock().clear();
            *paper.columns.lock() = columns;
            let cleaned = bars.suspend(|| paper.text.lock().clone());
            drop(drawn);
            cleaned
        }
    }

    /// Bug: the upper halves of bars stayed when the terminal was made narrower, and lines above went with
    /// them when it was made wider.
    #[test]
    fn bars_are_removed_from_as_many_rows_as_they_take_after_a_new_width() {
        assert_eq!(Paper::cleaned_at(30, true), "\x1b[5A\r\x1b[J", "six rows");
        assert_eq!(Paper::cleaned_at(50, true), "\x1b[3A\r\x1b[J", "four rows, the last not full");
        assert_eq!(Paper::cleaned_at(120, true), "\x1b[1A\r\x1b[J", "two rows");
        assert_eq!(Paper::cleaned_at(200, true), "\r\x1b[J", "one row");
        let as_before = Paper::cleaned_at(60, true);
        assert!(as_before.starts_with("\x1b[2A") && !as_before.contains("\x1b[J"), "{as_before:?}");
        assert_eq!(Paper::cleaned_at(30, false), as_before, "a terminal that cuts lines off");
    }
}
