//! How outcomes, errors and news are shown: as text for people, as one line of JSON for scripts.
//! Pure; whatever came from the network is escaped here or by its type's own Display.

mod json_lines;
mod tables;

use std::num::NonZeroU32;
use std::time::Duration;

use common::escape::Escaped;
use common::id::{FileName, GroupName};
use common::wire::client::{InviteState, Relation};

pub(crate) use self::json_lines::{UNHEALTHY, json, news, progress};
use self::tables::{
    devices_table, downloads_table, files_table, groups_table, invites_table, limits_table, settings_table,
    shares_table, subscriptions_table, table, tree_table,
};
use crate::engine::Outcome;
use crate::engine::command::as_argument;
use crate::engine::outcome::{
    CheckedInvite, Downloaded, FileRow, Finding, GroupRow, HitRow, Info, Kind, LimitTable, Limits, Moment, NewInvite,
    NewsRow, PageLink, Reach, ReachState, Status, Subscribed, TrackerRow, TreeRow, Uploaded, label, mode_word,
};
use crate::error::{Error, shown};
use crate::units::{ago, count, duration, percent, rate, size};

/// What is said of a name that only one tracker has confirmed so far.
const PROVISIONAL: &str = ". The other tracker is away: if the name was claimed there before, \
                           yours gets a suffix when they meet again";

/// What is said of anything else that only one tracker has so far.
const OF_ONE_TRACKER: &str = "the other tracker is away and has not heard of this yet: it will when both are back";

/// That nothing was found by words of one or two letters alone.
pub(super) const NO_BEGINNING: &str = "no name in your groups has a word that begins with these letters; a word of one or two letters is \
                                       looked for within others only beside a longer one";

/// What people see of an outcome.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    /// For stdout: what was asked for.
    pub(crate) data: String,
    /// For stderr: that it was done.
    pub(crate) message: String,
    /// For stderr: the natural next command.
    pub(crate) hint: Option<String>,
}

