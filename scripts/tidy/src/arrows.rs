//! Dependencies between the crates: they point down.

use std::collections::BTreeSet;

/// What each crate may depend on of this workspace, outside its tests.
const ARROWS: &[(&str, &[&str])] = &[
    ("jar-isa", &[]),
    ("jar-abi", &[]),
    ("jar-cap", &["jar-isa", "jar-abi"]),
    ("jar-pvm", &["jar-isa"]),
    ("jar-kernel", &["jar-isa", "jar-abi", "jar-cap", "jar-pvm"]),
    ("jar-transpiler", &["jar-isa", "jar-abi", "jar-cap"]),
    ("jar-guest-macros", &[]),
    ("jar-guest", &["jar-abi", "jar-guest-macros"]),
    ("jar-poa", &["jar-guest"]),
    ("jar-storage", &["jar-abi", "jar-cap", "jar-kernel"]),
    ("jar-rpc", &["jar-abi", "jar-cap", "jar-kernel"]),
    ("jar-driver", &["jar-abi", "jar-cap", "jar-kernel"]),
    (
        "jar-sim",
        &[
            "jar-abi",
            "jar-cap",
            "jar-pvm",
            "jar-kernel",
            "jar-driver",
            "jar-poa",
            "jar-token-api",
        ],
    ),
    ("jar-contracts-api", &[]),
    ("jar-tally-api", &[]),
    ("jar-token-api", &[]),
    (
        "jar-token-client",
        &[
            "jar-cap",
            "jar-kernel",
            "jar-poa",
            "jar-rpc",
            "jar-token-api",
        ],
    ),
    ("jar-tidy", &[]),
    (
        "jar-fuzz",
        &["jar-isa", "jar-abi", "jar-cap", "jar-pvm", "jar-kernel"],
    ),
];

/// The one crate that stands above all others.
const TOP: &str = "jar-node";

/// Libraries that one crate alone may name, in its tests too.
const OWNERS: &[(&str, &str)] = &[
    ("rocksdb", "jar-storage"),
    ("librocksdb-sys", "jar-storage"),
    ("jsonrpsee", "jar-rpc"),
    ("clap", "jar-node"),
    ("libp2p", "jar-node"),
];

/// What the kernel and everything below it is free of: I/O runtimes, clocks, randomness.
const PURE: [&str; 5] = ["jar-isa", "jar-abi", "jar-cap", "jar-pvm", "jar-kernel"];
const IMPURE_LIBRARIES: [&str; 6] = ["tokio", "rand", "getrandom", "chrono", "time", "tracing"];

/// Folders of the workspace's crates, as its manifest lists them.
pub fn members(workspace: &str) -> Vec<String> {
    let table: toml::Table = workspace.parse().expect("a manifest is TOML");
    let members = table["workspace"]["members"].as_array();
    let members = members.expect("a workspace has members").iter();
    members
        .map(|member| member.as_str().expect("a member is a folder").to_string())
        .collect()
}

/// What a crate's manifest says.
pub struct Manifest {
    /// The package's name.
    pub name: String,
    /// Packages that its library or binary depends on, build scripts included.
    pub depends: BTreeSet<String>,
    /// Packages that only its tests depend on.
    pub tests_depend: BTreeSet<String>,
}

impl Manifest {
    /// Reads a `Cargo.toml`; `None` where it holds no package.
    pub fn parse(text: &str) -> Option<Self> {
        let table: toml::Table = text.parse().expect("a manifest is TOML");
        let name = table.get("package")?.get("name")?.as_str()?.to_string();
        let mut manifest = Self {
            name,
            depends: BTreeSet::new(),
            tests_depend: BTreeSet::new(),
        };
        manifest.collect(&table);
        let targets = table.get("target").and_then(toml::Value::as_table);
        for target in targets.into_iter().flat_map(toml::Table::values) {
            manifest.collect(target.as_table().expect("a target is a table"));
        }
        Some(manifest)
    }

    fn collect(&mut self, table: &toml::Table) {
        self.depends.extend(packages(table, "dependencies"));
        self.depends.extend(packages(table, "build-dependencies"));
        self.tests_depend
            .extend(packages(table, "dev-dependencies"));
    }

    /// Each rule that this manifest breaks, as a sentence.
    pub fn violations(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let name = &self.name;
        if name != TOP {
            match ARROWS.iter().find(|(from, _)| from == name) {
                None => broken.push(format!("{name} has no place in the table of arrows")),
                Some((_, allowed)) => {
                    let ours = self
                        .depends
                        .iter()
                        .filter(|package| package.starts_with("jar-"));
                    let wrong = ours.filter(|package| !allowed.contains(&package.as_str()));
                    broken.extend(
                        wrong.map(|package| format!("{name} must not depend on {package}")),
                    );
                }
            }
        }
        for (library, owner) in OWNERS {
            let named = self.depends.contains(*library) || self.tests_depend.contains(*library);
            if named && name != owner {
                broken.push(format!(
                    "{name} must not depend on {library}, only {owner} may"
                ));
            }
        }
        if PURE.contains(&name.as_str()) {
            let wrong = IMPURE_LIBRARIES
                .iter()
                .filter(|library| self.depends.contains(**library));
            broken.extend(wrong.map(|library| format!("{name} must not depend on {library}")));
        }
        broken
    }
}

/// The packages of one section, by their real names where they are renamed.
fn packages(table: &toml::Table, section: &str) -> Vec<String> {
    let Some(section) = table.get(section).and_then(toml::Value::as_table) else {
        return Vec::new();
    };
    let real_name = |(key, value): (&String, &toml::Value)| {
        let renamed = value.get("package").and_then(toml::Value::as_str);
        renamed.unwrap_or(key).to_string()
    };
    section.iter().map(real_name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(text: &str) -> Vec<String> {
        Manifest::parse(text).expect("a package").violations()
    }

    #[test]
    fn an_arrow_up_is_seen() {
        let text =
            "[package]\nname = \"jar-pvm\"\n[dependencies]\nk = { package = \"jar-kernel\" }";
        assert_eq!(violations(text), ["jar-pvm must not depend on jar-kernel"]);
    }

    #[test]
    fn a_library_has_one_owner_in_tests_too() {
        let text =
            "[package]\nname = \"jar-rpc\"\n[target.'cfg(unix)'.dev-dependencies]\nrocksdb = \"1\"";
        assert_eq!(
            violations(text),
            ["jar-rpc must not depend on rocksdb, only jar-storage may"]
        );
    }

    #[test]
    fn tests_may_depend_on_more() {
        let text = "[package]\nname = \"jar-isa\"\n[dev-dependencies]\njar-pvm = \"1\"";
        assert!(violations(text).is_empty());
    }
}
