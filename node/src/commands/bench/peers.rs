//! The other end of `jar-bench kernel-peers`: a process that measures other projects when asked
//! to, so that they take turns with the kernel.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};

/// The running process.
pub struct Peers {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peers {
    /// Starts the binary at `path`.
    pub fn start(path: &Path) -> anyhow::Result<Peers> {
        let mut child = Command::new(path)
            .arg("kernel-peers")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", path.display()))?;
        let answers = child.stdout.take().context("its output is not piped")?;
        Ok(Peers {
            requests: child.stdin.take(),
            answers: BufReader::new(answers),
            child,
        })
    }

    /// Nanoseconds of a pooled wasmtime instantiation with a call, on average of `count`.
    pub fn call_ns(&mut self, count: u32) -> anyhow::Result<Option<f64>> {
        match self.ask(&format!("call {count}"))?.as_deref() {
            None => Ok(None),
            Some([ns]) => Ok(Some(*ns)),
            Some(_) => bail!("the peers' answer to 'call' is not a number"),
        }
    }

    /// Fills a NOMT database.
    pub fn open_map(&mut self, entries: u32) -> anyhow::Result<()> {
        self.ask(&format!("map-open {entries}")).map(|_| ())
    }

    /// Nanoseconds of an update of NOMT up to the root, and of its part of the commit.
    pub fn map_ns(&mut self, count: u32) -> anyhow::Result<Option<(f64, f64)>> {
        match self.ask(&format!("map {count}"))?.as_deref() {
            None => Ok(None),
            Some([update, commit]) => Ok(Some((*update, *commit))),
            Some(_) => bail!("the peers' answer to 'map' is not two numbers"),
        }
    }

    /// The numbers of an answer; none for `ready`, `None` for what was not built in.
    fn ask(&mut self, request: &str) -> anyhow::Result<Option<Vec<f64>>> {
        let requests = self.requests.as_mut().context("the peers were stopped")?;
        writeln!(requests, "{request}").context("the peers ended")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim() {
            "" => bail!("the peers ended without an answer to '{request}'"),
            "not-built" => Ok(None),
            "ready" => Ok(Some(Vec::new())),
            numbers => {
                let numbers = numbers.split(' ').map(str::parse);
                let numbers: Result<_, _> = numbers.collect();
                numbers
                    .map(Some)
                    .with_context(|| format!("the peers answered '{}'", answer.trim()))
            }
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        // It ends when there are no more requests, and removes what it wrote.
        self.requests = None;
        let _ = self.child.wait();
    }
}
