//! `jar-node chain-spec`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use jar_kernel::block::PublicKey;
use jar_rpc::to_hex;
use jar_rpc::types::{Bytes, Fixed, Number};
use jar_token_client::api::Config;
use parity_scale_codec::Encode;
use serde_json::{Value, json};

use super::image::summary_json;
use super::print_json;
use crate::cli::{ChainSpec, NewSpec};
use crate::keys::{named_key, validator_seed, wallet_seed};
use crate::output::say;
use crate::spec::{IMAGE_BYTES_MAX, Spec, SpecFile, is_dev, read_bounded, template_image};

/// Checks, shows or writes a spec.
pub fn run(command: ChainSpec) -> anyhow::Result<()> {
    match command {
        ChainSpec::Check { chain, json } => check(&chain, json),
        ChainSpec::Inspect { chain, json } => inspect(&chain, json),
        ChainSpec::New(new) => write(&new),
    }
}

fn check(chain: &str, json: bool) -> anyhow::Result<()> {
    let spec = Spec::load(chain)?;
    let genesis = genesis_hash(&spec)?;
    if json {
        return print_json(&json!({
            "ok": true,
            "chain_id": spec.file.chain_id,
            "genesis": to_hex(&genesis),
        }));
    }
    say!(
        "good: {} with genesis {}",
        spec.file.chain_id,
        to_hex(&genesis)
    );
    Ok(())
}

/// Runs Genesis in memory: the chain's identity, or what keeps it from starting.
fn genesis_hash(spec: &Spec) -> anyhow::Result<[u8; 32]> {
    let kernel = super::bench::kernel_in_memory(&spec.genesis, Vec::new(), "auto")?;
    Ok(kernel.chain().genesis_hash())
}

fn inspect(chain: &str, as_json: bool) -> anyhow::Result<()> {
    let spec = Spec::load(chain)?;
    let genesis = genesis_hash(&spec)?;
    let image = spec.image()?;
    let summary = jar_transpiler::inspect(&image);
    let config = token_config(&image, &spec.genesis.payload);
    if as_json {
        let mut answer = serde_json::to_value(&spec.file)?;
        answer["genesis_hash"] = to_hex(&genesis).into();
        answer["image_summary"] = summary_json(&summary);
        answer["is_development"] = spec.is_dev().into();
        answer["all_params"] = all_params(&spec);
        if let Some(config) = &config {
            answer["genesis_decoded"] = config_json(config);
        }
        return print_json(&answer);
    }
    let file = &spec.file;
    say!("name             {}", file.name);
    say!("chain id         {}", file.chain_id);
    say!("genesis hash     {}", to_hex(&genesis));
    say!("development      {}", spec.is_dev());
    say!("genesis time     {} ms since 1970", file.genesis_time_ms.0);
    say!("slot             {} ms", file.slot_ms.0);
    for (name, value) in &file.params {
        say!("param            {name} = {}", value.0);
    }
    match &config {
        Some(config) => print_config(config),
        None => say!("genesis payload  {}", to_hex(&file.genesis.0)),
    }
    say!("image            {}", file.image);
    crate::output::write(format_args!("{summary}"));
    Ok(())
}

fn all_params(spec: &Spec) -> Value {
    let params: BTreeMap<&str, Number> = spec
        .genesis
        .params
        .entries()
        .into_iter()
        .map(|(name, value)| (name, Number(value)))
        .collect();
    json!(params)
}

/// The payload of a token chain, if this is one.
fn token_config(image: &jar_cap::image::Image, payload: &[u8]) -> Option<Config> {
    use jar_token_client::api::{BALANCE, TRANSFER_IN};
    let has = |name: &str| {
        image
            .endpoints
            .values()
            .any(|endpoint| endpoint.name == name)
    };
    if !has(TRANSFER_IN) || !has(BALANCE) {
        return None;
    }
    jar_cap::decode_canonical(payload).ok()
}

fn config_json(config: &Config) -> Value {
    let validators: Vec<String> = config.validators.iter().map(|key| to_hex(key)).collect();
    let balances: serde_json::Map<String, Value> = config
        .balances
        .iter()
        .map(|(key, amount)| (to_hex(key), jar_rpc::types::number(*amount)))
        .collect();
    json!({ "validators": validators, "balances": balances })
}

