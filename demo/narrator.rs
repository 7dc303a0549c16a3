//! The narrator's voice: headings, plain sentences, and what the processes log, quoted. Colour on a
//! terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

/// Tells the story on standard output.
pub struct Narrator {
    start: Instant,
    colour: bool,
    scene: u32,
    /// What stands in quoted lines for what: names for addresses, and a tilde for the demo's folder.
    names: Vec<(String, String)>,
}

impl Narrator {
    pub fn new() -> Self {
        let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Narrator { start: Instant::now(), colour, scene: 0, names: Vec::new() }
    }

    /// From now on quoted lines say `name` where the processes say `what`.
    pub fn call(&mut self, what: &str, name: &str) {
        self.names.push((what.to_owned(), name.to_owned()));
    }

    /// The name that stands for an address.
    pub fn name_of(&self, address: &str) -> String {
        let known = self.names.iter().find(|(what, _)| what == address);
        known.map_or_else(|| address.to_owned(), |(_, name)| name.clone())
    }

    /// A new scene.
    pub fn scene(&mut self, title: &str) {
        self.scene += 1;
        put(&format!("\n{}", self.paint("1;36", &format!("{}. {title}", self.scene))));
    }

    /// A sentence or more; each line of `text` is one of the output, however it is indented.
    pub fn say(&self, text: impl AsRef<str>) {
        text.as_ref().lines().for_each(|line| put(&format!("   {}", line.trim_start())));
    }

    /// What is typed into the shell of the actor `name`.
    pub fn typed(&self, name: &str, line: &str) {
        put(&format!("   {}", self.paint("1", &format!("{name}> {}", self.plain(line)))));
    }

    /// A line that an actor logged, as it is but for the names.
    pub fn quote(&self, name: &str, line: &str) {
        put(&format!("   {}", self.paint("2", &format!("│ {name:<5} {}", self.plain(line)))));
    }

    /// The same, with the second at which it came.
    pub fn quote_at(&self, at: Instant, name: &str, line: &str) {
        let seconds = at.saturating_duration_since(self.start).as_secs_f64();
        put(&format!(
            "   {}",
            self.paint("2", &format!("│ {seconds:>4.1} s  {name:<5} {}", self.plain(line)))
        ));
    }

    /// The last line.
    pub fn conclude(&self, shared: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        put(&format!(
            "\nAll well: {shared} shared in {seconds:.0} seconds, every byte right, nothing left behind."
        ));
    }

    fn plain(&self, line: &str) -> String {
        self.names.iter().fold(line.to_owned(), |line, (what, name)| line.replace(what, name))
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A line of the output. If the reader closes the output, the demo goes on to its end.
fn put(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
