//! What cargo knows of a guest crate, and the hash of its source.

use std::path::{Path, PathBuf};

use jar_cap::{Hash, Image, Key};
use serde_json::Value;

use super::Toolchain;
use crate::Error;

/// Deepest nesting of source folders that is hashed.
const DEPTH_MAX: usize = 16;

/// A package of the guest's dependency graph.
pub(super) struct Package {
    pub name: String,
    pub version: String,
    pub dir: PathBuf,
    pub workspace_root: PathBuf,
    /// Names of its binaries.
    bins: Vec<String>,
    settings: Value,
}

impl Package {
    /// The binary to build: the one asked for, else the only one.
    pub(super) fn bin<'a>(&'a self, asked: Option<&'a str>) -> Result<&'a str, Error> {
        let reason = match (asked, &self.bins[..]) {
            (Some(bin), _) => return Ok(bin),
            (None, [bin]) => return Ok(bin),
            (None, []) => "the crate has no binary target",
            (None, _) => "the crate has more than one binary target",
        };
        Err(Error::Manifest {
            path: self.dir.join("Cargo.toml"),
            reason: reason.into(),
        })
    }

    /// Gives an Image the slots that `[package.metadata.jar]` names: `catcher-slot`, a number;
    /// `gas-slots` and `quota-slots`, lists of numbers.
    pub(super) fn set_slots(&self, image: &mut Image) -> Result<(), Error> {
        image.catcher_slot = match &self.settings["catcher-slot"] {
            Value::Null => None,
            value => Some(self.slot("catcher-slot", value)?),
        };
        image.gas_slots = self.slots("gas-slots")?;
        image.quota_slots = self.slots("quota-slots")?;
        Ok(())
    }

    fn slots(&self, key: &str) -> Result<Vec<Key>, Error> {
        match &self.settings[key] {
            Value::Null => Ok(Vec::new()),
            Value::Array(values) => values.iter().map(|value| self.slot(key, value)).collect(),
            value => Err(self.refuse(key, "is no list of slot numbers", value)),
        }
    }

    fn slot(&self, key: &str, value: &Value) -> Result<Key, Error> {
        let number = value.as_u64().and_then(|number| u8::try_from(number).ok());
        number
            .map(Key::from)
            .ok_or_else(|| self.refuse(key, "is no slot number up to 255", value))
    }

    fn refuse(&self, key: &str, what: &str, value: &Value) -> Error {
        Error::Manifest {
            path: self.dir.join("Cargo.toml"),
            reason: format!("metadata.jar.{key} {what}: {value}"),
        }
    }

    /// A size from `[package.metadata.jar]`.
    pub(super) fn size(&self, key: &str, default: u64) -> Result<u64, Error> {
        let value = &self.settings[key];
        if value.is_null() {
            return Ok(default);
        }
        let size = value
            .as_u64()
            .filter(|s| *s > 0 && s % 4096 == 0 && *s <= 1 << 30);
        size.ok_or_else(|| self.refuse(key, "is no multiple of 4096 up to 1 GiB", value))
    }
}

/// Every package that the crate in `dir` may depend on, itself included.
pub(super) fn packages(toolchain: &Toolchain, dir: &Path) -> Result<Vec<Package>, Error> {
    let mut command = toolchain.cargo();
    command
        .args(["metadata", "--format-version", "1"])
        .current_dir(dir);
    let output = command.output().map_err(Error::io("cargo"))?;
    let failed = |output: String| Error::Build {
        dir: dir.to_owned(),
        output,
    };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let bad = || failed("cargo metadata gave something unexpected".into());
    let value: Value = serde_json::from_slice(&output.stdout).map_err(|_| bad())?;
    let root = PathBuf::from(value["workspace_root"].as_str().ok_or_else(bad)?);
    let packages = value["packages"].as_array().ok_or_else(bad)?;
    packages
        .iter()
        .map(|package| {
            let text = |key: &str| package[key].as_str().map(str::to_owned).ok_or_else(bad);
            let manifest = PathBuf::from(text("manifest_path")?);
            let targets = package["targets"].as_array().ok_or_else(bad)?.iter();
            let is_bin = |target: &&Value| target["kind"][0] == "bin";
            let bins = targets
                .filter(is_bin)
                .filter_map(|bin| bin["name"].as_str());
            Ok(Package {
                name: text("name")?,
                version: text("version")?,
                dir: manifest.parent().ok_or_else(bad)?.to_owned(),
                workspace_root: root.clone(),
                bins: bins.map(str::to_owned).collect(),
                settings: package["metadata"]["jar"].clone(),
            })
        })
        .collect()
}

/// The package whose folder is `dir`.
pub(super) fn at<'a>(packages: &'a [Package], dir: &Path) -> Result<&'a Package, Error> {
    let same = |p: &&Package| p.dir == dir || p.dir.canonicalize().is_ok_and(|d| d == dir);
    packages.iter().find(same).ok_or_else(|| Error::Manifest {
        path: dir.join("Cargo.toml"),
        reason: "not a package".into(),
    })
}

/// H over the crate's own files: for `Cargo.toml` and everything below `src`, in order of
/// path, the path and the content, each behind its length as u64le.
pub(super) fn source_hash(dir: &Path) -> Result<Hash, Error> {
    let mut files = vec![PathBuf::from("Cargo.toml")];
    collect(dir, Path::new("src"), 0, &mut files)?;
    files.sort();
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for file in files {
        let content = std::fs::read(dir.join(&file)).map_err(Error::io(dir.join(&file)))?;
        let name = file.to_string_lossy().replace('\\', "/").into_bytes();
        for part in [name, content] {
            parts.push((part.len() as u64).to_le_bytes().to_vec());
            parts.push(part);
        }
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Ok(jar_cap::hash::blake2b(&parts))
}

fn collect(dir: &Path, at: &Path, depth: usize, out: &mut Vec<PathBuf>) -> Result<(), Error> {
    let full = dir.join(at);
    let entries = std::fs::read_dir(&full).map_err(Error::io(&full))?;
    for entry in entries {
        let entry = entry.map_err(Error::io(&full))?;
        let path = at.join(entry.file_name());
        match entry.file_type().map_err(Error::io(&full))?.is_dir() {
            true if depth < DEPTH_MAX => collect(dir, &path, depth + 1, out)?,
            true => {}
            false => out.push(path),
        }
    }
    Ok(())
}