fn print_config(config: &Config) {
    for key in &config.validators {
        say!("validator        {}", to_hex(key));
    }
    for (key, amount) in &config.balances {
        say!("balance          {} {amount}", to_hex(key));
    }
}

/// The Image of a new spec, its file's name, and the genesis payload.
fn ingredients(new: &NewSpec) -> anyhow::Result<(Vec<u8>, String, Vec<u8>)> {
    if let Some(path) = &new.image {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .with_context(|| format!("--image {}: not a file's name", path.display()))?;
        let payload = new.genesis.as_deref().map_or(Ok(Vec::new()), |text| {
            jar_rpc::from_hex(text).with_context(|| {
                format!("--genesis {text:?}: an even number of hex digits after 0x expected")
            })
        })?;
        return Ok((read_bounded(path, IMAGE_BYTES_MAX)?, name.into(), payload));
    }
    let template = new.template.as_deref().unwrap_or_default();
    let Some(image) = template_image(template) else {
        bail!(
            "--template {template:?}: there is token, and no other yet; --image takes an Image of your own"
        );
    };
    let payload = token_genesis(new)?.encode();
    Ok((image.to_vec(), format!("{template}.image"), payload))
}

fn write(new: &NewSpec) -> anyhow::Result<()> {
    let (image, image_name, payload) = ingredients(new)?;
    let decoded = jar_cap::image::Image::decode_checked(&image)
        .with_context(|| format!("{image_name} is not an Image"))?;
    let file = SpecFile {
        name: new.name.clone(),
        chain_id: new.chain_id.clone(),
        image: image_name.clone(),
        image_id: Fixed(decoded.id()),
        genesis_time_ms: Number(new.genesis_time_ms),
        slot_ms: Number(new.slot_ms),
        params: params(&new.param)?,
        genesis: Bytes(payload),
        bootnodes: Vec::new(),
    };
    let spec = Spec::check(file, image.clone())?;
    // A spec that cannot start is refused here rather than by the first node.
    genesis_hash(&spec)?;
    let text = serde_json::to_string_pretty(&spec.file)? + "\n";
    let Some(out) = &new.out else {
        crate::output::write(format_args!("{text}"));
        return Ok(());
    };
    let image_path = out.parent().unwrap_or(Path::new("")).join(&image_name);
    std::fs::write(&image_path, image)
        .with_context(|| format!("cannot write {}", image_path.display()))?;
    std::fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))?;
    say!("{}", out.display());
    Ok(())
}

fn params(given: &[String]) -> anyhow::Result<BTreeMap<String, Number>> {
    given
        .iter()
        .map(|text| {
            let (name, value) = split(text, "--param NAME=VALUE")?;
            Ok((name.to_owned(), Number(value)))
        })
        .collect()
}

fn split<'a>(text: &'a str, form: &str) -> anyhow::Result<(&'a str, u64)> {
    let (name, value) = text
        .split_once('=')
        .with_context(|| format!("{text:?} is not of the form {form}"))?;
    let value = value
        .replace('_', "")
        .parse()
        .with_context(|| format!("{text:?}: {value:?} is not a whole number below 2^64"))?;
    Ok((name, value))
}

fn token_genesis(new: &NewSpec) -> anyhow::Result<Config> {
    let dev = is_dev(&new.chain_id);
    let key = |text: &str, seed_of: fn(&str) -> anyhow::Result<[u8; 32]>| {
        ensure!(
            dev || text.starts_with("0x"),
            "{text:?}: everyone knows the keys of development names; give a public key, or a chain id that starts with jar-dev"
        );
        named_key(text, seed_of)
    };
    let validators = new
        .validator
        .iter()
        .map(|name| key(name, validator_seed).context("--validator"))
        .collect::<anyhow::Result<Vec<PublicKey>>>()?;
    let balances = new
        .balance
        .iter()
        .map(|text| {
            let (name, amount) = split(text, "--balance NAME=AMOUNT")?;
            Ok((key(name, wallet_seed).context("--balance")?, amount))
        })
        .collect::<anyhow::Result<Vec<(PublicKey, u64)>>>()?;
    Ok(Config {
        validators,
        balances,
    })
}
