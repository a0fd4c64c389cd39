//! Slows down who guesses passwords, makes accounts by the thousand, or keeps others busy with news. Pure:
//! time is passed in.
//!
//! Failures are counted per (user, address), with a delay that grows, and per address alone, for guesses
//! that go from user to user. Never per user alone: nobody can lock a user out from another address.
//! Names that nobody has are counted like any other, so that a delay tells nothing. Besides, every password
//! that is to be hashed is charged to its address, right or wrong: it takes a core for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::address::subscriber;
use common::id::{UserId, UserName};

/// Failures of one user at one address before there is a delay.
const FREE: u32 = 4;
/// The first delay; it doubles with each further failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest delay.
const MOST: Duration = Duration::from_secs(60);
/// After so long without a failure it is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// Failures of one address, over all users: so many at once, then one per [`ADDRESS_EVERY`].
const ADDRESS_BURST: u32 = 100;
const ADDRESS_EVERY: Duration = Duration::from_secs(3);
/// New accounts from one address: so many at once, then one per [`ACCOUNT_EVERY`].
const ACCOUNT_BURST: u32 = 1000;
const ACCOUNT_EVERY: Duration = Duration::from_secs(2);
/// Passwords hashed for one address: so many at once, then one per [`CHECK_EVERY`]. A class that makes accounts
/// and logs in behind one address needs two for each.
const CHECK_BURST: u32 = 600;
const CHECK_EVERY: Duration = Duration::from_millis(250);
/// Commands of one user of which others are told cost units: so many at once, then one per [`COMMAND_EVERY`].
const COMMAND_BURST: u32 = 256;
const COMMAND_EVERY: Duration = Duration::from_nanos(62_500_000);
/// News that one user's devices seed something: so many at once, then one per [`HINT_EVERY`].
const HINT_BURST: u32 = 256;
const HINT_EVERY: Duration = Duration::from_nanos(62_500_000);
/// Logins of one user that are gone on with by their token: so many at once, then one per [`RESUME_EVERY`]. Each looks for
/// what its device has missed. All connections that a user may have come back at once after a tracker's restart.
const RESUME_BURST: u32 = 128;
const RESUME_EVERY: Duration = Duration::from_millis(500);
/// Times that one user asks others to dial: so many at once, then one per [`PROBE_EVERY`]. Others do work for each.
const PROBE_BURST: u32 = 4;
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// Times that one user is asked to dial others, likewise.
const PROBED_BURST: u32 = 8;
const PROBED_EVERY: Duration = Duration::from_secs(4);
/// Questions about invitations from one address: so many at once, then one per [`INVITE_CHECK_EVERY`]. A class that comes by one
/// line behind one address asks a few times each.
const INVITE_CHECK_BURST: u32 = 1000;
const INVITE_CHECK_EVERY: Duration = Duration::from_millis(250);
/// Entries of one kind that are remembered.
const MAX_ENTRIES: usize = 1 << 16;

/// Come back in so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// At least 1.
    pub seconds: u32,
}

impl Wait {
    fn until(then: Instant, now: Instant) -> Result<(), Self> {
        let left = then.saturating_duration_since(now);
        if left.is_zero() {
            return Ok(());
        }
        Err(Self { seconds: u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX) })
    }
}

#[derive(Debug, Default)]
struct Inner {
    guesses: HashMap<(UserName, IpAddr), Guesses>,
    /// By address, when the bucket would be full again (GCRA's theoretical arrival time).
    failures: HashMap<IpAddr, Instant>,
    accounts: HashMap<IpAddr, Instant>,
    checks: HashMap<IpAddr, Instant>,
    invite_checks: HashMap<IpAddr, Instant>,
    /// Invitations that let nobody in, by who tried them.
    invites: HashMap<(UserId, IpAddr), Guesses>,
    /// By user, likewise.
    commands: HashMap<UserId, Instant>,
    hints: HashMap<UserId, Instant>,
    resumes: HashMap<UserId, Instant>,
    probes: HashMap<UserId, Instant>,
    probed: HashMap<UserId, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Guesses {
    failed: u32,
    last: Instant,
}

impl Guesses {
    fn fail(&mut self, now: Instant) {
        let failed = if self.last + FORGET <= now { 1 } else { self.failed.saturating_add(1) };
        *self = Self { failed, last: now };
    }