/// An outcome, for people.
pub(crate) fn text(outcome: &Outcome) -> Text {
    let (data, message) = match outcome {
        Outcome::OfOneTracker(done) => return of_one_tracker(done),
        Outcome::UserCreated { user, provisional } => {
            said(format!("account `{user}` created{}", if *provisional { PROVISIONAL } else { "" }))
        }
        Outcome::LoggedIn(u) => said(format!("logged in as {}", u.user)),
        Outcome::LoggedOut {} => said("logged out".to_owned()),
        Outcome::PasswordChanged {} => said("password changed; your logins on other devices have ended".to_owned()),
        Outcome::GroupCreated { group, provisional } => {
            let provisional = if *provisional { PROVISIONAL } else { "" };
            said(format!("group `{group}` created; you are its admin{provisional}"))
        }
        Outcome::JoinRequested(g) => said(format!("asked to join `{}`; its admin has to accept", g.group)),
        Outcome::Left { group, was, withdrawn } => said(left(group, *was, *withdrawn)),
        Outcome::Accepted(m) => said(format!("{} is a member of `{}` now", m.user, m.group)),
        Outcome::Rejected(m) => said(format!("the request of {} to join `{}` is turned down", m.user, m.group)),
        Outcome::Removed(m) => said(format!("{} is no longer a member of `{}`", m.user, m.group)),
        Outcome::AdminMade(m) => said(format!("{} is the admin of `{}` now", m.user, m.group)),
        Outcome::Invited(invite) => (invite.invite.0.to_line().to_string(), invited(invite)),
        Outcome::Joined(g) => said(format!("you are a member of `{}` now", g.group)),
        Outcome::Checked(i) => (checked(i), String::new()),
        Outcome::Invites { group, invites } => {
            rows(invites_table(invites), &format!("there are no invitations into `{group}`"))
        }
        Outcome::InviteRevoked(i) => {
            said(format!("nobody comes into `{}` by invitation {} any more; who has come stays", i.group, i.n))
        }
        Outcome::Paused { n } => said(format!("download {n} paused")),
        Outcome::Resumed { n } => said(format!("download {n} goes on")),
        Outcome::Cancelled { n } => said(format!("download {n} given up")),
        Outcome::Stopped { group, name, removed } => {
            let copy = removed.as_ref().map(|path| format!("; the copy of it at {} is removed", shown(path)));
            said(format!("`{name}` in `{group}` is no longer seeded from here{}", copy.unwrap_or_default()))
        }
        Outcome::Downloading { n, group, name, within } => {
            let within = within.as_ref().map(|path| format!("/{}", Escaped(path))).unwrap_or_default();
            said(format!("download {n}: `{}{within}` from `{group}`", Escaped(name)))
        }
        Outcome::Whoami(u) => (u.user.to_string(), String::new()),
        Outcome::Groups { groups } => rows(groups_table(groups), "there are no groups yet"),
        Outcome::Requests { requests, group } => {
            let users = requests.iter().map(|u| u.user.to_string()).collect::<Vec<_>>().join("\n");
            rows(users, &format!("nobody asks to join `{group}`"))
        }
        Outcome::Members { members } => {
            let name =
                |m: &crate::engine::outcome::MemberRow| format!("{}{}", m.user, if m.admin { " (admin)" } else { "" });
            rows(members.iter().map(name).collect::<Vec<_>>().join("\n"), "no members")
        }
        Outcome::Uploaded(u) => (uploaded(u), String::new()),
        Outcome::Files { files, total, group, filtered } => listed(files, *total, group, *filtered),
        Outcome::Tree { name, entries, files, total, .. } => tree_listed(files, *total, name, *entries),
        Outcome::Downloaded(d) => (downloaded(d), String::new()),
        Outcome::Downloads { downloads } => rows(downloads_table(downloads), "no downloads"),
        Outcome::Shares { shares } => rows(shares_table(shares), "this device shares nothing"),
        Outcome::Devices { devices } => rows(devices_table(devices), "you are logged in nowhere"),
        Outcome::LoginEnded { here: true, .. } => said("logged out on this device".to_owned()),
        Outcome::LoginEnded { device, .. } => said(format!("logged out on the device {device:.8}")),
        Outcome::News { news, since, all } => happened(news, *since, *all),
        Outcome::Subscribed(s) => said(subscribed(s)),
        Outcome::Subscriptions { subscriptions } => rows(subscriptions_table(subscriptions), "no subscriptions"),
        Outcome::Unsubscribed { n, group } => {
            said(format!("subscription {n} has ended; what came from `{group}` stays"))
        }
        Outcome::Hits { hits, more, short, page } => found(hits, *more, *short, page.map_or(1, NonZeroU32::get)),
        Outcome::Info(i) => (info(i), String::new()),
        Outcome::Verified(v) => said(format!(
            "`{}` in `{}`: all of it at {} is what was published, {} in {}",
            v.name,
            v.group,
            shown(&v.path),
            size(v.size),
            count(v.pieces.into(), "piece", "pieces")
        )),
        Outcome::Limits(table) => (limits_table(&table.limits), limited(Limits { up: table.up, down: table.down })),
        Outcome::Settings { settings } => (settings_table(settings), String::new()),
        Outcome::Status(s) => (status(s), String::new()),
        Outcome::Findings { findings } => (found_by_doctor(findings), outcome.wrong().unwrap_or_default()),
        Outcome::Help { help } => (help.clone(), String::new()),
        Outcome::Web(page) => (page.link.clone(), certificate(page).unwrap_or_default()),
        Outcome::Quit {} => (String::new(), String::new()),
        Outcome::ShutDown {} => said("the client was shut down".to_owned()),
    };
    Text { data, message, hint: hint(outcome) }
}

/// What only one of two trackers has so far.
fn of_one_tracker(done: &Outcome) -> Text {
    let all = text(done);
    let meanwhile = match done {
        Outcome::Removed(m) => {
            format!(". Members that reach only that one may go on sharing with {} until then", m.user)
        }
        Outcome::PasswordChanged {} => {
            ". It takes the password of before until then, and logins there go on until then".to_owned()
        }
        _ => String::new(),
    };
    let before = if all.message.is_empty() { String::new() } else { format!("{}\n", all.message) };
    Text { message: format!("{before}{OF_ONE_TRACKER}{meanwhile}"), ..all }
}

fn said(message: String) -> (String, String) {
    (String::new(), message)
}

fn rows(table: String, none: &str) -> (String, String) {
    if table.is_empty() { said(none.to_owned()) } else { (table, String::new()) }
}

