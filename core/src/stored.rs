//! Accounts of stored bytes: how much the broker keeps for each holder whose quota bounds that.
//!
//! An account is derived from what is kept and never recorded: when quotas are set, after a restart
//! too, everything is counted anew. What counts against whom is in `broker/stored.rs`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::quota::Holder;

/// A holder whose stored bytes are bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) holder: Holder,
    pub(crate) most_bytes: u64,
}

/// Something that is kept: against whom it counts, and how much of it is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) bounds: Vec<Bound>,
    bytes: u64,
}

/// Every account that is not empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    /// Whether there is any quota of stored bytes.
    is_kept: bool,
    bytes: BTreeMap<Holder, u64>,
    /// What the publication at hand will add.
    reserved: BTreeMap<Holder, u64>,
}

impl Accounts {
    /// Empty accounts; `is_kept` says whether there will be anything in them.
    pub(crate) fn new(is_kept: bool) -> Self {
        Accounts { is_kept, ..Accounts::default() }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// What is kept has `bytes` now.
    pub(crate) fn count(&mut self, counted: &mut Counted, bytes: u64) {
        if counted.bytes != bytes {
            self.take(&counted.bounds, counted.bytes);
            self.add(&counted.bounds, bytes);
            counted.bytes = bytes;
        }
    }

    /// What is kept counts against these from now on.
    pub(crate) fn rebind(&mut self, counted: &mut Counted, bounds: Vec<Bound>) {
        self.take(&counted.bounds, counted.bytes);
        self.add(&bounds, counted.bytes);
        counted.bounds = bounds;
    }

    pub(crate) fn add(&mut self, bounds: &[Bound], bytes: u64) {
        if bytes > 0 {
            for Bound { holder, .. } in bounds {
                *self.bytes.entry(holder.clone()).or_default() += bytes;
            }
        }
    }

    pub(crate) fn take(&mut self, bounds: &[Bound], bytes: u64) {
        for Bound { holder, .. } in bounds.iter().filter(|_| bytes > 0) {
            let left = self.of(holder).checked_sub(bytes).expect("what is taken was added");
            if left > 0 {
                self.bytes.insert(holder.clone(), left);
            } else {
                self.bytes.remove(holder);
            }
        }
    }

    /// So much will be added before long.
    pub(crate) fn reserve(&mut self, bounds: &[Bound], bytes: u64) {
        for Bound { holder, .. } in bounds {
            *self.reserved.entry(holder.clone()).or_default() += bytes;
        }
    }

    /// What was reserved is added, or will not be.
    pub(crate) fn end_reservations(&mut self) {
        self.reserved.clear();
    }

    /// Whether nobody's quota stands against so much more, beyond what is reserved.
    pub(crate) fn has_space(&self, bounds: &[Bound], bytes: u64) -> bool {
        bounds.iter().all(|Bound { holder, most_bytes }| {
            let reserved = self.reserved.get(holder).copied().unwrap_or(0);
            self.of(holder).saturating_add(reserved).saturating_add(bytes) <= *most_bytes
        })
    }

    pub(crate) fn of(&self, holder: &Holder) -> u64 {
        self.bytes.get(holder).copied().unwrap_or(0)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Holder, u64)> {
        self.bytes.iter().map(|(holder, bytes)| (holder, *bytes))
    }
}