    fn next_at(self) -> Instant {
        match self.failed.checked_sub(FREE) {
            None => self.last,
            Some(n) => self.last + FIRST.saturating_mul(1 << n.min(16)).min(MOST),
        }
    }
}

/// What is remembered of failures.
#[derive(Debug, Default)]
pub struct Throttle {
    inner: Mutex<Inner>,
}

impl Throttle {
    /// Whether a password may be tried for `user` from `address` now.
    ///
    /// # Errors
    /// How long to wait.
    pub fn may_try(&self, user: &UserName, address: IpAddr, now: Instant) -> Result<(), Wait> {
        let address = subscriber(address);
        let inner = self.lock();
        if let Some(g) = inner.guesses.get(&(user.clone(), address)) {
            Wait::until(g.next_at(), now)?;
        }
        inner.failures.get(&address).map_or(Ok(()), |full| allowed(*full, 1, (ADDRESS_BURST, ADDRESS_EVERY), now))
    }

    /// The password was wrong.
    pub fn failed(&self, user: &UserName, address: IpAddr, now: Instant) {
        let address = subscriber(address);
        let mut inner = self.lock();
        make_room(&mut inner.guesses, |g| g.last + FORGET <= now);
        make_room(&mut inner.failures, |full| *full <= now);
        let g = inner.guesses.entry((user.clone(), address)).or_insert(Guesses { failed: 0, last: now });
        g.fail(now);
        charge(&mut inner.failures, address, ADDRESS_EVERY, now);
    }

    /// The password was right.
    pub fn succeeded(&self, user: &UserName, address: IpAddr) {
        self.lock().guesses.remove(&(user.clone(), subscriber(address)));
    }

    /// Whether an invitation may be tried now by a user, or by somebody without an account, at an address. The latter are not
    /// told apart: only the address is held to account, by the allowance for wrong passwords.
    ///
    /// # Errors
    /// How long to wait.
    pub fn may_redeem(&self, (user, address): (Option<UserId>, IpAddr), now: Instant) -> Result<(), Wait> {
        let address = subscriber(address);
        let inner = self.lock();
        if let Some(g) = user.and_then(|user| inner.invites.get(&(user, address))) {
            Wait::until(g.next_at(), now)?;
        }
        inner.failures.get(&address).map_or(Ok(()), |full| allowed(*full, 1, (ADDRESS_BURST, ADDRESS_EVERY), now))
    }

    /// The invitation let nobody in.
    pub fn wrong_invite(&self, (user, address): (Option<UserId>, IpAddr), now: Instant) {
        let address = subscriber(address);
        let mut inner = self.lock();
        make_room(&mut inner.failures, |full| *full <= now);
        charge(&mut inner.failures, address, ADDRESS_EVERY, now);
        if let Some(user) = user {
            make_room(&mut inner.invites, |g| g.last + FORGET <= now);
            inner.invites.entry((user, address)).or_insert(Guesses { failed: 0, last: now }).fail(now);
        }
    }

    /// Counts a question from `address` about an invitation, whatever its answer.
    ///
    /// # Errors
    /// How long to wait, when there have been too many.
    pub fn check_invite(&self, address: IpAddr, now: Instant) -> Result<(), Wait> {
        let rate = (INVITE_CHECK_BURST, INVITE_CHECK_EVERY);
        take(&mut self.lock().invite_checks, subscriber(address), 1, rate, now)
    }

    /// Counts a new account from `address`.
    ///
    /// # Errors
    /// How long to wait, when there have been too many.
    pub fn new_account(&self, address: IpAddr, now: Instant) -> Result<(), Wait> {
        let address = subscriber(address);
        take(&mut self.lock().accounts, address, 1, (ACCOUNT_BURST, ACCOUNT_EVERY), now)
    }

    /// Counts `passwords` that are to be hashed for `address`.
    ///
    /// # Errors
    /// How long to wait, when there have been too many.
    pub fn hashing(&self, address: IpAddr, passwords: u32, now: Instant) -> Result<(), Wait> {
        take(&mut self.lock().checks, subscriber(address), passwords, (CHECK_BURST, CHECK_EVERY), now)
    }

    /// Counts a command of `user` of which others will be told, by its `cost`.
    ///
    /// # Errors
    /// How long to wait, when there have been too many.
    pub fn command(&self, user: UserId, cost: u32, now: Instant) -> Result<(), Wait> {
        take(&mut self.lock().commands, user, cost, (COMMAND_BURST, COMMAND_EVERY), now)
    }

