//! jar-kernel
