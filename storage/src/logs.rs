//! A look at RocksDB's logs before RocksDB reads them.
//!
//! Its reader (`db/log_reader.cc`, 11.8) never ends at a record that a damaged byte makes one of a
//! recycled file, and takes such a record at the start of a log for the log's end. This store
//! recycles no files, so a record of that type is damage wherever it stands.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use crate::error::Error;

/// Bytes of a block; no record's header crosses from one into the next.
const BLOCK_BYTES: usize = 32 << 10;
/// Checksum (4), length (2, little-endian), type (1).
const HEADER_BYTES: usize = 7;

/// Refuses a directory in whose logs RocksDB would get lost.
pub(crate) fn check(path: &Path) -> Result<(), Error> {
    let io = |error: io::Error| Error::Io {
        path: path.to_path_buf(),
        reason: error.to_string(),
    };
    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("MANIFEST-") && !name.ends_with(".log") {
            continue;
        }
        let file = match fs::File::open(path.join(&*name)) {
            // Another process has the database, and is done with this file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(io)?,
        };
        if let Some(at) = first_recycled(file).map_err(io)? {
            return Err(Error::Damaged {
                path: path.to_path_buf(),
                reason: format!("the record at byte {at} of {name} is of no type that is written"),
            });
        }
    }
    Ok(())
}

/// Where the first record of a recycled file starts.
fn first_recycled(mut file: impl Read) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut start = 0;
    loop {
        block.clear();
        let read = file.by_ref().take(BLOCK_BYTES as u64);
        if { read }.read_to_end(&mut block)? == 0 {
            return Ok(None);
        }
        if let Some(at) = recycled_in(&block) {
            return Ok(Some(start + at as u64));
        }
        start += block.len() as u64;
    }
}

/// Walks records as the reader does: what does not fit, and what is preallocated, ends a block.
fn recycled_in(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&[_, _, _, _, low, high, kind]) = block.get(at..at + HEADER_BYTES) {
        if is_recycled(kind) {
            return Some(at);
        }
        let len = u16::from_le_bytes([low, high]);
        if kind == 0 && len == 0 {
            return None;
        }
        at += HEADER_BYTES + usize::from(len);
    }
    None
}

/// Types of recycled files: whole and parts of records, sizes of timestamps, the log before.
fn is_recycled(kind: u8) -> bool {
    matches!(kind, 5..=8 | 11 | 131)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, len: u16) -> Vec<u8> {
        let [low, high] = len.to_le_bytes();
        let mut record = vec![0xaa, 0xbb, 0xcc, 0xdd, low, high, kind];
        record.resize(HEADER_BYTES + usize::from(len), 7);
        record
    }

    fn found(parts: &[&[u8]]) -> Option<u64> {
        first_recycled(&*parts.concat()).unwrap()
    }

    #[test]
    fn recycled_records_are_found_where_a_record_starts() {
        let good = record(1, 100);
        assert_eq!(found(&[]), None);
        assert_eq!(
            found(&[&good, &good]),
            None,
            "7s within a record are no types"
        );
        for kind in 0..=255 {
            let expected = is_recycled(kind).then_some(107);
            assert_eq!(found(&[&good, &record(kind, 9)]), expected, "{kind}");
            assert_eq!(found(&[&record(kind, 9)]), expected.map(|_| 0), "{kind}");
        }
        assert_eq!(found(&[&good, &record(5, 9)[..6]]), None, "no whole header");
    }

    #[test]
    fn records_start_anew_in_each_block() {
        let block = BLOCK_BYTES as u64;
        let full = record(2, (BLOCK_BYTES - HEADER_BYTES) as u16);
        assert_eq!(found(&[&full, &record(6, 1)]), Some(block));
        let nearly = record(1, (BLOCK_BYTES - HEADER_BYTES - 6) as u16);
        assert_eq!(found(&[&nearly, &[0; 6], &record(8, 1)]), Some(block));
        let mut too_long = record(1, u16::MAX);
        too_long.truncate(BLOCK_BYTES);
        assert_eq!(found(&[&too_long, &record(131, 1)]), Some(block));
        let mut preallocated = vec![0; BLOCK_BYTES];
        preallocated[6 + HEADER_BYTES] = 5;
        assert_eq!(found(&[&preallocated, &record(11, 1)]), Some(block));
    }
}
