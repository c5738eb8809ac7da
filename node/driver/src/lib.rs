//! jar-driver
