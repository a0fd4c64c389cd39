//! Who is served next: fairly among those who wait, by the time that each has taken. Pure: what is queued, and
//! how long it took, is passed in.
//!
//! Start-time fair queuing (Goyal, Vin and Cheng, SIGCOMM 1996) with the cost measured afterwards: the payer that has
//! taken least is next, its own entries in their order. Who comes anew is as far as the last one who was served, so
//! that nobody saves time up, and who has just taken much waits until the others have had as much.
//!
//! Invariant: `ready` has exactly those payers that wait and have fewer entries running than one may have.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::Payer;

/// What an entry counts for until it is known how long it took: so one payer's entries do not all start at once.
const ESTIMATE: Duration = Duration::from_millis(1);
/// Payers that wait for nothing and are remembered for what they took.
const MAX_DEBTORS: usize = 4096;

/// Entries that wait, by payer.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    max_running_each: usize,
    next: u64,
    /// How far the last payer was that was served.
    served_to: Duration,
    payers: HashMap<Payer, Account<T>>,
    /// By time taken, then by the number of the payer's first entry.
    ready: BTreeSet<(Duration, u64, Payer)>,
    waiting: usize,
    running: usize,
}

#[derive(Debug)]
struct Account<T> {
    taken: Duration,
    running: usize,
    waiting: VecDeque<(u64, T)>,
}

impl<T> FairQueue<T> {
    /// A queue in which `max_running_each` entries of one payer run at a time.
    pub(crate) fn new(max_running_each: usize) -> Self {
        Self {
            max_running_each,
            next: 0,
            served_to: Duration::ZERO,
            payers: HashMap::new(),
            ready: BTreeSet::new(),
            waiting: 0,
            running: 0,
        }
    }

    /// Puts an entry at the end of its payer's. Returns its number.
    pub(crate) fn push(&mut self, payer: Payer, entry: T) -> u64 {
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        self.change(payer, |account| account.waiting.push_back((number, entry)));
        number
    }

    /// The next entry, which runs until [`Self::finish`] is told of it.
    pub(crate) fn pop(&mut self) -> Option<(Payer, T)> {
        let (taken, _, payer) = *self.ready.first()?;
        self.served_to = self.served_to.max(taken);
        let (_, entry) = self.change(payer, |account| {
            account.running += 1;
            account.taken += ESTIMATE;
            account.waiting.pop_front()
        })?;
        self.waiting -= 1;
        self.running += 1;
        Some((payer, entry))
    }

    /// An entry of `payer` has run for so long.
    pub(crate) fn finish(&mut self, payer: Payer, took: Duration) {
        self.running = self.running.saturating_sub(1);
        self.change(payer, |account| {
            account.running = account.running.saturating_sub(1);
            account.taken = account.taken.saturating_sub(ESTIMATE) + took;
        });
    }

    /// Takes out an entry that waits.
    pub(crate) fn remove(&mut self, payer: Payer, number: u64) -> Option<T> {
        if !self.payers.contains_key(&payer) {
            return None;
        }
        let removed = self.change(payer, |account| {
            let place = account.waiting.iter().position(|(n, _)| *n == number)?;
            account.waiting.remove(place)
        });
        let (_, entry) = removed?;
        self.waiting -= 1;
        Some(entry)
    }

    /// How many wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many run.
    pub(crate) const fn running(&self) -> usize {
        self.running
    }

    /// How many of `payer` wait.
    pub(crate) fn waiting_of(&self, payer: Payer) -> usize {
        self.payers.get(&payer).map_or(0, |account| account.waiting.len())
    }

