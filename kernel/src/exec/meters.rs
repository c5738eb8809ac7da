//! Who pays: rows of gas and quota, and the budget that everything spent counts against.

use std::collections::BTreeMap;
use std::sync::Arc;

use jar_abi::Fault;
use jar_cap::image::Image;
use jar_cap::{Cap, Instance, Key, NativeKind, NodeStore, Resource};

use crate::exec::Stop;
use crate::exec::frame::Frame;
use crate::exec::run::Execution;
use crate::natives;

/// What stands for a resource among kernel-issued Instances and faults.
pub(crate) trait Metered: Copy {
    /// The capability that names a row of its table.
    fn cap_kind(self) -> NativeKind;
    /// What is yielded when it runs short.
    fn marker(self) -> NativeKind;
    /// How a frame ends that nobody helps.
    fn fault(self) -> Fault;
    /// The slots in which an Image's programs keep their caps.
    fn slots(self, image: &Image) -> &[Key];
}

impl Metered for Resource {
    fn cap_kind(self) -> NativeKind {
        match self {
            Resource::Gas => NativeKind::Gas,
            Resource::Quota => NativeKind::Quota,
        }
    }

    fn marker(self) -> NativeKind {
        match self {
            Resource::Gas => NativeKind::OutOfGas,
            Resource::Quota => NativeKind::OutOfQuota,
        }
    }

    fn fault(self) -> Fault {
        match self {
            Resource::Gas => Fault::OutOfGas,
            Resource::Quota => Fault::OutOfQuota,
        }
    }

    fn slots(self, image: &Image) -> &[Key] {
        match self {
            Resource::Gas => &image.gas_slots,
            Resource::Quota => &image.quota_slots,
        }
    }
}

/// A table of rows, fresh in each event. Row 0 starts at the budget, the others at 0.
#[derive(Debug)]
pub(crate) struct Rows {
    budget: u64,
    first: u64,
    others: BTreeMap<u64, u64>,
}

impl Rows {
    pub fn new(budget: u64) -> Rows {
        Rows {
            budget,
            first: budget,
            others: BTreeMap::new(),
        }
    }

    /// What is left of the event's budget.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    pub fn get(&self, row: u64) -> u64 {
        match row {
            0 => self.first,
            _ => self.others.get(&row).copied().unwrap_or(0),
        }
    }

    /// Sets a row; answers what it held.
    pub fn set(&mut self, row: u64, value: u64) -> u64 {
        match (row, value) {
            (0, _) => std::mem::replace(&mut self.first, value),
            (_, 0) => self.others.remove(&row).unwrap_or(0),
            _ => self.others.insert(row, value).unwrap_or(0),
        }
    }

    /// What can be spent from a row now.
    pub fn spendable(&self, row: u64) -> u64 {
        self.get(row).min(self.budget)
    }

    /// Takes an amount from a row and from the budget, from each as far as it reaches.
    pub fn spend(&mut self, row: u64, amount: u64) {
        self.set(row, self.get(row).saturating_sub(amount));
        self.budget = self.budget.saturating_sub(amount);
    }

    /// Gives back what was spent in vain.
    fn give_back(&mut self, row: u64, amount: u64) {
        self.set(row, self.get(row).saturating_add(amount));
        self.budget = self.budget.saturating_add(amount);
    }
}

/// The rows a frame spends from, in order, and the one it has come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters {
    /// `None` for row 0 alone.
    list: Option<Arc<[u64]>>,
    at: usize,
}

impl Meters {
    /// The list of a frame that begins or goes on: the rows that caps in its Image's slots
    /// name, else its owner's list.
    pub fn resolve(
        resource: Resource,
        store: &dyn NodeStore,
        frame: &Frame,
        owner: Option<&Meters>,
    ) -> Result<Meters, Stop> {
        let slots = resource.slots(&frame.loaded.image);
        let mut rows = Vec::new();
        for slot in slots {
            if let Some(Cap::Instance(instance)) = frame.loaded.slot(store, &frame.table, slot)? {
                rows.extend(natives::row_of(instance, resource.cap_kind()));
            }
        }
        let list = match rows.is_empty() {
            true => owner.and_then(|owner| owner.list.clone()),
            false => Some(rows.into()),
        };
        Ok(Meters { list, at: 0 })
    }

    fn rows(&self) -> &[u64] {
        self.list.as_deref().unwrap_or(&[0])
    }

    /// The row that pays now.
    pub fn row(&self) -> u64 {
        self.rows()[self.at]
    }

    /// The cap whose running dry is told.
    pub fn dry_cap(&self, resource: Resource) -> Instance {
        natives::row_cap(resource.cap_kind(), self.rows()[0])
    }

