//! Handles of Images.

use std::sync::{Arc, OnceLock};

use parity_scale_codec::Encode;

use crate::codec::decode_canonical;
use crate::error::StoreError;
use crate::hash::{Hash, Tag, tagged};
use crate::image::Image;
use crate::mark::Mark;
use crate::resident::shared;
use crate::store::{NodeStore, RecordId, read};

/// An Image as a capability: its content read from the store when first needed, its id
/// computed at most once.
#[derive(Clone, Debug)]
pub struct ImageRef(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: OnceLock<Hash>,
    image: OnceLock<Arc<Image>>,
    size: u32,
    record: Mark,
}

impl ImageRef {
    /// A handle of a new Image.
    pub fn new(image: impl Into<Arc<Image>>) -> ImageRef {
        let image = image.into();
        ImageRef(Arc::new(Inner {
            id: OnceLock::new(),
            size: size_of(image.encoded_size()),
            image: OnceLock::from(image),
            record: Mark::default(),
        }))
    }

    /// A handle of an Image in the store of this number.
    pub(crate) fn stored(id: Hash, size: u32, store: u64) -> ImageRef {
        ImageRef(Arc::new(Inner {
            id: OnceLock::from(id),
            image: OnceLock::new(),
            size,
            record: Mark::new(store),
        }))
    }

    /// Checks a record's content and makes the handle of it.
    pub(crate) fn from_record(
        id: Hash,
        bytes: &[u8],
        store: u64,
    ) -> Result<ImageRef, &'static str> {
        let image = decode(id, bytes)?;
        Ok(ImageRef(Arc::new(Inner {
            id: OnceLock::from(id),
            size: size_of(bytes.len()),
            image: OnceLock::from(Arc::new(image)),
            record: Mark::new(store),
        })))
    }

    /// The id: H(0x20 ‖ SCALE(image)).
    pub fn id(&self) -> Hash {
        *self.0.id.get_or_init(|| match self.0.image.get() {
            Some(image) => image.id(),
            // A handle is made of an id or of an Image.
            None => crate::hash::ZERO,
        })
    }

    /// Bytes of its encoding, known without reading the Image.
    pub fn size(&self) -> u32 {
        self.0.size
    }

    /// The Image.
    pub fn image(&self, store: &dyn NodeStore) -> Result<Arc<Image>, StoreError> {
        if let Some(image) = self.0.image.get() {
            return Ok(image.clone());
        }
        let record = self.record_id();
        let corrupt = |reason| StoreError::Corrupt { id: record, reason };
        let bytes = read(store, &record)?;
        let image = decode(self.id(), &bytes).map_err(corrupt)?;
        if size_of(bytes.len()) != self.0.size {
            return Err(corrupt("the Image is not of the size it was named with"));
        }
        Ok(self.0.image.get_or_init(|| Arc::new(image)).clone())
    }

    /// Whether the Image is in memory.
    pub(crate) fn is_loaded(&self) -> bool {
        self.0.image.get().is_some()
    }

    /// Its address, when others have it, too.
    pub(crate) fn shared(&self) -> Option<usize> {
        shared(&self.0)
    }

    pub(crate) fn record_id(&self) -> RecordId {
        RecordId::new(Tag::Image, self.id())
    }

    pub(crate) fn mark(&self) -> &Mark {
        &self.0.record
    }

    /// The record's content; `None` when the Image was not loaded.
    pub(crate) fn encoded(&self) -> Option<Vec<u8>> {
        self.0.image.get().map(|image| image.encode())
    }
}

/// A size as it is kept; nothing that is made by a program comes near its end.
fn size_of(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn decode(id: Hash, bytes: &[u8]) -> Result<Image, &'static str> {
    if tagged(Tag::Image, &[bytes]) != id {
        return Err("the content does not hash to the id");
    }
    decode_canonical(bytes).map_err(|_| "not the canonical encoding of an image")
}

impl From<Image> for ImageRef {
    fn from(image: Image) -> ImageRef {
        ImageRef::new(image)
    }
}
