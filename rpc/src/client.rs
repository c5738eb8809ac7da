//! The typed client: the traits of [`crate::api`] over one WebSocket.

use std::time::Duration;

use jsonrpsee::client_transport::ws::{Url, WsTransportClientBuilder};
use jsonrpsee::core::client::Error;
use parity_scale_codec::{Decode, DecodeAll, Encode};
use serde_json::Value;

pub use jsonrpsee::core::client::{Client, Subscription};

use crate::api::StateApiClient;
use crate::errors::ErrorKind;
use crate::params::EndpointRef;
use crate::types::{Bytes, EndingInfo, ViewResult};

/// Notifications of one subscription that wait for their reader at most.
const NOTIFICATIONS_MAX: usize = 1024;
/// Bytes of an answer at most.
const RESPONSE_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is not one of a node.
    #[error("{0:?} is not a URL of a node: http://host:port or ws://host:port")]
    Url(String),
    /// Nobody answers there.
    #[error("cannot reach a node at {url}: {reason}")]
    Connect {
        /// Where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The node refused.
    #[error("{message} (error {code})")]
    Call {
        /// Its code; see [`ErrorKind`].
        code: i32,
        /// What it says.
        message: String,
        /// What to do about it.
        data: Value,
    },
    /// The connection broke, or the answer is not what it should be.
    #[error("{0}")]
    Transport(String),
}

impl ClientError {
    /// The row of the table of errors, when the node refused.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            ClientError::Call { code, .. } => ErrorKind::from_code(*code),
            _ => None,
        }
    }

    /// The code of the chain's own program, when that refused.
    pub fn program_code(&self) -> Option<u64> {
        match self {
            ClientError::Call { data, .. } => {
                crate::types::Number::from_json(data.get("program_code")?).map(|code| code.0)
            }
            _ => None,
        }
    }
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        match error {
            Error::Call(error) => ClientError::Call {
                code: error.code(),
                message: error.message().to_owned(),
                data: error
                    .data()
                    .and_then(|data| serde_json::from_str(data.get()).ok())
                    .unwrap_or(Value::Null),
            },
            Error::RestartNeeded(_) | Error::ServiceDisconnect => {
                ClientError::Transport("the node closed the connection".into())
            }
            other => ClientError::Transport(other.to_string()),
        }
    }
}

/// Connects to a node at `http://host:port` or `ws://host:port`, which are the same port.
pub async fn connect(url: &str, request_timeout: Duration) -> Result<Client, ClientError> {
    let target = match url.strip_prefix("http://") {
        Some(rest) => format!("ws://{rest}"),
        None => url.to_owned(),
    };
    let parsed: Url = target
        .parse()
        .map_err(|_| ClientError::Url(url.to_owned()))?;
    if parsed.scheme() != "ws" || parsed.host_str().is_none() {
        return Err(ClientError::Url(url.to_owned()));
    }
    let (sender, receiver) = WsTransportClientBuilder::default()
        .max_response_size(RESPONSE_BYTES_MAX)
        .build(parsed)
        .await
        .map_err(|error| ClientError::Connect {
            url: url.to_owned(),
            reason: error.to_string(),
        })?;
    Ok(Client::builder()
        .request_timeout(request_timeout)
        .max_buffer_capacity_per_subscription(NOTIFICATIONS_MAX)
        .build_with_tokio(sender, receiver))
}

/// Why a View gave no value.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The node, or the way to it.
    #[error(transparent)]
    Node(#[from] ClientError),
    /// The program halted with this code of its own.
    #[error("the view ended with code {0}")]
    Refused(u64),
    /// The program faulted.
    #[error("the view faulted: {0}")]
    Faulted(String),
    /// The result is not the SCALE that was expected.
    #[error("the view's answer is of another kind")]
    Answer,
}

/// What a View of the head's state answers. `argument` is what it takes, and `T` what it gives,
/// both as SCALE.
pub async fn view<T: Decode>(
    client: &Client,
    endpoint: &str,
    argument: &impl Encode,
) -> Result<T, ViewError> {
    let endpoint = EndpointRef::from(endpoint);
    let payload = Bytes(argument.encode());
    let answer = client.view(endpoint.into(), payload.into(), None).await;
    read_view(answer.map_err(ClientError::from)?)
}

fn read_view<T: Decode>(answer: ViewResult) -> Result<T, ViewError> {
    match (answer.ending, answer.result) {
        (EndingInfo::Halted(code), result) if code.0 == 0 => {
            let result = result.unwrap_or_default();
            T::decode_all(&mut &result.0[..]).map_err(|_| ViewError::Answer)
        }
        (EndingInfo::Halted(code), _) => Err(ViewError::Refused(code.0)),
        (EndingInfo::Faulted { name, .. }, _) => Err(ViewError::Faulted(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Fixed, Number};

    fn answer(ending: EndingInfo, result: Option<&[u8]>) -> Result<u16, String> {
        let answer = ViewResult {
            block: Fixed([1; 32]),
            ending,
            result: result.map(|bytes| Bytes(bytes.to_vec())),
            gas_used: Number(1),
            logs: Vec::new(),
        };
        read_view(answer).map_err(|error| error.to_string())
    }

    #[test]
    fn a_views_answer_is_its_scale_and_nothing_more() {
        let halted = |code| EndingInfo::Halted(Number(code));
        assert_eq!(answer(halted(0), Some(&[5, 1])), Ok(0x105));
        let other_kind = Err("the view's answer is of another kind".into());
        for bytes in [&[5][..], &[5, 1, 0], &[]] {
            assert_eq!(answer(halted(0), Some(bytes)), other_kind);
        }
        assert_eq!(answer(halted(0), None), other_kind);
        let refused = Err("the view ended with code 7".into());
        assert_eq!(answer(halted(7), Some(&[5, 1])), refused);
        let faulted = EndingInfo::Faulted {
            code: Number(1),
            name: "Panic".into(),
        };
        let expected = Err("the view faulted: Panic".into());
        assert_eq!(answer(faulted, None), expected);
    }
}
