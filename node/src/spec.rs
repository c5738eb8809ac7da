//! Chain specs: what a chain starts from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::network::Bootnode;
use anyhow::{Context, bail, ensure};
use jar_cap::image::Image;
use jar_kernel::{Genesis, Params};
use jar_rpc::types::{Bytes, Fixed, Hash32, Number};
use serde::{Deserialize, Serialize};

/// Bytes of a spec file.
const SPEC_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of an Image file.
pub const IMAGE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Shortest time slot, in milliseconds.
const SLOT_MS_MIN: u64 = 50;
/// What a development chain's id starts with.
const DEV_PREFIX: &str = "jar-dev";

/// A spec as it is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecFile {
    /// The chain's name, for people.
    pub name: String,
    /// The chain's name, for machines.
    pub chain_id: String,
    /// File of the Image, relative to the spec.
    pub image: String,
    /// Id of the Image.
    pub image_id: Hash32,
    /// Time of slot 0, in milliseconds since the Unix epoch.
    pub genesis_time_ms: Number,
    /// Length of a time slot in milliseconds.
    pub slot_ms: Number,
    /// Limits and prices that differ from the defaults.
    pub params: BTreeMap<String, Number>,
    /// What the Genesis endpoint is given.
    pub genesis: Bytes,
    /// Nodes to find others through.
    pub bootnodes: Vec<String>,
}

/// A spec with its Image, checked.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The spec as it is written.
    pub file: SpecFile,
    /// What the kernel starts from.
    pub genesis: Genesis,
}

/// A chain that comes with the binary: its name, spec and Image.
struct BuiltIn {
    name: &'static str,
    spec: &'static str,
    image: &'static [u8],
}

const TOKEN_IMAGE: &[u8] = include_bytes!("../../chain-specs/token.image");

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "dev",
        spec: include_str!("../../chain-specs/dev.json"),
        image: TOKEN_IMAGE,
    },
    BuiltIn {
        name: "local",
        spec: include_str!("../../chain-specs/local.json"),
        image: TOKEN_IMAGE,
    },
    BuiltIn {
        name: "contracts",
        spec: include_str!("../../chain-specs/contracts.json"),
        image: include_bytes!("../../chain-specs/contracts.image"),
    },
    BuiltIn {
        name: "tally",
        spec: include_str!("../../chain-specs/tally.json"),
        image: include_bytes!("../../chain-specs/tally.image"),
    },
];

/// Names of the built-in chains.
pub fn built_in_names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|chain| chain.name).collect()
}

/// Image of a template, as `chain-spec new` writes it.
pub fn template_image(template: &str) -> Option<&'static [u8]> {
    match template {
        "token" => Some(TOKEN_IMAGE),
        _ => None,
    }
}

impl Spec {
    /// The spec of a built-in chain or of a file.
    pub fn load(chain: &str) -> anyhow::Result<Spec> {
        if let Some(built_in) = BUILT_IN.iter().find(|known| known.name == chain) {
            let file = parse(built_in.spec)?;
            return Spec::check(file, built_in.image.to_vec())
                .with_context(|| format!("built-in chain {chain}"));
        }
        let path = Path::new(chain);
        if !path.exists() {
            bail!(
                "there is no chain {chain:?}: neither a file nor a built-in chain ({})",
                built_in_names().join(", ")
            );
        }
        let text = String::from_utf8(read_bounded(path, SPEC_BYTES_MAX)?)
            .with_context(|| format!("{}: not UTF-8", path.display()))?;
        let in_spec = || format!("chain spec {}", path.display());
        let file = parse(&text).with_context(in_spec)?;
        let image_path = image_path(path, &file.image).with_context(in_spec)?;
        let image = read_bounded(&image_path, IMAGE_BYTES_MAX).with_context(in_spec)?;
        Spec::check(file, image).with_context(in_spec)
    }

