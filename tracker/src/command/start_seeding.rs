//! This device seeds a file of a group, wholly or in part.

use common::id::{DeviceId, FileId, GroupId, GroupName, MembershipId};
use common::ticket;
use common::wire::limits::Text;
use common::wire::refusal::Refusal;

use super::{Call, Decision, Halt, Outcome, as_member};
use crate::fact::Fact;
use crate::quota;
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, file: FileId) -> Outcome {
    call.write(me, move |state, me| decide(state, me, name, file)).await
}

fn decide(state: &State, me: &Login, name: GroupName, file: FileId) -> Result<Decision, Halt> {
    let (group, membership) = as_member(state, me, &name)?;
    if !state.is_shared(group, file) {
        return Err(Refusal::NoSuchFile { group: name, name: Text::clipped(&format!("id:{file}")) }.into());
    }
    let said = state.seeding(group, file, me.device);
    let unchanged = said.is_some_and(|s| s.on && s.user == me.user && s.membership == membership);
    if unchanged {
        return Ok(Decision::done(Vec::new()));
    }
    Ok(Decision::done(seeds(state, me, group, membership, file)?))
}

/// What makes this device a seeder of the file.
///
/// Devices without a login say nothing any more, and stay in the lists that everybody's questions go through. So when as many
/// devices of the user seed the file as may be logged in, those without a login are taken off.
pub(super) fn seeds(
    state: &State,
    me: &Login,
    group: GroupId,
    membership: MembershipId,
    file: FileId,
) -> Result<Vec<Fact>, Halt> {
    let user = me.user;
    let mut facts = vec![Fact::Seeding { group, file, device: me.device, user, membership, on: true }];
    let others = state.devices_seeding(group, file, user);
    if others.len() >= quota::SESSIONS as usize {
        let logins = state.logins(user, ticket::now());
        let left = |device: &DeviceId| *device != me.device && logins.iter().all(|login| login.device != *device);
        let off = others.into_iter().filter(|(device, _)| left(device));
        facts.extend(off.map(|(device, membership)| Fact::Seeding {
            group,
            file,
            device,
            user,
            membership,
            on: false,
        }));
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use common::id::{DeviceId, FileId};
    use common::wire::client::Push;
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;
    use crate::fact::Fact;
    use crate::quota;

    #[tokio::test]
    async fn members_hear_of_a_new_seeder() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        let unknown = FileId::new([9; 32]);
        assert!(matches!(b.start_seeding("lab", unknown).await, Err(Refusal::NoSuchFile { .. })));
        b.announce(1).await.expect("announced");
        a.heard();
        b.start_seeding("lab", id).await.expect("seeding");
        let up = |p: &Push| matches!(p, Push::SeederUp { file_id, peer, .. } if *file_id == id && peer.user.as_str() == "bob");
        assert!(a.heard().iter().any(up));
        assert!(!b.heard().iter().any(up), "who seeds knows");
        assert_eq!(a.peers("lab", id).await, ["bob"]);
    }

    #[tokio::test]
    async fn saying_it_again_and_again_is_told_once() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        b.announce(1).await.expect("announced");
        a.heard();
        for _ in 0..10 {
            b.start_seeding("lab", id).await.expect("seeding");
        }
        assert_eq!(a.heard().len(), 1);
    }

    #[tokio::test]
    async fn members_are_told_a_bounded_number_of_times() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        b.announce(1).await.expect("announced");
        a.heard();
        let mut heard = 0;
        for _ in 0..400 {
            b.start_seeding("lab", id).await.expect("seeding");
            b.stop_seeding("lab", id).await.expect("stopped");
            heard += a.heard().len();
        }
        assert!((200..380).contains(&heard), "{heard}");
    }

    #[tokio::test]
    async fn saying_it_again_adds_nothing_to_the_log() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        let before = f.versions();
        for _ in 0..3 {
            a.start_seeding("lab", id).await.expect("seeding");
        }
        assert_eq!(f.versions(), before);
        a.stop_seeding("lab", id).await.expect("stopped");
        a.start_seeding("lab", id).await.expect("seeding");
        assert_ne!(f.versions(), before);
    }

    #[tokio::test]
    async fn devices_without_a_login_do_not_fill_the_lists() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        let (t, user) = (a.ticket("lab").await.expect("a ticket"), a.user());
        let (group, membership) = (t.group, t.membership);
        let once = |n: u32| Fact::Seeding {
            group,
            file: id,
            device: DeviceId::new([[0xd0; 28].as_slice(), &n.to_be_bytes()].concat().try_into().expect("an id")),
            user,
            membership,
            on: true,
        };
        let listed = || {
            f.services()
                .store
                .read(move |state| Ok::<_, crate::store::StoreError>(state.devices_seeding(group, id, user)))
        };
        f.state((2..quota::SESSIONS).map(once).collect()).await;
        a.stop_seeding("lab", id).await.expect("stopped");
        a.start_seeding("lab", id).await.expect("seeding");
        assert_eq!(listed().await.expect("read").len(), 63, "they may come back");
        f.state(vec![once(0), once(1)]).await;
        a.stop_seeding("lab", id).await.expect("stopped");
        b.start_seeding("lab", id).await.expect("seeding");
        a.start_seeding("lab", id).await.expect("seeding");
        assert_eq!(listed().await.expect("read"), [(a.device(), membership)], "the others have no login");
        b.announce(1).await.expect("announced");
        assert_eq!(a.peers("lab", id).await, ["bob"], "other users' devices stay");
    }
}
