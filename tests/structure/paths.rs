//! The paths that a file names, such as `crate::peer::swarm::Swarm`, in its `use` lines and everywhere else.

use crate::lexer::{Token, starts};

/// One path, as it is written.
#[derive(Debug)]
pub struct Written {
    /// Its names; a `*` at the end is left out.
    pub names: Vec<String>,
    pub line: usize,
    /// The modules inside the file that it lies in, from the outermost.
    pub inside: Vec<String>,
}

/// All paths of two names or more, and all that is imported.
pub fn paths(tokens: &[Token]) -> Vec<Written> {
    let mut reader = Reader { tokens, at: 0, found: Vec::new() };
    let mut braces: Vec<Option<String>> = Vec::new();
    while let Some(token) = tokens.get(reader.at) {
        let already = reader.found.len();
        match token.text.as_str() {
            "use" if !reader.is_bound() => {
                reader.at += 1;
                reader.tree(&[]);
            }
            "pub" if starts(&tokens[reader.at..], &["pub", "("]) => reader.skip_visibility(),
            "mod" if reader.word(2) == "{" => {
                braces.push(Some(reader.word(1).to_owned()));
                reader.at += 3;
            }
            "{" => {
                braces.push(None);
                reader.at += 1;
            }
            "}" => {
                braces.pop();
                reader.at += 1;
            }
            text if is_name(text) => reader.path(),
            _ => reader.at += 1,
        }
        for written in &mut reader.found[already..] {
            written.inside = braces.iter().flatten().cloned().collect();
        }
    }
    reader.found
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    found: Vec<Written>,
}

impl Reader<'_> {
    fn word(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |token| &token.text)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.line)
    }

    /// Whether this `use` is the bound `use<'a>` of a type.
    fn is_bound(&self) -> bool {
        self.word(1) == "<"
    }

    fn skip_visibility(&mut self) {
        while !matches!(self.word(0), ")" | "") {
            self.at += 1;
        }
    }

    fn found(&mut self, names: Vec<String>, line: usize) {
        self.found.push(Written { names, line, inside: Vec::new() });
    }

    /// One branch of a `use` tree: `a::b`, `a::{b, c::d}`, `a::*` or `a as b`. `before` are the names in
    /// front of it.
    fn tree(&mut self, before: &[String]) {
        let (mut names, line) = (before.to_vec(), self.line());
        loop {
            match self.word(0) {
                "{" => return self.group(&names),
                "*" => self.at += 1,
                "::" => {
                    self.at += 1;
                    continue;
                }
                "self" if !names.is_empty() => self.at += 1,
                name if is_name(name) => {
                    names.push(name.to_owned());
                    self.at += 1;
                }
                _ => break,
            }
            if self.word(0) == "as" {
                self.at += 2;
            }
            if self.word(0) != "::" {
                break;
            }
        }
        self.found(names, line);
    }

    /// What stands in `{` and `}` in a `use` line.
    fn group(&mut self, before: &[String]) {
        self.at += 1;
        while !matches!(self.word(0), "}" | "") {
            self.tree(before);
            if self.word(0) == "," {
                self.at += 1;
            } else if self.word(0) != "}" {
                return; // not Rust
            }
        }
        self.at += 1;
    }

    /// A path in an expression or a type.
    fn path(&mut self) {
        let line = self.line();
        let mut names = vec![self.word(0).to_owned()];
        self.at += 1;
        while self.word(0) == "::" && is_name(self.word(1)) {
            names.push(self.word(1).to_owned());
            self.at += 2;
        }
        if names.len() > 1 {
            self.found(names, line);
        }
    }
}