    /// Moves on to the first row from the present one on that holds `amount`.
    fn advance(&mut self, table: &Rows, amount: u64) -> bool {
        let rest = &self.rows()[self.at..];
        match rest.iter().position(|row| table.get(*row) >= amount) {
            Some(step) => {
                self.at += step;
                true
            }
            None => false,
        }
    }
}

impl Execution<'_, '_> {
    /// Books what the running frame has spent since its gas was last loaded.
    pub fn sync_gas(&mut self) {
        let frame = self.frame();
        let (row, left) = (frame.gas.row(), frame.machine.gas());
        let spent = self.loaded_gas - left;
        self.gas.spend(row, spent);
        self.loaded_gas = left;
    }

    /// Gives the running frame's machine what it may spend.
    pub fn load_gas(&mut self) {
        let gas = self.gas.spendable(self.frame().gas.row());
        self.loaded_gas = gas;
        self.machine().set_gas(gas);
    }

    /// Charges the operation's gas, before its effect. When short nothing is charged.
    pub fn charge(&mut self, price: u64) -> Result<(), Stop> {
        let machine = self.machine();
        match machine.gas().checked_sub(price) {
            Some(left) => machine.set_gas(left),
            None => self.charge_elsewhere(price)?,
        }
        self.charged += price;
        Ok(())
    }

    /// Charges what the present row can't pay: from a further one of the list.
    #[cold]
    fn charge_elsewhere(&mut self, price: u64) -> Result<(), Stop> {
        self.find_gas(price)?;
        let machine = self.machine();
        machine.set_gas(machine.gas() - price);
        Ok(())
    }

    /// Moves the running frame on to a row that holds `amount`.
    pub fn find_gas(&mut self, amount: u64) -> Result<(), Stop> {
        self.sync_gas();
        if self.gas.budget() < amount {
            return Err(Stop::Exhausted(Fault::OutOfGas));
        }
        let Execution { frames, gas, .. } = self;
        let found = frames
            .last_mut()
            .is_some_and(|frame| frame.gas.advance(gas, amount));
        if !found {
            return Err(Stop::Short(Resource::Gas));
        }
        self.load_gas();
        Ok(())
    }

    /// Takes back what the operation was charged: it will be retried as a whole.
    pub fn refund_charge(&mut self) {
        let amount = std::mem::take(&mut self.charged);
        self.refund_gas(amount);
    }

    /// Gives gas back to the row that pays now.
    pub fn refund_gas(&mut self, amount: u64) {
        self.sync_gas();
        let row = self.frame().gas.row();
        self.gas.give_back(row, amount);
        self.load_gas();
    }

    /// Charges quota, before the effect. When short nothing is charged.
    pub fn charge_quota(&mut self, bytes: u64) -> Result<(), Stop> {
        if self.quota.budget() < bytes {
            return Err(Stop::Exhausted(Fault::OutOfQuota));
        }
        let Execution { frames, quota, .. } = self;
        let Some(frame) = frames.last_mut() else {
            return Ok(());
        };
        if !frame.quota.advance(quota, bytes) {
            return Err(Stop::Short(Resource::Quota));
        }
        quota.spend(frame.quota.row(), bytes);
        Ok(())
    }

    /// Charges the running frame for what is done already, whatever it can pay: what its row
    /// lacks counts against the budget alone, for it cost the time.
    pub fn charge_owed(&mut self, price: u64) -> Result<(), Stop> {
        self.sync_gas();
        let has_budget = self.gas.budget() >= price;
        let found = has_budget && self.find_gas(price).is_ok();
        let row = self.frame().gas.row();
        self.gas.spend(row, price);
        self.load_gas();
        match (has_budget, found) {
            (false, _) => Err(Stop::Exhausted(Fault::OutOfGas)),
            (true, false) => Err(Stop::Fault(Fault::OutOfGas)),
            (true, true) => Ok(()),
        }
    }

    /// As [`Self::charge_owed`], for a frame that ends without running again.
    pub fn charge_ended(&mut self, frame: &mut Frame, price: u64) -> Result<(), Stop> {
        let has_budget = self.gas.budget() >= price;
        frame.gas.advance(&self.gas, price);
        self.gas.spend(frame.gas.row(), price);
        match has_budget {
            true => Ok(()),
            false => Err(Stop::Exhausted(Fault::OutOfGas)),
        }
    }

    /// Resolves the meters of the frame at `index`: at its entry and when it is resumed.
    pub fn resolve_meters(&mut self, index: usize) -> Result<(), Stop> {
        let store = self.store();
        let owner = index.checked_sub(1).map(|owner| &self.frames[owner]);
        let frame = &self.frames[index];
        let gas = Meters::resolve(Resource::Gas, store, frame, owner.map(|o| &o.gas))?;
        let quota = Meters::resolve(Resource::Quota, store, frame, owner.map(|o| &o.quota))?;
        let frame = &mut self.frames[index];
        (frame.gas, frame.quota) = (gas, quota);
        Ok(())
    }
}
