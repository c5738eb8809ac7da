//! How a chain starts: its numbers checked, its Genesis endpoint run, its first block committed.

use std::cell::RefCell;
use std::sync::Arc;

use jar_cap::image::Role;
use jar_cap::{Cap, Data, Hash, ImageRef, Instance, state_root};

use crate::block::{Block, Body, Ending, Header};
use crate::error::KernelError;
use crate::exec::{BlockInfo, Env, Grant, Invocation, Traces, execute};
use crate::hardware::Commit;
use crate::params::Genesis;

/// The highest value of a parameter: no sum or product of prices and sizes overflows.
const PARAM_MAX: u64 = 1 << 40;

/// The highest `max_depth`: what hangs off frames is taken apart frame by frame.
const DEPTH_MAX: u64 = 256;

/// Refuses numbers with which a chain could not go on.
pub(crate) fn check_numbers(genesis: &Genesis) -> Result<(), KernelError> {
    let refuse = |what: &str| Err(KernelError::Genesis(what.into()));
    let params = &genesis.params;
    if let Some((name, value)) = params.entries().into_iter().find(|(_, v)| *v > PARAM_MAX) {
        return refuse(&format!("{name} is {value}, over {PARAM_MAX}"));
    }
    match () {
        _ if genesis.slot_ms == 0 => refuse("slot_ms is 0"),
        _ if params.event_gas > params.block_gas => refuse("event_gas is over block_gas"),
        _ if params.max_depth > DEPTH_MAX => refuse("max_depth is over 256"),
        _ if params.data_bytes > u64::from(u32::MAX) => refuse("data_bytes is over 4 GiB"),
        _ if genesis.payload.len() as u64 > params.payload_bytes => {
            refuse("the payload is over payload_bytes")
        }
        _ => Ok(()),
    }
}

/// Checks that the store's chain starts as this one; answers its genesis hash.
pub(crate) fn check_genesis(
    env: &Env,
    genesis: &Genesis,
    image: &ImageRef,
    stored: Hash,
) -> Result<Hash, KernelError> {
    let header = env
        .store
        .header(&stored)?
        .ok_or_else(|| KernelError::Internal("the genesis header is missing".into()))?
        .header;
    let commitment = genesis.commitment(&image.id());
    if header.body_root != commitment {
        // Genesis is a function of what the commitment covers: state and hash follow from it.
        return Err(KernelError::WrongChain {
            stored: header.body_root,
            spec: commitment,
        });
    }
    Ok(stored)
}

/// Runs Genesis and commits its block; answers the genesis hash.
pub(crate) fn commit_genesis(
    env: &Env,
    genesis: &Genesis,
    image: &ImageRef,
) -> Result<Hash, KernelError> {
    let instance = run_genesis(env, image, genesis)?;
    let header = Header {
        genesis: [0; 32],
        parent: [0; 32],
        height: 0,
        slot: 0,
        body_root: genesis.commitment(&image.id()),
        state_root: state_root(&instance.id()),
        outcome_root: [0; 32],
    };
    let hash = header.hash();
    let mut nodes = Vec::new();
    jar_cap::persist(
        &Cap::Instance(instance.clone()),
        env.store.number(),
        &mut |id, bytes| nodes.push((id, bytes)),
    )?;
    env.store.commit(&Commit {
        block: Arc::new(Block {
            header,
            body: Body::default(),
        }),
        hash,
        score: 0,
        instance: instance.id(),
        outcomes: Vec::new(),
        events: Vec::new(),
        nodes,
        canonical: vec![(0, Some(hash))],
        head: Some(hash),
        finalized: Some(hash),
        watermarks: Vec::new(),
    })?;
    Ok(hash)
}

/// Runs the Genesis endpoint of an Image; answers the chain Instance it leaves.
fn run_genesis(env: &Env, image: &ImageRef, genesis: &Genesis) -> Result<Instance, KernelError> {
    let loaded = env.programs.load(&*env.store, image)?;
    let endpoints = loaded.image.endpoints.iter();
    let mut endpoints = endpoints.filter(|(_, e)| e.role == Role::Genesis);
    let endpoint = endpoints.next();
    if endpoints.next().is_some() {
        let what = "the Image has several Genesis endpoints";
        return Err(KernelError::Genesis(what.into()));
    }
    let table = crate::natives::genesis_table(&*env.store)?;
    let instance = Instance::program(jar_cap::genesis_type(&image.id()), image.clone(), table);
    let Some((endpoint, _)) = endpoint else {
        return Ok(instance);
    };
    let lines = RefCell::new(Vec::new());
    let log = |_, line: &[u8]| {
        let line = String::from_utf8_lossy(line).into_owned();
        lines.borrow_mut().push(line);
    };
    let finished = execute(
        env,
        Invocation {
            instance,
            endpoint: *endpoint,
            arguments: [0; 4],
            scratch: Some(Cap::Data(Data::new(&genesis.payload))),
            next_image: None,
            block: BlockInfo {
                genesis: [0; 32],
                parent: [0; 32],
                height: 0,
                slot: 0,
                time_ms: genesis.time_ms,
            },
            grant: Grant {
                gas: genesis.params.genesis_gas,
                quota: genesis.params.schedule_quota,
            },
            traces: Traces::none(),
            is_view: false,
            slot: None,
            log: &log,
        },
    )?;
    match finished.ending {
        Ending::Halted(0) => Ok(finished.instance.with_image(finished.next_image)),
        ending => {
            let mut reason = format!("the Genesis endpoint {ending}");
            for line in lines.into_inner() {
                reason.push_str("; ");
                reason.push_str(&line);
            }
            Err(KernelError::Genesis(reason))
        }
    }
}
