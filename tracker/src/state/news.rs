//! What has happened that concerns a user, the last first. Nothing is kept for it: it follows from memberships and shares, which
//! have stamps, so that both trackers tell the same, whichever was there.
//!
//! Who is not a member learns nothing of a group but what became of his own requests and memberships. Cost: what a user has
//! been in is looked through, which quotas bound; of groups only their last publications, merged by time, the last who came
//! by invitations, and so many requests.

use std::collections::{BTreeMap, BinaryHeap};

use common::id::{GroupId, GroupName, PublicationId, UserId, UserName};

use super::State;
use super::keys::{GroupKey, MembershipKey, UserKey};
use super::rows::{Asked, MembershipRow};
use super::shares::Share;
use crate::fact::{EndReason, Hlc};

/// Requests to join that are told at most, of all groups that a user is the admin of: `list_requests` shows the others.
const MAX_WAITING: usize = 1000;
/// Publications that are looked at for one page.
const MAX_LOOKED_AT: usize = 2000;
/// Those who came into a group by invitations that are told, the last ones.
const MAX_CAME_IN: usize = 256;
/// Memberships that are looked through for who waits, whoever has asked and withdrawn how often.
const MAX_STEPS: usize = 16_384;

/// Where something stands among the rest: when it happened, and what tells it apart.
pub type Mark = (Hlc, u64);

/// Whose news, and which.
#[derive(Debug, Clone)]
pub struct NewsQuery {
    /// Whose.
    pub user: UserId,
    /// Only the shares of this group, his own included, however old they are.
    pub files_of: Option<GroupId>,
    /// Not before this.
    pub since: Hlc,
    /// Only what was before this.
    pub before: Option<Mark>,
    /// Rows.
    pub most: usize,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// When, and which.
    pub mark: Mark,
    /// In which group.
    pub group: GroupName,
    /// What.
    pub what: What,
}

/// What can have happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Somebody waits to be let in.
    Requested(UserName),
    /// The user was let in.
    Accepted,
    /// The user's request was turned down.
    Rejected,
    /// The user was removed.
    Removed,
    /// The user is the admin.
    MadeAdmin,
    /// Somebody came by an invitation.
    CameIn(UserName),
    /// There is a share that was not there before.
    Shared(Box<Share>),
    /// There is one in the place of what had its name.
    NewVersion(Box<Share>),
}

/// A page of news.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewsPage {
    /// The rows, the last first.
    pub rows: Vec<News>,
    /// From where the next page goes on, if there may be one.
    pub before: Option<Mark>,
    /// Of the shares of one group: the first that is known by time, if there were others before.
    pub cut: Option<Mark>,
}

/// What a row will be made of.
#[derive(Debug, Clone, Copy)]
enum Origin {
    Membership(GroupKey, Kind),
    Waiting(GroupKey, UserKey),
    CameIn(GroupKey, UserKey),
}

/// Kinds of news of memberships; the numbers tell their keys apart.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Accepted = 1,
    Rejected = 2,
    Removed = 3,
    MadeAdmin = 4,
    Requested = 5,
    CameIn = 6,
}

/// The last publications of one group that are not taken yet, the last at the end.
struct Run<'a> {
    group: GroupKey,
    left: &'a [(Hlc, PublicationId)],
}

impl Run<'_> {
    fn next(&self) -> Option<Mark> {
        self.left.last().map(|(at, id)| (*at, key(id.as_bytes())))
    }
}

impl State {
    /// What has happened that concerns a user, or what was shared in one group.
    pub fn news(&self, query: &NewsQuery) -> NewsPage {
        let Some(user) = self.users.find(&query.user) else { return NewsPage::default() };
        let mut told = Vec::new();
        let mut runs = Vec::new();
        let mut cut = None;
        match query.files_of {
            Some(group) => {
                let Some(group) = self.groups.find(&group) else { return NewsPage::default() };
                cut = self.groups[group].latest.first_after_cut().map(|(at, id)| (at, key(id.as_bytes())));
                runs.push(self.run(group, Hlc::default(), query.before));
            }
            None => {
                self.own_news(user, &mut told);
                let groups = self.member_since(user);
                self.admin_news(user, &groups, &mut told);
                runs.extend(
                    groups.iter().map(|(group, since)| self.run(*group, query.since.max(*since), query.before)),
                );
            }
        }
        told.retain(|(mark, _)| mark.0 >= query.since && query.before.is_none_or(|before| *mark < before));
        if let Some(surplus) = told.len().checked_sub(MAX_LOOKED_AT).filter(|surplus| *surplus > 0) {
            // A page looks at the last of them only.
            told.select_nth_unstable_by_key(surplus, |(mark, _)| *mark);
            told.drain(..surplus);
        }
        told.sort_unstable_by_key(|(mark, _)| *mark);
        NewsPage { cut, ..self.merged(query, user, told, runs) }
    }