    /// Changes an account and keeps `ready` true to it. Who waits for nothing and owes nothing is forgotten.
    fn change<R>(&mut self, payer: Payer, change: impl FnOnce(&mut Account<T>) -> R) -> R {
        let Self { max_running_each, served_to, payers, ready, .. } = self;
        let fresh = || Account { taken: *served_to, running: 0, waiting: VecDeque::new() };
        let account = payers.entry(payer).or_insert_with(fresh);
        let place = |account: &Account<T>| {
            let (first, _) = account.waiting.front()?;
            (account.running < *max_running_each).then_some((account.taken, *first, payer))
        };
        if let Some(before) = place(account) {
            ready.remove(&before);
        }
        if account.waiting.is_empty() && account.running == 0 {
            // Time is not saved up.
            account.taken = account.taken.max(*served_to);
        }
        let result = change(account);
        let idle = account.waiting.is_empty() && account.running == 0;
        if let Some(now) = place(account) {
            ready.insert(now);
        } else if idle && account.taken <= *served_to {
            payers.remove(&payer);
        }
        if idle && payers.len() > MAX_DEBTORS {
            payers.retain(|_, account| account.running > 0 || !account.waiting.is_empty());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use common::id::UserId;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn user(n: u8) -> Payer {
        Payer::User(UserId::new([n; 16]))
    }

    /// Serves `count` entries, one at a time, each taking as long as its payer's do.
    fn serve(queue: &mut FairQueue<u8>, count: usize, took: impl Fn(u8) -> Duration) -> Vec<u8> {
        let mut served = Vec::new();
        for _ in 0..count {
            let Some((payer, who)) = queue.pop() else { break };
            queue.finish(payer, took(who));
            served.push(who);
        }
        served
    }

    #[test]
    fn who_waits_with_many_does_not_hold_up_who_comes_with_one() {
        let mut queue = FairQueue::new(1);
        for _ in 0..1000 {
            queue.push(user(1), 1);
        }
        assert_eq!(serve(&mut queue, 10, |_| MS), [1; 10]);
        queue.push(user(2), 2);
        queue.push(user(3), 3);
        let mut next = serve(&mut queue, 3, |_| MS);
        next.sort_unstable();
        assert_eq!(next, [1, 2, 3]);
    }

    #[test]
    fn time_is_shared_and_not_turns() {
        let mut queue = FairQueue::new(1);
        for _ in 0..1000 {
            queue.push(user(1), 1);
            queue.push(user(2), 2);
        }
        let served = serve(&mut queue, 1000, |who| if who == 1 { 9 * MS } else { MS });
        let slow = served.iter().filter(|who| **who == 1).count();
        assert!((95..=105).contains(&slow), "a tenth of the turns takes half of the time: {slow}");
    }

    #[test]
    fn nobody_saves_time_up() {
        let mut queue = FairQueue::new(1);
        queue.push(user(2), 2);
        serve(&mut queue, 1, |_| MS);
        for _ in 0..1000 {
            queue.push(user(1), 1);
        }
        serve(&mut queue, 500, |_| MS);
        for _ in 0..1000 {
            queue.push(user(2), 2);
        }
        let served = serve(&mut queue, 100, |_| MS);
        let of_one = served.iter().filter(|who| **who == 1).count();
        assert!((45..=55).contains(&of_one), "{of_one}");
    }

    #[test]
    fn one_payer_runs_only_so_many_at_a_time() {
        let mut queue = FairQueue::new(2);
        for n in 0..5 {
            queue.push(user(1), n);
        }
        assert_eq!([queue.pop(), queue.pop(), queue.pop()].map(|e| e.map(|e| e.1)), [Some(0), Some(1), None]);
        queue.push(user(2), 9);
        assert_eq!(queue.pop().map(|e| e.1), Some(9));
        assert_eq!((queue.running(), queue.waiting()), (3, 3));
        queue.finish(user(1), MS);
        assert_eq!(queue.pop().map(|e| e.1), Some(2));
    }

    #[test]
    fn an_entry_can_be_taken_out_and_nothing_of_it_stays() {
        let mut queue = FairQueue::new(1);
        let numbers: Vec<u64> = (0..3).map(|n| queue.push(user(1), n)).collect();
        assert_eq!(queue.remove(user(1), numbers[0]), Some(0));
        assert_eq!(queue.remove(user(1), numbers[0]), None);
        assert_eq!(queue.remove(user(2), numbers[1]), None);
        assert_eq!((queue.waiting_of(user(1)), serve(&mut queue, 9, |_| Duration::ZERO)), (2, vec![1, 2]));
        assert!(queue.ready.is_empty() && queue.payers.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut queue = FairQueue::new(1);
        for n in 0..3 * MAX_DEBTORS as u32 {
            queue.push(Payer::Address(n.to_be_bytes().into()), 0);
            serve(&mut queue, 1, |_| MS);
        }
        assert!(queue.payers.len() <= MAX_DEBTORS + 1, "{}", queue.payers.len());
    }
}
