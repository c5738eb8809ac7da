//! Parameters of calls: read leniently by the library, judged here, so that each mistake has its
//! own error.

use jar_cap::Key;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::errors::{ErrorKind, RpcError};
use crate::hex::{from_hex, to_hex};
use crate::types::{Attestation, Bytes, Fixed, GetOptions, Hash32, Number};

/// Keys of a path at most.
pub const PATH_KEYS_MAX: usize = 8;
/// Attestations of an event at most, before the chain's own limit is asked.
pub const ATTESTATIONS_MAX: usize = 65_536;
/// Characters of an endpoint's name at most.
pub const NAME_CHARS_MAX: usize = 256;

/// Something that a JSON value may be, with the error that says why it is not.
pub trait FromParam: Sized {
    /// Reads a JSON value.
    fn from_param(value: Value) -> Result<Self, RpcError>;
}

/// A parameter that was read, or the error to answer with.
#[derive(Clone, Debug)]
pub struct Param<T>(Result<T, RpcError>);

impl<T> Param<T> {
    /// The value, or what is wrong with it.
    pub fn get(self) -> Result<T, RpcError> {
        self.0
    }
}

/// The value of an optional parameter, or what is wrong with it.
pub fn optional<T>(param: Option<Param<T>>) -> Result<Option<T>, RpcError> {
    param.map(Param::get).transpose()
}

impl<T> From<T> for Param<T> {
    fn from(value: T) -> Self {
        Param(Ok(value))
    }
}

impl<T: Serialize> Serialize for Param<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0
            .as_ref()
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de, T: FromParam> Deserialize<'de> for Param<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Param(T::from_param(Value::deserialize(deserializer)?)))
    }
}

/// The start of a text, short enough for an error message.
fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(40).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}

fn text(value: Value, what: &str) -> Result<String, RpcError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(RpcError::about(
            ErrorKind::WrongType,
            format!("{what} expected, got {}", kind_of(&other)),
        )),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

impl FromParam for Bytes {
    fn from_param(value: Value) -> Result<Self, RpcError> {
        let text = text(value, "a hex string")?;
        from_hex(&text)
            .map(Bytes)
            .ok_or_else(|| RpcError::about(ErrorKind::NotHex, format!("{:?}", shown(&text))))
    }
}

impl Bytes {
    /// The bytes, if there are no more than `limit`.
    pub fn within(self, limit: u64, what: &str) -> Result<Vec<u8>, RpcError> {
        if self.0.len() as u64 > limit {
            let message = format!("{what} of {} bytes, at most {limit}", self.0.len());
            return Err(RpcError::about(ErrorKind::TooLong, message).with("limit", limit));
        }
        Ok(self.0)
    }
}

impl<const N: usize> FromParam for Fixed<N> {
    fn from_param(value: Value) -> Result<Self, RpcError> {
        let bytes = Bytes::from_param(value)?;
        let wrong_length = |bytes: Vec<u8>| {
            let kind = if bytes.len() > N {
                ErrorKind::TooLong
            } else {
                ErrorKind::WrongLength
            };
            RpcError::about(kind, format!("{} bytes instead of {N}", bytes.len()))
                .with("limit", N as u64)
        };
        <[u8; N]>::try_from(bytes.0)
            .map(Fixed)
            .map_err(wrong_length)
    }
}

impl FromParam for Number {
    fn from_param(value: Value) -> Result<Self, RpcError> {
        Number::from_json(&value).ok_or_else(|| match value {
            Value::Number(number) => RpcError::about(ErrorKind::NotANumber, number),
            Value::String(text) => {
                RpcError::about(ErrorKind::NotANumber, format!("{:?}", shown(&text)))
            }
            other => RpcError::about(
                ErrorKind::WrongType,
                format!("a number expected, got {}", kind_of(&other)),
            ),
        })
    }
}

/// Which block: its hash, its height on the chain of the head, `"head"` or `"finalized"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockRef {
    /// The head.
    Head,
    /// The last finalized block.
    Finalized,
    /// The block of this height on the chain of the head.
    Height(u64),
    /// The block with this hash, on any fork.
    Hash([u8; 32]),
}

