//! What the kernel is measured beside, a request at a time, so that `jar-node bench kernel`
//! lets it take turns with the kernel.
//!
//! Each line read is a request, each line written its answer: numbers of nanoseconds.
//!
//! | request | answer |
//! |---|---|
//! | `call COUNT` | a wasmtime instantiation from the pool with a call, on average of COUNT |
//! | `map-open ENTRIES` | `ready`: a NOMT database of as many entries, in memory |
//! | `map COUNT` | two numbers: an update of a random entry, on average of COUNT, up to the root; and the commit |
//!
//! What was not built in answers `not-built`.

use std::io::BufRead;

/// Answers requests until there are no more.
pub fn serve() {
    let mut peers = Peers::default();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is open");
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = words.get(1).and_then(|word| word.parse().ok());
        let answer = match (words.first().copied(), number) {
            (Some("call"), Some(count)) if count > 0 => peers.call(count),
            (Some("map-open"), Some(entries)) if entries > 0 => peers.open_map(entries),
            (Some("map"), Some(count)) if count > 0 => peers.update_map(count),
            _ => panic!("'{line}' is no request"),
        };
        println!("{}", answer.unwrap_or_else(|| "not-built".to_owned()));
    }
}

/// What is kept between requests.
#[derive(Default)]
struct Peers {
    #[cfg(feature = "wasmtime")]
    pool: Option<crate::wasm::Pool>,
    #[cfg(feature = "nomt")]
    map: Option<crate::nomt::Map>,
}

impl Peers {
    #[cfg(feature = "wasmtime")]
    fn call(&mut self, count: u32) -> Option<String> {
        let pool = self.pool.get_or_insert_with(crate::wasm::Pool::new);
        Some(format!("{:.1}", pool.instantiate_and_call(count)))
    }

    #[cfg(feature = "nomt")]
    fn open_map(&mut self, entries: u32) -> Option<String> {
        self.map = Some(crate::nomt::Map::new(entries));
        Some("ready".to_owned())
    }

    #[cfg(feature = "nomt")]
    fn update_map(&mut self, count: u32) -> Option<String> {
        let map = self.map.as_mut().expect("map-open comes first");
        let (update, commit) = map.update(count);
        Some(format!("{update:.1} {commit:.1}"))
    }
}

#[cfg(not(feature = "wasmtime"))]
impl Peers {
    fn call(&mut self, _: u32) -> Option<String> {
        None
    }
}

#[cfg(not(feature = "nomt"))]
impl Peers {
    fn open_map(&mut self, _: u32) -> Option<String> {
        None
    }

    fn update_map(&mut self, _: u32) -> Option<String> {
        None
    }
}
