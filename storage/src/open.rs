//! Opening a data directory.

use std::fs;
use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    IteratorMode, LiveFile, SliceTransform,
};

use crate::batch::{Batch, get, named_handle};
use crate::columns::{Access, COLUMNS, Column, Meta, MetaKey, MetaValue};
use crate::error::Error;
use crate::logs;

/// Version of what is stored and how. It changes whenever a column does.
pub const SCHEMA: u32 = 2;

const DEFAULT_COLUMN: &str = "default";
const BLOCK_BYTES: usize = 4 << 10;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
const LOG_FILES_MAX: usize = 4;
const LOG_BYTES_MAX: usize = 8 << 20;
const BACKGROUND_JOBS: i32 = 4;
const BYTES_PER_SYNC: u64 = 1 << 20;

/// How much a store may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of memory for what was read, indexes and filters included.
    pub cache_bytes: usize,
    /// Bytes of memory for what was written and is not yet in tables; as much is read again
    /// when a killed node starts.
    pub write_buffer_bytes: usize,
    /// Table files held open.
    pub open_files_max: i32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 256 << 20,
            write_buffer_bytes: 64 << 20,
            open_files_max: 512,
        }
    }
}

/// Opens or makes the database of a directory, with every column there and the schema right.
pub(crate) fn open(path: &Path, options: &Options) -> Result<DB, Error> {
    open_with(path, &Setup::new(options))
}

fn open_with(path: &Path, setup: &Setup) -> Result<DB, Error> {
    let present = present_columns(path, setup)?;
    let descriptors = present
        .iter()
        .map(|name| ColumnFamilyDescriptor::new(name, setup.column(access(name))));
    let mut db = DB::open_cf_descriptors(&setup.database, path, descriptors)
        .map_err(|error| open_error(path, error))?;
    check_tables(path, &db)?;
    match stored_schema(&db)? {
        Some(SCHEMA) => check_columns(path, &present)?,
        Some(found) => {
            return Err(Error::Schema {
                path: path.to_path_buf(),
                found,
                supported: SCHEMA,
            });
        }
        None => initialize(path, &mut db, setup)?,
    }
    Ok(db)
}

/// Writes everything that is in memory alone to tables, so that the next start reads no log.
pub(crate) fn flush(db: &DB) -> Result<(), Error> {
    let handles = COLUMNS
        .iter()
        .map(|(name, _)| named_handle(db, name))
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(db.flush_cfs_opt(&handles, &rocksdb::FlushOptions::default())?)
}

/// Options of the database and its columns, around one cache.
struct Setup {
    database: rocksdb::Options,
    cache: Cache,
    write_buffer_bytes: usize,
}

impl Setup {
    fn new(options: &Options) -> Setup {
        let mut database = rocksdb::Options::default();
        database.create_if_missing(true);
        database.set_paranoid_checks(true);
        // Only what was being written may be lost: a log that is damaged elsewhere is refused,
        // for it holds watermarks.
        database.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        database.set_track_and_verify_wals_in_manifest(true);
        // No column may be ahead of another, whatever becomes of the log.
        database.set_atomic_flush(true);
        database.set_db_write_buffer_size(options.write_buffer_bytes);
        database.set_max_open_files(options.open_files_max);
        database.set_max_background_jobs(BACKGROUND_JOBS);
        database.set_bytes_per_sync(BYTES_PER_SYNC);
        database.set_keep_log_file_num(LOG_FILES_MAX);
        database.set_max_log_file_size(LOG_BYTES_MAX);
        database.set_stats_dump_period_sec(0);
        Setup {
            database,
            cache: Cache::new_lru_cache(options.cache_bytes),
            write_buffer_bytes: options.write_buffer_bytes,
        }
    }

    fn column(&self, access: Access) -> rocksdb::Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_block_size(BLOCK_BYTES);
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        // Counted against the cache, so that memory stays bounded as the data grows.
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut column = rocksdb::Options::default();
        match access {
            Access::Point => {}
            Access::PointHit => column.set_optimize_filters_for_hits(true),
            Access::Prefix32 => {
                column.set_prefix_extractor(SliceTransform::create_fixed_prefix(32));
            }
        }
        column.set_block_based_table_factory(&table);
        column.set_compression_type(DBCompressionType::Lz4);
        column.set_write_buffer_size(self.write_buffer_bytes);
        column
    }
}

fn access(name: &str) -> Access {
    let known = COLUMNS.iter().find(|(known, _)| *known == name);
    known.map_or(Access::Point, |(_, access)| *access)
}

