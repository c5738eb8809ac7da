//! Ordinary Rust code compiled for guests, translated and run by the kernel, against the same
//! code on the host.

mod common;

extern crate alloc;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use common::toolchain;
use jar_kernel::block::Ending;
use jar_kernel::local::LocalHardware;
use jar_kernel::memory::MemoryChainStore;
use jar_kernel::signer::Signer;
use jar_kernel::{Chain, Genesis, Kernel, Params, State, Store};
use jar_transpiler::build::{Options, build_with};
use parity_scale_codec::{Decode, Encode};
use proptest::prelude::*;

#[path = "../../guest/chains/exercise/src/work.rs"]
mod work;

struct World {
    chain: Arc<Chain>,
    head: Arc<State>,
}

fn open() -> Option<World> {
    let toolchain = toolchain()?;
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/chains/exercise");
    let built = build_with(&toolchain, &dir, &Options::default());
    let image = built
        .unwrap_or_else(|error| panic!("{error}"))
        .image
        .encode();
    let params = Params::default();
    let genesis = Genesis {
        params,
        image,
        slot_ms: 1000,
        time_ms: 0,
        payload: vec![],
    };
    let store: Arc<dyn Store> = Arc::new(MemoryChainStore::new());
    let signer = Signer::without_keys();
    let hardware = LocalHardware::new(store, signer, Box::new(|_| {}), Box::new(|| false));
    let engine = jar_pvm::engine(jar_pvm::EngineKind::Interpreter).unwrap();
    let kernel = Kernel::open(Arc::new(hardware), &genesis, engine).unwrap();
    Some(World {
        chain: kernel.chain().clone(),
        head: kernel.head().clone(),
    })
}

/// The chain, built once; `None` without a toolchain where that was allowed.
fn world() -> Option<&'static World> {
    static WORLD: OnceLock<Option<World>> = OnceLock::new();
    WORLD.get_or_init(open).as_ref()
}

fn view<T: Decode>(world: &World, name: &str, arguments: impl Encode) -> T {
    let endpoint = world
        .chain
        .endpoint_by_name(&world.head, name)
        .unwrap()
        .unwrap();
    let outcome = world
        .chain
        .view(&world.head, endpoint.index, &arguments.encode())
        .unwrap();
    let logs: Vec<_> = outcome
        .logs
        .iter()
        .map(|(_, line)| String::from_utf8_lossy(line))
        .collect();
    assert_eq!(outcome.ending, Ending::Halted(0), "{name}: {logs:?}");
    T::decode(&mut &outcome.result.unwrap()[..]).unwrap()
}

fn words() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![any::<u32>(), 0u32..300, Just(u32::MAX)], 0..60)
}

fn number() -> impl Strategy<Value = u128> {
    (any::<u128>(), 0u32..128).prop_map(|(n, shift)| n >> shift)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn guests_compute_what_the_host_computes(
        words in words(),
        a in number(),
        b in number(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let Some(world) = world() else { return Ok(()) };
        prop_assert_eq!(view::<Vec<u32>>(world, "sort", &words), work::sort(words.clone()));
        prop_assert_eq!(view::<Vec<u128>>(world, "wide", (a, b)), work::wide(a, b));
        prop_assert_eq!(view::<String>(world, "text", &words), work::text(&words));
        prop_assert_eq!(view::<Vec<(u32, u32)>>(world, "count", &words), work::count(&words));
        prop_assert_eq!(view::<i64>(world, "interpret", &bytes), work::interpret(&bytes));
        prop_assert_eq!(view::<u64>(world, "shapes", &words), work::shapes(&words));
        prop_assert_eq!(view::<[u64; 4]>(world, "digest", &bytes), work::digest(&bytes));
    }
}

/// Recursion that needs more than the stack ends as a fault; the chain goes on.
#[test]
fn too_deep_a_recursion_is_a_fault() {
    let Some(world) = world() else { return };
    let endpoint = world
        .chain
        .endpoint_by_name(&world.head, "shapes")
        .unwrap()
        .unwrap();
    let deep = vec![1u32; 20_000].encode();
    let outcome = world
        .chain
        .view(&world.head, endpoint.index, &deep)
        .unwrap();
    assert!(
        matches!(outcome.ending, Ending::Faulted(_)),
        "{:?}",
        outcome.ending
    );
    assert_eq!(
        view::<u64>(world, "shapes", vec![1u32; 100]),
        work::shapes(&[1; 100])
    );
}