/// What has happened, each with its time.
fn happened(news: &[NewsRow], since: Option<Moment>, all: bool) -> (String, String) {
    let line = |row: &NewsRow| format!("{}  {}", row.at.minute(), row.text);
    let message = match (news.is_empty(), all, since) {
        (false, ..) => String::new(),
        (true, true, _) => "nothing has happened in the last 30 days".to_owned(),
        (true, false, Some(at)) => format!("nothing new since {}; `news --all` shows what was before", at.minute()),
        (true, false, None) => "nothing new; `news --all` shows the last 30 days".to_owned(),
    };
    (news.iter().map(line).collect::<Vec<_>>().join("\n"), message)
}

fn subscribed(s: &Subscribed) -> String {
    let which = s.glob.as_ref().map(|glob| format!(" and fits `{}`", Escaped(glob))).unwrap_or_default();
    let here = match s.here {
        0 => String::new(),
        n => format!("; {} here already", count(n, "share is", "shares are")),
    };
    let acts = if s.acts { "" } else { ". It acts while a client runs here: at the prompt, or with `client --stay`" };
    let (n, group, to) = (s.n, &s.group, shown(&s.destination));
    if s.extended {
        let waiting = match s.waiting {
            0 => "what is there has come, or is on its way".to_owned(),
            n => format!("{} to {to} as well", count(n, "share that is there comes", "shares that are there come")),
        };
        return format!("subscription {n} was there before, and goes on; {waiting}{here}{acts}");
    }
    let waiting = match s.waiting {
        0 => String::new(),
        n => format!("; and {}", count(n, "share that is there", "shares that are there")),
    };
    format!("subscription {n}: what is shared in `{group}` from now on{which} comes to {to}{waiting}{here}{acts}")
}

/// What was found, or a page of it.
fn found(hits: &[HitRow], more: bool, short: bool, page: u32) -> (String, String) {
    let table = table(
        ["SIZE", "GROUP", "ID", "NAME"],
        hits.iter().map(|h| {
            [size(h.size), h.group.to_string(), format!("{:.8}", h.file_id), label(&h.name, h.path.as_deref())]
        }),
    );
    let message = match (hits.is_empty(), more) {
        // How many pages there are is not known, nor whether there are any.
        (true, _) if page > 1 => {
            format!(
                "there is no page {page}; what was found, if anything, is on the pages before it: `--page 1` is the first"
            )
        }
        (true, _) if short => NO_BEGINNING.to_owned(),
        (true, _) => "nothing in your groups has all of these words in its name".to_owned(),
        (false, true) => "there is more: `--page` shows others, and a further word fewer".to_owned(),
        (false, false) => String::new(),
    };
    (table, message)
}

/// A listing, or a page of one.
fn listed(files: &[FileRow], total: u64, group: &GroupName, filtered: bool) -> (String, String) {
    let message = match total {
        0 if filtered => format!("`{group}` shares nothing whose name fits"),
        0 => format!("`{group}` shares no files yet"),
        _ => other_pages(files.len(), total),
    };
    (files_table(files), message)
}

/// What is in a folder, or a page of it.
fn tree_listed(files: &[TreeRow], total: u64, name: &FileName, entries: u64) -> (String, String) {
    let message = match (total, entries) {
        (0, 0) => format!("there is nothing in `{name}`"),
        (0, _) => format!("nothing in `{name}` fits"),
        _ => other_pages(files.len(), total),
    };
    (tree_table(files), message)
}

/// What there is to say of rows besides those that are shown.
fn other_pages(shown: usize, total: u64) -> String {
    match shown as u64 {
        0 => format!("there is no such page; {} in all", count(total, "row", "rows")),
        shown if shown == total => String::new(),
        shown => format!("{} of {total}; `--page` shows others", count(shown, "row", "rows")),
    }
}

fn left(group: &GroupName, was: Relation, withdrawn: u64) -> String {
    match withdrawn {
        _ if was == Relation::Pending => format!("your request to join `{group}` is withdrawn"),
        0 => format!("you are no longer in `{group}`"),
        n => format!("you are no longer in `{group}`; {} there withdrawn", count(n, "share", "shares")),
    }
}

