//! The last of many, in order: of all that were ever noted at least the `KEPT` largest, however many there are.
//!
//! Invariant: whatever was left out is smaller than all that are held, so that the `KEPT` last follow from the set of what was
//! noted, and from nothing else. Half as many again are held, so that some can be taken away before the others have to be
//! looked for.

/// At least the `KEPT` largest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Latest<K, const KEPT: usize> {
    /// In order; at most twice `KEPT`.
    all: Vec<K>,
    /// Whether others were left out.
    cut: bool,
}

impl<K: Ord + Copy, const KEPT: usize> Latest<K, KEPT> {
    /// Of none.
    pub(super) const EMPTY: Self = Self { all: Vec::new(), cut: false };

    /// Notes one that was not there.
    pub(super) fn insert(&mut self, value: K) {
        let Err(at) = self.all.binary_search(&value) else { return };
        if at == 0 && self.cut {
            return;
        }
        if self.all.is_empty() {
            self.all.reserve_exact(1);
        }
        self.all.insert(at, value);
        self.trim();
    }

    /// Takes one away. Whether the last have to be found anew, since too few are left that are known.
    #[must_use]
    pub(super) fn remove(&mut self, value: K) -> bool {
        if let Ok(at) = self.all.binary_search(&value) {
            self.all.remove(at);
        }
        self.cut && self.all.len() < KEPT
    }

    /// Takes these, which are all, in the place of what was held.
    pub(super) fn refill(&mut self, mut all: Vec<K>) {
        all.sort_unstable();
        (self.all, self.cut) = (all, false);
        self.trim();
    }

    fn trim(&mut self) {
        if self.all.len() > 2 * KEPT {
            let surplus = self.all.len() - KEPT - KEPT / 2;
            self.all.drain(..surplus);
            self.all.shrink_to(2 * KEPT);
            self.cut = true;
        }
    }

    /// The `KEPT` last, or all.
    pub(super) fn last(&self) -> &[K] {
        &self.all[self.all.len().saturating_sub(KEPT)..]
    }

    /// The earliest of the last, if there were others before.
    pub(super) fn first_after_cut(&self) -> Option<K> {
        let is_cut = self.cut || self.all.len() > KEPT;
        self.last().first().copied().filter(|_| is_cut)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_last_are_those_of_the_set(steps in proptest::collection::vec((0..60u8, 0..4u8), 0..200)) {
            let (mut latest, mut set) = (Latest::<u8, 5>::EMPTY, BTreeSet::new());
            for (value, kind) in steps {
                if kind > 0 {
                    set.insert(value);
                    latest.insert(value);
                } else {
                    set.remove(&value);
                    if latest.remove(value) {
                        latest.refill(set.iter().copied().collect());
                    }
                }
                let mut last: Vec<u8> = set.iter().rev().take(5).copied().collect();
                last.reverse();
                prop_assert_eq!(latest.last(), &last[..]);
                prop_assert_eq!(latest.first_after_cut(), last.first().copied().filter(|_| set.len() > 5));
                prop_assert!(latest.all.len() <= 10);
            }
        }
    }

    #[test]
    fn a_few_may_be_taken_away_without_a_look_at_all() {
        let mut latest = Latest::<u32, 100>::EMPTY;
        (0..10_000).for_each(|n| latest.insert(n));
        let looks = (9_900..10_000).rev().take_while(|n| !latest.remove(*n)).count();
        assert!(looks >= 50, "{looks}");
    }
}
