//! Settings: defaults, then the file, then the environment, then flags.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use config::{Environment, File, FileFormat, Source, Value, ValueKind};
use jar_driver::SyncMode;
use jar_pvm::EngineKind;
use serde::{Deserialize, Deserializer};

use crate::cli::{LogFormat, NodeFlags};

/// Every setting with its default; empty ones are unset.
const DEFAULTS: &[(&str, &str)] = &[
    ("chain", ""),
    ("data_dir", ""),
    ("rpc_listen", "127.0.0.1:9933"),
    ("p2p_listen", ""),
    ("p2p_external", ""),
    ("bootnodes", ""),
    ("bootnodes_only", "false"),
    ("no_mdns", "false"),
    ("peers_max", "50"),
    ("sync", "full"),
    ("metrics_listen", "127.0.0.1:9615"),
    ("engine", "auto"),
    ("state_memory_mib", "2048"),
    ("log", "human"),
    ("log_level", "info"),
    ("dev_key", ""),
    ("signing_after_restore", "false"),
    ("rpc_max_request_bytes", "5242880"),
    ("rpc_max_response_bytes", "33554432"),
    ("rpc_max_batch", "100"),
    ("rpc_max_connections", "256"),
    ("rpc_max_subscriptions", "32"),
];

/// Variables of the environment that start like settings and are none.
const OTHER_VARIABLES: &[&str] = &[
    "config",
    "rpc",
    "vectors",
    "bless",
    "guest_rustc",
    "guest_cargo",
    "no_guest_toolchain",
];
const PREFIX: &str = "JAR";

/// All settings of a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A spec file or a built-in chain's name.
    #[serde(deserialize_with = "unset_if_empty")]
    pub chain: Option<String>,
    /// Where the chain is kept.
    #[serde(deserialize_with = "unset_if_empty")]
    pub data_dir: Option<String>,
    /// Address of the JSON-RPC server.
    pub rpc_listen: SocketAddr,
    /// Where to listen for other nodes.
    #[serde(deserialize_with = "names")]
    pub p2p_listen: Vec<String>,
    /// Addresses of this node to tell others.
    #[serde(deserialize_with = "names")]
    pub p2p_external: Vec<String>,
    /// Nodes to start from.
    #[serde(deserialize_with = "names")]
    pub bootnodes: Vec<String>,
    /// Whether to dial no others.
    pub bootnodes_only: bool,
    /// Whether not to look for nodes on the local network.
    pub no_mdns: bool,
    /// Connected peers at the most.
    pub peers_max: u32,
    /// How an empty node starts.
    #[serde(deserialize_with = "sync_mode")]
    pub sync: SyncMode,
    /// Address of /metrics and /health.
    pub metrics_listen: MetricsListen,
    /// What runs programs.
    pub engine: String,
    /// MiB that what is loaded of the state may take.
    pub state_memory_mib: u32,
    /// How logs look.
    #[serde(deserialize_with = "log_format")]
    pub log: LogFormat,
    /// What is logged.
    pub log_level: String,
    /// Development validators to sign for.
    #[serde(deserialize_with = "names")]
    pub dev_key: Vec<String>,
    /// Whether to sign with a data directory that was restored.
    pub signing_after_restore: bool,
    /// Bytes of an RPC request.
    pub rpc_max_request_bytes: u32,
    /// Bytes of an RPC response.
    pub rpc_max_response_bytes: u32,
    /// Requests of an RPC batch.
    pub rpc_max_batch: u32,
    /// Open RPC connections.
    pub rpc_max_connections: u32,
    /// Subscriptions of an RPC connection.
    pub rpc_max_subscriptions: u32,
}

/// An address, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsListen(pub Option<SocketAddr>);

impl<'de> Deserialize<'de> for MetricsListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(MetricsListen(None));
        }
        let address = text.parse().map_err(|_| {
            serde::de::Error::custom(format!("{text:?} is neither an address nor `off`"))
        })?;
        Ok(MetricsListen(Some(address)))
    }
}

fn log_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogFormat, D::Error> {
    let text = String::deserialize(deserializer)?;
    <LogFormat as clap::ValueEnum>::from_str(&text, false)
        .map_err(|_| serde::de::Error::custom("human or json expected"))
}

fn sync_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SyncMode, D::Error> {
    let text = String::deserialize(deserializer)?;
    let trusted = match text.as_str() {
        "full" => return Ok(SyncMode::Full),
        "state" => None,
        _ => {
            let hash = text.strip_prefix("state:").and_then(jar_rpc::from_hex);
            let hash: Option<jar_cap::Hash> = hash.and_then(|bytes| bytes.try_into().ok());
            let error = || serde::de::Error::custom("full, state or state:0x<64 digits> expected");
            Some(hash.ok_or_else(error)?)
        }
    };
    Ok(SyncMode::State { trusted })
}

