//! Rust source as tokens, as far as the rules need it: no comments, no contents of strings, and no test code
//! where it is not wanted.

/// One token and the line it is on.
#[derive(Clone, PartialEq, Debug)]
pub struct Token {
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// The tokens of `source`. Strings and characters count as nothing, `::` as one token, and any other sign
/// alone.
pub fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = blank(source).chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let start = at;
        at += 1;
        match chars[start] {
            '\n' => line += 1,
            c if c.is_whitespace() => {}
            ':' if chars.get(at) == Some(&':') => at += 1,
            c if is_word(c) => at += chars[at..].iter().take_while(|c| is_word(**c)).count(),
            _ => {}
        }
        let text: String = chars[start..at].iter().collect();
        if !text.trim().is_empty() {
            tokens.push(Token { text, line });
        }
    }
    tokens
}

/// Whether a character belongs to a name, a keyword or a number.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The same text with spaces in place of comments and of all that stands in quotes. Lines stay where they
/// are.
fn blank(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let (mut out, mut at) = (String::with_capacity(source.len()), 0);
    while at < chars.len() {
        let skipped = comment(&chars[at..]).or_else(|| quoted(&chars, at));
        match skipped {
            Some(len) => {
                let gone = &chars[at..(at + len).min(chars.len())];
                out.extend(gone.iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
                at += len;
            }
            None => {
                out.push(chars[at]);
                at += 1;
            }
        }
    }
    out
}

/// The length of the comment at the start. Comments in `/*` and `*/` may lie in each other.
fn comment(chars: &[char]) -> Option<usize> {
    match chars {
        ['/', '/', ..] => Some(chars.iter().position(|c| *c == '\n').unwrap_or(chars.len())),
        ['/', '*', ..] => {
            let (mut depth, mut at) = (1, 2);
            while depth > 0 && at < chars.len() {
                let (change, len) = match &chars[at..] {
                    ['/', '*', ..] => (1, 2),
                    ['*', '/', ..] => (-1, 2),
                    _ => (0, 1),
                };
                depth += change;
                at += len;
            }
            Some(at)
        }
        _ => None,
    }
}

/// The length of the string or character at `at`.
fn quoted(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    match rest {
        ['"', ..] => Some(1 + until_quote(&rest[1..], '"')),
        ['\'', '\\', ..] => Some(1 + until_quote(&rest[1..], '\'')),
        ['\'', _, '\'', ..] => Some(3), // else it is a lifetime
        ['r', ..] if at == 0 || !is_word(chars[at - 1]) || chars[at - 1] == 'b' => raw(rest),
        _ => None,
    }
}

/// How many characters there are up to the closing quote and with it.
fn until_quote(chars: &[char], quote: char) -> usize {
    let mut at = 0;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of a string such as `r"..."` or `r#"..."#`.
fn raw(chars: &[char]) -> Option<usize> {
    let hashes = chars[1..].iter().take_while(|c| **c == '#').count();
    if chars.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let start = 2 + hashes;
    let closes = |at: &usize| {
        chars[*at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((start..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes))
}

/// Takes the items under `#[cfg(test)]` out of `tokens`. Gives the rest, and the names of the modules that
/// are left out and lie in other files.
pub fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut modules, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        if !starts(&tokens[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += 7;
        let len = item_len(&tokens[at..]);
        let item = &tokens[at..at + len];
        if let Some(name) = item.iter().position(|token| token.text == "mod").and_then(|at| item.get(at + 1))
            && item.last().is_some_and(|token| token.text == ";")
        {
            modules.push(name.text.clone());
        }
        at += len;
    }
    (kept, modules)
}

/// Whether `tokens` begins with these words.
pub fn starts(tokens: &[Token], words: &[&str]) -> bool {
    tokens.len() >= words.len() && tokens.iter().zip(words).all(|(token, word)| token.text == *word)
}

/// How many tokens belong to the item at the start, with its attributes: up to a `;` or a closing `}` that
/// lies in no other brackets, or up to the `,` after a field.
fn item_len(tokens: &[Token]) -> usize {
    let name = if starts(tokens, &["pub", "("]) { 4 } else { usize::from(starts(tokens, &["pub"])) };
    let field = tokens.get(name + 1).is_some_and(|token| token.text == ":");
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at, // the end of what the field lies in
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            "," if depth == 0 && field => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}