    /// A page of both, the last first.
    fn merged(
        &self,
        query: &NewsQuery,
        user: UserKey,
        mut told: Vec<(Mark, Origin)>,
        mut runs: Vec<Run<'_>>,
    ) -> NewsPage {
        let mut heads: BinaryHeap<(Mark, usize)> =
            runs.iter().enumerate().filter_map(|(n, run)| Some((run.next()?, n))).collect();
        let (mut rows, mut last) = (Vec::new(), None);
        for _ in 0..MAX_LOOKED_AT {
            if rows.len() == query.most {
                return NewsPage { rows, before: last, cut: None };
            }
            let share = heads.peek().copied().filter(|(mark, _)| told.last().is_none_or(|(other, _)| mark >= other));
            let (mark, row) = match (share, told.last()) {
                (Some((mark, n)), _) => {
                    heads.pop();
                    let run = &mut runs[n];
                    let Some(((_, id), left)) = run.left.split_last() else { continue };
                    run.left = left;
                    heads.extend(run.next().map(|mark| (mark, n)));
                    (mark, self.share_news(run.group, *id, user, query.files_of.is_some()))
                }
                (None, Some((mark, origin))) => {
                    let taken = (*mark, self.membership_news(*origin));
                    told.pop();
                    taken
                }
                (None, None) => return NewsPage { rows, before: None, cut: None },
            };
            last = Some(mark);
            rows.extend(row.map(|(group, what)| News { mark, group, what }));
        }
        NewsPage { rows, before: last, cut: None }
    }

