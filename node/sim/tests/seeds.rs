//! A few seeds, as `scripts/sim` plays many: every fault, and each kind of byzantine node.

use std::process::Command;
use std::sync::Arc;

use jar_pvm::{Engine, EngineKind};
use jar_sim::{
    Byzantine, Change, Counts, Detail, Outage, Partition, RESUME_SLOTS, Report, Restore, Scenario,
    Span, Violation, simulate, testnet,
};

fn engine() -> Arc<dyn Engine> {
    jar_pvm::engine(EngineKind::Auto).expect("an engine")
}

fn play(scenario: &Scenario) -> Report {
    simulate(scenario, engine(), Detail::default())
}

/// Plays a scenario in which every promise is kept.
fn kept(scenario: &Scenario) -> Report {
    let report = play(scenario);
    assert_eq!(report.violation, None, "{scenario:?}");
    report
}

#[test]
fn seeds_keep_every_promise() {
    let mut kinds = std::collections::BTreeSet::new();
    let mut counts = Counts::default();
    for seed in 0..24 {
        let scenario = Scenario::of_seed(seed);
        kinds.insert(scenario.byzantine.map(|kind| format!("{kind:?}")));
        let report = kept(&scenario);
        let resumed = report.resumed_after.expect("finality resumed");
        assert!(resumed <= RESUME_SLOTS, "seed {seed}: {resumed} slots");
        counts.add(&report.counts);
    }
    // What is to be survived happens in these seeds: every fault, every misdeed.
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    for (what, count) in counts.named() {
        assert!(count > 0, "no {what}");
    }
}

#[test]
fn a_seed_replays_byte_for_byte() {
    let detail = Detail {
        log: true,
        slots: true,
    };
    for seed in [3, 7] {
        let scenario = Scenario::of_seed(seed);
        let first = simulate(&scenario, engine(), detail);
        let second = simulate(&scenario, engine(), detail);
        assert!(first.log.lines().count() > 100);
        assert_eq!(first, second, "seed {seed}");
    }
    let log = |seed| simulate(&Scenario::of_seed(seed), engine(), detail).log;
    assert_ne!(log(3), log(4));
}

/// What a process of its own prints that plays some seeds, with so many threads.
fn printed(threads: &str) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_jar-sim"))
        .args(["--first-seed", "3", "--seeds", "3", "--log"])
        .args(["--threads", threads])
        .env("RAYON_NUM_THREADS", threads)
        .output()
        .expect("the simulator runs");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn seeds_replay_in_other_processes_with_other_threads() {
    let (one, three) = (printed("1"), printed("3"));
    assert!(one == three, "the logs differ");
    let logs: String = (3..6)
        .map(|seed| {
            let detail = Detail {
                log: true,
                ..Detail::default()
            };
            simulate(&Scenario::of_seed(seed), engine(), detail).log
        })
        .collect();
    assert!(one.starts_with(logs.as_bytes()), "this process differs");
}

#[test]
fn a_calm_network_finalizes_at_once() {
    let report = testnet(4, 20, engine());
    assert_eq!(report.violation, None);
    assert_eq!(report.slots.len(), 20);
    for view in &report.slots {
        let nodes: Vec<_> = view.nodes.iter().flatten().collect();
        assert_eq!(nodes.len(), 4);
        assert!(nodes.iter().all(|node| node.height == view.slot));
        let roots = nodes.iter().map(|node| node.state_root);
        let roots: std::collections::BTreeSet<_> = roots.collect();
        assert_eq!(roots.len(), 1, "slot {}", view.slot);
        // Votes of a block's child are counted in its grandchild.
        let is_final = |height: u64| height + 3 >= view.slot;
        assert!(nodes.iter().all(|node| is_final(node.finalized_height)));
    }
    assert!(report.counts.submitted > 0);
}

#[test]
fn a_single_validator_loses_nothing_in_crashes() {
    for seed in 0..6 {
        let mut scenario = Scenario::calm(seed, 1, 60);
        scenario.outages = (1..20)
            .map(|number| Outage {
                span: Span {
                    from: number * 2,
                    to: number * 2 + 1 + number % 2,
                },
                node: 0,
                in_commit: number % 3 != 0,
            })
            .collect();
        scenario.heal = 44;
        let report = kept(&scenario);
        let crashes = report.counts.kills + report.counts.kills_in_commit;
        assert!(crashes > 10, "seed {seed}: {crashes} crashes");
        assert!(report.height > 15, "seed {seed}: height {}", report.height);
    }
}

/// One half of the validators cannot hear the other: nothing is final until it can.
#[test]
fn halves_finalize_nothing_and_agree_when_healed() {
    let mut scenario = Scenario::calm(5, 4, 40);
    let span = Span { from: 6, to: 24 };
    scenario.partitions = vec![Partition {
        span,
        side: 0b0011,
        disconnects: true,
    }];
    scenario.heal = span.to;
    let detail = Detail {
        slots: true,
        ..Detail::default()
    };
    let report = simulate(&scenario, engine(), detail);
    assert_eq!(report.violation, None);
    let finalized_in = |slot: u64| {
        let view = report.slots.iter().find(|view| view.slot == slot);
        let nodes = view.expect("the slot").nodes.iter().flatten();
        nodes
            .map(|node| node.finalized_height)
            .max()
            .expect("nodes")
    };
    assert_eq!(finalized_in(span.from + 1), finalized_in(span.to - 1));
    assert!(report.counts.reorganised > 0);
    assert!(report.resumed_after.expect("resumed") <= RESUME_SLOTS);
}