/// Names of the columns a database has, or of those to open it with.
fn present_columns(path: &Path, setup: &Setup) -> Result<Vec<String>, Error> {
    let io = |error: std::io::Error| Error::Io {
        path: path.to_path_buf(),
        reason: error.to_string(),
    };
    fs::create_dir_all(path).map_err(io)?;
    if path.join("CURRENT").try_exists().map_err(io)? {
        logs::check(path)?;
        // A database that is in use may change while it is listed: opening it tells.
        return Ok(DB::list_cf(&setup.database, path).unwrap_or_else(|_| {
            let known = COLUMNS.iter().map(|(name, _)| name.to_string());
            known.chain([DEFAULT_COLUMN.to_string()]).collect()
        }));
    }
    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let kind = Path::new(&name).extension().and_then(|kind| kind.to_str());
        // RocksDB would make an empty database here and delete these.
        if matches!(kind, Some("sst" | "log")) {
            return Err(Error::Damaged {
                path: path.to_path_buf(),
                reason: format!("{} is there, but no CURRENT", name.display()),
            });
        }
    }
    Ok(vec![DEFAULT_COLUMN.to_string()])
}

fn open_error(path: &Path, error: rocksdb::Error) -> Error {
    let text = error.to_string();
    // RocksDB has no kind of error for this; these are its words for other processes and for
    // this one.
    if text.contains("While lock file") || text.contains("lock hold by current process") {
        return Error::InUse(path.to_path_buf());
    }
    match error.kind() {
        rocksdb::ErrorKind::Corruption => Error::Damaged {
            path: path.to_path_buf(),
            reason: text,
        },
        _ => Error::Io {
            path: path.to_path_buf(),
            reason: text,
        },
    }
}

fn stored_schema(db: &DB) -> Result<Option<u32>, Error> {
    if db.cf_handle(Meta::NAME).is_none() {
        return Ok(None);
    }
    match get::<Meta>(db, &MetaKey::Schema)? {
        None => Ok(None),
        Some(MetaValue::Version(version)) => Ok(Some(version)),
        Some(MetaValue::Block(_)) => Err(Error::corrupt::<Meta>(
            &[MetaKey::Schema as u8],
            "not a version",
        )),
    }
}

/// With the schema right, the columns are exactly those of it.
fn check_columns(path: &Path, present: &[String]) -> Result<(), Error> {
    let known = |name: &str| COLUMNS.iter().any(|(known, _)| *known == name);
    let missing = COLUMNS
        .iter()
        .find(|(name, _)| !present.iter().any(|present| present == name))
        .map(|(name, _)| format!("column {name} is missing"));
    let unknown = present
        .iter()
        .find(|name| *name != DEFAULT_COLUMN && !known(name))
        .map(|name| format!("column {name} is not of this schema"));
    match missing.or(unknown) {
        None => Ok(()),
        Some(reason) => Err(Error::Damaged {
            path: path.to_path_buf(),
            reason,
        }),
    }
}

/// Every table is there in its length: RocksDB itself looks at most of them when they are read.
fn check_tables(path: &Path, db: &DB) -> Result<(), Error> {
    let unlike = |table: &LiveFile| {
        fs::metadata(path.join(table.name.trim_start_matches('/')))
            .map_or(true, |file| file.len() != table.size as u64)
    };
    let mut suspects = db.live_files()?;
    suspects.retain(unlike);
    if suspects.is_empty() {
        return Ok(());
    }
    // A table may have been merged into others since.
    let live = db.live_files()?;
    let damaged = live
        .iter()
        .find(|table| suspects.iter().any(|suspect| suspect.name == table.name));
    match damaged {
        None => Ok(()),
        Some(table) => Err(Error::Damaged {
            path: path.to_path_buf(),
            reason: format!("table {} is missing or cut", table.name),
        }),
    }
}

/// Makes the columns and writes the schema last: without it a database has no data, and making
/// it may be taken up again.
fn initialize(path: &Path, db: &mut DB, setup: &Setup) -> Result<(), Error> {
    for (name, access) in COLUMNS {
        let Some(handle) = db.cf_handle(name) else {
            db.create_cf(name, &setup.column(*access))?;
            continue;
        };
        let first = db.iterator_cf(handle, IteratorMode::Start).next();
        if first.transpose()?.is_some() {
            return Err(Error::Damaged {
                path: path.to_path_buf(),
                reason: format!("column {name} has data, but there is no schema version"),
            });
        }
    }
    let mut batch = Batch::new(db);
    batch.put::<Meta>(&MetaKey::Schema, &MetaValue::Version(SCHEMA))?;
    batch.write()
}

#[cfg(test)]
mod tests {
    use rocksdb::statistics::Ticker;

    use super::*;
    use crate::columns::{Canonical, Slots};

    #[test]
    fn every_batch_is_one_synced_write() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut setup = Setup::new(&Options::default());
        setup.database.enable_statistics();
        let db = open_with(dir.path(), &setup).unwrap();
        let counts = || {
            [Ticker::WalFileSynced, Ticker::WriteDoneBySelf]
                .map(|ticker| setup.database.get_ticker_count(ticker))
        };
        let before = counts();
        for height in 0..5 {
            let mut batch = Batch::new(&db);
            batch.put::<Canonical>(&height, &[1; 32]).unwrap();
            batch.put::<Slots>(&1, &Vec::new()).unwrap();
            batch.write().unwrap();
        }
        assert_eq!(counts(), before.map(|count| count + 5));
    }
}
