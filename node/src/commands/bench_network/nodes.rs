//! Nodes in processes of their own, on free ports of the loopback interface.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use jar_rpc::Client;
use jar_rpc::api::SystemApiClient;
use jar_rpc::types::Health;
use serde_json::Value;

/// How long anything may take before the measurement is given up.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often a node is asked how it stands.
const POLL: Duration = Duration::from_millis(10);

/// This program, without settings of the environment.
fn program() -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("JAR_")) {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Writes a spec of a token chain.
pub fn write_spec(path: &Path, flags: &[String]) -> anyhow::Result<()> {
    let output = program()?
        .args(["chain-spec", "new", "--template", "token", "--out"])
        .arg(path)
        .args(flags)
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "chain-spec new: {stderr}");
    Ok(())
}

/// A running node; killed when this is dropped.
pub struct Node {
    child: Child,
    client: Client,
    /// URL of its RPC server.
    pub url: String,
    /// Where others reach it, with its name.
    pub p2p: String,
    /// When it said that it is ready.
    pub ready: Instant,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// Starts a node on a chain and a directory, and waits until it is ready.
    pub async fn start(spec: &Path, data: &Path, flags: &[&str]) -> anyhow::Result<Node> {
        let mut child = program()?
            .arg("--chain")
            .arg(spec)
            .arg("--data-dir")
            .arg(data)
            .args(["--rpc-listen", "127.0.0.1:0", "--metrics-listen", "off"])
            .args(["--p2p-listen", "/ip4/127.0.0.1/tcp/0", "--log", "json"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let lines = lines(child.stderr.take().context("no standard error")?);
        // Known before anything can fail, so that it is killed then.
        let started = tokio::task::spawn_blocking(move || Started::read(&lines)).await?;
        let connected = match started {
            Ok(started) => {
                let client = jar_rpc::connect(&started.url, PATIENCE).await;
                client
                    .map(|client| (started, client))
                    .map_err(anyhow::Error::from)
            }
            Err(error) => Err(error),
        };
        match connected {
            Ok((started, client)) => Ok(Node {
                child,
                client,
                url: started.url,
                p2p: started.p2p,
                ready: started.ready,
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Asks until the node stands well enough.
    pub async fn until(&self, is_good: impl Fn(&Health) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_good(&self.client.health().await?) {
            ensure!(
                Instant::now() < deadline,
                "{} does not get on in {} s",
                self.url,
                PATIENCE.as_secs()
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

/// What a node's log says when it starts.
struct Started {
    url: String,
    p2p: String,
    ready: Instant,
}

impl Started {
    fn read(lines: &Receiver<String>) -> anyhow::Result<Started> {
        let (mut url, mut p2p, mut ready) = (None, None, None);
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::new();
        loop {
            if let (Some(url), Some(p2p), Some(ready)) = (&url, &p2p, ready) {
                let (url, p2p) = (String::clone(url), String::clone(p2p));
                return Ok(Started { url, p2p, ready });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                bail!("a node does not start: {last}");
            };
            let parsed: Value = serde_json::from_str(&line).unwrap_or_default();
            let text = |name: &str| parsed[name].as_str().unwrap_or_default();
            match text("message") {
                "RPC" => url = Some(format!("http://{}", text("address"))),
                "listening for other nodes" => {
                    p2p = Some(format!("{}/p2p/{}", text("address"), text("peer_id")));
                }
                "ready" => ready = Some(Instant::now()),
                _ => {}
            }
            last = line;
        }
    }
}

/// The lines of a process's log, taken out until it ends.
fn lines(stderr: std::process::ChildStderr) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // Nobody listens once the node is ready; the pipe is kept empty.
            let _ = sender.send(line);
        }
    });
    lines
}
