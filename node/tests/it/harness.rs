//! A node in a process of its own, on free ports, with a directory of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before a test gives up; a loaded machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What nodes log. Tests wait for lines of level info; the rest is for those that fail.
const LOG_LEVEL: &str = "info,network=debug";
/// Time slots of test chains, in milliseconds.
pub const SLOT_MS: u64 = 100;

/// The binary with these arguments and no settings of this environment.
pub fn jar_node(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jar-node"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("JAR_")) {
        command.env_remove(name);
    }
    command.args(arguments);
    command
}

/// Runs a command of the binary to its end.
pub fn run(arguments: &[&str]) -> Output {
    jar_node(arguments).output().expect("the binary runs")
}

/// The standard output of a command that must succeed.
pub fn stdout_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The JSON that a command prints.
pub fn json_of(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout_of(arguments)).expect("JSON")
}

/// The standard error of a command that must fail.
pub fn failure_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded");
    stderr(&output)
}

/// What a process said on its standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A directory with a token chain of short slots: alice has a million, and is the validator.
pub struct Chain {
    dir: TempDir,
}

impl Chain {
    pub fn new() -> Chain {
        Chain::with(&[])
    }

    /// The same with more flags of `chain-spec new`.
    pub fn with(flags: &[&str]) -> Chain {
        Chain::of_pace(SLOT_MS, flags)
    }

    /// A chain of four validators: slots are long enough for four processes of a busy machine.
    pub fn of_four() -> Chain {
        let others = ["bob", "carol", "dave"];
        let flags: Vec<&str> = others
            .iter()
            .flat_map(|name| ["--validator", *name])
            .collect();
        Chain::of_pace(4 * SLOT_MS, &flags)
    }

    fn of_pace(slot_ms: u64, flags: &[&str]) -> Chain {
        let chain = Chain {
            dir: tempfile::tempdir().expect("a directory"),
        };
        let slot_ms = slot_ms.to_string();
        let spec = chain.spec();
        let mut arguments = vec!["chain-spec", "new", "--template", "token"];
        arguments.extend(["--validator", "alice", "--balance", "alice=1000000"]);
        arguments.extend(["--slot-ms", &slot_ms, "--out", &spec]);
        arguments.extend(flags);
        stdout_of(&arguments);
        chain
    }

    /// A chain of the built-in spec of this name, with short slots.
    pub fn built_in(name: &str) -> Chain {
        let chain = Chain {
            dir: tempfile::tempdir().expect("a directory"),
        };
        let shipped = root().join(format!("chain-specs/{name}.json"));
        let text = std::fs::read_to_string(shipped).expect("a spec");
        let mut spec: Value = serde_json::from_str(&text).expect("JSON");
        spec["slot_ms"] = SLOT_MS.into();
        let image = spec["image"].as_str().expect("a name");
        let image_file = root().join("chain-specs").join(image);
        std::fs::copy(image_file, chain.path(image)).expect("copied");
        std::fs::write(chain.spec(), spec.to_string()).expect("written");
        chain
    }

    /// A chain of this Image, with an empty payload and short slots.
    pub fn of_image(image: &[u8]) -> Chain {
        let chain = Chain {
            dir: tempfile::tempdir().expect("a directory"),
        };
        let (file, spec) = (chain.path("given.image"), chain.spec());
        std::fs::write(&file, image).expect("written");
        let slot_ms = SLOT_MS.to_string();
        let mut arguments = vec!["chain-spec", "new", "--image", &file];
        arguments.extend(["--chain-id", "jar-dev-given", "--slot-ms", &slot_ms]);
        arguments.extend(["--out", &spec]);
        stdout_of(&arguments);
        chain
    }

    pub fn spec(&self) -> String {
        self.path("spec.json")
    }

    pub fn path(&self, name: &str) -> String {
        let path: PathBuf = self.dir.path().join(name);
        path.to_str().expect("UTF-8").to_owned()
    }

    /// A running node with its data in the directory of this name.
    pub fn start(&self, data: &str) -> Node {
        self.start_with(data, &["--dev-key", "alice"])
    }

    /// A running node on the network, perhaps with a validator's key, that starts from others.
    pub fn start_peer(&self, data: &str, key: Option<&str>, others: &[&Node]) -> Node {
        self.start_peer_with(data, key, others, &[])
    }

    /// The same with more flags.
    pub fn start_peer_with(
        &self,
        data: &str,
        key: Option<&str>,
        others: &[&Node],
        more: &[&str],
    ) -> Node {
        self.start_listening(data, "/ip4/127.0.0.1/tcp/0", key, others, more)
    }

