//! A set in order that is small most of the time: most groups have few members, and most files one name.

use std::collections::BTreeSet;
use std::ops::Bound;

/// A longer one is a tree, whose nodes would be mostly empty in a short one.
const SHORT: usize = 32;

/// Its values, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum OrdSet<K> {
    #[default]
    Empty,
    One(K),
    /// In order.
    Short(Vec<K>),
    Long(BTreeSet<K>),
}

impl<K: Ord + Clone> OrdSet<K> {
    /// Whether it was not there.
    pub(super) fn insert(&mut self, value: K) -> bool {
        match self {
            Self::Empty => *self = Self::One(value),
            Self::One(one) => match value.cmp(one) {
                std::cmp::Ordering::Equal => return false,
                order => {
                    let one = one.clone();
                    *self = Self::Short(if order.is_lt() { vec![value, one] } else { vec![one, value] });
                }
            },
            Self::Short(all) => {
                let Err(at) = all.binary_search(&value) else { return false };
                if all.len() < SHORT {
                    all.insert(at, value);
                } else {
                    let mut long: BTreeSet<K> = std::mem::take(all).into_iter().collect();
                    long.insert(value);
                    *self = Self::Long(long);
                }
            }
            Self::Long(all) => return all.insert(value),
        }
        true
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, value: &K) -> bool {
        let was_there = match self {
            Self::Empty => false,
            Self::One(one) => one == value,
            Self::Short(all) => all.binary_search(value).map(|at| all.remove(at)).is_ok(),
            Self::Long(all) => all.remove(value),
        };
        if was_there {
            self.shrink();
        }
        was_there
    }

    fn shrink(&mut self) {
        match self {
            Self::One(_) => *self = Self::Empty,
            Self::Short(all) if all.len() < 2 => *self = all.pop().map_or(Self::Empty, Self::One),
            // Not at once, so that nobody makes it a tree again and again.
            Self::Long(all) if all.len() < SHORT / 2 => *self = Self::Short(std::mem::take(all).into_iter().collect()),
            _ => {}
        }
    }

    pub(super) fn first(&self) -> Option<&K> {
        match self {
            Self::Empty => None,
            Self::One(one) => Some(one),
            Self::Short(all) => all.first(),
            Self::Long(all) => all.first(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(super) fn iter(&self) -> Iter<'_, K> {
        self.within(Bound::Unbounded)
    }

    /// Those from `first` on.
    pub(super) fn from(&self, first: K) -> Iter<'_, K> {
        self.within(Bound::Included(first))
    }

    fn within(&self, low: Bound<K>) -> Iter<'_, K> {
        let after = |all: &[K]| match &low {
            Bound::Included(first) => all.partition_point(|v| v < first),
            Bound::Excluded(last) => all.partition_point(|v| v <= last),
            Bound::Unbounded => 0,
        };
        match self {
            Self::Empty => Iter::Short([].iter()),
            Self::One(one) => Iter::Short(std::slice::from_ref(one)[after(std::slice::from_ref(one))..].iter()),
            Self::Short(all) => Iter::Short(all[after(all)..].iter()),
            Self::Long(all) => Iter::Long(all.range((low, Bound::Unbounded))),
        }
    }
}

/// Goes through a set in order.
pub(super) enum Iter<'a, K> {
    Short(std::slice::Iter<'a, K>),
    Long(std::collections::btree_set::Range<'a, K>),
}

impl<'a, K> Iterator for Iter<'a, K> {
    type Item = &'a K;
    fn next(&mut self) -> Option<&'a K> {
        match self {
            Self::Short(all) => all.next(),
            Self::Long(all) => all.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_what_a_tree_is(steps in proptest::collection::vec((0..90u8, any::<bool>()), 0..400), from in 0..90u8) {
            let (mut set, mut tree) = (OrdSet::default(), BTreeSet::new());
            for (value, add) in steps {
                if add {
                    prop_assert_eq!(set.insert(value), tree.insert(value));
                } else {
                    prop_assert_eq!(set.remove(&value), tree.remove(&value));
                }
                prop_assert_eq!(set.first(), tree.first());
                prop_assert_eq!(set.is_empty(), tree.is_empty());
            }
            prop_assert!(set.iter().eq(tree.iter()) && set.from(from).eq(tree.range(from..)));
        }
    }
}
