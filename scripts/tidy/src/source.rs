//! A lexer just good enough to see the shape of Rust source: where functions start and end, and
//! which words stand outside comments and literals.

/// A function's name and its extent.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from 1.
    pub line: usize,
    /// Lines from `fn` to the closing brace, both counted.
    pub lines: usize,
}

/// The source with every character of comments, strings and character literals replaced by a
/// space; line breaks stay.
pub fn mask(source: &str) -> String {
    let text: Vec<char> = source.chars().collect();
    let mut masked = String::with_capacity(source.len());
    let mut at = 0;
    while at < text.len() {
        match opaque_end(&text, at) {
            Some(end) => {
                let hidden = text[at..end].iter();
                masked.extend(hidden.map(|c| if *c == '\n' { '\n' } else { ' ' }));
                at = end;
            }
            None => {
                masked.push(text[at]);
                at += 1;
            }
        }
    }
    masked
}

/// Where the comment or literal that starts at `at` ends, if one starts there.
fn opaque_end(text: &[char], at: usize) -> Option<usize> {
    let next = text.get(at + 1).copied();
    let word_before = at > 0 && is_word(text[at - 1]);
    match text[at] {
        '/' if next == Some('/') => Some(end_of_line(text, at)),
        '/' if next == Some('*') => Some(end_of_block_comment(text, at)),
        '"' => Some(end_of_string(text, at)),
        'r' if !word_before => end_of_raw_string(text, at + 1),
        'b' | 'c' if !word_before && next == Some('r') => end_of_raw_string(text, at + 2),
        '\'' => end_of_char(text, at),
        _ => None,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn end_of_line(text: &[char], at: usize) -> usize {
    (at..text.len())
        .find(|i| text[*i] == '\n')
        .unwrap_or(text.len())
}

fn end_of_block_comment(text: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i + 1 < text.len() {
        match (text[i], text[i + 1]) {
            ('/', '*') => {
                depth += 1;
                i += 2;
            }
            ('*', '/') => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    text.len()
}

fn end_of_string(text: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < text.len() {
        match text[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    text.len()
}

/// `at` is behind the `r`.
fn end_of_raw_string(text: &[char], at: usize) -> Option<usize> {
    let hashes = text[at..].iter().take_while(|c| **c == '#').count();
    if text.get(at + hashes) != Some(&'"') {
        return None;
    }
    let closes = |i: usize| {
        text[i] == '"'
            && text[i + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    let close = (at + hashes + 1..text.len()).find(|i| closes(*i));
    Some(close.map_or(text.len(), |i| i + 1 + hashes))
}

/// A character literal; a lifetime is none.
fn end_of_char(text: &[char], at: usize) -> Option<usize> {
    if text.get(at + 1) == Some(&'\\') {
        let close = (at + 3..text.len()).find(|i| text[*i] == '\'')?;
        return Some(close + 1);
    }
    (text.get(at + 2) == Some(&'\'')).then_some(at + 3)
}

/// The words of masked source, each with its line, from 1.
pub fn words(masked: &str) -> impl Iterator<Item = (usize, &str)> {
    masked.lines().enumerate().flat_map(|(line, text)| {
        let words = text.split(|c| !is_word(c)).filter(|word| !word.is_empty());
        words.map(move |word| (line + 1, word))
    })
}

/// Every function with a body, nested ones too, in the order of their ends.
pub fn functions(masked: &str) -> Vec<Function> {
    let mut found = Vec::new();
    // Functions whose body is open: name, line, brace depth of the body.
    let mut open: Vec<(String, usize, usize)> = Vec::new();
    // A function whose body has not begun: name, line, depth of parentheses and brackets.
    let mut declared: Option<(String, usize, usize)> = None;
    let (mut braces, mut line) = (0, 1);
    let mut tokens = tokens(masked).peekable();
    while let Some(token) = tokens.next() {
        match (token, &mut declared) {
            ("\n", _) => line += 1,
            ("fn", None) => {
                if let Some(name) = tokens.next_if(|next| next.starts_with(is_word)) {
                    declared = Some((name.to_string(), line, 0));
                }
            }
            ("(" | "[", Some((_, _, nesting))) => *nesting += 1,
            (")" | "]", Some((_, _, nesting))) => *nesting = nesting.saturating_sub(1),
            (";", Some((_, _, 0))) => declared = None,
            ("{", _) => {
                braces += 1;
                if let Some((name, from, 0)) = declared.take_if(|(_, _, nesting)| *nesting == 0) {
                    open.push((name, from, braces));
                }
            }
            ("}", _) => {
                if let Some((name, from, _)) = open.pop_if(|(_, _, depth)| *depth == braces) {
                    found.push(Function {
                        name,
                        line: from,
                        lines: line - from + 1,
                    });
                }
                braces = braces.saturating_sub(1);
            }
            _ => {}
        }
    }
    found
}

/// Words, and every other character but blanks by itself.
fn tokens(masked: &str) -> impl Iterator<Item = &str> {
    let mut rest = masked;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', '\r']);
        let first = rest.chars().next()?;
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(end);
        rest = behind;
        Some(token)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_masked() {
        let source = "a // unsafe\n\"un\\\"safe\" b /* x /* y */ unsafe */ c r#\"unsafe \" {\"# d '{' '\\'' e";
        let masked = mask(source);
        let seen: Vec<_> = words(&masked).collect();
        assert_eq!(seen, [(1, "a"), (2, "b"), (2, "c"), (2, "d"), (2, "e")]);
    }

    #[test]
    fn lifetimes_are_not_characters() {
        let masked = mask("fn f<'a>(x: &'a str) -> &'a str { unsafe { x } }");
        assert!(words(&masked).any(|(_, word)| word == "unsafe"));
    }

    #[test]
    fn functions_are_measured() {
        let source = "fn a(x: [u8; 3]) -> u8 {\n  fn b() {\n  }\n  x[0]\n}\ntrait T { fn c(); fn d() {} }\ntype F = fn(u8);\n";
        let seen: Vec<_> = functions(&mask(source))
            .into_iter()
            .map(|function| (function.name, function.line, function.lines))
            .collect();
        let expected = [("b", 2, 2), ("a", 1, 5), ("d", 6, 1)];
        assert_eq!(
            seen,
            expected.map(|(name, line, lines)| (name.to_string(), line, lines))
        );
    }
}