/// The natural next command.
fn hint(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::OfOneTracker(done) => hint(done),
        Outcome::UserCreated { user, .. } => Some(format!("login {user}")),
        Outcome::LoggedIn(_) => Some("list_groups".to_owned()),
        Outcome::LoggedOut {} => Some("login <user>".to_owned()),
        Outcome::GroupCreated { group, .. } => Some(format!("upload_file <path> {group}")),
        Outcome::Groups { groups } => Some(after_groups(groups)),
        Outcome::JoinRequested(_) => Some("list_groups".to_owned()),
        Outcome::Requests { group, requests } => {
            requests.first().map(|first| format!("accept_request {group} {}", first.user))
        }
        Outcome::Accepted(m) => Some(format!("list_requests {}", m.group)),
        Outcome::Rejected(m) | Outcome::AdminMade(m) => Some(format!("list_members {}", m.group)),
        // One that is still good would let them in again under another name.
        Outcome::Removed(m) => Some(format!("list_invites {}", m.group)),
        Outcome::Invited(i) => Some(format!("list_invites {}", i.group)),
        Outcome::Joined(g) => Some(format!("list_files {}", g.group)),
        Outcome::InviteRevoked(i) => Some(format!("list_invites {}", i.group)),
        Outcome::Checked(i) if i.state == InviteState::Open => Some("accept_invite".to_owned()),
        Outcome::Checked(i) => (i.state != InviteState::Closed).then(|| format!("join_group {}", i.group)),
        Outcome::Invites { group, invites } => {
            let open = invites.iter().find(|i| i.state == InviteState::Open);
            Some(open.map_or_else(|| format!("invite {group}"), |_| format!("list_members {group}")))
        }
        Outcome::Uploaded(u) => Some(format!("list_files {}", u.group)),
        Outcome::Files { group, files, .. } => {
            let missing = files.iter().find(|file| !file.here && file.seeders > 0);
            missing.map(|file| format!("download_file {group} {} .", as_argument(file.name.as_str())))
        }
        Outcome::Tree { group, name, files, .. } => files.iter().find(|row| row.kind == Kind::File).map(|first| {
            format!("download_file {group} {} .", as_argument(&format!("{}/{}", name.as_str(), first.path)))
        }),
        Outcome::Downloading { .. } => Some("show_downloads".to_owned()),
        Outcome::Paused { n } => Some(format!("resume_download {n}")),
        Outcome::Shares { shares } => {
            shares.first().map(|first| format!("stop_share {} {}", first.group, as_argument(first.name.as_str())))
        }
        Outcome::Devices { devices } => {
            devices.iter().find(|d| !d.here).map(|other| format!("end_login {:.8}", other.device))
        }
        Outcome::LoginEnded { here, .. } => Some(if *here { "login <user>" } else { "list_devices" }.to_owned()),
        Outcome::Limits(table) => meant_in_mebibytes(table),
        Outcome::Left { .. } | Outcome::Stopped { .. } | Outcome::Cancelled { .. } | Outcome::Resumed { .. } => None,
        Outcome::PasswordChanged {} | Outcome::Whoami(_) | Outcome::Members { .. } | Outcome::Downloaded(_) => None,
        Outcome::Downloads { .. } | Outcome::Status(_) | Outcome::Help { .. } | Outcome::Quit {} => None,
        Outcome::Web(_) | Outcome::ShutDown {} | Outcome::Verified(_) => None,
        Outcome::Settings { .. } | Outcome::Findings { .. } => None,
        Outcome::News { .. } | Outcome::Unsubscribed { .. } => None,
        Outcome::Subscribed(_) => Some("list_subscriptions".to_owned()),
        Outcome::Subscriptions { subscriptions } => subscriptions.first().map(|s| format!("unsubscribe {}", s.n)),
        Outcome::Hits { hits, .. } => hits.first().map(|h| format!("info {} id:{:.16}", h.group, h.file_id)),
        Outcome::Info(i) if i.here => Some(format!("verify {} {}", i.group, as_argument(i.name.as_str()))),
        Outcome::Info(i) => Some(format!("download_file {} {} .", i.group, as_argument(i.name.as_str()))),
    }
}

/// What somebody meant who has set a few bytes per second.
fn meant_in_mebibytes(table: &LimitTable) -> Option<String> {
    let few = |direction: &str, limit: Option<u64>| {
        limit.filter(|limit| *limit < 1024).map(|limit| format!("limit {direction} {limit}M, if that was meant"))
    };
    few("up", table.up).or_else(|| few("down", table.down))
}

