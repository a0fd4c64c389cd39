//! Listings, page by page until there is no more.

use common::id::GroupName;
use common::wire::client::{Page, Request, Response};

use super::arrange::Wanted;
use super::outcome::{FileRow, Outcome, User};
use super::{Engine, Error, unexpected};

impl Engine {
    pub(super) async fn list_groups(&self) -> Result<Outcome, Error> {
        let groups = self.pages(|after| Request::ListGroups { after }, groups, |row| row.group.clone()).await?;
        Ok(Outcome::Groups { groups: groups.into_iter().map(Into::into).collect() })
    }

    pub(super) async fn list_requests(&self, group: GroupName) -> Result<Outcome, Error> {
        let request = |after| Request::ListRequests { group: group.clone(), after };
        let users = self.pages(request, users, Clone::clone).await?;
        Ok(Outcome::Requests { requests: users.into_iter().map(|user| User { user }).collect(), group })
    }

    pub(super) async fn list_members(&self, group: GroupName) -> Result<Outcome, Error> {
        let request = |after| Request::ListMembers { group: group.clone(), after };
        let members = self.pages(request, members, |row| row.user.clone()).await?;
        Ok(Outcome::Members { members: members.into_iter().map(Into::into).collect() })
    }

    pub(super) async fn list_files(&self, group: GroupName, wanted: &Wanted) -> Result<Outcome, Error> {
        let mut files = self.all_files(&group).await?;
        let shared = self.shared_here(&group);
        let here: Vec<_> = files.iter().map(shared.listed(&files)).map(|share| share.is_some()).collect();
        files.iter_mut().zip(here).for_each(|(row, here)| row.here = here);
        let (files, total) = wanted.of(files);
        Ok(Outcome::Files { files, total, group, filtered: wanted.pattern.is_some() })
    }

    /// What a group shares; a tracker of an older release tells less of it.
    async fn all_files(&self, group: &GroupName) -> Result<Vec<FileRow>, Error> {
        let request = |after| Request::ListShares { group: group.clone(), after };
        match self.pages(request, shares, |row| row.file.name.clone()).await {
            Ok(rows) => Ok(rows.into_iter().map(Into::into).collect()),
            Err(Error::OldTracker) => {
                let request = |after| Request::ListFiles { group: group.clone(), after };
                let rows = self.pages(request, files, |row| row.name.clone()).await?;
                Ok(rows.into_iter().map(Into::into).collect())
            }
            Err(e) => Err(e),
        }
    }

    /// All rows: each page begins after the last row of the one before.
    async fn pages<T, K>(
        &self,
        request: impl Fn(Option<K>) -> Request,
        page: impl Fn(Response) -> Option<Page<T>>,
        key: impl Fn(&T) -> K,
    ) -> Result<Vec<T>, Error> {
        let mut rows = Vec::new();
        loop {
            let response = self.trackers.call(request(rows.last().map(&key))).await?;
            let Page { rows: new, more } = page(response).ok_or_else(unexpected)?;
            let ended = new.is_empty() || !more;
            rows.extend(new.into_vec());
            if ended {
                return Ok(rows);
            }
        }
    }
}

/// What fits a question, out of all that may be answered.
macro_rules! page_of {
    ($name:ident, $variant:ident, $row:ty) => {
        fn $name(response: Response) -> Option<Page<$row>> {
            match response {
                Response::$variant(page) => Some(page),
                _ => None,
            }
        }
    };
}

page_of!(groups, Groups, common::wire::client::GroupRow);
page_of!(users, Users, common::id::UserName);
page_of!(members, Members, common::wire::client::MemberRow);
page_of!(files, Files, common::wire::client::FileRow);
page_of!(shares, Shares, common::wire::client::ShareRow);
