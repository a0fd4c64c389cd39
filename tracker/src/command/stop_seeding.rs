//! This device no longer seeds a file. The share stays listed, with however many seeders are left.

use common::id::{FileId, GroupName};

use super::{Call, Decision, Halt, Outcome, as_member};
use crate::fact::Fact;
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, file: FileId) -> Outcome {
    call.write(me, move |state, me| decide(state, me, &name, file)).await
}

fn decide(state: &State, me: &Login, name: &GroupName, file: FileId) -> Result<Decision, Halt> {
    let (group, membership) = as_member(state, me, name)?;
    let seeds = state.seeding(group, file, me.device).is_some_and(|said| said.on);
    let fact = Fact::Seeding { group, file, device: me.device, user: me.user, membership, on: false };
    Ok(Decision::done(if seeds { vec![fact] } else { Vec::new() }))
}

#[cfg(test)]
mod tests {
    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn the_share_stays_without_seeders() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        for _ in 0..2 {
            a.stop_seeding("lab", id).await.expect("stopped");
        }
        assert_eq!(a.file_names("lab").await, ["f"]);
    }
}
