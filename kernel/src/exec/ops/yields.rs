//! `yield`, and what a catcher does with it: `resume`, `abort`, `detach`.

use jar_abi::{CallStatus, Fault, Status};
use jar_cap::{Cap, Path};

use crate::exec::Stop;
use crate::exec::frame::{Subtree, WaitsFor};
use crate::exec::meters::Keeper;
use crate::exec::pause::{PausePrice, PausedChain};
use crate::exec::run::{Execution, Flow};

impl Execution<'_, '_> {
    pub(super) fn yield_to_catcher(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        // Every owner is asked for its Catcher.
        let owners = self.frames.len() as u64 - 1;
        let price = self.walk_price(&[&path]) + owners * self.env.params.price_path_key;
        self.settle()?;
        self.charge(price)?;
        let store = self.store();
        let Cap::Instance(marker) = self.held(&path?)? else {
            return Err(Status::WrongKind.into());
        };
        let marker = marker.type_id();
        let Some(catcher) = self.find_catcher(&marker)? else {
            return Err(Stop::Fault(Fault::Unhandled));
        };
        let payload = self.top().swap_scratch(store, None)?;
        self.suspend(catcher, WaitsFor::Answer(marker), payload)?;
        Ok(Flow::Switch)
    }

    pub(super) fn resume(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        self.settle()?;
        let frames = self.waiting_at(&path, |subtree| subtree.len() as u64);
        if let Ok(path) = &path
            && frames == 0
        {
            self.find_chain(path)?;
        }
        let params = &self.env.params;
        // As a call; and each frame looks its meters up, and may be asked for its Catcher.
        let price = self.walk_price(&[&path])
            + params.price_slot_write
            + params.price_call
            + 2 * frames * params.price_path_key;
        self.charge(price)?;
        let chain = std::mem::take(&mut self.top().found);
        match self.start_resume(path, chain) {
            Err(Stop::Status(status)) => {
                Ok(Flow::Pair(status as i64 as u64, CallStatus::Refused as u64))
            }
            other => other,
        }
    }

    fn start_resume(&mut self, path: Result<Path, Stop>, chain: PausedChain) -> Result<Flow, Stop> {
        let path = path?;
        if let Some(subtree) = self.top().waiting.remove(&path) {
            return self.resume_waiting(subtree);
        }
        if chain.is_empty() {
            return Err(self.not_waiting(&path));
        }
        if Self::is_in_scratchpad(&path) {
            // What the scratchpad holds is the yielder's answer.
            return Err(Status::Busy.into());
        }
        let subtree = self.restore(chain)?;
        self.resume_waiting(subtree)
    }

    pub(super) fn detach(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        let (pause, keeper) = match &path {
            Ok(path) => (self.pause_price(path), self.keeper(path)),
            Err(_) => (PausePrice::default(), Keeper::default()),
        };
        let own = if keeper.gas.is_none() { pause.gas } else { 0 };
        // Who asks pays for the looking, whoever pays for the keeping.
        let frames = self.waiting_at(&path, Self::count_frames);
        let looked = frames * self.env.params.price_path_key;
        self.charge(self.walk_price(&[&path]) + looked + own)?;
        let path = path?;
        if !self.frame().waiting.contains_key(&path) {
            return Err(self.not_waiting(&path));
        }
        if pause.has_copy {
            return Err(Status::Denied.into());
        }
        self.charge_kept(keeper, pause.gas, pause.quota)?;
        let Some(subtree) = self.top().waiting.remove(&path) else {
            return Err(self.not_waiting(&path));
        };
        let instance = Cap::Instance(self.pause(subtree)?);
        let store = self.store();
        self.top().set(store, &path, Some(instance))?;
        Ok(Flow::Value(0))
    }

    pub(super) fn abort(&mut self, args: [u64; 6]) -> Result<Flow, Stop> {
        let path = self.path(args[0]);
        let frames = self.waiting_at(&path, Self::count_frames);
        let price = self.walk_price(&[&path]) + frames * self.env.params.price_path_key;
        self.charge(price)?;
        let path = path?;
        let Some(subtree) = self.top().waiting.remove(&path) else {
            return Err(self.not_waiting(&path));
        };
        self.sync_gas();
        self.discard(subtree);
        self.load_gas();
        Ok(Flow::Value(0))
    }

    /// Something of the subtree that waits at a path; 0 where none does.
    fn waiting_at(&self, path: &Result<Path, Stop>, count: impl FnOnce(&Subtree) -> u64) -> u64 {
        match path {
            Ok(path) => self.frame().waiting.get(path).map_or(0, count),
            Err(_) => 0,
        }
    }

    /// Why a path names nothing that waits.
    fn not_waiting(&mut self, path: &Path) -> Stop {
        match self.held(path) {
            Ok(Cap::Instance(_)) => Status::Denied.into(),
            Ok(_) => Status::WrongKind.into(),
            Err(stop) => stop,
        }
    }
}
