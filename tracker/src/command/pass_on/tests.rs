use common::id::{DeviceId, GroupId, MembershipId, OriginId, SessionId, UserId};
use common::ticket::Revoked;
use common::wire::client::{Push, Request};

use super::*;
use crate::command::tests::{Device, Fixture};
use crate::fact::{CredentialId, EndReason, Hlc, Stamp};

/// What `device` hears of once `facts`, which are on disk, have come from the other tracker.
async fn told(f: &Fixture, facts: Vec<Fact>) {
    f.state(facts.clone()).await;
    let stamp = Stamp { hlc: Hlc::default(), origin: OriginId::new([9; 16]) };
    let (tell, heard) = mpsc::channel(1);
    tell.send(facts.into_iter().map(|d| (stamp, d)).collect()).await.expect("sent");
    drop(tell);
    pass_on(f.shared(), heard).await;
}

fn void(f: &Fixture, device: &Device) -> Vec<Revoked> {
    let verified = |p| match p {
        Push::Revoked(r) => r.verify(&f.key().public()).ok().map(|r| r.what),
        _ => None,
    };
    device.heard().into_iter().filter_map(verified).collect()
}

/// More facts than are looked at, of which nobody hears.
fn many() -> Vec<Fact> {
    let requested = |_| Fact::Requested {
        membership: MembershipId::random(),
        group: GroupId::new([1; 16]),
        user: UserId::new([1; 16]),
    };
    (0..MAX_OTHER_FACTS + 500).map(requested).collect()
}

#[tokio::test]
async fn a_removal_early_in_a_long_lot_is_passed_on() {
    let f = Fixture::new().await;
    let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
    a.create_group("lab").await.expect("created");
    f.admit(&a, &b, "lab").await;
    f.admit(&a, &c, "lab").await;
    let (lab, session) = (b.ticket("lab").await.expect("a ticket"), c.session());
    let kick = Fact::Ended { membership: lab.membership, reason: EndReason::Kicked };
    let mut facts = vec![kick, Fact::SessionEnded { session }];
    facts.extend(many());
    let (group, membership) = (lab.group, lab.membership);
    told(&f, facts).await;
    for device in [&a, &b] {
        let heard = void(&f, device);
        assert!(heard.contains(&Revoked::Membership { group, membership }), "{heard:?}");
    }
    assert!(b.ever_heard().iter().any(|p| matches!(p, Push::Removed { .. })));
    assert!(c.heard().contains(&Push::SessionEnded));
}

#[test]
fn of_the_rest_the_last_is_told_and_order_is_kept() {
    let stamp = Stamp { hlc: Hlc::default(), origin: OriginId::new([9; 16]) };
    let end = || Fact::SessionEnded { session: SessionId::new([1; 16]) };
    let mut all = many();
    all.insert(700, end());
    all.insert(100, end());
    all.insert(0, end());
    let told = worth_telling(all.iter().cloned().map(|d| (stamp, d)).collect());
    assert_eq!(told.len(), MAX_OTHER_FACTS + 3);
    assert_eq!(told[..2], [end(), end()]);
    assert_eq!(told[2..], all[502..]);
}

#[tokio::test]
async fn a_password_changed_elsewhere_ends_the_logins_before_it_and_no_other() {
    let f = Fixture::new().await;
    let (a, b) = (f.user("alice").await, f.user("bob").await);
    a.create_group("lab").await.expect("created");
    f.admit(&a, &b, "lab").await;
    let elsewhere = f.device();
    elsewhere.login("bob", "password of bob").await.expect("logged in");
    let user = b.user();
    let phc = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaA".to_owned();
    let (since, device, expires) = (SessionId::random(), DeviceId::new([7; 32]), ticket::now() + 1000);
    let facts = vec![
        Fact::Credential { id: CredentialId([5; 16]), user, phc },
        Fact::SessionBound { session: b.session(), credentials: 2 },
        Fact::Session { id: since, user, device, expires },
        Fact::SessionBound { session: since, credentials: 2 },
    ];
    told(&f, facts).await;
    assert!(elsewhere.heard().contains(&Push::SessionEnded));
    assert!(!b.heard().contains(&Push::SessionEnded), "its login goes on");
    assert!(b.ask(Request::ListGroups { after: None }).await.is_ok());
    let heard = void(&f, &a);
    assert!(matches!(heard[..], [Revoked::OtherSessions { except: Some(e), .. }] if e == b.session()), "{heard:?}");
}

#[tokio::test]
async fn who_comes_back_hears_of_what_was_decided_long_before_it_came_here() {
    let f = Fixture::new().await;
    let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
    a.create_group("lab").await.expect("created");
    f.admit(&a, &b, "lab").await;
    let lab = b.ticket("lab").await.expect("a ticket");
    let (group, membership) = (lab.group, lab.membership);
    // As when the trackers were cut off from each other for a day: its stamp is that old.
    f.state_at(ticket::now() - 24 * 3600, vec![Fact::Ended { membership, reason: EndReason::Kicked }]).await;
    let missed = async |device: &Device| {
        let pushes = crate::command::catch_up(f.services(), device.user()).await;
        let what = |p| match p {
            Push::Revoked(r) => r.verify(&f.key().public()).ok().map(|r| r.what),
            _ => None,
        };
        pushes.into_iter().filter_map(what).collect::<Vec<_>>()
    };
    assert_eq!(missed(&a).await, [], "by its time it is over");
    let stamp = Stamp { hlc: Hlc::default(), origin: OriginId::new([9; 16]) };
    let (tell, heard) = mpsc::channel(1);
    tell.send(vec![(stamp, Fact::Ended { membership, reason: EndReason::Kicked })]).await.expect("sent");
    drop(tell);
    pass_on(f.shared(), heard).await;
    assert_eq!(missed(&a).await, [Revoked::Membership { group, membership }]);
    assert_eq!(missed(&c).await, [], "it does not concern her");
}
