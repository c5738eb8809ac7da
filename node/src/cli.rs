//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where a client looks for a node.
pub const RPC_URL: &str = "http://127.0.0.1:9933";

/// A validator daemon whose chains are programs.
#[derive(Debug, Parser)]
#[command(name = "jar-node", version, max_term_width = 100)]
pub struct Cli {
    /// Flags of the node itself.
    #[command(flatten)]
    pub node: NodeFlags,
    /// What to do instead of running the node.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// How logs look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Flags of the node; each may also stand in the config file (`data_dir = "…"`) or in the
/// environment (`JAR_DATA_DIR=…`).
#[derive(Clone, Debug, Default, Args)]
pub struct NodeFlags {
    /// The chain: a spec file, or the name of a built-in chain (dev, local)
    #[arg(long, value_name = "FILE|NAME")]
    pub chain: Option<String>,
    /// Where the chain is kept [default: ~/.local/share/jar/<chain id>]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the JSON-RPC server, HTTP and WebSocket [default: 127.0.0.1:9933]
    #[arg(long, value_name = "ADDR")]
    pub rpc_listen: Option<SocketAddr>,
    /// Where other nodes reach this one: a multiaddr, or IP:PORT for TCP and QUIC; may be
    /// repeated [default: no network]
    #[arg(long, value_name = "ADDR")]
    pub p2p_listen: Vec<String>,
    /// An address of this node to tell others, when they see another one; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    pub p2p_external: Vec<String>,
    /// Nodes to start from, besides the chain spec's, as /ip4/…/tcp/PORT[/p2p/PEER] or with
    /// /dns4/…; may be repeated
    #[arg(long, value_name = "MULTIADDR")]
    pub bootnodes: Vec<String>,
    /// Dial the nodes to start from and no others
    #[arg(long)]
    pub bootnodes_only: bool,
    /// Don't look for nodes on the local network
    #[arg(long)]
    pub no_mdns: bool,
    /// Connected peers at the most [default: 50]
    #[arg(long, value_name = "N")]
    pub peers_max: Option<u32>,
    /// How an empty node starts: full runs every block from genesis, state fetches a finalized
    /// block's state, state:0xHASH that of this block only [default: full]
    #[arg(long, value_name = "full|state[:0xHASH]")]
    pub sync: Option<String>,
    /// Address of /metrics and /health, or `off` [default: 127.0.0.1:9615]
    #[arg(long, value_name = "ADDR|off")]
    pub metrics_listen: Option<String>,
    /// What runs programs: auto, interpreter, recompiler (x86-64 Linux) [default: auto]
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// MiB that what is loaded of the state may take [default: 2048]
    #[arg(long, value_name = "MIB")]
    pub state_memory_mib: Option<u32>,
    /// How logs look: human, json [default: human]
    #[arg(long, value_name = "FORMAT")]
    pub log: Option<LogFormat>,
    /// What is logged, as info or info,guest=debug [default: info]
    #[arg(long, visible_alias = "log-filter", value_name = "FILTER")]
    pub log_level: Option<String>,
    /// Sign with the well-known validator key of this name; on development chains only
    #[arg(long, value_name = "NAME")]
    pub dev_key: Vec<String>,
    /// Sign with a data directory that was restored or copied: to be given once, when nothing
    /// newer was signed elsewhere
    #[arg(long)]
    pub signing_after_restore: bool,
    /// A TOML file of these settings [env: JAR_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Everything but running the node.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check, show or write chain specs
    #[command(subcommand)]
    ChainSpec(ChainSpec),
    /// Build or show Images, the programs of chains
    #[command(subcommand)]
    Image(Image),
    /// Use the token chain
    #[command(subcommand)]
    Token(Token),
    /// Use the contracts chain
    #[command(subcommand)]
    Contracts(Contracts),
    /// Use the tally chain
    #[command(subcommand)]
    Tally(Tally),
    /// Run a network of validators in this process, in virtual time: a slot's state on each
    Testnet {
        /// How many validators, up to 8
        #[arg(long, default_value_t = 4)]
        nodes: u64,
        /// How many slots
        #[arg(long, default_value_t = 20)]
        slots: u64,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure this machine
    #[command(subcommand)]
    Bench(Bench),
    /// Show the settings
    #[command(subcommand)]
    Config(Config),
    /// Print completions of this command line for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Subcommands of `chain-spec`.
#[derive(Debug, Subcommand)]
pub enum ChainSpec {
    /// Say whether a spec and its Image are good
    Check {
        /// A spec file, or the name of a built-in chain
        chain: String,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a spec says, its genesis payload and Image decoded
    Inspect {
        /// A spec file, or the name of a built-in chain
        chain: String,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a spec, its Image beside it
    New(Box<NewSpec>),
}

/// Flags of `chain-spec new`.
#[derive(Debug, Args)]
pub struct NewSpec {
    /// A chain that comes with the node: token
    #[arg(long, value_name = "NAME", required_unless_present = "image")]
    pub template: Option<String>,
    /// An Image file, of a chain of your own
    #[arg(long, value_name = "FILE", conflicts_with_all = ["template", "balance", "validator"])]
    pub image: Option<PathBuf>,
    /// With --image: the payload of its Genesis endpoint, SCALE in hex [default: empty]
    #[arg(long, value_name = "0xHEX", requires = "image")]
    pub genesis: Option<String>,
    /// A balance at genesis, of a development wallet or a public key; may be repeated
    #[arg(long, value_name = "NAME|0xKEY=AMOUNT")]
    pub balance: Vec<String>,
    /// A validator, by development key or public key; may be repeated
    #[arg(long, value_name = "NAME|0xKEY")]
    pub validator: Vec<String>,
    /// Name of the chain, for people
    #[arg(long, default_value = "Development token")]
    pub name: String,
    /// Name of the chain, for machines; development keys work on those that start with jar-dev
    #[arg(long, default_value = "jar-dev")]
    pub chain_id: String,
    /// Length of a time slot in milliseconds
    #[arg(long, default_value_t = 1000)]
    pub slot_ms: u64,
    /// Time of slot 0, in milliseconds since the Unix epoch
    #[arg(long, default_value_t = 1_735_689_600_000)]
    pub genesis_time_ms: u64,
    /// Replace a limit or price; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Where to write the spec; the Image goes beside it, as <template>.image or under its own
    /// name [default: print the spec alone]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Subcommands of `image`.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Compile a guest crate and transpile it
    Build {
        /// The crate's directory
        dir: PathBuf,
        /// Where to write the Image [default: <crate name>.image]
        #[arg(long, short, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an Image's endpoints, memory and metadata
    Inspect {
        /// An Image file
        file: PathBuf,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print an Image's instructions
    Disassemble {
        /// An Image file
        file: PathBuf,
    },
}

/// Subcommands of `token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Move an amount and wait until it is in a block
    Transfer {
        /// A development wallet
        #[arg(long, value_name = "NAME")]
        from: String,
        /// A development wallet, or a public key as 0x hex
        #[arg(long, value_name = "NAME|0xKEY")]
        to: String,
        /// How much
        #[arg(long)]
        amount: u64,
        /// Use this nonce instead of the next one
        #[arg(long)]
        nonce: Option<u64>,
        /// How many seconds to wait for the block
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        timeout: u64,
        /// The node
        #[arg(long, value_name = "URL", default_value = RPC_URL, env = "JAR_RPC")]
        rpc: String,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show who validates, and who will
    Validators {
        /// The node
        #[arg(long, value_name = "URL", default_value = RPC_URL, env = "JAR_RPC")]
        rpc: String,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Decide who validates next, and wait until the decision is in a block
    ///
    /// It takes effect once it is final and present and next validators have finalized a block
    /// together. That needs more than two thirds of the next ones up, with these keys, and nothing
    /// calls it off.
    SetValidators {
        /// The next validators in order of their turns: development validators, or public keys as
        /// 0x hex
        #[arg(
            long,
            value_name = "NAME|0xKEY,...",
            value_delimiter = ',',
            required = true
        )]
        to: Vec<String>,
        /// Development validators who sign: more than two thirds of the present ones
        #[arg(long, value_name = "NAME,...", value_delimiter = ',', required = true)]
        signers: Vec<String>,
        /// How many seconds to wait for the block
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        timeout: u64,
        /// The node
        #[arg(long, value_name = "URL", default_value = RPC_URL, env = "JAR_RPC")]
        rpc: String,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a balance
    Balance {
        /// A development wallet, or a public key as 0x hex
        #[arg(value_name = "NAME|0xKEY")]
        who: String,
        /// Ask for a Merkle proof and check it
        #[arg(long)]
        proof: bool,
        /// The node
        #[arg(long, value_name = "URL", default_value = RPC_URL, env = "JAR_RPC")]
        rpc: String,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// What a client of a chain needs.
#[derive(Debug, clap::Args)]
pub struct Client {
    /// The node
    #[arg(long, value_name = "URL", default_value = RPC_URL, env = "JAR_RPC")]
    pub rpc: String,
    /// How many seconds to wait for the block
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
    /// Answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Who gives an order, and where.
#[derive(Debug, clap::Args)]
pub struct Giver {
    /// A development wallet
    #[arg(long, value_name = "NAME")]
    pub from: String,
    #[command(flatten)]
    pub client: Client,
}

/// Subcommands of `tally`.
#[derive(Debug, Subcommand)]
pub enum Tally {
    /// Vote in the open poll and wait until the vote is counted
    Vote {
        /// Number of the choice
        #[arg(long)]
        choice: u8,
        #[command(flatten)]
        giver: Giver,
    },
    /// Show a poll
    Show {
        /// Its number [default: the open one]
        poll: Option<u64>,
        #[command(flatten)]
        client: Client,
    },
}

/// Subcommands of `contracts`.
#[derive(Debug, Subcommand)]
pub enum Contracts {
    /// Make a contract of an Image
    Deploy {
        /// An Image file, as `image build` writes it
        image: PathBuf,
        /// Coins for its meter
        #[arg(long, default_value_t = 0)]
        credit: u64,
        #[command(flatten)]
        giver: Giver,
    },
    /// Call a contract and wait until it is in a block
    Call {
        /// The contract's id, 0x hex
        contract: String,
        /// Number of the endpoint
        endpoint: u8,
        /// SCALE of its arguments, 0x hex
        #[arg(default_value = "0x")]
        payload: String,
        /// Show the capability at this place of the wallet
        #[arg(long, value_name = "PLACE")]
        present: Option<u8>,
        /// Keep an Instance that the contract returns at this place of the wallet
        #[arg(long, value_name = "PLACE")]
        keep: Option<u8>,
        #[command(flatten)]
        giver: Giver,
    },
    /// Let a contract that waits go on
    Resume {
        /// The contract's id, 0x hex
        contract: String,
        #[command(flatten)]
        giver: Giver,
    },
    /// Add coins to a contract's meter
    Fund {
        /// The contract's id, 0x hex
        contract: String,
        /// How many coins
        #[arg(long)]
        amount: u64,
        #[command(flatten)]
        giver: Giver,
    },
    /// Move coins to another account
    Pay {
        /// A development wallet, or a public key as 0x hex
        #[arg(long, value_name = "NAME|0xKEY")]
        to: String,
        /// How many coins
        #[arg(long)]
        amount: u64,
        #[command(flatten)]
        giver: Giver,
    },
    /// Call a contract on a copy of the state, at once and for nothing
    Look {
        /// The contract's id, 0x hex
        contract: String,
        /// Number of the endpoint
        endpoint: u8,
        /// SCALE of its arguments, 0x hex
        #[arg(default_value = "0x")]
        payload: String,
        #[command(flatten)]
        client: Client,
    },
    /// Show what is left in a contract's meter
    Meter {
        /// The contract's id, 0x hex
        contract: String,
        #[command(flatten)]
        client: Client,
    },
    /// Show a balance
    Balance {
        /// A development wallet, or a public key as 0x hex
        #[arg(value_name = "NAME|0xKEY")]
        who: String,
        #[command(flatten)]
        client: Client,
    },
}

/// Subcommands of `bench`.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Transfers a second, built and imported, beside signatures a second
    Transfers {
        /// How many transfers
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        count: u64,
        /// Among how many accounts
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(2..=100_000))]
        accounts: u64,
        /// What runs programs: auto, interpreter, recompiler (x86-64 Linux)
        #[arg(long, default_value = "auto")]
        engine: String,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
    /// Calls, transfers and a large map, beside other projects, with a line for each goal
    Kernel {
        /// How many rounds, in each of which everything takes its turn
        #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=1000))]
        rounds: u64,
        /// Entries of the map, and accounts of the chain
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        entries: u32,
        /// What runs programs: auto, interpreter, recompiler (x86-64 Linux)
        #[arg(long, default_value = "auto")]
        engine: String,
        /// The binary of the other projects, which `scripts/bench kernel` builds; what needs
        /// them isn't measured without it
        #[arg(long)]
        peers: Option<PathBuf>,
    },
    /// Four nodes: from submitting to a block and to finality; a full sync beside plain import
    Finality {
        /// Transfers at each pace
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
        transfers: u64,
        /// Blocks of a chain that is synced, of a vote each
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        blocks: u64,
        /// Events of a chain that is synced, of full blocks
        #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        events: u64,
        /// How often each is synced
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
        rounds: u64,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
}

/// Subcommands of `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print every setting and where it comes from
    Show {
        /// The same flags as the node's
        #[command(flatten)]
        node: Box<NodeFlags>,
        /// Answer as JSON
        #[arg(long)]
        json: bool,
    },
}
