//! jar-storage
