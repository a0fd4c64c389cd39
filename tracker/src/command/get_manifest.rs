//! Digests of a share's pieces, part by part, for members.

use common::id::{FileId, GroupName};
use common::wire::client::Response;
use common::wire::limits::{List, Text};
use common::wire::refusal::Refusal;

use super::{Call, Effect, Outcome, as_member};
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login, name: GroupName, file: FileId, first: u32) -> Outcome {
    let query = move |state: &State, me: &Login| {
        let (group, _) = as_member(state, me, &name)?;
        let none = || Refusal::NoSuchFile { group: name, name: Text::clipped(&format!("id:{file}")) };
        let share = state.share_of(group, file).ok_or_else(none)?;
        Ok(share.manifest)
    };
    let manifest = call.read(me, query).await?;
    let part =
        call.services.store.read_tables_for(&call.caller, move |tables| tables.manifest_part(manifest, first)).await?;
    Ok(Effect::plain(Response::ManifestPart(List::first_of(part))))
}

#[cfg(test)]
mod tests {
    use common::wire::client::{Request, Response};
    use common::wire::limits::MAX_PART;

    use crate::command::tests::{Fixture, big_manifest, group};

    #[tokio::test]
    async fn the_parts_add_up_from_anywhere() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let manifest = big_manifest(MAX_PART as u32 * 2 + 100);
        a.publish("lab", "big", &manifest).await.expect("published");
        for start in [0, 1, MAX_PART - 1, MAX_PART, 2 * MAX_PART + 99] {
            let mut got = Vec::new();
            loop {
                let first = (start + got.len()) as u32;
                let request = Request::GetManifest { group: group("lab"), file_id: manifest.file_id(), first };
                let Ok(Response::ManifestPart(part)) = a.ask(request).await else { panic!("not a part") };
                if part.is_empty() {
                    break;
                }
                got.extend(part.into_vec());
            }
            assert!(got == manifest.pieces()[start..], "from {start}");
        }
    }
}
