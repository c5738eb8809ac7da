//! Who pays: rows of gas and quota, and the budget that everything spent counts against.

use std::collections::BTreeMap;
use std::sync::Arc;

use jar_abi::{Fault, Status};
use jar_cap::image::Image;
use jar_cap::{Cap, Instance, Key, NativeKind, NodeStore, Path, Resource};

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
    /// Those of a list of rows.
    #[cfg(test)]
    pub fn of(rows: &[u64]) -> Meters {
        Meters {
            list: Some(rows.into()),
            at: 0,
        }
    }

    /// The list of a frame that begins or goes on: the rows that caps in its Image's slots
    /// name, else its owner's list.
    #[inline]
    pub fn resolve(
        resource: Resource,
        store: &dyn NodeStore,
        frame: &Frame,
        owner: Option<&Meters>,
    ) -> Result<Meters, Stop> {
        let named = match resource.slots(&frame.loaded.image) {
            [] => None,
            slots => Meters::named(resource, store, frame, slots)?,
        };
        let list = named.or_else(|| owner?.list.clone());
        Ok(Meters { list, at: 0 })
    }

    /// The rows that caps in these slots name, if any.
    fn named(
        resource: Resource,
        store: &dyn NodeStore,
        frame: &Frame,
        slots: &[Key],
    ) -> Result<Option<Arc<[u64]>>, Stop> {
        let mut rows = Vec::new();
        for slot in slots {
            if let Some(Cap::Instance(instance)) = frame.loaded.slot(store, &frame.table, slot)? {
                rows.extend(natives::row_of(instance, resource.cap_kind()));
            }
        }
        Ok((!rows.is_empty()).then(|| rows.into()))
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

    /// Whether one of the rows from the present one on holds as much as the whole budget: then
    /// it is the budget that falls short of more, else the rows are.
    fn reach_budget(&self, table: &Rows) -> bool {
        let mut rest = self.rows()[self.at..].iter();
        rest.any(|row| table.get(*row) >= table.budget())
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

    /// As [`Self::advance`], or why there is no such row.
    fn find(&mut self, table: &Rows, amount: u64, resource: Resource) -> Result<(), Stop> {
        if table.budget() < amount && self.reach_budget(table) {
            return Err(Stop::Exhausted(resource.fault()));
        }
        match self.advance(table, amount) {
            true => Ok(()),
            false => Err(Stop::Short(resource)),
        }
    }
}

/// The meters that pay for keeping a subtree; `None` for the running frame's own.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    pub gas: Option<Meters>,
    quota: Option<Meters>,
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
        self.load_gas_for(0);
    }

    /// As [`Self::load_gas`], at least `amount` of it if there is as much.
    ///
    /// A machine that could pay for all pages that it can write gets the rest, and settles those
    /// it has written later, if they are few: engines need not look at each first write then. Any
    /// other takes the price when a page is written. So no frame ever owes more than its row holds,
    /// and what it has to spend is the same in both ways.
    fn load_gas_for(&mut self, amount: u64) {
        let spendable = self.gas.spendable(self.frame().gas.row());
        let gas = match spendable.checked_sub(self.entry_owed()) {
            Some(_) => {
                self.top().is_funded = true;
                let reserve = self.page_price(self.frame().memory.unsettled_max());
                let free = spendable.checked_sub(reserve);
                let is_later = !self.frame().memory.should_pay_at_once();
                match free.filter(|free| *free >= amount && is_later) {
                    Some(free) => free,
                    None => self.pay_at_once(spendable),
                }
            }
            None => 0,
        };
        self.loaded_gas = gas;
        self.machine().set_gas(gas);
    }

    /// Settles the pages that the running frame has written, and lets its machine take the price
    /// of others when they are written. Answers what is left of `spendable`.
    fn pay_at_once(&mut self, spendable: u64) -> u64 {
        let pages = self.top().settle_written();
        let owed = self.page_price(pages);
        self.gas.spend(self.frame().gas.row(), owed);
        let price = self.env.params.price_page_write;
        let Frame {
            memory, machine, ..
        } = self.top();
        memory.pay_at_once(&mut **machine, price);
        spendable.saturating_sub(owed)
    }

    /// What eager pages cost a frame that has not yet had the gas to begin.
    fn entry_owed(&self) -> u64 {
        match self.frame().is_funded {
            true => 0,
            false => self.page_price(self.frame().memory.eager_pages()),
        }
    }

    /// The price of writing this many pages.
    fn page_price(&self, pages: u64) -> u64 {
        pages.saturating_mul(self.env.params.price_page_write)
    }

    /// What the running frame, its pages settled, can spend of its row.
    pub fn spendable_gas(&mut self) -> u64 {
        self.sync_gas();
        self.gas.spendable(self.frame().gas.row())
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

    /// As [`Self::charge`], for a part of the operation that is done at once: a retry finds it done.
    pub fn charge_for_good(&mut self, price: u64) -> Result<(), Stop> {
        self.charge(price)?;
        self.charged -= price;
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

    /// Moves the running frame on to a row that holds `amount`; the pages that it has written are
    /// paid from the present one.
    pub fn find_gas(&mut self, amount: u64) -> Result<(), Stop> {
        self.settle_written();
        self.sync_gas();
        let needed = amount.saturating_add(self.entry_owed());
        let Execution { frames, gas, .. } = self;
        let Some(frame) = frames.last_mut() else {
            return Ok(());
        };
        frame.gas.find(gas, needed, Resource::Gas)?;
        self.load_gas_for(amount);
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
        let Execution { frames, quota, .. } = self;
        let Some(frame) = frames.last_mut() else {
            return Ok(());
        };
        frame.quota.find(quota, bytes, Resource::Quota)?;
        quota.spend(frame.quota.row(), bytes);
        Ok(())
    }

    /// Pays for the pages that the running frame has written, which its row was kept for, and
    /// for the lasting of persistent ones, without which it faults.
    pub fn settle(&mut self) -> Result<(), Stop> {
        self.settle_written();
        let persistent = self.top().memory.settle_persistent();
        let price = persistent.saturating_mul(self.env.params.price_page_persist);
        if price > 0 {
            self.pay_or_fault(price)?;
        }
        let owed = self.frame().memory.quota_owed();
        if owed > 0 {
            self.charge_quota(owed * u64::from(jar_pvm::PAGE_SIZE))?;
            self.top().memory.quota_paid();
        }
        Ok(())
    }

    /// Pays for the pages that the running frame has written, from what its row was kept for.
    pub fn settle_written(&mut self) {
        let pages = self.top().settle_written();
        let owed = self.page_price(pages);
        if owed > 0 || self.frame().memory.should_pay_at_once() {
            self.sync_gas();
            let row = self.frame().gas.row();
            self.gas.spend(row, owed);
            self.load_gas();
        }
    }

    /// Charges what must be paid here and now: who can't, faults, and nothing is left of it.
    fn pay_or_fault(&mut self, price: u64) -> Result<(), Stop> {
        match self.find_gas(price) {
            Ok(()) => {
                let machine = self.machine();
                machine.set_gas(machine.gas() - price);
                Ok(())
            }
            Err(Stop::Short(_)) => Err(Stop::Fault(Fault::OutOfGas)),
            Err(stop) => Err(stop),
        }
    }

    /// Pays for the pages that a frame has written which ends without running again.
    pub fn charge_ended(&mut self, frame: &mut Frame) {
        let owed = self.page_price(frame.settle_written());
        self.gas.spend(frame.gas.row(), owed);
    }

    /// Who pays for keeping the subtree that waits at a path: the rows of its first frame, so that
    /// no catcher is ruined by what it keeps.
    pub fn keeper(&self, path: &Path) -> Keeper {
        let frame = self.frame();
        let first = frame.waiting.get(path).and_then(|subtree| subtree.first());
        let other = |of: fn(&Frame) -> &Meters| {
            let meters = of(first?);
            (meters.list != of(frame).list).then(|| meters.clone())
        };
        Keeper {
            gas: other(|frame| &frame.gas),
            quota: other(|frame| &frame.quota),
        }
    }

    /// Charges others, and the running frame's quota if that pays: all or nothing. `Quota` where
    /// others lack it.
    pub fn charge_kept(&mut self, keeper: Keeper, gas: u64, quota: u64) -> Result<(), Stop> {
        let Keeper {
            gas: mut payer,
            quota: quota_payer,
        } = keeper;
        self.settle_written();
        self.sync_gas();
        if let Some(payer) = &mut payer {
            let found = payer.find(&self.gas, gas, Resource::Gas);
            found.map_err(refused_to_keep)?;
        }
        match quota_payer {
            None => self.charge_quota(quota)?,
            Some(mut payer) => {
                let found = payer.find(&self.quota, quota, Resource::Quota);
                found.map_err(refused_to_keep)?;
                self.quota.spend(payer.row(), quota);
            }
        }
        if let Some(payer) = payer {
            self.gas.spend(payer.row(), gas);
            self.load_gas();
        }
        Ok(())
    }

    /// Resolves the meters of the frame at `index`: at its entry and when it is resumed.
    pub fn resolve_meters(&mut self, index: usize) -> Result<(), Stop> {
        let store = self.store();
        let (owners, rest) = self.frames.split_at_mut(index);
        let (owner, frame) = (owners.last(), &mut *rest[0]);
        frame.gas = Meters::resolve(Resource::Gas, store, frame, owner.map(|o| &o.gas))?;
        frame.quota = Meters::resolve(Resource::Quota, store, frame, owner.map(|o| &o.quota))?;
        Ok(())
    }
}

/// What a catcher is told where others lack what they are to pay.
fn refused_to_keep(stop: Stop) -> Stop {
    match stop {
        Stop::Short(_) => Status::Quota.into(),
        other => other,
    }
}
