//! `news`: what the caller has missed, and by when the shares of a group were published.

use common::id::GroupName;
use common::ticket;
use common::wire::client::{Happened, NewsMark, NewsPage, NewsRow, Response};
use common::wire::limits::{List, MAX_NEWS};

use super::{Call, Effect, Outcome, as_member};
use crate::fact::Hlc;
use crate::rules::Login;
use crate::state::{Mark, News, What};
use crate::store::{NewsQuery, State};

/// How long news are told, in seconds: 30 days, by this tracker's clock.
const TOLD_FOR: u64 = 30 * 24 * 3600;

/// `versions`: whether the client can be told that a share is a new version.
pub(super) async fn run(
    call: &Call,
    me: &Login,
    files_of: Option<GroupName>,
    before: Option<NewsMark>,
    versions: bool,
) -> Outcome {
    let since = match files_of {
        Some(_) => Hlc::default(),
        None => Hlc::at_millis(ticket::now().saturating_sub(TOLD_FOR) * 1000),
    };
    let query = move |state: &State, me: &Login| {
        let files_of = files_of.map(|name| as_member(state, me, &name)).transpose()?.map(|(group, _)| group);
        let query = NewsQuery { user: me.user, files_of, since, before: before.map(from_wire), most: MAX_NEWS };
        Ok(state.news(&query))
    };
    let page = call.read(me, query).await?;
    Ok(Effect::plain(Response::News(NewsPage {
        rows: List::first_of(page.rows.into_iter().map(|news| row(news, versions))),
        before: page.before.map(to_wire),
        cut: page.cut.map(to_wire),
    })))
}

fn from_wire(mark: NewsMark) -> Mark {
    (Hlc::from_stored(mark.stamp.min(i64::MAX.cast_unsigned()).cast_signed()), mark.key)
}

const fn to_wire((at, key): Mark) -> NewsMark {
    NewsMark { stamp: at.to_stored().cast_unsigned(), key }
}

fn row(News { mark, group, what }: News, versions: bool) -> NewsRow {
    let what = match what {
        What::Requested(user) => Happened::JoinRequested { user },
        What::Accepted => Happened::Accepted,
        What::Rejected => Happened::Rejected,
        What::Removed => Happened::Removed,
        What::MadeAdmin => Happened::MadeAdmin,
        What::CameIn(user) => Happened::InvitationUsed { user },
        What::NewVersion(share) if versions => Happened::NewVersion {
            size: share.layout.len(),
            file_id: share.file,
            user: share.uploader,
            entries: share.folder.map(|folder| folder.entries),
            name: share.name,
        },
        What::Shared(share) | What::NewVersion(share) => Happened::FileShared {
            size: share.layout.len(),
            file_id: share.file,
            user: share.uploader,
            entries: share.folder.map(|folder| folder.entries),
            name: share.name,
        },
    };
    NewsRow { mark: to_wire(mark), group, what }
}

#[cfg(test)]
mod tests {
    use common::id::{MembershipId, PublicationId, UserId};
    use common::invitation::InviteSecret;
    use common::wire::client::{Happened, NewsMark, NewsPage, Push, Request, Response};
    use common::wire::limits::MAX_NEWS;
    use common::wire::refusal::Refusal;

    use crate::command::publish_tests::sync;
    use crate::command::tests::{Device, Fixture, group};
    use crate::fact::Fact;
    use crate::store::{State, StoreError};

    async fn page(device: &Device, files_of: Option<&str>, before: Option<NewsMark>) -> Result<NewsPage, Refusal> {
        asked(device, Request::NewsWithVersions { files_of: files_of.map(group), before }).await
    }

    async fn asked(device: &Device, request: Request) -> Result<NewsPage, Refusal> {
        match device.ask(request).await? {
            Response::News(page) => Ok(page),
            other => panic!("no news: {other:?}"),
        }
    }

    /// What a device is told, the first first: one word for each, with a name where there is one.
    async fn told(device: &Device) -> Vec<String> {
        let word = |what: &Happened| match what {
            Happened::JoinRequested { user } => format!("request {user}"),
            Happened::FileShared { name, user, .. } => format!("file {name} {user}"),
            Happened::NewVersion { name, user, .. } => format!("version {name} {user}"),
            Happened::InvitationUsed { user } => format!("came {user}"),
            other => format!("{other:?}"),
        };
        let page = page(device, None, None).await.expect("news");
        assert_eq!(page.before, None);
        page.rows.iter().rev().map(|row| format!("{} {}", row.group, word(&row.what))).collect()
    }