fn after_groups(groups: &[GroupRow]) -> String {
    let mine = groups.iter().find(|g| matches!(g.relation, Relation::Admin | Relation::Member));
    let other = groups.iter().find(|g| g.relation == Relation::None);
    match (mine, other) {
        (Some(mine), _) => format!("list_files {}", mine.group),
        (None, Some(other)) => format!("join_group {}", other.group),
        (None, None) => "create_group <group>".to_owned(),
    }
}

/// Where an invitation leads that is good, by whom, and for how long.
pub(super) fn invited_to(i: &CheckedInvite) -> String {
    let left = count(i.left.into(), "use", "uses");
    format!("`{}` by {} ({left} left, until {})", i.group, i.by, i.expires.minute())
}

/// What an invitation is for, or why it is over.
pub(super) fn checked(i: &CheckedInvite) -> String {
    i.why_over().unwrap_or_else(|| format!("an invitation to {}", invited_to(i)))
}

/// What there is to know of an invitation besides its line.
fn invited(i: &NewInvite) -> String {
    let uses = count(i.uses.into(), "person", "people");
    let mut text = format!(
        "invitation {} into `{}`, for {uses}, until {}. Whoever has the line can come in: pass it on privately",
        i.n, i.group, i.expires
    );
    if i.local {
        text += "\nit is good on this machine only: your list names the trackers by addresses that no other machine reaches (such \
                 as 127.0.0.1). To invite from elsewhere, run the trackers at addresses that others reach, list those in \
                 tracker_info.txt, and invite again";
    }
    text
}

fn uploaded(u: &Uploaded) -> String {
    let entries = u.folder.as_ref().map(|f| format!("{}, ", entries(f.entries)));
    let replaced = if u.replaced { "\nin place of the version before" } else { "" };
    let mut text = format!(
        "{} in `{}`: {}{} in {} of {}{replaced}\nsha1    {}\nfile id {}\nlink    {}",
        u.name,
        u.group,
        entries.unwrap_or_default(),
        size(u.size),
        count(u.pieces.into(), "piece", "pieces"),
        size(u.piece_size),
        u.sha1,
        u.file_id,
        Escaped(&u.link)
    );
    for skipped in u.folder.iter().flat_map(|folder| &folder.skipped) {
        text += &format!("\nleft out: {} ({})", Escaped(&skipped.path), Escaped(&skipped.why));
    }
    text
}

/// Files and empty folders, as a number of files.
fn entries(n: u64) -> String {
    count(n, "file", "files")
}

/// A share, looked at closely.
fn info(i: &Info) -> String {
    let mut lines = vec![
        format!(
            "{} in `{}`: {}{} in {} of {}",
            i.name,
            i.group,
            i.entries.map(|n| format!("a folder of {}, ", entries(n.into()))).unwrap_or_default(),
            size(i.size),
            count(i.pieces.into(), "piece", "pieces"),
            size(i.piece_size)
        ),
        i.published.map_or_else(
            || format!("from    {}", i.uploader),
            |at| format!("from    {}, {}", i.uploader, ago(at.age())),
        ),
        format!("sha1    {}", i.sha1),
        format!("file id {}", i.file_id),
        format!("link    {}", Escaped(&i.link)),
        format!("here    {}", i.path.as_ref().map_or_else(|| "no".to_owned(), |path| shown(path))),
        match i.seeders.len() {
            0 => "seeders none are there".to_owned(),
            n => format!("seeders {n}"),
        },
    ];
    lines.extend(i.seeders.iter().map(|s| {
        let has = match (s.complete, s.pieces, &s.reason) {
            (true, ..) => "all".to_owned(),
            (_, Some(pieces), reason) => {
                let reason = reason.as_ref().map(|reason| format!(" ({})", Escaped(reason))).unwrap_or_default();
                format!("{}%{reason}", percent(pieces.into(), i.pieces.into()))
            }
            (_, None, reason) => format!("not known: {}", Escaped(reason.as_deref().unwrap_or_default())),
        };
        format!("  {} ({:.8}) at {}: {has}", s.user, Escaped(&s.device).to_string(), Escaped(&s.address))
    }));
    lines.join("\n")
}

