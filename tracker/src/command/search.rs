//! `search`: names of shares and of files in folders, in the groups that the caller is a member of now.
//!
//! The index may be behind: whatever it finds is shown as the state has it at that moment, or not at all.

use std::collections::HashSet;

use common::id::GroupId;
use common::wire::client::{HitRow, Page, Response, Words};
use common::wire::limits::{List, MAX_HITS, Text};
use common::wire::refusal::Refusal;

use super::{Call, Effect, Outcome};
use crate::rules::Login;
use crate::store::{Found, State};

/// Pages of one search: who wants more than 2,000 hits gives another word.
const MAX_PAGES: u32 = 20;

pub(super) async fn run(call: &Call, me: &Login, words: Words, page: u32) -> Outcome {
    let groups = call.read(me, |state, me| Ok(state.groups_of(me.user))).await?;
    let before = MAX_HITS * page.min(MAX_PAGES) as usize;
    let most = if page < MAX_PAGES { before + MAX_HITS + 1 } else { 0 };
    let found = call.services.store.search(&call.caller, groups, words.as_str(), most).await?;
    let found = found.ok_or_else(|| Refusal::Invalid(Text::clipped("search for 1 to 16 words")))?;
    let query = move |state: &State, me: &Login| {
        let now: HashSet<GroupId> = state.groups_of(me.user).into_iter().collect();
        let found = found.into_iter().filter(|found| now.contains(&found.share.group));
        Ok(found.filter_map(|found| hit(state, found)).skip(before).take(MAX_HITS + 1).collect::<Vec<_>>())
    };
    let rows = call.read(me, query).await?;
    let more = rows.len() > MAX_HITS && page + 1 < MAX_PAGES;
    Ok(Effect::plain(Response::Hits(Page { rows: List::first_of(rows.into_iter().take(MAX_HITS)), more })))
}

/// What was found, as it is now; `None` if it is not there any more.
fn hit(state: &State, found: Found) -> Option<HitRow> {
    let share = state.share_by(&found.share).filter(|share| share.manifest == found.manifest)?;
    let group = state.group_name(found.share.group)?;
    let path = found.path.map(|path| path.parse()).transpose().ok()?;
    Some(HitRow { group, name: share.name, path, size: found.size, file_id: share.file })
}

#[cfg(test)]
mod tests {
    use common::task::TaskGroup;
    use common::wire::client::{HitRow, Request, Response, Words};
    use common::wire::refusal::Refusal;

    use crate::command::tests::{Device, Fixture};

    async fn search(device: &Device, words: &str, page: u32) -> Result<(Vec<HitRow>, bool), Refusal> {
        let words = Words::try_from(words.to_owned()).expect("short");
        match device.ask(Request::Search { words, page }).await? {
            Response::Hits(page) => Ok((page.rows.into_vec(), page.more)),
            other => panic!("no hits: {other:?}"),
        }
    }

    /// Shares, and paths in them, in the order in which they are found.
    async fn names(device: &Device, words: &str) -> Vec<String> {
        let (rows, _) = search(device, words, 0).await.expect("searched");
        let text = |row: HitRow| match row.path {
            Some(path) => format!("{}/{path}", row.name),
            None => row.name.as_str().to_owned(),
        };
        rows.into_iter().map(text).collect()
    }

    /// Waits until the index has it.
    async fn finds(device: &Device, words: &str, expected: &[&str]) {
        let until = async {
            while names(device, words).await != expected {
                tokio::task::yield_now().await;
            }
        };
        let found = tokio::time::timeout(std::time::Duration::from_secs(20), until).await;
        if found.is_err() {
            assert_eq!(names(device, words).await, expected, "{words}");
        }
    }

    async fn lab() -> (Fixture, TaskGroup, Device, Device) {
        let f = Fixture::new().await;
        let (tasks, a, b) = (TaskGroup::new(), f.user("alice").await, f.user("bob").await);
        drop(tasks.spawn("search", f.services().store.clone().follow_search()));
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        (f, tasks, a, b)
    }

    const FILES: [(&str, &str); 4] =
        [("src/report.rs", "1"), ("src/deep/my report.txt", "2"), ("x/preport", "3"), ("empty/report", "")];

