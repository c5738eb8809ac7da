//! Standard output of commands.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Writes to standard output. Ends the process when nobody reads any more: quietly, as tools in
/// a pipe do.
pub fn write(text: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_fmt(text).and_then(|()| stdout.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: cannot write the answer: {error}");
            std::process::exit(1);
        }
    }
}

/// Writes a line to standard output.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::output::write(format_args!("{}\n", format_args!($($text)*)))
    };
}

pub(crate) use say;