impl FromParam for BlockRef {
    fn from_param(value: Value) -> Result<Self, RpcError> {
        match &value {
            Value::String(text) if text == "head" => Ok(BlockRef::Head),
            Value::String(text) if text == "finalized" => Ok(BlockRef::Finalized),
            Value::Number(_) => Number::from_param(value).map(|height| BlockRef::Height(height.0)),
            Value::String(text) if Number::from_json(&value).is_some() && !text.is_empty() => {
                Number::from_param(value).map(|height| BlockRef::Height(height.0))
            }
            _ => Hash32::from_param(value).map(|hash| BlockRef::Hash(hash.0)),
        }
    }
}

impl Serialize for BlockRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            BlockRef::Head => serializer.serialize_str("head"),
            BlockRef::Finalized => serializer.serialize_str("finalized"),
            BlockRef::Height(height) => Number(*height).serialize(serializer),
            BlockRef::Hash(hash) => Fixed(*hash).serialize(serializer),
        }
    }
}

/// Which endpoint: its name or its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointRef {
    /// By number.
    Index(u64),
    /// By name.
    Name(String),
}

impl From<&str> for EndpointRef {
    fn from(name: &str) -> Self {
        EndpointRef::Name(name.to_owned())
    }
}

impl FromParam for EndpointRef {
    fn from_param(value: Value) -> Result<Self, RpcError> {
        if value.is_number() {
            return Number::from_param(value).map(|index| EndpointRef::Index(index.0));
        }
        let name = text(value, "an endpoint's name or number")?;
        if name.chars().count() > NAME_CHARS_MAX {
            let message = format!("an endpoint's name has at most {NAME_CHARS_MAX} characters");
            return Err(
                RpcError::about(ErrorKind::TooLong, message).with("limit", NAME_CHARS_MAX as u64)
            );
        }
        Ok(EndpointRef::Name(name))
    }
}

impl Serialize for EndpointRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            EndpointRef::Index(index) => Number(*index).serialize(serializer),
            EndpointRef::Name(name) => serializer.serialize_str(name),
        }
    }
}

/// A path of 0 to 8 keys; most methods want at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathParam(pub Vec<Key>);

impl PathParam {
    /// The keys, if there is at least one.
    pub fn not_empty(self) -> Result<Vec<Key>, RpcError> {
        if self.0.is_empty() {
            return Err(RpcError::about(ErrorKind::BadPath, "no keys"));
        }
        Ok(self.0)
    }
}

impl FromParam for PathParam {
    fn from_param(value: Value) -> Result<Self, RpcError> {
        let Value::Array(items) = value else {
            let message = format!("an array of keys expected, got {}", kind_of(&value));
            return Err(RpcError::about(ErrorKind::BadPath, message));
        };
        if items.len() > PATH_KEYS_MAX {
            let message = format!("{} keys, at most {PATH_KEYS_MAX}", items.len());
            return Err(RpcError::about(ErrorKind::BadPath, message));
        }
        let keys = items.into_iter().map(key_from_param);
        keys.collect::<Result<_, _>>().map(PathParam)
    }
}

/// A key of 1 to 32 bytes.
pub fn key_from_param(value: Value) -> Result<Key, RpcError> {
    let bytes = Bytes::from_param(value)?;
    Key::new(&bytes.0).map_err(|_| {
        let message = format!("a key of {} bytes", bytes.0.len());
        RpcError::about(ErrorKind::BadPath, message)
    })
}

impl Serialize for PathParam {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|key| to_hex(key.as_ref())))
    }
}

/// A key, where a page of keys starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyParam(pub Key);

impl FromParam for KeyParam {
    fn from_param(value: Value) -> Result<Self, RpcError> {
        key_from_param(value).map(KeyParam)
    }
}

impl Serialize for KeyParam {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_hex(self.0.as_ref()))
    }
}