    #[tokio::test]
    async fn everyone_is_told_what_concerns_them() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        a.upload("lab", "early", b"0").await.expect("uploaded");
        b.join("lab").await.expect("asked");
        c.join("lab").await.expect("asked");
        assert_eq!(told(&a).await, ["lab request bob", "lab request carol"], "nothing of what he did himself");
        a.accept("lab", "bob").await.expect("accepted");
        a.ask(Request::RejectRequest { group: group("lab"), user: c.name() }).await.expect("rejected");
        a.upload("lab", "one", b"1").await.expect("uploaded");
        b.upload("lab", "two", b"2").await.expect("uploaded");
        b.upload("lab", "early", b"0").await.expect("the same share");
        assert_eq!(told(&a).await, ["lab file two bob"]);
        assert_eq!(told(&b).await, ["lab Accepted", "lab file one alice"], "what was there before is not new");
        assert_eq!(told(&c).await, ["lab Rejected"]);
        a.ask(Request::MakeAdmin { group: group("lab"), user: b.name() }).await.expect("made");
        assert_eq!(told(&b).await, ["lab Accepted", "lab file one alice", "lab MadeAdmin"]);
        c.join("lab").await.expect("asked again");
        assert_eq!(told(&b).await.last().map(String::as_str), Some("lab request carol"));
        b.remove("lab", "alice").await.expect("removed");
        assert_eq!(told(&a).await, ["lab Removed"], "nor anything else of a group that he is not in");
    }

    #[tokio::test]
    async fn the_admin_is_told_who_came_by_an_invitation_wherever_it_was_used() {
        let [f, g] = Fixture::pair().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        page(&a, None, None).await.expect("news");
        a.hears_hints();
        let secret = InviteSecret::new([1; 16]);
        let invite = Request::Invite { group: group("lab"), secret: secret.digest(), uses: 3, seconds: 600 };
        a.ask(invite).await.expect("made");
        g.sync(&f).await;
        b.ask(Request::AcceptInvite { secret: secret.clone() }).await.expect("came");
        let hints = a.heard().iter().filter(|p| matches!(p, Push::NewsHint { .. })).count();
        assert_eq!((hints, told(&a).await), (1, vec!["lab came bob".to_owned()]));
        // Who has heard of the first comes after it, whatever the clocks say.
        g.sync(&f).await;
        c.twin(&g).ask(Request::AcceptInvite { secret }).await.expect("came");
        f.sync(&g).await;
        assert_eq!(told(&a).await, ["lab came bob", "lab came carol"]);
        assert_eq!(told(&b).await, ["lab Accepted"], "nobody else is");
        a.ask(Request::MakeAdmin { group: group("lab"), user: c.name() }).await.expect("made");
        assert!(told(&a).await.is_empty(), "nor she, since she is not the admin");
        let carols = told(&c).await;
        assert!(!carols.contains(&"lab came carol".to_owned()), "nor of what he did himself: {carols:?}");
    }

    #[tokio::test]
    async fn who_follows_an_admin_that_left_is_told_so() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        a.leave("lab").await.expect("left");
        assert_eq!(told(&b).await, ["lab Accepted", "lab MadeAdmin"]);
        assert!(told(&a).await.is_empty(), "he left himself");
    }

    #[tokio::test]
    async fn a_share_that_is_gone_is_no_news_and_its_next_version_is() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        a.put_folder("project", &[("x", "1")]).await.expect("published");
        a.put_again("project", &[("x", "2")]).await.expect("replaced");
        assert_eq!(told(&b).await, ["lab Accepted", "lab version project alice"], "one of them");
        assert_eq!(page(&a, Some("lab"), None).await.expect("his own, too").rows.len(), 1);
    }

    #[tokio::test]
    async fn both_trackers_say_what_is_a_new_version_to_clients_that_know_the_word() {
        let [f, g] = Fixture::pair().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let there = b.twin(&g);
        a.put_folder("project", &[("x", "1")]).await.expect("published");
        a.put_folder("other", &[("y", "1")]).await.expect("published");
        sync(&g, &f).await;
        a.put_again("project", &[("x", "2")]).await.expect("replaced");
        a.put_again("third", &[("z", "1")]).await.expect("nothing to replace");
        let news = ["lab Accepted", "lab file other alice", "lab version project alice", "lab file third alice"];
        assert_eq!(told(&b).await, news);
        sync(&g, &f).await;
        assert_eq!(told(&there).await, news);
        // And back again: the first content is a version like any other.
        a.put_again("project", &[("x", "1")]).await.expect("replaced");
        assert_eq!(told(&b).await.last().map(String::as_str), Some("lab version project alice"));
        let old = asked(&b, Request::News { files_of: None, before: None }).await.expect("news");
        assert!(matches!(&old.rows[0].what, Happened::FileShared { name, .. } if name.as_str() == "project"));
        assert!(old.rows.iter().all(|row| !matches!(row.what, Happened::NewVersion { .. })), "{old:?}");
        let rows = page(&b, None, None).await.expect("news").rows;
        assert!(rows.iter().map(|row| row.mark).eq(old.rows.iter().map(|row| row.mark)), "known by the same marks");
    }

    #[tokio::test]
    async fn pages_follow_on_each_other_and_old_files_are_cut() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        a.upload("lab", "seen", b"1").await.expect("uploaded");
        let [file] = &page(&b, Some("lab"), None).await.expect("files").rows[..] else { panic!("one file") };
        assert!(matches!(&file.what, Happened::FileShared { name, size: 1, .. } if name.as_str() == "seen"));
        let (user, now) = (a.user(), common::ticket::now());
        for hundred in 0..3 {
            // All of one content, under names of their own.
            let facts = move |state: &State| {
                let group = state.group(&group("lab")).expect("a group");
                let share = state.share_named(group, &"seen".parse().expect("a name")).expect("a share");
                let membership = state.standing(group, user).membership().expect("a member");
                let published = |n: u32| {
                    let (id, name) = (PublicationId::random(), format!("more {n:03}").parse().expect("a name"));
                    let (file, manifest) = (share.file, share.manifest);
                    Fact::Published { id, group, name, file, manifest, user, membership }
                };
                Ok::<_, StoreError>((0..100).map(|n| published(100 * hundred + n)).collect::<Vec<_>>())
            };
            let facts = f.services().store.read(facts).await.expect("read");
            f.state_at(now + u64::from(hundred) + 1, facts).await;
        }
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let page = page(&b, Some("lab"), before).await.expect("a page");
            assert!(page.rows.len() <= MAX_NEWS && page.cut.is_some());
            all.extend(page.rows.iter().map(|row| row.mark));
            before = page.before;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(all.len(), 256);
        assert!(all.windows(2).all(|pair| pair[0] > pair[1]), "the last first, and each once");
        assert_eq!(page(&b, None, None).await.expect("news").rows.len(), MAX_NEWS);
    }

    #[tokio::test]
    async fn strangers_learn_nothing() {
        let f = Fixture::new().await;
        let (a, m) = (f.user("alice").await, f.user("mallory").await);
        a.create_group("lab").await.expect("created");
        a.upload("lab", "secret", b"1").await.expect("uploaded");
        m.join("lab").await.expect("asked");
        assert!(told(&m).await.is_empty());
        assert_eq!(page(&m, Some("lab"), None).await, Err(Refusal::NotAMember(group("lab"))));
        assert_eq!(page(&f.device(), None, None).await, Err(Refusal::NotLoggedIn));
    }

    #[tokio::test]
    async fn news_of_a_month_ago_are_over() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        a.create_group("lab").await.expect("created");
        let found = f.services().store.read(|state| Ok::<_, StoreError>(state.group(&group("lab"))));
        let group_id = found.await.expect("read").expect("a group");
        let asked = |user: u8, days: u64| {
            let user = UserId::new([user; 16]);
            let name = format!("user{}", user.as_bytes()[0]).parse().expect("a name");
            let requested = Fact::Requested { membership: MembershipId::random(), group: group_id, user };
            (common::ticket::now() - days * 24 * 3600, vec![Fact::User { id: user, name }, requested])
        };
        for (user, days) in [(0x51, 31), (0x52, 29)] {
            let (at, facts) = asked(user, days);
            f.state_at(at, facts).await;
        }
        let rows = page(&a, None, None).await.expect("news").rows;
        assert_eq!(rows.len(), 1, "{rows:?}");
    }

    #[tokio::test]
    async fn both_trackers_tell_the_same() {
        let [f, g] = Fixture::pair().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        a.upload("lab", "one", b"1").await.expect("uploaded");
        g.sync(&f).await;
        let here = page(&b, None, None).await.expect("news");
        let there = page(&b.twin(&g), None, None).await.expect("news");
        assert_eq!(here.rows.len(), 2);
        // The manifest has not come with the log: what cannot be fetched is not told yet.
        assert_eq!(there.rows.to_vec(), here.rows[1..].to_vec());
    }

    #[tokio::test]
    async fn new_shares_are_hinted_at_once_for_many_and_only_to_those_who_have_asked() {
        let f = Fixture::new().await;
        let (a, b, c) = (f.user("alice").await, f.user("bob").await, f.user("carol").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        f.admit(&a, &c, "lab").await;
        page(&b, None, None).await.expect("news");
        b.hears_hints();
        for n in 0..20u8 {
            a.upload("lab", &format!("file {n}"), &[n]).await.expect("uploaded");
        }
        f.services().new_files.tell_now(f.services()).await;
        let hints = |device: &Device| device.heard().iter().filter(|p| matches!(p, Push::NewsHint { .. })).count();
        assert_eq!((hints(&b), hints(&c)), (1, 0));
        f.services().new_files.tell_now(f.services()).await;
        assert_eq!(hints(&b), 0);
    }
}