    /// Counts that a login of `user` is gone on with.
    ///
    /// # Errors
    /// How long to wait, when there have been too many.
    pub fn resume(&self, user: UserId, now: Instant) -> Result<(), Wait> {
        take(&mut self.lock().resumes, user, 1, (RESUME_BURST, RESUME_EVERY), now)
    }

    /// Counts that `user` has others find out whether they can connect.
    ///
    /// # Errors
    /// How long to wait, when that has been too often.
    pub fn probe(&self, user: UserId, now: Instant) -> Result<(), Wait> {
        take(&mut self.lock().probes, user, 1, (PROBE_BURST, PROBE_EVERY), now)
    }

    /// Whether `user` may be asked to dial somebody, which is counted.
    pub fn may_be_asked(&self, user: UserId, now: Instant) -> bool {
        take(&mut self.lock().probed, user, 1, (PROBED_BURST, PROBED_EVERY), now).is_ok()
    }

    /// Whether others are to be told, once, that a device of `user` seeds something; if not, they learn of it when
    /// they ask.
    pub fn may_hint(&self, user: UserId, now: Instant) -> bool {
        take(&mut self.lock().hints, user, 1, (HINT_BURST, HINT_EVERY), now).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn allowed(full: Instant, cost: u32, (burst, every): (u32, Duration), now: Instant) -> Result<(), Wait> {
    // `full` lies ahead by one step for each unit used; with `burst` steps the bucket is empty.
    let slack = every * burst.saturating_sub(cost);
    Wait::until(full.checked_sub(slack).unwrap_or(now), now)
}

fn charge<K: Hash + Eq>(buckets: &mut HashMap<K, Instant>, whose: K, spent: Duration, now: Instant) {
    let full = buckets.entry(whose).or_insert(now);
    *full = (*full).max(now) + spent;
}

fn take<K: Hash + Eq + Clone>(
    buckets: &mut HashMap<K, Instant>,
    whose: K,
    cost: u32,
    rate: (u32, Duration),
    now: Instant,
) -> Result<(), Wait> {
    buckets.get(&whose).map_or(Ok(()), |full| allowed(*full, cost, rate, now))?;
    make_room(buckets, |full| *full <= now);
    charge(buckets, whose, rate.1 * cost, now);
    Ok(())
}

/// Forgets what no longer matters, when there is much; failing that, anything.
fn make_room<K: Hash + Eq + Clone, V>(entries: &mut HashMap<K, V>, mut over: impl FnMut(&V) -> bool) {
    if entries.len() < MAX_ENTRIES {
        return;
    }
    entries.retain(|_, v| !over(v));
    if entries.len() >= MAX_ENTRIES {
        let mut n = 0;
        entries.retain(|_, _| {
            n += 1;
            n % 2 == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        name.parse().expect("a name")
    }

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn delays_grow_and_stay_bounded() {
        let (t, mut now) = (Throttle::default(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..14 {
            t.failed(&user("alice"), HOME, now);
            let wait = t.may_try(&user("alice"), HOME, now).err().map_or(0, |w| w.seconds);
            delays.push(wait);
            now += Duration::from_secs(u64::from(wait));
            assert_eq!(t.may_try(&user("alice"), HOME, now), Ok(()));
        }
        assert_eq!(delays, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
    }

    #[test]
    fn nobody_is_locked_out_from_elsewhere() {
        let (t, now) = (Throttle::default(), Instant::now());
        for _ in 0..1000 {
            t.failed(&user("alice"), AWAY, now);
        }
        assert!(t.may_try(&user("alice"), AWAY, now).is_err());
        assert_eq!(t.may_try(&user("alice"), HOME, now), Ok(()));
    }

    #[test]
    fn a_success_and_time_forgive() {
        let (t, now) = (Throttle::default(), Instant::now());
        for _ in 0..6 {
            t.failed(&user("alice"), HOME, now);
        }
        assert!(t.may_try(&user("alice"), HOME, now).is_err());
        t.succeeded(&user("alice"), HOME);
        assert_eq!(t.may_try(&user("alice"), HOME, now), Ok(()));
        for _ in 0..6 {
            t.failed(&user("bob"), HOME, now);
        }
        let later = now + FORGET;
        t.failed(&user("bob"), HOME, later);
        assert_eq!(t.may_try(&user("bob"), HOME, later), Ok(()));
    }

    #[test]
    fn guessing_across_users_is_slowed_by_address() {
        let (t, now) = (Throttle::default(), Instant::now());
        for n in 0..ADDRESS_BURST {
            assert_eq!(t.may_try(&user(&format!("u{n}")), HOME, now), Ok(()), "{n}");
            t.failed(&user(&format!("u{n}")), HOME, now);
        }
        assert_eq!(t.may_try(&user("another"), HOME, now), Err(Wait { seconds: 3 }));
        assert_eq!(t.may_try(&user("another"), HOME, now + ADDRESS_EVERY), Ok(()));
        assert_eq!(t.may_try(&user("another"), AWAY, now), Ok(()));
    }

    #[test]
    fn accounts_come_in_bounded_numbers_from_one_address() {
        let (t, now) = (Throttle::default(), Instant::now());
        for _ in 0..ACCOUNT_BURST {
            assert_eq!(t.new_account(HOME, now), Ok(()));
        }
        assert!(t.new_account(HOME, now).is_err());
        assert_eq!(t.new_account(HOME, now + ACCOUNT_EVERY), Ok(()));
        assert_eq!(t.new_account(AWAY, now), Ok(()));
    }

    #[test]
    fn questions_about_invitations_are_charged_to_their_address_alone() {
        let (t, now) = (Throttle::default(), Instant::now());
        assert_eq!((0..).take_while(|_| t.check_invite(HOME, now).is_ok()).count(), INVITE_CHECK_BURST as usize);
        assert_eq!(t.check_invite(HOME, now), Err(Wait { seconds: 1 }));
        assert_eq!(t.check_invite(HOME, now + INVITE_CHECK_EVERY), Ok(()));
        assert_eq!((t.check_invite(AWAY, now), t.may_redeem((None, HOME), now)), (Ok(()), Ok(())));
    }

    #[test]
    fn every_password_is_charged_to_its_address() {
        let (t, now) = (Throttle::default(), Instant::now());
        for _ in 0..CHECK_BURST / 2 {
            assert_eq!(t.hashing(HOME, 2, now), Ok(()));
        }
        assert_eq!(t.hashing(HOME, 1, now), Err(Wait { seconds: 1 }));
        assert_eq!(t.hashing(HOME, 2, now), Err(Wait { seconds: 1 }));
        assert_eq!(t.hashing(HOME, 1, now + CHECK_EVERY), Ok(()));
        assert_eq!(t.hashing(AWAY, 1, now), Ok(()));
    }

    #[test]
    fn who_keeps_others_busy_is_slowed_and_the_rest_are_not() {
        let (t, now) = (Throttle::default(), Instant::now());
        let (busy, other) = (UserId::new([1; 16]), UserId::new([2; 16]));
        let asked = (0..).take_while(|_| t.command(busy, 8, now).is_ok()).count();
        assert_eq!(asked, 32);
        assert_eq!(t.command(busy, 8, now), Err(Wait { seconds: 1 }));
        assert_eq!(t.command(busy, 8, now + COMMAND_EVERY * 8), Ok(()), "two in a second");
        assert_eq!(t.command(other, 8, now), Ok(()));
        assert_eq!((0..).take_while(|_| t.may_hint(busy, now)).count(), HINT_BURST as usize);
        assert!(!t.may_hint(busy, now) && t.may_hint(busy, now + HINT_EVERY) && t.may_hint(other, now));
        assert_eq!((0..).take_while(|_| t.resume(busy, now).is_ok()).count(), RESUME_BURST as usize);
        assert_eq!(t.resume(busy, now), Err(Wait { seconds: 1 }));
        assert_eq!((t.resume(busy, now + RESUME_EVERY), t.resume(other, now)), (Ok(()), Ok(())));
    }

    #[test]
    fn memory_is_bounded() {
        let (t, now) = (Throttle::default(), Instant::now());
        for n in 0..(MAX_ENTRIES as u32 + 10) {
            t.failed(&user("alice"), IpAddr::from(n.to_be_bytes()), now);
        }
        assert!(t.lock().guesses.len() <= MAX_ENTRIES && t.lock().failures.len() <= MAX_ENTRIES);
    }
}
