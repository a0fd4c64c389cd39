//! Who is told what of the same history, decided at one tracker, at the other, or half at each.

use std::collections::BTreeMap;

use common::wire::client::Request;
use common::wire::refusal::Refusal;

use super::*;
use crate::command::tests::{Device, Fixture, password};

/// Where a step of the history is decided: at tracker 0 or 1.
type Place = fn(usize) -> usize;

/// A user's connections to both trackers.
struct Both {
    at: [Device; 2],
}

struct Trackers {
    at: [Fixture; 2],
    users: BTreeMap<&'static str, Both>,
    step: usize,
    place: Place,
    /// For each step, what each user was told, the same by both trackers.
    told: Vec<BTreeMap<&'static str, Vec<String>>>,
}

impl Trackers {
    async fn new(place: Place) -> Self {
        let mut trackers = Self { at: Fixture::pair().await, users: BTreeMap::new(), step: 0, place, told: Vec::new() };
        for name in ["alice", "bob", "carol", "dave", "erin"] {
            trackers.enter(name, name).await;
        }
        trackers
    }

    /// Another device, called `called`, of the user `name`.
    async fn enter(&mut self, called: &'static str, name: &'static str) {
        let [here, there] = &self.at;
        let device = if called == name { here.user(name).await } else { here.device() };
        if called != name {
            device.login(name, &format!("password of {name}")).await.expect("logged in");
        }
        there.sync(here).await;
        let twin = device.twin(there);
        self.users.insert(called, Both { at: [device, twin] });
    }

    /// One step of the history; then both have it, and everybody has heard what there is to hear.
    async fn step(&mut self, who: &str, ask: impl AsyncFnOnce(&Device) -> Result<(), Refusal>) {
        let place = (self.place)(self.step);
        self.step += 1;
        ask(&self.users[who].at[place]).await.expect("done");
        self.at[1 - place].sync(&self.at[place]).await;
        let mut told = BTreeMap::new();
        for (user, both) in &self.users {
            let mut heard = Vec::new();
            for device in &both.at {
                let mut pushes = Vec::new();
                for push in device.heard() {
                    pushes.push(self.said(push).await);
                }
                heard.push(pushes);
            }
            // Whoever ends a login or a group's membership knows what its own connection is not told.
            if *user != who {
                assert_eq!(heard[0], heard[1], "step {}, {user}", self.step);
            }
            told.insert(*user, heard.swap_remove(1 - place));
        }
        self.told.push(told);
    }

    /// A push without what differs between two runs of the same history.
    async fn said(&self, push: Push) -> String {
        let what = match push {
            Push::Revoked(signed) => signed.verify(&self.at[0].key().public()).expect("ours").what,
            Push::Removed { group, .. } => return format!("removed from {group}"),
            other => return format!("{other:?}"),
        };
        let whose = match what {
            Revoked::Membership { membership, .. } => {
                self.whose(move |s| Ok(s.membership(membership).map(|m| m.1))).await
            }
            Revoked::Session(session) => self.whose(move |s| Ok(s.session(session).map(|row| row.user))).await,
            Revoked::OtherSessions { user, .. } => self.whose(move |_| Ok(Some(user))).await,
        };
        format!("revoked of {whose}")
    }

    async fn whose(&self, find: impl FnOnce(&State) -> Result<Option<UserId>, StoreError> + Send + 'static) -> String {
        let name = move |state: &State| Ok::<_, StoreError>(find(state)?.and_then(|user| state.user_name(user)));
        self.at[0].services().store.read(name).await.expect("read").expect("a user").to_string()
    }
}

/// Everything that is told of, and what is not: a request that is withdrawn, a member who leaves an admin behind.
async fn history(place: Place) -> Vec<BTreeMap<&'static str, Vec<String>>> {
    let mut t = Trackers::new(place).await;
    t.step("alice", async |d| d.create_group("lab").await.map(drop)).await;
    for name in ["bob", "carol", "erin"] {
        t.step(name, async |d| d.join("lab").await.map(drop)).await;
        t.step("alice", async |d| d.accept("lab", name).await.map(drop)).await;
    }
    t.step("dave", async |d| d.join("lab").await.map(drop)).await;
    t.step("dave", async |d| d.leave("lab").await.map(drop)).await;
    assert_eq!(t.told.last().map(|told| told.values().flatten().count()), Some(0), "a request was withdrawn");
    t.step("dave", async |d| d.join("lab").await.map(drop)).await;
    t.step("alice", async |d| d.reject("lab", "dave").await.map(drop)).await;
    t.step("alice", async |d| d.make_admin("lab", "bob").await.map(drop)).await;
    t.step("alice", async |d| d.leave("lab").await.map(drop)).await;
    t.step("bob", async |d| d.leave("lab").await.map(drop)).await;
    assert!(t.told.last().is_some_and(|told| told["carol"].iter().any(|said| said.contains("MadeAdmin"))));
    t.step("dave", async |d| d.join("lab").await.map(drop)).await;
    t.step("carol", async |d| d.accept("lab", "dave").await.map(drop)).await;
    t.step("dave", async |d| d.leave("lab").await.map(drop)).await;
    assert!(t.told.last().is_some_and(|told| told["carol"] == ["revoked of dave"]), "she is the admin: {:?}", t.told);
    t.step("carol", async |d| d.remove("lab", "erin").await.map(drop)).await;
    t.step("bob", async |d| d.join("lab").await.map(drop)).await;
    t.step("carol", async |d| d.accept("lab", "bob").await.map(drop)).await;
    t.enter("bob elsewhere", "bob").await;
    t.step("bob", async |d| {
        let (old, new) = (password("password of bob"), password("another password"));
        d.ask(Request::ChangePassword { old, new }).await.map(drop)
    })
    .await;
    t.step("bob", async |d| d.logout().await.map(drop)).await;
    t.told
}

#[tokio::test]
async fn the_same_history_is_told_the_same_wherever_it_is_decided() {
    let here = history(|_| 0).await;
    assert_eq!(here, history(|_| 1).await, "at the other tracker");
    assert_eq!(here, history(|step| step % 2).await, "half at each");
}

/// The writer waits for this; who is in groups of thousands has as many fellows.
#[tokio::test]
async fn of_logins_that_end_together_it_is_asked_once_who_is_to_hear() {
    let f = Fixture::new().await;
    let bob = f.user("bob").await;
    let first = bob.session();
    bob.login("bob", "password of bob").await.expect("a second login");
    let ends = [first, bob.session()].map(|session| Fact::SessionEnded { session });
    let services = f.services();
    let news = services.store.read(|state| of_facts(state, services, &ends, &FactBatch::of(&ends, None))).await;
    let news: Vec<News> = news.expect("asked");
    let told: Vec<_> = news
        .iter()
        .filter_map(|n| match n {
            News::Revoked { to, .. } => Some(to),
            News::Push { .. } | News::SessionsEnded { .. } | News::Files(_) => None,
        })
        .collect();
    assert!(matches!(told[..], [one, other] if Arc::ptr_eq(one, other)), "{news:?}");
}