    fn run(&self, group: GroupKey, since: Hlc, before: Option<Mark>) -> Run<'_> {
        let all = self.groups[group].latest.last();
        let end = before.map_or(all.len(), |before| all.partition_point(|(at, id)| (*at, key(id.as_bytes())) < before));
        let begin = all.partition_point(|(at, _)| *at < since).min(end);
        Run { group, left: &all[begin..end] }
    }

    /// The groups that a user is a member of, and since when.
    fn member_since(&self, user: UserKey) -> BTreeMap<GroupKey, Hlc> {
        let mut groups: BTreeMap<GroupKey, Hlc> = BTreeMap::new();
        for (group, membership) in self.live_of(user) {
            let Some(live) = self.memberships[membership].live else { continue };
            let since = groups.entry(group).or_insert(live.hlc());
            *since = (*since).min(live.hlc());
        }
        groups
    }

    /// What became of the user's own requests and memberships. What he was told as a member of a group that he has left is not
    /// told again.
    fn own_news(&self, user: UserKey, told: &mut Vec<(Mark, Origin)>) {
        for membership in &self.users[user].memberships {
            let row = &self.memberships[*membership];
            let Some(asked) = row.asked else { continue };
            let was_accepted = row.accepts.iter().next().is_some();
            let news = match (row.live, row.end.map(|end| (end.at, end.reason))) {
                (Some(at), _) if !self.is_founding(asked) => Some((at, Kind::Accepted)),
                (None, Some((at, EndReason::Rejected))) => Some((at, Kind::Rejected)),
                (None, Some((at, EndReason::Kicked))) if was_accepted => Some((at, Kind::Removed)),
                _ => None,
            };
            told.extend(
                news.map(|(at, kind)| ((at.hlc(), membership_key(row, kind)), Origin::Membership(asked.group, kind))),
            );
        }
    }

    /// Whether this request is the one by which the group was made.
    fn is_founding(&self, asked: Asked) -> bool {
        self.groups[asked.group].claim.as_ref().is_some_and(|claim| claim.at == asked.at)
    }

    /// That the user is the admin of groups, who has come there by invitations, and who waits there.
    fn admin_news(&self, user: UserKey, groups: &BTreeMap<GroupKey, Hlc>, told: &mut Vec<(Mark, Origin)>) {
        let (mut room, mut steps) = (MAX_WAITING, MAX_STEPS);
        for (group, since) in groups {
            if self.admin_key(*group, None) != Some(user) {
                continue;
            }
            let made = self.made_admin(*group, user, *since);
            told.extend(made.map(|mark| (mark, Origin::Membership(*group, Kind::MadeAdmin))));
            for (at, membership) in self.came_in(*group, *since).take(MAX_CAME_IN) {
                let row = &self.memberships[membership];
                // What came without knowing of a removal does not count.
                let has_come = row.live.is_some() || row.end.is_some();
                let who = row.asked.map(|asked| asked.user).filter(|who| has_come && *who != user);
                told.extend(who.map(|who| ((at, membership_key(row, Kind::CameIn)), Origin::CameIn(*group, who))));
            }
            let (most, mut waiting) = (if steps == 0 { 0 } else { room }, self.groups[*group].waiting.iter());
            for (_, waits) in waiting.by_ref().take(most) {
                let pending = |m: &MembershipKey| {
                    let row = &self.memberships[*m];
                    row.live.is_none() && row.end.is_none()
                };
                let mut walked = 0;
                let asked = self.of_place(*group, *waits).inspect(|_| walked += 1).filter(pending).filter_map(|m| {
                    let row = &self.memberships[m];
                    row.asked.map(|asked| (asked.at.hlc(), membership_key(row, Kind::Requested)))
                });
                told.extend(asked.min().map(|mark| (mark, Origin::Waiting(*group, *waits))));
                room -= 1;
                steps = steps.saturating_sub(walked);
                if steps == 0 {
                    break;
                }
            }
        }
    }

    /// When the admin of a group became that, unless he made the group: when he was made it, or else, as far as is known, when
    /// whoever was made it before has left.
    fn made_admin(&self, group: GroupKey, user: UserKey, since: Hlc) -> Option<Mark> {
        let row = &self.groups[group];
        let made = row.admin?;
        let membership = &self.memberships[made.membership];
        let by_name = made.user == user && membership.live.is_some();
        let at = match by_name {
            true if row.claim.as_ref().is_some_and(|claim| claim.at == made.at) => return None,
            true => made.at.hlc(),
            false => membership.end?.at.hlc().max(since),
        };
        Some((at, membership_key(membership, Kind::MadeAdmin) ^ at.to_stored().cast_unsigned()))
    }

    fn membership_news(&self, origin: Origin) -> Option<(GroupName, What)> {
        let (group, what) = match origin {
            Origin::Waiting(group, user) => (group, What::Requested(self.users[user].shown.clone()?)),
            Origin::CameIn(group, user) => (group, What::CameIn(self.users[user].shown.clone()?)),
            Origin::Membership(group, kind) => {
                let what = match kind {
                    Kind::Accepted => What::Accepted,
                    Kind::Rejected => What::Rejected,
                    Kind::Removed => What::Removed,
                    Kind::MadeAdmin => What::MadeAdmin,
                    Kind::Requested | Kind::CameIn => return None,
                };
                (group, what)
            }
        };
        Some((self.groups[group].shown.clone()?, what))
    }

    /// A publication, if it is the first of a share that is seen; of one's own only if they are wanted.
    fn share_news(&self, group: GroupKey, id: PublicationId, user: UserKey, own: bool) -> Option<(GroupName, What)> {
        let (publication, row) = self.publications.get(&id)?;
        let fact = row.fact.filter(|fact| row.listed && (own || fact.user != user))?;
        let share = self.share_first_by(group, fact.share, publication)?;
        let what = if self.replaced_another(publication) { What::NewVersion } else { What::Shared };
        Some((self.groups[group].shown.clone()?, what(Box::new(share))))
    }
}

/// The first bytes of an id.
fn key(id: &[u8; 16]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *id;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

fn membership_key(row: &MembershipRow, kind: Kind) -> u64 {
    key(row.id.as_bytes()) ^ (kind as u64) << 56
}
