//! `list_groups`: all open groups, with what the caller is to each.

use common::id::GroupName;
use common::wire::client::{GroupRow, Relation, Response};

use super::{Call, Effect, Halt, Outcome, PAGE_AND_ONE, page};
use crate::rules::Login;
use crate::store::{GroupEntry, State};

pub(super) async fn run(call: &Call, me: &Login, after: Option<GroupName>) -> Outcome {
    let query = move |state: &State, me: &Login| {
        let entries = state.groups_after(after.as_ref(), PAGE_AND_ONE);
        entries.into_iter().map(|e| row(state, me, e)).collect::<Result<Vec<_>, Halt>>()
    };
    Ok(Effect::plain(Response::Groups(page(call.read(me, query).await?))))
}

fn row(state: &State, me: &Login, entry: GroupEntry) -> Result<GroupRow, Halt> {
    let GroupEntry { id, name, admin, admin_name, members } = entry;
    let relation = if admin == me.user {
        Relation::Admin
    } else {
        let standing = state.standing(id, me.user);
        match (standing.live.is_empty(), standing.pending.is_empty()) {
            (false, _) => Relation::Member,
            (true, false) => Relation::Pending,
            (true, true) => Relation::None,
        }
    };
    Ok(GroupRow { group: name, admin: admin_name, members, relation })
}

#[cfg(test)]
mod tests {
    use common::wire::client::{Request, Response};
    use common::wire::limits::MAX_ROWS;

    use crate::command::tests::Fixture;
    use crate::quota::Quota;

    #[tokio::test]
    async fn long_lists_come_in_pages() {
        let f = Fixture::with(Quota::times(10)).await;
        let a = f.user("alice").await;
        let all: Vec<String> = (0..MAX_ROWS + 5).map(|n| format!("g{n:05}")).collect();
        futures::future::join_all(all.iter().map(|name| a.create_group(name))).await;
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let Ok(Response::Groups(page)) = a.ask(Request::ListGroups { after: after.take() }).await else {
                panic!("not a page");
            };
            seen.extend(page.rows.iter().map(|r| r.group.as_str().to_owned()));
            if !page.more {
                break;
            }
            after = page.rows.last().map(|r| r.group.clone());
        }
        assert_eq!(seen, all);
    }
}
