//! `leave_group`: ends the caller's membership, or withdraws the request. The caller's shares go along;
//! the longest-standing member follows an admin who leaves; without members the group is closed.

use common::id::GroupName;
use common::wire::refusal::Refusal;

use super::answer::Answer;
use super::{Call, Decision, Halt, Outcome, the_group};
use crate::fact::{EndReason, Fact};
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName) -> Outcome {
    // Beforehand: there may be thousands, and nobody waits for that in the writer. What is published meanwhile is not
    // counted.
    let counted = name.clone();
    let withdrawn = call.read(me, move |state, me| Ok(state.shares_only_of(the_group(state, &counted)?, me.user)));
    let withdrawn = match withdrawn.await {
        // The writer knows better: it may have been done before.
        Err(Halt::Refused(_)) => 0,
        counted => counted?,
    };
    call.write(me, move |state, me| decide(state, me, name, withdrawn)).await
}

fn decide(state: &State, me: &Login, name: GroupName, withdrawn: u32) -> Result<Decision, Halt> {
    let group = the_group(state, &name)?;
    let standing = state.standing(group, me.user);
    let facts: Vec<Fact> =
        standing.open().map(|membership| Fact::Ended { membership, reason: EndReason::Left }).collect();
    if facts.is_empty() {
        return Err(Refusal::NotAMember(name).into());
    }
    let withdrawn = if standing.live.is_empty() { 0 } else { withdrawn };
    Ok(Decision { answer: Answer::Left { withdrawn }, ..Decision::done(facts) })
}

#[cfg(test)]
mod tests {
    use common::wire::client::{Push, Relation, Response};
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn shares_go_with_who_leaves_and_do_not_come_back() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        b.upload("lab", "own.bin", b"own").await.expect("uploaded");
        b.upload("lab", "both.bin", b"both").await.expect("uploaded");
        a.upload("lab", "both.bin", b"both").await.expect("uploaded");
        assert_eq!(b.leave("lab").await, Ok(Response::Left { withdrawn: 1 }));
        assert_eq!(a.file_names("lab").await, ["both.bin"]);
        assert!(matches!(b.leave("lab").await, Err(Refusal::NotAMember(_))));
        f.admit(&a, &b, "lab").await;
        assert_eq!(a.file_names("lab").await, ["both.bin"], "a new membership, and no old shares");
    }

    #[tokio::test]
    async fn it_withdraws_a_request() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        b.join("lab").await.expect("asked");
        assert_eq!(b.leave("lab").await, Ok(Response::Left { withdrawn: 0 }));
        assert_eq!(b.groups().await[0].relation, Relation::None);
        assert!(matches!(a.accept("lab", "bob").await, Err(Refusal::NoSuchRequest { .. })));
        b.join("lab").await.expect("asked again");
    }

    #[tokio::test]
    async fn the_longest_standing_member_follows_and_stays() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &c, "lab").await;
        f.admit(&a, &b, "lab").await;
        a.leave("lab").await.expect("left");
        assert!(c.heard().iter().any(|p| matches!(p, Push::MadeAdmin { .. })));
        assert_eq!(c.groups().await[0].relation, Relation::Admin);
        f.admit(&c, &a, "lab").await;
        assert_eq!(a.groups().await[0].relation, Relation::Member, "the role was not kept for her");
    }
}
