//! Checks of the checkout itself, run as tests: that links in the documents resolve, that the
//! dependency arrows between crates hold, that functions and files stay readable.

pub mod arrows;
pub mod links;
pub mod source;

use std::path::{Path, PathBuf};

/// Folders that hold nothing of the project's own text.
const SKIPPED_FOLDERS: [&str; 4] = ["target", ".git", "devnet-data", "node_modules"];

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("scripts/tidy is two levels below the root")
        .to_path_buf()
}

/// Every file below the root that `wanted` picks by its path, sorted, relative to the root.
pub fn files(root: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder of the checkout is readable");
        for entry in entries {
            let entry = entry.expect("a folder entry is readable");
            let path = entry.path();
            let kind = entry.file_type().expect("a file has a type");
            if kind.is_dir() {
                let name = entry.file_name();
                if !SKIPPED_FOLDERS.iter().any(|skipped| name == *skipped) {
                    folders.push(path);
                }
            } else if kind.is_file() {
                let relative = path
                    .strip_prefix(root)
                    .expect("below the root")
                    .to_path_buf();
                if wanted(&relative) {
                    found.push(relative);
                }
            }
        }
    }
    found.sort();
    found
}

/// Every file whose name ends in `.<extension>`.
pub fn files_with_extension(root: &Path, extension: &str) -> Vec<PathBuf> {
    files(root, |path| {
        path.extension().is_some_and(|e| e == extension)
    })
}

/// The text of a file of the checkout.
pub fn read(root: &Path, relative: &Path) -> String {
    std::fs::read_to_string(root.join(relative))
        .unwrap_or_else(|error| panic!("{}: {error}", relative.display()))
}

/// Checks that the part of `document` between the markers of `name` is `text`; with `JAR_BLESS=1`
/// in the environment, writes it there.
pub fn check_generated(document: &str, name: &str, text: &str) {
    let path = root().join(document);
    let old = read(&root(), Path::new(document));
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->"),
    );
    let from = old.find(&begin).expect("the begin marker is there") + begin.len();
    let to = old.find(&end).expect("the end marker is there");
    if old[from..to] == *text {
        return;
    }
    assert!(
        std::env::var_os("JAR_BLESS").is_some(),
        "{document}: what stands at {name} is not what the code gives; run\n  \
         JAR_BLESS=1 cargo test --release -p jar-tidy -- --test-threads=1"
    );
    std::fs::write(&path, [&old[..from], text, &old[to..]].concat())
        .expect("the document is writable");
}
