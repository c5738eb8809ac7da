//! Every method with its parameters: what arity is checked against and what `rpc_discover` shows.

/// Schemas that parameters refer to, by the names of `openrpc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Bytes as hex.
    Bytes,
    /// 32 bytes as hex.
    Hash,
    /// A `u64`.
    Number,
    /// A block by hash, height or name.
    Block,
    /// An endpoint by name or number.
    Endpoint,
    /// An array of keys.
    Path,
    /// A key.
    Key,
    /// An array of attestations.
    Attestations,
    /// Options of `state_get`.
    GetOptions,
}

/// A parameter.
#[derive(Clone, Copy, Debug)]
pub struct ParamInfo {
    /// Its name; parameters are positional all the same.
    pub name: &'static str,
    /// What it may be.
    pub schema: Schema,
    /// Whether it must be given.
    pub required: bool,
}

/// What kind of method this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers once.
    Call,
    /// Answers a subscription's id, then notifies; over WebSocket only.
    Subscription,
    /// Ends a subscription.
    Unsubscription,
}

/// A method.
#[derive(Clone, Copy, Debug)]
pub struct MethodInfo {
    /// Its name on the wire.
    pub name: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// What it answers.
    pub result: &'static str,
    /// Its parameters; those that may be left out come last.
    pub params: &'static [ParamInfo],
    /// What kind it is.
    pub kind: Kind,
}

const fn required(name: &'static str, schema: Schema) -> ParamInfo {
    ParamInfo {
        name,
        schema,
        required: true,
    }
}

const fn maybe(name: &'static str, schema: Schema) -> ParamInfo {
    ParamInfo {
        name,
        schema,
        required: false,
    }
}

const fn call(
    name: &'static str,
    summary: &'static str,
    result: &'static str,
    params: &'static [ParamInfo],
) -> MethodInfo {
    MethodInfo {
        name,
        summary,
        result,
        params,
        kind: Kind::Call,
    }
}

const fn subscription(
    name: &'static str,
    summary: &'static str,
    result: &'static str,
    params: &'static [ParamInfo],
) -> MethodInfo {
    MethodInfo {
        name,
        summary,
        result,
        params,
        kind: Kind::Subscription,
    }
}

const fn unsubscription(name: &'static str) -> MethodInfo {
    MethodInfo {
        name,
        summary: "Ends a subscription.",
        result: "whether there was one",
        params: &[SUBSCRIPTION],
        kind: Kind::Unsubscription,
    }
}

const SUBSCRIPTION: ParamInfo = required("subscription", Schema::Number);
const BLOCK: ParamInfo = maybe("block", Schema::Block);
const PATH: ParamInfo = required("path", Schema::Path);
const ENDPOINT: ParamInfo = required("endpoint", Schema::Endpoint);
const PAYLOAD: ParamInfo = required("payload", Schema::Bytes);
const ATTESTATIONS: ParamInfo = maybe("attestations", Schema::Attestations);
const ID: ParamInfo = required("id", Schema::Hash);
const FROM: ParamInfo = maybe("from", Schema::Number);