impl FromParam for Vec<Attestation> {
    fn from_param(value: Value) -> Result<Self, RpcError> {
        let Value::Array(items) = value else {
            let message = format!("an array of attestations expected, got {}", kind_of(&value));
            return Err(RpcError::about(ErrorKind::WrongType, message));
        };
        if items.len() > ATTESTATIONS_MAX {
            let message = format!("{} attestations, at most {ATTESTATIONS_MAX}", items.len());
            return Err(
                RpcError::about(ErrorKind::TooLong, message).with("limit", ATTESTATIONS_MAX as u64)
            );
        }
        items.into_iter().map(attestation).collect()
    }
}

/// What an attestation's scope may be.
const SCOPES: &str = "a scope is \"direct\" or \"seal\"; votes are reserved";

fn attestation(value: Value) -> Result<Attestation, RpcError> {
    let Value::Object(mut fields) = value else {
        let message = format!("an attestation is an object, not {}", kind_of(&value));
        return Err(RpcError::about(ErrorKind::WrongType, message));
    };
    let mut take = |name: &str| {
        fields.remove(name).ok_or_else(|| {
            RpcError::about(
                ErrorKind::WrongType,
                format!("an attestation without {name}"),
            )
        })
    };
    let attestation = Attestation {
        key: Fixed::from_param(take("key")?)?,
        scope: serde_json::from_value(take("scope")?)
            .map_err(|_| RpcError::about(ErrorKind::WrongType, SCOPES))?,
        blob_hash: Fixed::from_param(take("blob_hash")?)?,
        signature: Fixed::from_param(take("signature")?)?,
    };
    match fields.keys().next() {
        None => Ok(attestation),
        Some(name) => Err(RpcError::about(
            ErrorKind::WrongType,
            format!("an attestation has no field {:?}", shown(name)),
        )),
    }
}

impl FromParam for GetOptions {
    fn from_param(value: Value) -> Result<Self, RpcError> {
        if !value.is_object() {
            let message = format!("an object of options expected, got {}", kind_of(&value));
            return Err(RpcError::about(ErrorKind::WrongType, message));
        }
        serde_json::from_value(value).map_err(|error| RpcError::about(ErrorKind::WrongType, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind<T: FromParam>(value: Value) -> ErrorKind {
        match T::from_param(value) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.kind(),
        }
    }

    #[test]
    fn each_mistake_has_its_error() {
        assert_eq!(kind::<Bytes>(json!("12")), ErrorKind::NotHex);
        assert_eq!(kind::<Bytes>(json!(12)), ErrorKind::WrongType);
        assert_eq!(kind::<Hash32>(json!("0x00")), ErrorKind::WrongLength);
        let long = format!("0x{}", "00".repeat(33));
        assert_eq!(kind::<Hash32>(json!(long)), ErrorKind::TooLong);
        assert_eq!(kind::<Number>(json!(-1)), ErrorKind::NotANumber);
        assert_eq!(kind::<Number>(json!([])), ErrorKind::WrongType);
        assert_eq!(kind::<PathParam>(json!("0x21")), ErrorKind::BadPath);
        assert_eq!(kind::<PathParam>(json!(["0x"])), ErrorKind::BadPath);
        assert_eq!(kind::<PathParam>(json!(["0x1"])), ErrorKind::NotHex);
        assert_eq!(
            kind::<PathParam>(json!(vec!["0x21"; 9])),
            ErrorKind::BadPath
        );
        assert_eq!(kind::<BlockRef>(json!("tail")), ErrorKind::NotHex);
        assert_eq!(kind::<Vec<Attestation>>(json!([{}])), ErrorKind::WrongType);
        assert_eq!(
            kind::<GetOptions>(json!({"prof": true})),
            ErrorKind::WrongType
        );
    }

    #[test]
    fn blocks_by_any_name() {
        let read = |value| BlockRef::from_param(value).expect("a block");
        assert_eq!(read(json!(7)), BlockRef::Height(7));
        assert_eq!(
            read(json!("18446744073709551615")),
            BlockRef::Height(u64::MAX)
        );
        assert_eq!(read(json!("head")), BlockRef::Head);
        let hash = read(json!(format!("0x{}", "ab".repeat(32))));
        assert_eq!(hash, BlockRef::Hash([0xab; 32]));
    }
}