fn unset_if_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(String::deserialize(deserializer)?).filter(|text| !text.is_empty()))
}

/// Names in an array, or in a text with commas.
fn names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Names {
        Array(Vec<String>),
        Text(String),
    }
    let names = match Names::deserialize(deserializer)? {
        Names::Array(names) => names,
        Names::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
    };
    Ok(names.into_iter().filter(|name| !name.is_empty()).collect())
}

/// The settings, with each one's value as text and where it comes from.
#[derive(Clone, Debug)]
pub struct Merged {
    /// The settings.
    pub settings: Settings,
    /// By name: the value, and the layer it comes from.
    pub origins: BTreeMap<String, (String, String)>,
}

/// One layer of settings.
struct Layer {
    origin: fn(&str, &Option<PathBuf>) -> String,
    values: HashMap<String, Value>,
}

impl Settings {
    /// The engine's kind.
    pub fn engine_kind(&self) -> anyhow::Result<EngineKind> {
        self.engine.parse().context("engine")
    }
}

/// Merges all layers. `environment` stands in for the process's own in tests.
pub fn merge(
    flags: &NodeFlags,
    environment: Option<HashMap<String, String>>,
) -> anyhow::Result<Merged> {
    let variables = environment.clone();
    let variable = |name: &str| match &variables {
        Some(variables) => variables.get(name).cloned(),
        None => std::env::var(name).ok(),
    };
    let file = flags
        .config
        .clone()
        .or_else(|| variable("JAR_CONFIG").map(PathBuf::from));
    let layers = [
        Layer {
            origin: |_, _| "default".into(),
            values: default_layer(),
        },
        Layer {
            origin: |_, file| {
                let path = file.as_deref().unwrap_or(Path::new(""));
                format!("file {}", path.display())
            },
            values: file.as_deref().map_or(Ok(HashMap::new()), file_layer)?,
        },
        Layer {
            origin: |name, _| format!("environment {PREFIX}_{}", name.to_uppercase()),
            values: environment_layer(environment)?,
        },
        Layer {
            origin: |name, _| format!("flag --{}", name.replace('_', "-")),
            values: flag_layer(flags),
        },
    ];
    let mut builder = config::Config::builder();
    let mut origins = BTreeMap::new();
    for layer in layers {
        for (name, value) in layer.values {
            let origin = (layer.origin)(&name, &file);
            if !DEFAULTS.iter().any(|(known, _)| *known == name) {
                bail!("unknown setting {name:?} ({origin}); `jar-node config show` lists all");
            }
            origins.insert(name.clone(), (shown(&value), origin));
            builder = builder.set_override(&name, value)?;
        }
    }
    let settings = builder
        .build()?
        .try_deserialize()
        .map_err(|error| with_origin(&error, &origins))?;
    Ok(Merged { settings, origins })
}

/// Adds where a bad value comes from.
fn with_origin(
    error: &config::ConfigError,
    origins: &BTreeMap<String, (String, String)>,
) -> anyhow::Error {
    let text = error.to_string();
    let culprit = origins
        .iter()
        .find(|(name, _)| text.contains(&format!("`{name}`")));
    match culprit {
        Some((name, (value, origin))) => {
            anyhow::anyhow!("setting {name} = {value:?} ({origin}): {text}")
        }
        None => anyhow::anyhow!("settings: {text}"),
    }
}

fn shown(value: &Value) -> String {
    match &value.kind {
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            items.join(",")
        }
        kind => kind.to_string(),
    }
}

fn default_layer() -> HashMap<String, Value> {
    DEFAULTS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
        .collect()
}

fn file_layer(path: &Path) -> anyhow::Result<HashMap<String, Value>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the config file {}", path.display()))?;
    File::from_str(&text, FileFormat::Toml)
        .collect()
        .map(|map| map.into_iter().collect())
        .with_context(|| format!("config file {}", path.display()))
}

fn environment_layer(
    variables: Option<HashMap<String, String>>,
) -> anyhow::Result<HashMap<String, Value>> {
    let values = Environment::with_prefix(PREFIX)
        .prefix_separator("_")
        .ignore_empty(true)
        .source(variables.map(|variables| variables.into_iter().collect()))
        .collect()?;
    Ok(values
        .into_iter()
        .filter(|(name, _)| !OTHER_VARIABLES.contains(&name.as_str()))
        .collect())
}