    /// A spec of its parts, if they fit together.
    pub fn check(file: SpecFile, image: Vec<u8>) -> anyhow::Result<Spec> {
        check_chain_id(&file.chain_id)?;
        for bootnode in &file.bootnodes {
            bootnode.parse::<Bootnode>().context("bootnodes")?;
        }
        let slot_ms = file.slot_ms.0;
        ensure!(
            slot_ms >= SLOT_MS_MIN,
            "slot_ms is {slot_ms}, at least {SLOT_MS_MIN}"
        );
        let decoded =
            Image::decode_checked(&image).with_context(|| format!("image {}", file.image))?;
        let id = decoded.id();
        ensure!(
            id == file.image_id.0,
            "image {} has the id {}, not {} as image_id says",
            file.image,
            Fixed(id),
            file.image_id
        );
        let overrides = file
            .params
            .iter()
            .map(|(name, value)| (name.clone(), value.0));
        let params = Params::with(&overrides.collect()).context("params")?;
        let genesis = Genesis {
            params,
            image,
            slot_ms,
            time_ms: file.genesis_time_ms.0,
            payload: file.genesis.0.clone(),
        };
        Ok(Spec { file, genesis })
    }

    /// Whether well-known keys may be used on this chain.
    pub fn is_dev(&self) -> bool {
        is_dev(&self.file.chain_id)
    }

    /// The Image.
    pub fn image(&self) -> anyhow::Result<Image> {
        Ok(Image::decode_checked(&self.genesis.image)?)
    }
}

/// Whether a chain of this id is a development chain: `jar-dev`, or `jar-dev-` and more.
pub fn is_dev(chain_id: &str) -> bool {
    chain_id
        .strip_prefix(DEV_PREFIX)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn check_chain_id(id: &str) -> anyhow::Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        (1..=64).contains(&id.len()) && id.chars().all(good) && !id.starts_with('-'),
        "chain_id {id:?}: 1 to 64 of a-z, 0-9 and -, not starting with -"
    );
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<SpecFile> {
    Ok(serde_json::from_str(text)?)
}

/// The Image's file: below the spec's own directory, so that a spec from elsewhere names no
/// other file of this machine.
fn image_path(spec: &Path, image: &str) -> anyhow::Result<PathBuf> {
    use std::path::Component;
    let relative = Path::new(image);
    let is_below = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    ensure!(
        is_below && !image.is_empty(),
        "image {image:?} is not a path below the spec's directory"
    );
    Ok(spec.parent().unwrap_or(Path::new("")).join(relative))
}

/// A file's bytes, if there are not too many.
pub fn read_bounded(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    use std::io::Read;
    let cannot = || format!("cannot read {}", path.display());
    let file = std::fs::File::open(path).with_context(cannot)?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .with_context(cannot)?;
    ensure!(
        bytes.len() as u64 <= bytes_max,
        "{} is over {bytes_max} bytes",
        path.display()
    );
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dev() -> (SpecFile, Vec<u8>) {
        let file = parse(BUILT_IN[0].spec).expect("a spec");
        (file, BUILT_IN[0].image.to_vec())
    }

    fn refusal(change: impl FnOnce(&mut SpecFile, &mut Vec<u8>)) -> String {
        let (mut file, mut image) = dev();
        change(&mut file, &mut image);
        format!("{:#}", Spec::check(file, image).expect_err("refused"))
    }

    #[test]
    fn built_in_chains_are_good() {
        for name in built_in_names() {
            let spec = Spec::load(name).expect("a good spec");
            assert!(spec.is_dev());
        }
    }

    #[test]
    fn each_mistake_is_named() {
        assert!(refusal(|file, _| file.bootnodes.push("x".into())).contains("not a multiaddr"));
        assert!(refusal(|file, _| file.image_id = Fixed([0; 32])).contains("image_id"));
        assert!(refusal(|file, _| file.slot_ms = Number(0)).contains("slot_ms"));
        assert!(refusal(|file, _| file.chain_id = "A b".into()).contains("chain_id"));
        let typo = refusal(|file, _| {
            file.params.insert("evnt_gas".into(), Number(1));
        });
        assert!(typo.contains("evnt_gas"));
        assert!(refusal(|_, image| image.truncate(10)).contains("token.image"));
        let unknown = BUILT_IN[0].spec.replacen('{', "{\"nmae\": 1,", 1);
        assert!(
            parse(&unknown)
                .expect_err("refused")
                .to_string()
                .contains("nmae")
        );
    }

    #[test]
    fn images_lie_below_the_spec() {
        let spec = Path::new("/specs/a.json");
        let path = image_path(spec, "sub/a.image").expect("below");
        assert_eq!(path, Path::new("/specs/sub/a.image"));
        for bad in ["", "/etc/passwd", "../a.image", "./a.image"] {
            assert!(image_path(spec, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_development_chains_are_dev() {
        assert!(is_dev("jar-dev") && is_dev("jar-dev-2"));
        assert!(!is_dev("jar-device") && !is_dev("jar-main"));
    }
}
