//! A readable account of an Image.

use std::fmt;

use jar_cap::image::{Image, Pinned, Source};
use parity_scale_codec::Encode as _;

/// What an Image holds, for people: `Display` is the text of `image inspect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its id.
    pub id: jar_cap::Hash,
    /// Bytes of its SCALE form.
    pub encoded_bytes: usize,
    /// Bytes of code.
    pub code_bytes: usize,
    /// Entries of the jump table.
    pub jump_table_len: usize,
    /// Number, name, role and code offset of each endpoint.
    pub endpoints: Vec<(u8, String, String, u32)>,
    /// Start, size in bytes and source of each mapping.
    pub memory: Vec<(u32, u32, String)>,
    /// Key and description of each pinned constant.
    pub pinned: Vec<(String, String)>,
    /// Metadata; bytes that are no text as hex.
    pub metadata: Vec<(String, String)>,
}

/// Summarizes an Image.
pub fn inspect(image: &Image) -> Summary {
    let endpoints = image.endpoints.iter();
    let pinned = |pinned: &Pinned| match pinned {
        Pinned::Data(bytes) => format!("Data, {} bytes", bytes.len()),
        Pinned::Image(image) => format!("Image {}", hex(&image.id())),
    };
    Summary {
        id: image.id(),
        encoded_bytes: image.encoded_size(),
        code_bytes: image.program.code.len(),
        jump_table_len: image.program.jump_table.len(),
        endpoints: endpoints
            .map(|(index, e)| (*index, e.name.clone(), format!("{:?}", e.role), e.pc))
            .collect(),
        memory: image
            .memory
            .iter()
            .map(|m| (m.start, m.size, source(&m.source)))
            .collect(),
        pinned: image
            .pinned
            .iter()
            .map(|(key, p)| (key.to_string(), pinned(p)))
            .collect(),
        metadata: image
            .metadata
            .iter()
            .map(|(key, v)| (key.clone(), text(v)))
            .collect(),
    }
}

fn source(source: &Source) -> String {
    match source {
        Source::Slot(path) => format!("slot {}", join(path.keys())),
        Source::Ephemeral { init, eager } => {
            let init = init
                .as_ref()
                .map_or("zero".into(), |p| format!("from {}", join(p.keys())));
            format!("ephemeral, {init}{}", if *eager { ", eager" } else { "" })
        }
    }
}

fn join(keys: &[jar_cap::Key]) -> String {
    keys.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("/")
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold("0x".into(), |text, byte| format!("{text}{byte:02x}"))
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.into(),
        _ => hex(bytes),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "id          {}", hex(&self.id))?;
        writeln!(
            f,
            "size        {} bytes, code {} bytes, jump table {} entries",
            self.encoded_bytes, self.code_bytes, self.jump_table_len
        )?;
        for (index, name, role, pc) in &self.endpoints {
            writeln!(f, "endpoint    {index:3} {name} {role} at {pc:#x}")?;
        }
        for (start, size, source) in &self.memory {
            writeln!(f, "memory      {start:#010x} {size:8} bytes, {source}")?;
        }
        for (key, what) in &self.pinned {
            writeln!(f, "pinned      {key} {what}")?;
        }
        for (key, value) in &self.metadata {
            writeln!(f, "metadata    {key} = {value}")?;
        }
        Ok(())
    }
}
