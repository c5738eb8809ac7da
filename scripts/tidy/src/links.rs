//! Links in Markdown.

use std::path::{Path, PathBuf};

/// The targets of inline links and images `[text](target)` outside code, each with its line.
pub fn targets(markdown: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        if fenced {
            continue;
        }
        let prose = without_code_spans(line);
        let mut rest = prose.as_str();
        while let Some(at) = rest.find("](") {
            rest = &rest[at + 2..];
            let Some(end) = rest.find(')') else { break };
            // A target may be followed by a title.
            let target = rest[..end].split_whitespace().next().unwrap_or_default();
            found.push((number + 1, target.to_string()));
            rest = &rest[end..];
        }
    }
    found
}

fn without_code_spans(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

/// Whether a target is a place in this checkout.
pub fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("mailto:")
}

/// What is wrong with a relative link of the document at `document`, if anything is.
pub fn broken(root: &Path, document: &Path, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if path.is_empty() {
        root.join(document)
    } else {
        root.join(document.parent().unwrap_or(Path::new("")))
            .join(path)
    };
    let Ok(file) = file.canonicalize() else {
        return Some(format!("{target}: no such file"));
    };
    let root: PathBuf = root.canonicalize().expect("the root exists");
    if !file.starts_with(root) {
        return Some(format!("{target}: outside the checkout"));
    }
    if !anchor.is_empty() && file.extension().is_some_and(|e| e == "md") {
        let text = std::fs::read_to_string(&file).expect("a document is text");
        if !anchors(&text).any(|known| known == anchor) {
            return Some(format!("{target}: no such heading"));
        }
    }
    None
}

/// The anchors of a document's headings, as the common renderers make them.
fn anchors(markdown: &str) -> impl Iterator<Item = String> {
    markdown
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code() {
        let text = "[a](b.md) `[c](d)` ![e](f.png \"title\")\n```\n[g](h)\n```\n[i](j#k)";
        let found = targets(text);
        let expected = [(1, "b.md"), (1, "f.png"), (5, "j#k")];
        assert_eq!(
            found,
            expected.map(|(line, target)| (line, target.to_string()))
        );
    }

    #[test]
    fn headings_have_anchors() {
        let known: Vec<_> = anchors("# The `run` loop\ntext\n## Gas, time").collect();
        assert_eq!(known, ["the-run-loop", "gas-time"]);
    }
}
