//! Typed reading and writing of columns.

use rocksdb::{ColumnFamily, DB, DBPinnableSlice, WriteBatch, WriteOptions};

use crate::columns::{Column, ColumnKey, Guard};
use crate::error::Error;

/// The column's handle.
pub(crate) fn handle<C: Column>(db: &DB) -> Result<&ColumnFamily, Error> {
    named_handle(db, C::NAME)
}

/// The handle of the column with this name.
pub(crate) fn named_handle<'a>(db: &'a DB, name: &str) -> Result<&'a ColumnFamily, Error> {
    db.cf_handle(name)
        .ok_or_else(|| Error::Database(format!("column {name} is not open")))
}

/// The value of an entry, checked.
pub(crate) fn get<C: Column>(db: &DB, key: &C::Key) -> Result<Option<C::Value>, Error> {
    let key = key.pack();
    raw::<C>(db, &key)?
        .map(|bytes| unpack::<C>(&key, &bytes))
        .transpose()
}

/// Whether there is an entry, its value unread.
pub(crate) fn holds<C: Column>(db: &DB, key: &C::Key) -> Result<bool, Error> {
    Ok(raw::<C>(db, &key.pack())?.is_some())
}

fn raw<'a, C: Column>(db: &'a DB, key: &[u8]) -> Result<Option<DBPinnableSlice<'a>>, Error> {
    db.get_pinned_cf(handle::<C>(db)?, key)
        .map_err(|error| Error::at::<C>(key, error))
}

/// The value in the bytes of an entry, checked.
pub(crate) fn unpack<C: Column>(key: &[u8], bytes: &[u8]) -> Result<C::Value, Error> {
    C::Guard::unpack(C::NAME, key, bytes).map_err(|reason| Error::corrupt::<C>(key, reason))
}

/// Changes that are written together.
pub(crate) struct Batch<'a> {
    db: &'a DB,
    batch: WriteBatch,
}

impl<'a> Batch<'a> {
    /// No changes.
    pub(crate) fn new(db: &'a DB) -> Batch<'a> {
        Batch {
            db,
            batch: WriteBatch::default(),
        }
    }

    /// Adds or replaces an entry.
    pub(crate) fn put<C: Column>(&mut self, key: &C::Key, value: &C::Value) -> Result<(), Error> {
        let key = key.pack();
        let bytes = C::Guard::pack(C::NAME, &key, value);
        self.batch.put_cf(handle::<C>(self.db)?, key, bytes);
        Ok(())
    }

    /// Removes an entry.
    pub(crate) fn delete<C: Column>(&mut self, key: &C::Key) -> Result<(), Error> {
        self.batch.delete_cf(handle::<C>(self.db)?, key.pack());
        Ok(())
    }

    /// Writes all or nothing; what is written survives a loss of power.
    pub(crate) fn write(self) -> Result<(), Error> {
        let mut options = WriteOptions::new();
        options.set_sync(true);
        Ok(self.db.write_opt(self.batch, &options)?)
    }
}
