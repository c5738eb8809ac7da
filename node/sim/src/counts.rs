//! How often each thing happened: what the network does, what breaks, what byzantine nodes do.

macro_rules! counts {
    ($($name:ident = $what:literal,)*) => {
        /// How often each thing happened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $(#[doc = $what] pub $name: u64,)*
        }

        impl Counts {
            /// Each with what it counts, in words.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$(($what, self.$name)),*]
            }

            /// Adds those of another simulation.
            pub fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    blocks = "blocks built",
    reorganised = "reorganisations",
    submitted = "transfers accepted from clients",
    messages = "messages sent",
    lost = "messages lost",
    doubled = "messages doubled",
    reordered = "messages overtaken by a later one",
    cut = "messages into a partition",
    partitions = "partitions",
    kills = "crashes between two commits",
    kills_in_commit = "crashes in the middle of a commit",
    restarts = "restarts",
    skewed = "nodes with a clock that is off",
    joined = "nodes that joined late",
    restored = "disks put back to an old copy",
    shared = "second nodes with a validator's key",
    silenced = "nodes that stopped signing",
    resumed = "nodes that signed again",
    changes = "changes of the validators that took effect",
    adopted = "nodes that started from a state",
    byzantine = "networks with a byzantine validator",
    equivocations = "second blocks of one author for a slot",
    double_votes = "votes that may not be together",
    withheld = "blocks shown late",
    unanswered = "requests left unanswered on purpose",
    garbage = "pieces of garbage sent",
    rejected = "gossip messages rejected",
    bans = "bans",
}