    /// The same listening where it is told to.
    pub fn start_listening(
        &self,
        data: &str,
        listen: &str,
        key: Option<&str>,
        others: &[&Node],
        more: &[&str],
    ) -> Node {
        let mut flags = vec!["--p2p-listen", listen];
        flags.extend(key.iter().flat_map(|key| ["--dev-key", key]));
        for other in others {
            flags.extend(["--bootnodes", other.p2p()]);
        }
        flags.extend(more);
        let mut node = self.start_with(data, &flags);
        node.find_p2p();
        node
    }

    pub fn start_with(&self, data: &str, flags: &[&str]) -> Node {
        let (spec, data) = (self.spec(), self.path(data));
        let mut arguments = vec!["--chain", &spec, "--data-dir", &data];
        arguments.extend([
            "--rpc-listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
        ]);
        arguments.extend(["--log", "json", "--log-level", LOG_LEVEL]);
        arguments.extend(flags);
        Node::start(&arguments)
    }
}

/// A running node. It is killed when this is dropped.
pub struct Node {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    rpc: SocketAddr,
    metrics: SocketAddr,
    p2p: String,
}

impl Node {
    fn start(arguments: &[&str]) -> Node {
        let mut child = jar_node(arguments)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut node = Node {
            child,
            lines,
            seen: Vec::new(),
            rpc: unknown,
            metrics: unknown,
            p2p: String::new(),
        };
        let address = |line: &Value| {
            let text = line["address"].as_str().expect("an address");
            text.parse().expect("an address")
        };
        node.rpc = address(&node.logged("RPC"));
        node.metrics = address(&node.logged("metrics"));
        node.logged("ready");
        node
    }

    /// Waits for a line of the log with this message.
    pub fn logged(&mut self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line {message:?} in\n{}", self.seen.join("\n"));
            };
            let parsed: Option<Value> = serde_json::from_str(&line).ok();
            self.seen.push(line);
            if let Some(line) = parsed.filter(|line| line["message"] == message) {
                return line;
            }
        }
    }

    /// Looks for the address that other nodes reach this one at.
    fn find_p2p(&mut self) {
        const MESSAGE: &str = "listening for other nodes";
        let parsed = |line: &String| serde_json::from_str::<Value>(line).ok();
        let seen = self.seen.iter().filter_map(parsed);
        let seen = seen.into_iter().find(|line| line["message"] == MESSAGE);
        let line = seen.unwrap_or_else(|| self.logged(MESSAGE));
        let text = |name: &str| line[name].as_str().expect("a text").to_owned();
        self.p2p = format!("{}/p2p/{}", text("address"), text("peer_id"));
    }

    /// The address that other nodes reach this one at.
    pub fn p2p(&self) -> &str {
        &self.p2p
    }

    /// URL of the RPC server.
    pub fn url(&self) -> String {
        format!("http://{}", self.rpc)
    }

    pub fn rpc_address(&self) -> SocketAddr {
        self.rpc
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The whole answer to a call over HTTP.
    pub fn answer(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (_, body) = http(self.rpc, "POST", "/", &request.to_string());
        serde_json::from_str(&body).expect("JSON")
    }

    /// The result of a call over HTTP.
    pub fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The error of a call over HTTP.
    pub fn error(&self, method: &str, params: Value) -> Value {
        let answer = self.answer(method, params);
        assert!(answer.get("result").is_none(), "{method}: {answer}");
        answer["error"].clone()
    }

    /// A page of the operator's address: status and body.
    pub fn page(&self, path: &str) -> (u16, String) {
        http(self.metrics, "GET", path, "")
    }

    /// A metric's value, or the sum over its labels of which one contains a text.
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let (_, text) = self.page("/metrics");
        let lines = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, labels) = series.split_once('{').unwrap_or((series, ""));
            (found == name && labels.contains(label)).then_some(value)
        });
        lines
            .map(|value| value.parse::<f64>().expect("a number") as u64)
            .sum()
    }

    /// Asks again until the answer is good.
    #[track_caller]
    pub fn until(&self, mut good: impl FnMut(&Node) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !good(self) {
            if Instant::now() >= deadline {
                let (_, metrics) = self.page("/metrics");
                let lines: Vec<String> = self.lines.try_iter().collect();
                panic!("it does not come:\n{metrics}\n{}", lines.join("\n"));
            }
            std::thread::park_timeout(Duration::from_millis(SLOT_MS / 4));
        }
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.pid());
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.expect("a shell").success());
    }

    /// Waits for the end of the process.
    pub fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the node does not end");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// The end without warning, as by `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.seen.extend(self.lines.iter());
            eprintln!("the log of {}:\n{}", self.rpc, self.seen.join("\n"));
        }
    }
}

/// One HTTP request on a connection of its own: status and body.
pub fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).expect("someone listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).expect("written");
    // A body over the limit is answered before it is read.
    let _ = socket.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), unchunked(head, body))
}

fn unchunked(head: &str, body: &str) -> String {
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        whole.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}

/// A runtime for the typed clients.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