/// Where a finished download is, and who gave it.
pub(crate) fn downloaded(d: &Downloaded) -> String {
    let time = Duration::try_from_secs_f64(d.seconds).unwrap_or_default();
    let files = d.files.map(|n| format!("{}, ", entries(n))).unwrap_or_default();
    let mut text = format!("{}: {files}{} in {}, verified", shown(&d.path), size(d.size), duration(time));
    // What was there before is not counted: it did not come at this rate.
    let fetched: u64 = d.peers.iter().map(|peer| peer.bytes).sum();
    if d.seconds >= 0.01 && fetched > 0 {
        text += &format!(" ({})", rate((fetched as f64 / d.seconds) as u64));
    }
    if let Some(reused) = d.reused.filter(|reused| *reused > 0) {
        text += &format!("\n  {} were there already", size(reused));
    }
    for peer in &d.peers {
        text += &format!("\n  {} from {} ({:.8})", size(peer.bytes), peer.user, Escaped(&peer.device).to_string());
    }
    text + &format!("\nfile id {}", d.file_id)
}

fn status(s: &Status) -> String {
    let tracker = |t: &TrackerRow| {
        let state = match (t.up, t.current) {
            (true, true) => "up, in use",
            (true, false) => "up",
            (false, _) => "down",
        };
        let full = if t.disk_full { ", its disk is full" } else { "" };
        format!("tracker    {} {state}{full}", t.address)
    };
    let mut lines: Vec<_> = s.trackers.iter().map(tracker).collect();
    let lag =
        s.lag.filter(|lag| *lag > 0).map(|lag| format!(", the other tracker lacks {}", count(lag, "event", "events")));
    let none = if s.mode.is_none() { ": no tracker can be reached" } else { "" };
    lines.push(format!("mode       {}{none}{}", mode_word(s.mode), lag.unwrap_or_default()));
    lines.push(format!(
        "user       {}",
        s.user.as_ref().map_or_else(|| "(not logged in)".to_owned(), ToString::to_string)
    ));
    lines.push(format!("listening  {}", s.listen));
    lines.push(format!("reachable  {}", reach(&s.reach)));
    lines.push(format!("device     {}", s.device));
    lines.push(format!("fetching   {}", rate(s.rate_down)));
    lines.push(format!("limits     {}", limited(s.limits)));
    lines.join("\n")
}

/// What there is to know before a browser goes on to an encrypted page.
pub(crate) fn certificate(PageLink { fingerprint, .. }: &PageLink) -> Option<String> {
    let fingerprint = fingerprint.as_ref()?;
    Some(format!(
        "no authority vouches for this page: the browser warns once; go on only if the SHA-256 fingerprint of its certificate is\n\
         {fingerprint}\nwhoever can reach the address and gets a link before you use it acts as you in your groups, and sees this \
         machine's paths"
    ))
}

fn limited(Limits { up, down }: Limits) -> String {
    let at_most =
        |limit: Option<u64>| limit.map_or_else(|| "without limit".to_owned(), |l| format!("at most {}", rate(l)));
    format!("sends {}, fetches {}", at_most(up), at_most(down))
}

/// What was looked at, a line or two for each.
fn found_by_doctor(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let word = if finding.ok { "ok " } else { "BAD" };
        let remedy = finding.remedy.as_ref().map(|remedy| format!("\n     {}", Escaped(remedy))).unwrap_or_default();
        format!("{word}  {}{remedy}", Escaped(&finding.what))
    };
    findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Whether others can connect to this device, and from what that is known.
pub(crate) fn reach(Reach { state, at }: &Reach) -> String {
    let ago = at.map(|at| ago(at.age())).unwrap_or_default();
    match state {
        ReachState::Loopback => {
            "by this machine only: it listens at an address that no other has; start with another IP:PORT to be reached"
                .to_owned()
        }
        ReachState::Reached => format!("yes: a member on another machine connected {ago}"),
        ReachState::Local => {
            format!("not known: only members on this machine have connected, the last {ago}")
        }
        ReachState::Unknown => "not known: no member has connected since this client started".to_owned(),
    }
}

// --- errors ---

/// An error, for people.
pub(crate) fn error(error: &Error) -> String {
    format!("error: {error}")
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
