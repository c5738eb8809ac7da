//! Every error a client can see: one table of codes, messages and advice.
//!
//! Codes are stable. Negative codes are those of JSON-RPC 2.0 and of the transport; positive
//! ones are this node's: 1xxx a malformed parameter, 2xxx something unknown, 3xxx an event that
//! was refused, 4xxx the node's own condition.

use jar_kernel::{KernelError, ReadError, Refusal};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Map, Value, json};

use crate::types::{fault_name, number};

macro_rules! errors {
    ($($variant:ident = $code:literal, $name:literal, $message:literal, $hint:literal;)*) => {
        /// A row of the table of errors.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorKind { $(#[doc = $message] $variant,)* }

        impl ErrorKind {
            /// Every kind, in order of the table.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$variant),*];

            /// The code on the wire.
            pub const fn code(self) -> i32 {
                match self { $(ErrorKind::$variant => $code,)* }
            }

            /// The name in `data`, and of the metric's label.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorKind::$variant => $name,)* }
            }

            /// The message when there is nothing more particular to say.
            pub const fn message(self) -> &'static str {
                match self { $(ErrorKind::$variant => $message,)* }
            }

            /// What the caller can do about it.
            pub const fn hint(self) -> &'static str {
                match self { $(ErrorKind::$variant => $hint,)* }
            }

            /// The kind with this code.
            pub const fn from_code(code: i32) -> Option<ErrorKind> {
                match code { $($code => Some(ErrorKind::$variant),)* _ => None }
            }
        }
    };
}

errors! {
    Parse = -32700, "parse_error", "the request is not JSON",
        "send one JSON-RPC 2.0 object, or an array of them";
    InvalidRequest = -32600, "invalid_request", "the request is not a JSON-RPC 2.0 request",
        "send {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"chain_head\",\"params\":[]}";
    MethodNotFound = -32601, "method_not_found", "there is no such method",
        "rpc_discover lists the methods";
    WrongArity = -32602, "wrong_arity", "wrong number of parameters",
        "parameters are positional: compare with the method's signature in `data`";
    Internal = -32603, "internal", "the node failed",
        "the node's log says more; report it";
    TooManySubscriptions = -32006, "too_many_subscriptions", "too many subscriptions on this connection",
        "unsubscribe from some, or open another connection";
    BodyTooLarge = -32007, "body_too_large", "the request is over the size limit",
        "send less at once; the limit is the node's rpc_max_request_bytes";
    ResponseTooLarge = -32008, "response_too_large", "the response is over the size limit",
        "ask for less: `offset` and `length` of state_get, `limit` of state_keys";
    Busy = -32009, "busy", "the node is busy: a queue is full",
        "wait a moment and try again";
    BatchTooLarge = -32010, "batch_too_large", "the batch has too many requests",
        "send smaller batches; the limit is the node's rpc_max_batch";
    BatchResponseTooLarge = -32011, "batch_response_too_large", "the batch's responses are over the size limit",
        "send smaller batches";
    WrongType = 1001, "wrong_type", "a parameter has the wrong JSON type",
        "rpc_discover gives each parameter's schema";
    NotHex = 1002, "not_hex", "a parameter is not hex",
        "bytes are an even number of hex digits after 0x";
    TooLong = 1003, "too_long", "a parameter is too long",
        "the limit is in `data`";
    WrongLength = 1004, "wrong_length", "a parameter has the wrong length",
        "hashes and keys are 32 bytes, signatures 64";
    NotANumber = 1005, "not_a_number", "a parameter is not a whole number below 2^64",
        "send a JSON number up to 2^53, or a decimal string";
    BadPath = 1006, "bad_path", "a path is malformed",
        "a path is an array of 1 to 8 keys, each 1 to 32 bytes of hex, as [\"0x21\", \"0x<32 bytes>\"]";
    UnknownBlock = 2001, "unknown_block", "there is no such block",
        "chain_head has the newest block, chain_blockHash the block of a height";
    UnknownEndpoint = 2002, "unknown_endpoint", "the chain has no such endpoint",
        "chain_spec lists the endpoints";
    WrongRole = 2003, "wrong_role", "the endpoint has another role than the method needs",
        "event_submit takes a Dispatch endpoint, state_view a View; chain_spec lists the roles";
    NotACNode = 2004, "not_a_cnode", "the path does not lead through CNodes",
        "state_keys of the parent shows what is there";
    NoState = 2005, "no_state", "the state of this block is not kept",
        "ask for a newer block";
    NotYet = 2006, "not_yet", "the height is above the head",
        "start at most one above the head";
    Rejected = 3001, "rejected", "the chain's program refused the event",
        "`program_code` is the program's own code: see the chain's documentation; 4294901761 says that the payload does not decode";
    Faulted = 3002, "faulted", "the chain's program faulted on the event",
        "check the payload's encoding; `fault` names the fault";
    BadSignature = 3003, "bad_signature", "a signature is not valid",
        "sign H(0x7f, genesis, SCALE(scope), key, H(blob)) of this chain with the attestation's key";
    UnusedTraces = 3004, "unused_traces", "the program did not ask for all attestations or results of the event",
        "send only what the endpoint asks for, in its order";
    AlreadyKnown = 3005, "already_known", "the event is pending already",
        "nothing to do: event_status follows it";
    PipelineFull = 3006, "pipeline_full", "the endpoint's slot of pending events is full",
        "wait for a block and try again";
    EventTooLarge = 3007, "event_too_large", "the event is over the chain's limits",
        "the limit is in `data`";
    Lagging = 4001, "lagging", "the subscriber does not keep up; the subscription ended",
        "subscribe again with `from` one above the last height received";
    TimedOut = 4002, "timed_out", "the request waited too long",
        "try again, or less at once";
    ShuttingDown = 4003, "shutting_down", "the node is stopping",
        "try again when it has restarted";
    NeedsWebSocket = 4005, "needs_web_socket", "subscriptions need a WebSocket",
        "connect with ws:// to the same port";
}