fn flag_layer(flags: &NodeFlags) -> HashMap<String, Value> {
    let format = flags.log.map(|format| match format {
        LogFormat::Human => "human".to_owned(),
        LogFormat::Json => "json".to_owned(),
    });
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    let given = |is_given: bool| is_given.then(|| "true".to_owned());
    let list = |items: &[String]| Some(items.join(",")).filter(|items| !items.is_empty());
    let texts = [
        ("chain", flags.chain.clone()),
        ("data_dir", flags.data_dir.as_ref().map(path)),
        (
            "rpc_listen",
            flags.rpc_listen.map(|address| address.to_string()),
        ),
        ("p2p_listen", list(&flags.p2p_listen)),
        ("p2p_external", list(&flags.p2p_external)),
        ("bootnodes", list(&flags.bootnodes)),
        ("bootnodes_only", given(flags.bootnodes_only)),
        ("no_mdns", given(flags.no_mdns)),
        ("peers_max", flags.peers_max.map(|max| max.to_string())),
        ("sync", flags.sync.clone()),
        ("metrics_listen", flags.metrics_listen.clone()),
        ("engine", flags.engine.clone()),
        (
            "state_memory_mib",
            flags.state_memory_mib.map(|mib| mib.to_string()),
        ),
        ("log", format),
        ("log_level", flags.log_level.clone()),
        ("dev_key", list(&flags.dev_key)),
        ("signing_after_restore", given(flags.signing_after_restore)),
    ];
    texts
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Option<HashMap<String, String>> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Some(variables.iter().map(own).collect())
    }

    #[test]
    fn layers_override_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("jar.toml");
        let text = "data_dir = \"/file\"\nrpc_listen = \"127.0.0.1:1\"\nlog = \"json\"\ndev_key = [\"a\", \"b\"]\n";
        std::fs::write(&path, text).expect("written");
        let flags = NodeFlags {
            config: Some(path),
            rpc_listen: Some("127.0.0.1:3".parse().expect("an address")),
            ..NodeFlags::default()
        };
        let variables = environment(&[
            ("JAR_RPC_LISTEN", "127.0.0.1:2"),
            ("JAR_DATA_DIR", "/environment"),
            ("JAR_VECTORS", "/elsewhere"),
        ]);
        let merged = merge(&flags, variables).expect("good settings");
        assert_eq!(merged.settings.rpc_listen.port(), 3);
        assert_eq!(merged.settings.data_dir.as_deref(), Some("/environment"));
        assert_eq!(merged.settings.log, LogFormat::Json);
        assert_eq!(merged.settings.dev_key, ["a", "b"]);
        assert_eq!(merged.settings.engine, "auto");
        let origin = |name: &str| merged.origins[name].1.clone();
        assert_eq!(origin("rpc_listen"), "flag --rpc-listen");
        assert_eq!(origin("data_dir"), "environment JAR_DATA_DIR");
        assert!(origin("log").starts_with("file "));
        assert_eq!(origin("engine"), "default");
    }

    #[test]
    fn unknown_and_bad_settings_are_named() {
        let error = |variables: &[(&str, &str)]| {
            let merged = merge(&NodeFlags::default(), environment(variables));
            merged.expect_err("refused").to_string()
        };
        assert!(error(&[("JAR_DATADIR", "x")]).contains("datadir"));
        let bad = error(&[("JAR_RPC_LISTEN", "nowhere")]);
        assert!(
            bad.contains("rpc_listen") || bad.contains("socket address"),
            "{bad}"
        );
        assert!(error(&[("JAR_METRICS_LISTEN", "on")]).contains("off"));
        assert!(error(&[("JAR_LOG", "xml")]).contains("human or json"));
        assert!(error(&[("JAR_SYNC", "fast")]).contains("full, state"));
        assert!(error(&[("JAR_SYNC", "state:0x12")]).contains("full, state"));
        assert!(error(&[("JAR_PEERS_MAX", "-1")]).contains("peers_max"));
    }

    #[test]
    fn networks_are_set_up_by_flags() {
        let flags = NodeFlags {
            bootnodes: vec!["/a".into(), "/b".into()],
            no_mdns: true,
            sync: Some(format!("state:0x{}", "11".repeat(32))),
            ..NodeFlags::default()
        };
        let variables = environment(&[("JAR_P2P_LISTEN", "127.0.0.1:1, [::1]:1")]);
        let settings = merge(&flags, variables).expect("good settings").settings;
        assert_eq!(settings.bootnodes, ["/a", "/b"]);
        assert_eq!(settings.p2p_listen, ["127.0.0.1:1", "[::1]:1"]);
        assert!(settings.no_mdns);
        let trusted = Some([0x11; 32]);
        assert_eq!(settings.sync, SyncMode::State { trusted });
        assert_eq!(settings.peers_max, 50);
    }

    #[test]
    fn every_default_is_a_setting() {
        let merged = merge(&NodeFlags::default(), environment(&[])).expect("defaults are good");
        assert_eq!(merged.origins.len(), DEFAULTS.len());
        assert_eq!(merged.settings.chain, None);
        assert!(merged.settings.dev_key.is_empty());
    }
}
