//! The tree of a folder, part by part, for members of a group in which it is shared.

use common::id::{GroupName, TreeId};
use common::wire::client::Response;
use common::wire::limits::{List, Text};
use common::wire::refusal::Refusal;

use super::{Call, Effect, Outcome, as_member};
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, tree: TreeId, offset: u64) -> Outcome {
    let query = move |state: &State, me: &Login| {
        let (group, _) = as_member(state, me, &name)?;
        if state.shows_tree(group, tree) {
            return Ok(());
        }
        let text = format!("the folder with the tree {tree:.16}");
        Err(Refusal::NoSuchFile { group: name, name: Text::clipped(&text) }.into())
    };
    call.read(me, query).await?;
    let part = call.services.store.read_tables_for(&call.caller, move |tables| tables.tree_part(tree, offset)).await?;
    Ok(Effect::plain(Response::TreePart(List::first_of(part))))
}