/// An error for a client: a kind, a message, and details that stand in `data` beside the hint.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    kind: ErrorKind,
    message: String,
    details: Map<String, Value>,
}

impl From<ErrorKind> for RpcError {
    fn from(kind: ErrorKind) -> Self {
        RpcError::new(kind, kind.message())
    }
}

impl RpcError {
    /// An error with its own message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        RpcError {
            kind,
            message: message.into(),
            details: Map::new(),
        }
    }

    /// The table's message, followed by something particular.
    pub fn about(kind: ErrorKind, what: impl std::fmt::Display) -> Self {
        RpcError::new(kind, format!("{}: {what}", kind.message()))
    }

    /// Adds a detail to `data`.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The row of the table.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The `data` on the wire: the kind's name, its hint, the details.
    pub fn data(&self) -> Value {
        let mut data = Map::new();
        data.insert("name".into(), self.kind.name().into());
        data.insert("hint".into(), self.kind.hint().into());
        data.extend(self.details.clone());
        Value::Object(data)
    }

    /// `{code, message, data}`.
    pub fn to_json(&self) -> Value {
        json!({ "code": self.kind.code(), "message": self.message, "data": self.data() })
    }
}

impl From<RpcError> for ErrorObjectOwned {
    fn from(error: RpcError) -> Self {
        ErrorObjectOwned::owned(error.kind.code(), error.message.clone(), Some(error.data()))
    }
}

impl From<KernelError> for RpcError {
    fn from(error: KernelError) -> Self {
        RpcError::about(ErrorKind::Internal, error)
    }
}

impl From<jar_cap::StoreError> for RpcError {
    fn from(error: jar_cap::StoreError) -> Self {
        RpcError::about(ErrorKind::Internal, error)
    }
}

/// What a transport error says, with the table's message and hint; `None` for what already is of
/// this node's making.
pub(crate) fn decorated(code: i32, message: &str, data: Option<&Value>) -> Option<RpcError> {
    if data.is_some_and(|data| data.get("hint").is_some()) {
        return None;
    }
    let kind = match ErrorKind::from_code(code)? {
        // Arity is checked before the library sees the parameters: what it refuses is their type.
        ErrorKind::WrongArity => ErrorKind::WrongType,
        kind => kind,
    };
    let mut error = RpcError::from(kind);
    let detail = data.and_then(Value::as_str).unwrap_or(message);
    error = error.with("detail", detail);
    Some(error)
}

impl From<ReadError> for RpcError {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::NotACNode(_) => ErrorKind::NotACNode,
            ReadError::EmptyPath => ErrorKind::BadPath,
            ReadError::NotAView(_) | ReadError::NotTransact(_) => ErrorKind::WrongRole,
            ReadError::PayloadTooLarge { .. } => ErrorKind::TooLong,
            ReadError::Kernel(_) => ErrorKind::Internal,
        };
        RpcError::new(kind, error.to_string())
    }
}

impl From<Refusal> for RpcError {
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::UnknownEndpoint(_) => ErrorKind::UnknownEndpoint,
            Refusal::NotDispatch(_) => ErrorKind::WrongRole,
            Refusal::TooLarge { .. } => ErrorKind::EventTooLarge,
            Refusal::AlreadyKnown => ErrorKind::AlreadyKnown,
            Refusal::BadSignature { .. } => ErrorKind::BadSignature,
            Refusal::UnusedTraces => ErrorKind::UnusedTraces,
            Refusal::Rejected { .. } => ErrorKind::Rejected,
            Refusal::Faulted { .. } => ErrorKind::Faulted,
            Refusal::Full => ErrorKind::PipelineFull,
            Refusal::Kernel(_) => ErrorKind::Internal,
        };
        let error = RpcError::new(kind, refusal.to_string());
        match refusal {
            Refusal::TooLarge { limit, .. } => error.with("limit", number(limit)),
            Refusal::BadSignature { index } => error.with("index", index as u64),
            Refusal::Rejected { code, .. } => error.with("program_code", number(code)),
            Refusal::Faulted { fault } => error.with("fault", fault_name(fault)),
            _ => error,
        }
    }
}

/// The table as Markdown, as the documentation shows it.
pub fn error_table_markdown() -> String {
    let mut text = String::from("| code | name | message | what to do |\n|---|---|---|---|\n");
    for kind in ErrorKind::ALL {
        text.push_str(&format!(
            "| {} | `{}` | {} | {} |\n",
            kind.code(),
            kind.name(),
            kind.message(),
            kind.hint()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_and_names_are_unique() {
        let codes: BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        let names: BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }

    #[test]
    fn library_errors_get_a_hint_once() {
        let plain = decorated(-32601, "Method not found", None).expect("known code");
        assert_eq!(plain.kind(), ErrorKind::MethodNotFound);
        assert!(plain.data().get("hint").is_some());
        assert!(decorated(-32601, "", Some(&plain.data())).is_none());
        assert!(decorated(-1, "", None).is_none());
    }
}