    #[tokio::test]
    async fn who_has_shared_something_finds_it_at_once() {
        let (_f, _tasks, a, _b) = lab().await;
        a.upload("lab", "first", b"a").await.expect("uploaded");
        finds(&a, "first", &["first"]).await; // The index is open.
        for n in 0..10 {
            let name = format!("report {n}");
            a.upload("lab", &name, name.as_bytes()).await.expect("uploaded");
            assert_eq!(names(&a, &name).await, [name.as_str()]);
        }
    }

    #[tokio::test]
    async fn the_best_comes_first_and_shares_before_paths() {
        let (_f, _tasks, a, b) = lab().await;
        a.put_folder("project", &FILES).await.expect("published");
        a.upload("lab", "report", b"a").await.expect("uploaded");
        a.upload("lab", "report 2024.pdf", b"b").await.expect("uploaded");
        a.upload("lab", "old report.pdf", b"c").await.expect("uploaded");
        let all = [
            "report",
            "project/empty/report",
            "report 2024.pdf",
            "project/src/report.rs",
            "old report.pdf",
            "project/src/deep/my report.txt",
            "project/x/preport",
        ];
        finds(&b, "REPORT", &all).await;
        finds(&b, "report pdf", &["report 2024.pdf", "old report.pdf"]).await;
        finds(&b, "repor my", &["project/src/deep/my report.txt"]).await;
        finds(&b, "eep/m", &["project/src/deep/my report.txt"]).await;
        finds(&b, "20", &["report 2024.pdf"]).await;
        finds(&b, "o", &["old report.pdf"]).await;
        finds(&b, "nothing like it", &[]).await;
        for (words, page) in [("", 0), ("a b c d e f g h i j k l m n o p q r", 0)] {
            assert!(matches!(search(&b, words, page).await, Err(Refusal::Invalid(_))), "{words}");
        }
        let hostile = ["\"", "\" OR \"", "texts:report", "report*", "NEAR(a b)", "%", "\u{1}\u{1}r", "r\u{0}e"];
        for words in hostile {
            assert!(search(&b, words, 0).await.is_ok(), "{words:?}");
        }
    }

    #[tokio::test]
    async fn who_is_out_finds_nothing_more_at_once() {
        let (f, _tasks, a, b) = lab().await;
        let c = f.user("carol").await;
        a.put_folder("project", &FILES).await.expect("published");
        finds(&b, "preport", &["project/x/preport"]).await;
        assert!(names(&c, "preport").await.is_empty(), "a stranger");
        a.remove("lab", "bob").await.expect("removed");
        assert!(names(&b, "preport").await.is_empty(), "whatever the index has");
        assert_eq!(names(&a, "preport").await.len(), 1);
        assert_eq!(search(&f.device(), "preport", 0).await.err(), Some(Refusal::NotLoggedIn));
    }

    #[tokio::test]
    async fn what_was_replaced_is_not_found_and_its_new_version_is() {
        let (_f, _tasks, a, b) = lab().await;
        a.put_folder("project", &FILES).await.expect("published");
        finds(&b, "preport", &["project/x/preport"]).await;
        a.put_again("project", &[("x/another", "3")]).await.expect("replaced");
        assert!(names(&b, "preport").await.is_empty(), "at once");
        finds(&b, "another", &["project/x/another"]).await;
    }

    #[tokio::test]
    async fn pages_follow_on_each_other() {
        let (_f, _tasks, a, b) = lab().await;
        let paths: Vec<String> = (0..250).map(|n| format!("common {n:03}")).collect();
        let files: Vec<(&str, &str)> = paths.iter().map(|p| (p.as_str(), p.as_str())).collect();
        a.put_folder("project", &files).await.expect("published");
        finds(&b, "common 249", &["project/common 249"]).await;
        let mut all = Vec::new();
        for (page, more) in [(0, true), (1, true), (2, false)] {
            let (rows, there_are_more) = search(&b, "common", page).await.expect("searched");
            assert_eq!(there_are_more, more, "{page}");
            all.extend(rows.into_iter().map(|row| row.path.expect("a path").as_str().to_owned()));
        }
        assert_eq!(all, paths);
        assert_eq!(search(&b, "common", u32::MAX).await, Ok((Vec::new(), false)));
    }
}
