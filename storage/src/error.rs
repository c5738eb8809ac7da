//! What can go wrong with the data directory.

use std::path::PathBuf;

use jar_cap::{RecordId, StoreError};

use crate::columns::{Column, ColumnKey, Nodes};

/// A data directory that cannot be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process, or another part of this one, has it open.
    #[error("data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// It was written by another version of the software.
    #[error(
        "data directory {} has schema version {found}, this version reads {supported} only",
        path.display()
    )]
    Schema {
        /// The directory.
        path: PathBuf,
        /// The version it has.
        found: u32,
        /// [`crate::SCHEMA`].
        supported: u32,
    },
    /// Files or columns are missing, or hold what does not belong there.
    #[error("data directory {} is damaged: {reason}", path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// One entry is damaged.
    #[error(
        "entry 0x{} of column {column} is corrupt: {reason}",
        jar_kernel::hex(key)
    )]
    Corrupt {
        /// The column.
        column: &'static str,
        /// The entry's key.
        key: Vec<u8>,
        /// What is wrong.
        reason: String,
    },
    /// A commit that contradicts itself or what is stored.
    #[error(transparent)]
    Refused(StoreError),
    /// The directory cannot be made or read.
    #[error("data directory {}: {reason}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The database failed.
    #[error("database: {0}")]
    Database(String),
}

impl Error {
    pub(crate) fn corrupt<C: Column>(key: &[u8], reason: impl Into<String>) -> Error {
        Error::Corrupt {
            column: C::NAME,
            key: key.to_vec(),
            reason: reason.into(),
        }
    }

    /// A failure of the database while it worked on an entry.
    pub(crate) fn at<C: Column>(key: &[u8], error: rocksdb::Error) -> Error {
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Error::corrupt::<C>(key, error.into_string()),
            _ => error.into(),
        }
    }

    /// The state record whose entry is damaged.
    fn record(&self) -> Option<RecordId> {
        match self {
            Error::Corrupt { column, key, .. } if *column == Nodes::NAME => {
                <RecordId as ColumnKey>::unpack(key)
            }
            _ => None,
        }
    }
}

impl From<rocksdb::Error> for Error {
    fn from(error: rocksdb::Error) -> Error {
        Error::Database(error.into_string())
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> StoreError {
        if let Some(id) = error.record() {
            return StoreError::Corrupt {
                id,
                reason: "the database cannot read its entry",
            };
        }
        match error {
            Error::Refused(refusal) => refusal,
            error => StoreError::Backend(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use jar_cap::hash::Tag;

    use super::*;
    use crate::columns::Headers;

    #[test]
    fn corruption_keeps_its_name() {
        let id = RecordId::new(Tag::TrieNode, [3; 32]);
        let record = Error::corrupt::<Nodes>(id.as_bytes(), "block checksum mismatch");
        assert!(matches!(
            StoreError::from(record),
            StoreError::Corrupt { id: named, .. } if named == id
        ));
        let header = Error::corrupt::<Headers>(&[0xab; 32], "its checksum does not match");
        assert_eq!(
            StoreError::from(header),
            StoreError::Backend(format!(
                "entry 0x{} of column headers is corrupt: its checksum does not match",
                "ab".repeat(32)
            ))
        );
    }
}
