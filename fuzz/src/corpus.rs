//! The committed inputs: one file a target, one input a line, in hexadecimal.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use crate::Target;

/// The file that holds a target's corpus.
pub fn path(target: &Target) -> PathBuf {
    let name = format!("corpus/{}.hex", target.name);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn parse(line: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = line.chars().map(|c| Some(c.to_digit(16)? as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

/// The inputs of a target's corpus.
pub fn read(target: &Target) -> Result<Vec<Vec<u8>>> {
    let text = std::fs::read_to_string(path(target))?;
    let bad = |line| {
        Error::new(
            ErrorKind::InvalidData,
            format!("no hexadecimal bytes: {line}"),
        )
    };
    text.lines()
        .map(|line| parse(line).ok_or_else(|| bad(line)))
        .collect()
}

/// Writes the corpus as files into a folder.
pub fn unpack(target: &Target, folder: &Path) -> Result<usize> {
    let inputs = read(target)?;
    std::fs::create_dir_all(folder)?;
    for (index, input) in inputs.iter().enumerate() {
        std::fs::write(folder.join(format!("committed-{index:04}")), input)?;
    }
    Ok(inputs.len())
}

/// Makes the files of a folder the corpus: shortest first, then by content.
pub fn pack(target: &Target, folder: &Path) -> Result<usize> {
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        inputs.push(std::fs::read(entry?.path())?);
    }
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.dedup();
    let hex = |input: &Vec<u8>| -> String { input.iter().map(|b| format!("{b:02x}")).collect() };
    let lines: Vec<String> = inputs.iter().map(|input| hex(input) + "\n").collect();
    std::fs::write(path(target), lines.concat())?;
    Ok(inputs.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bytes() {
        assert_eq!(parse("00ff7A"), Some(vec![0, 255, 0x7a]));
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("0"), None);
        assert_eq!(parse("zz"), None);
        assert_eq!(parse("€€"), None);
    }
}
