//! Crowds of every kind, and who is left.

use super::*;

const LIMITS: Limits = Limits { connections: 8, strangers_per_address: 3, users_per_address: 4 };

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, n])
}

fn user(n: u8) -> UserId {
    UserId::new([n; 16])
}

fn stays(slots: &[Slot]) -> Vec<bool> {
    slots.iter().map(|s| !s.kill().is_cancelled()).collect()
}

fn left(slots: &[Slot]) -> usize {
    stays(slots).into_iter().filter(|s| *s).count()
}

#[test]
fn a_crowd_from_one_address_pushes_out_its_own_oldest() {
    let a = Admission::new(LIMITS, None);
    let other = a.admit(ip(2));
    let crowd: Vec<Slot> = (0..5).map(|_| a.admit(ip(1))).collect();
    assert_eq!(stays(&crowd), [false, false, true, true, true]);
    assert!(!other.kill().is_cancelled());
}

#[test]
fn strangers_have_half_and_never_push_out_users() {
    let a = Admission::new(LIMITS, None);
    let member = a.admit(ip(1));
    member.promote(user(1));
    let strangers: Vec<Slot> = (0..20).map(|n| a.admit(ip(n))).collect();
    assert!(!member.kill().is_cancelled());
    assert_eq!(left(&strangers), LIMITS.strangers());
    assert!(!strangers[19].kill().is_cancelled(), "the newest is in");
    a.evict_one();
    assert_eq!(left(&strangers), LIMITS.strangers() - 1);
}

#[test]
fn one_address_cannot_hold_all_places_by_logging_in() {
    let a = Admission::new(LIMITS, None);
    let member = a.admit(ip(2));
    member.promote(user(100));
    // Each with an account of its own.
    let crowd: Vec<Slot> = (0..20).map(|_| a.admit(ip(1))).zip(0..).map(|(s, n)| (s.promote(user(n)), s).1).collect();
    assert_eq!(left(&crowd), LIMITS.users_per_address);
    assert!(stays(&crowd[16..]).into_iter().all(|s| s), "the oldest went");
    assert!(!member.kill().is_cancelled());
    let newcomer = a.admit(ip(3));
    newcomer.promote(user(101));
    assert!(!newcomer.kill().is_cancelled() && !member.kill().is_cancelled());
}

#[test]
fn within_an_address_the_user_with_most_gives_way() {
    let a = Admission::new(LIMITS, None);
    let neighbour = a.admit(ip(1));
    neighbour.promote(user(1));
    let greedy: Vec<Slot> = (0..10).map(|_| a.admit(ip(1))).map(|s| (s.promote(user(2)), s).1).collect();
    assert!(!neighbour.kill().is_cancelled(), "though it was the oldest");
    assert_eq!(left(&greedy), LIMITS.users_per_address - 1);
}

#[test]
fn when_users_fill_the_tracker_the_largest_subscriber_gives_way_and_a_newcomer_gets_in() {
    let a = Admission::new(LIMITS, None);
    let crowd: Vec<Slot> = (0..4).map(|_| a.admit(ip(1))).zip(0..).map(|(s, n)| (s.promote(user(n)), s).1).collect();
    let others: Vec<Slot> = (2..6).map(|n| (a.admit(ip(n)), n)).map(|(s, n)| (s.promote(user(n)), s).1).collect();
    assert_eq!(left(&others), 4);
    assert_eq!(left(&crowd), LIMITS.users() - 4);
    let inner = a.lock();
    assert_eq!((inner.users.all.len(), inner.strangers.all.len()), (LIMITS.users(), 0));
}

#[test]
fn who_logs_out_is_a_stranger_again() {
    let a = Admission::new(LIMITS, None);
    let crowd: Vec<Slot> = (0..8).map(|_| a.admit(ip(1))).map(|s| (s.promote(user(1)), s.demote(), s).2).collect();
    assert_eq!(left(&crowd), LIMITS.strangers_per_address);
}

#[test]
fn a_flood_of_strangers_leaves_the_other_tracker_its_place() {
    let a = Admission::new(LIMITS, Some(ip(9)));
    let sibling = a.admit(ip(9));
    let flood: Vec<Slot> = (0..200).map(|n| a.admit(IpAddr::from([10, 1, 0, n]))).collect();
    assert!(!sibling.kill().is_cancelled());
    assert_eq!(left(&flood), LIMITS.strangers() - 1);
    // The place is for one.
    let again = a.admit(ip(9));
    let more: Vec<Slot> = (0..200).map(|n| a.admit(IpAddr::from([10, 2, 0, n]))).collect();
    assert!(sibling.kill().is_cancelled() && !again.kill().is_cancelled());
    drop(more);
}

#[test]
fn a_place_is_given_back() {
    let a = Admission::new(LIMITS, None);
    for n in 0..100 {
        let slot = a.admit(ip(1));
        if n % 2 == 0 {
            slot.promote(user(1));
        }
        assert!(!slot.kill().is_cancelled());
    }
    let inner = a.lock();
    for crowd in [&inner.strangers, &inner.users] {
        assert!(crowd.all.is_empty() && crowd.by_address.is_empty());
    }
}

#[test]
fn there_are_never_more_than_there_may_be() {
    let a = Admission::new(LIMITS, Some(ip(3)));
    let mut slots = std::collections::VecDeque::new();
    for _ in 0..5000 {
        match rand::random_range(0..4) {
            0 | 1 => slots.push_back(a.admit(ip(rand::random_range(0..6)))),
            2 if !slots.is_empty() => slots[rand::random_range(0..slots.len())].promote(user(rand::random_range(0..5))),
            3 if !slots.is_empty() => slots[rand::random_range(0..slots.len())].demote(),
            _ => {}
        }
        if slots.len() > 20 {
            slots.pop_front();
        }
        let inner = a.lock();
        let (strangers, users) = (inner.strangers.all.len(), inner.users.all.len());
        assert!(strangers <= LIMITS.strangers() && users <= LIMITS.users() && strangers + users <= LIMITS.connections);
        let here = slots.iter().filter(|s| !s.kill().is_cancelled()).count();
        assert_eq!(here, strangers + users);
    }
}
