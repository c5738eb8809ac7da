//! The OpenRPC document, made from the table of methods and the table of errors.

use serde_json::{Value, json};

use crate::errors::ErrorKind;
use crate::methods::{Kind, METHODS, MethodInfo, ParamInfo, Schema};

fn schema(schema: Schema) -> Value {
    let hex = |pattern: &str, what: &str| json!({ "type": "string", "pattern": pattern, "description": what });
    match schema {
        Schema::Bytes => hex("^0x([0-9a-fA-F]{2})*$", "bytes as hex"),
        Schema::Hash => hex("^0x[0-9a-fA-F]{64}$", "32 bytes as hex"),
        Schema::Key => hex(
            "^0x([0-9a-fA-F]{2}){1,32}$",
            "a key of 1 to 32 bytes as hex",
        ),
        Schema::Number => json!({
            "oneOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+$" }],
            "description": "a JSON number up to 2^53, or a decimal string",
        }),
        Schema::Block => json!({
            "oneOf": [{ "type": "integer", "minimum": 0 }, { "type": "string" }, { "type": "null" }],
            "description": "a block hash, a height, \"head\" or \"finalized\"; null is the head",
        }),
        Schema::Endpoint => json!({
            "oneOf": [{ "type": "string" }, { "type": "integer", "minimum": 0, "maximum": 255 }],
            "description": "an endpoint's name or number",
        }),
        Schema::Path => json!({
            "type": "array", "maxItems": 8, "items": self::schema(Schema::Key),
        }),
        Schema::Attestations => json!({ "type": "array", "items": attestation() }),
        Schema::GetOptions => json!({
            "type": "object",
            "properties": {
                "proof": { "type": "boolean" },
                "offset": self::schema(Schema::Number),
                "length": self::schema(Schema::Number),
            },
            "additionalProperties": false,
        }),
    }
}

fn attestation() -> Value {
    json!({
        "type": "object",
        "properties": {
            "key": schema(Schema::Hash),
            "scope": { "description": "\"direct\", \"seal\" or {\"vote\": {source, target}}" },
            "blob_hash": schema(Schema::Hash),
            "signature": { "type": "string", "pattern": "^0x[0-9a-fA-F]{128}$" },
        },
        "required": ["key", "scope", "blob_hash", "signature"],
        "additionalProperties": false,
    })
}

fn param(param: &ParamInfo) -> Value {
    json!({ "name": param.name, "required": param.required, "schema": schema(param.schema) })
}

fn method(method: &MethodInfo) -> Value {
    let params: Vec<Value> = method.params.iter().map(param).collect();
    json!({
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-position",
        "params": params,
        "result": { "name": "result", "summary": method.result, "schema": {} },
        "x-transport": match method.kind {
            Kind::Call => "http, websocket",
            Kind::Subscription | Kind::Unsubscription => "websocket",
        },
        // Nothing here changes the node itself: such methods belong on another listener.
        "x-safe": true,
    })
}

/// The whole document.
pub(crate) fn document() -> Value {
    let methods: Vec<Value> = METHODS.iter().map(method).collect();
    let errors: serde_json::Map<String, Value> = ErrorKind::ALL
        .iter()
        .map(|kind| {
            let error = json!({
                "code": kind.code(),
                "message": kind.message(),
                "data": { "name": kind.name(), "hint": kind.hint() },
            });
            (kind.name().to_owned(), error)
        })
        .collect();
    json!({
        "openrpc": "1.3.2",
        "info": { "title": "jar-node JSON-RPC", "version": env!("CARGO_PKG_VERSION") },
        "methods": methods,
        "components": { "errors": errors },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_and_error_is_there() {
        let document = document();
        assert_eq!(
            document["methods"].as_array().map(Vec::len),
            Some(METHODS.len())
        );
        assert_eq!(document["components"]["errors"]["not_hex"]["code"], 1002);
    }
}