#[test]
fn three_of_four_finalize_and_two_do_not() {
    let down = |nodes: &[usize]| {
        let mut scenario = Scenario::calm(9, 4, 30);
        let span = Span { from: 4, to: 29 };
        let outage = |node: &usize| Outage {
            span,
            node: *node,
            in_commit: false,
        };
        scenario.outages = nodes.iter().map(outage).collect();
        // The end comes before anyone is back.
        scenario.heal = 29;
        scenario.slots = 28;
        let report = play(&scenario);
        let is_stuck = matches!(report.violation, None | Some(Violation::Stuck { .. }));
        assert!(is_stuck, "{:?}", report.violation);
        report.finalized_height
    };
    assert!(down(&[3]) > 12);
    assert!(down(&[2, 3]) < 6);
}

#[test]
fn who_joins_late_catches_up_by_blocks_and_by_state() {
    for (by_state, byzantine) in [
        (false, None),
        (true, None),
        (true, Some(Byzantine::Garbage)),
        (false, Some(Byzantine::Garbage)),
    ] {
        let mut scenario = Scenario::calm(11, 4, 60);
        scenario.joiner = Some((40, by_state));
        scenario.byzantine = byzantine;
        scenario.heal = 44;
        scenario.loss = 100;
        let report = kept(&scenario);
        assert!(report.resumed_after.expect("resumed") <= RESUME_SLOTS);
    }
}

/// The faults of a seed, with no byzantine validator and nothing else of what is tried here.
fn faults(seed: u64) -> Scenario {
    Scenario {
        byzantine: None,
        restores: Vec::new(),
        shared_key: None,
        change: None,
        ..Scenario::of_seed(seed)
    }
}

/// As [`faults`], with one node put back to an old copy of its disk.
fn restored(seed: u64, is_told: bool) -> Scenario {
    Scenario {
        restores: vec![Restore {
            node: (seed % 4) as usize,
            copied: 3 + seed % 5,
            restored: 12 + seed % 7,
            is_told,
        }],
        ..faults(seed)
    }
}

#[test]
fn a_restored_node_that_knows_it_signs_nothing_twice() {
    let mut resumed = 0;
    for seed in 100..108 {
        let scenario = restored(seed, true);
        let report = kept(&scenario);
        assert_eq!(report.counts.restored, 1);
        let twice = (report.counts.equivocations, report.counts.double_votes);
        assert_eq!(twice, (0, 0), "seed {seed}");
        resumed += report.counts.resumed;
    }
    assert!(resumed >= 6, "{resumed} of 8 signed again");
}

#[test]
fn a_restored_node_that_does_not_know_it_harms_nobody() {
    let mut silenced = 0;
    for seed in 100..108 {
        let scenario = restored(seed, false);
        silenced += kept(&scenario).counts.silenced;
    }
    assert!(silenced >= 4, "{silenced} of 8 learnt it from the chain");
}

#[test]
fn two_nodes_with_one_key_stop_signing() {
    for seed in 100..108 {
        let mut scenario = faults(seed);
        scenario.shared_key = Some(((seed % 4) as usize, 4 + seed % 9));
        let report = kept(&scenario);
        assert!(report.counts.silenced > 0, "seed {seed}");
    }
}

/// Each of the validators leaves, the byzantine one among them, while everything breaks.
#[test]
fn validators_change_under_faults() {
    let kinds = [
        None,
        Some(Byzantine::Twins),
        Some(Byzantine::Reckless),
        Some(Byzantine::Withholding),
        Some(Byzantine::Garbage),
    ];
    for seed in 100..110 {
        let mut scenario = faults(seed);
        scenario.byzantine = kinds[(seed % 5) as usize];
        scenario.change = Some(Change {
            slot: 4 + seed % 7,
            leaves: (seed % 4) as usize,
        });
        assert_eq!(kept(&scenario).counts.changes, 1, "seed {seed}");
    }
}

/// Nobody tells a vote twice, but aggregates carry it on, and after four blocks the next is due:
/// a network that loses three of ten messages all the time finalizes all the time.
#[test]
fn losses_do_not_stall_finality() {
    for seed in 0..6 {
        let mut scenario = Scenario::calm(seed, 4, 80);
        (scenario.loss, scenario.heal) = (300, 80);
        let detail = Detail {
            slots: true,
            ..Detail::default()
        };
        let report = simulate(&scenario, engine(), detail);
        let (mut finalized, mut since, mut longest) = (0, 0, 0);
        for view in &report.slots {
            let heights = view.nodes.iter().flatten().map(|n| n.finalized_height);
            let height = heights.max().expect("nodes");
            if height > finalized {
                (finalized, since) = (height, view.slot);
            }
            longest = longest.max(view.slot - since);
        }
        assert!(longest <= 12, "seed {seed}: {longest} slots");
        assert!(finalized > 60, "seed {seed}: height {finalized}");
    }
}

/// Nodes in the first two were stuck, as they asked one peer alone: one that answers nothing, or
/// that has only the newer blocks. In the third an honest peer was banned whose Image was not of
/// the size that a liar's record named.
#[test]
fn seeds_that_once_broke_a_promise() {
    for seed in [224, 239, 348] {
        kept(&Scenario::of_seed(seed));
    }
}