/// Every method, by namespace.
#[rustfmt::skip]
pub const METHODS: &[MethodInfo] = &[
    call("chain_head", "The head.", "{hash, header, score, time_ms}", &[]),
    call("chain_finalized", "The last finalized block.", "{hash, header, score, time_ms}", &[]),
    call("chain_header", "A block's header; the head's by default.", "{hash, header, score, time_ms}", &[BLOCK]),
    call("chain_block", "A whole block with its outcomes; the head by default.",
        "{hash, header, score, time_ms, body: {groups, attestations, results}, outcomes}", &[BLOCK]),
    call("chain_blockHash", "Hash of the block of a height on the chain of the head.", "hash",
        &[required("height", Schema::Number)]),
    call("chain_spec", "What chain this is, its parameters and endpoints.",
        "{name, chain_id, genesis, image_id, genesis_time_ms, slot_ms, params, genesis_payload, endpoints}", &[]),
    subscription("chain_subscribeHeads", "Every block that becomes part of the chain of the head, in order, \
        from a height (the head by default); `reverted` says how many delivered ones were left behind.",
        "{hash, header, score, time_ms, reverted?}", &[FROM]),
    unsubscription("chain_unsubscribeHeads"),
    subscription("chain_subscribeFinalized", "Every block that becomes final, in order, from a height \
        (the last finalized by default).", "{hash, header, score, time_ms}", &[FROM]),
    unsubscription("chain_unsubscribeFinalized"),
    call("state_root", "The state root.", "hash", &[BLOCK]),
    call("state_get", "What stands at a path. Options: `{proof: true}` adds its proof, `{offset, length}` picks bytes of a Data.",
        "{block, kind, id?, size?, data?, proof?}; kind is `empty` where nothing stands",
        &[PATH, BLOCK, maybe("options", Schema::GetOptions)]),
    call("state_proof", "A proof of what stands at a path, or that nothing does.",
        "{block, header, state_root, instance: {type, image, trie_root, status}, \
        steps: [{key, siblings, end: {leaf: {key_hash, cap}} | \"empty\", trie_root?}], data?}", &[PATH, BLOCK]),
    call("state_view", "Runs a View endpoint.", "{block, ending, result, gas_used, logs}", &[ENDPOINT, PAYLOAD, BLOCK]),
    call("state_keys", "Entries of the CNode at a path (the chain's own table at []), in order of H(key), after `from`.",
        "{block, keys: [{key, kind, id}], next}",
        &[PATH, maybe("from", Schema::Key), maybe("limit", Schema::Number), BLOCK]),
    call("event_submit", "Gives an event to a Dispatch endpoint, which judges it before it is accepted; \
        acknowledged from memory.", "{id, transact_ids}", &[ENDPOINT, PAYLOAD, ATTESTATIONS]),
    call("event_status", "Where an event stands, by its id as a Dispatch or as a Transact event.",
        "{id, status: unknown | pending | included | dropped, transact_ids, inclusions, reason?}", &[ID]),
    call("event_simulate", "What a Transact endpoint would make of an event; nothing is kept.",
        "{ending, gas_used, records}", &[ENDPOINT, PAYLOAD, ATTESTATIONS, BLOCK]),
    subscription("event_subscribe", "An event's status, now and whenever it changes; ends when the event is in \
        a final block or was dropped.", "{id, status, transact_ids, inclusions, reason?}", &[ID]),
    unsubscription("event_unsubscribe"),
    call("system_health", "Whether the node makes progress.",
        "{healthy, status, reason?, height, head, finalized_height, head_age_ms, pending}", &[]),
    call("system_version", "What runs.", "{name, version, engine}", &[]),
    call("system_peers", "The node's peers; none without a network.",
        "[{peer_id, address, outbound, agent?, latency_ms?, height?, finalized_height?, gossip_score, badness}]", &[]),
    call("system_syncing", "Whether the node is behind its peers.", "{syncing, stage: following | blocks | state, height, highest}", &[]),
    call("system_metrics", "Metrics in the text format of Prometheus.", "text", &[]),
    call("rpc_discover", "The OpenRPC document of this node.", "OpenRPC document", &[]),
    call("rpc.discover", "The same as rpc_discover.", "OpenRPC document", &[]),
];

impl MethodInfo {
    /// The method with this name.
    pub fn find(name: &str) -> Option<&'static MethodInfo> {
        METHODS.iter().find(|method| method.name == name)
    }

    /// How many parameters must be given.
    pub fn arity_min(&self) -> usize {
        self.params.iter().filter(|param| param.required).count()
    }

    /// The name with its parameters, those that may be left out in brackets.
    pub fn signature(&self) -> String {
        let params: Vec<String> = self
            .params
            .iter()
            .map(|param| match param.required {
                true => param.name.to_owned(),
                false => format!("[{}]", param.name),
            })
            .collect();
        format!("{}({})", self.name, params.join(", "))
    }
}

/// The methods as Markdown, as the documentation shows them.
pub fn method_table_markdown() -> String {
    let mut text = String::from("| method | what it does | answer |\n|---|---|---|\n");
    for method in METHODS {
        let cell = |text: &str| text.replace('|', "\\|");
        text.push_str(&format!(
            "| `{}` | {} | {} |\n",
            method.signature(),
            cell(method.summary),
            cell(method.result)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_parameters_come_last() {
        for method in METHODS {
            let optional = method.params.iter().position(|param| !param.required);
            let last_required = method.params.iter().rposition(|param| param.required);
            if let (Some(optional), Some(required)) = (optional, last_required) {
                assert!(required < optional, "{}", method.name);
            }
        }
    }
}
