//! What a tracker does with clients' calls: as `session` and `command` do, on the state machine's view and the store.

use std::time::Duration;

use common::codec;
use common::wire::client::{Call, GroupRow, Mode, Page, Relation, Reply, Request, Response, ServerFrame};
use common::wire::limits::{List, MAX_FRAME};
use common::wire::refusal::Refusal;
use tracker::replica::{self, CATCH_UP};
use tracker::store::{Change, StoreError};

use super::{Held, Keeper};
use crate::check;
use crate::faults::Fault;
use crate::op::{Op, What};
use crate::world::World;

/// Nobody waits longer than this for the sibling.
const AT_MOST: Duration = Duration::from_millis(1500);
/// More groups than there ever are.
const ALL: usize = 100_000;

/// How long a call may wait for what it waits for.
pub(super) fn patience(held: &Held) -> Duration {
    if held.done.is_some() { AT_MOST } else { CATCH_UP }
}

impl World {
    pub(super) fn take_call(&mut self, c: usize, i: usize, conn: u64, call: Call) {
        let at_once = match &call.request {
            Request::Status | Request::Announce { .. } | Request::AnnounceAs { .. } => Some(Response::Done),
            _ => None,
        };
        match at_once {
            Some(response) => self.reply(c, i, conn, call.number, None, Ok(response)),
            None => {
                self.clients.held[i].push(Held { client: c, conn, call, since: self.now, done: None });
                self.serve_clients(i);
            }
        }
    }

    /// Goes on with what can be gone on with at tracker `i`.
    pub(crate) fn serve_clients(&mut self, i: usize) {
        if self.nodes[i].stalled_until > self.now {
            return;
        }
        for mut held in std::mem::take(&mut self.clients.held[i]) {
            let Some(p) = &self.nodes[i].process else { return };
            let (view, versions) = (p.machine.view(), check::versions(&p.store));
            if held.done.is_none() {
                if view.open && replica::covers(&versions, &held.call.seen) {
                    match self.carry_out(i, &held) {
                        Some(Ok(done)) => (held.done, held.since) = (Some(done), self.now),
                        Some(Err(refusal)) => {
                            self.reply(held.client, i, held.conn, held.call.number, None, Err(refusal));
                            continue;
                        }
                        None => return, // It died of it.
                    }
                } else if self.now >= held.since + CATCH_UP {
                    self.reply(held.client, i, held.conn, held.call.number, None, Err(Refusal::Stale));
                    continue;
                }
            }
            let Some(p) = &self.nodes[i].process else { return };
            let view = p.machine.view();
            let settled = match &held.done {
                Some((_, own)) if view.acked >= *own && view.linked => Some(Mode::Dual),
                Some(_) if view.mode == Mode::Solo || self.now >= held.since + AT_MOST => Some(Mode::Solo),
                _ => None,
            };
            match (settled, held.done.take()) {
                (Some(mode), Some((response, _))) => {
                    self.reply(held.client, i, held.conn, held.call.number, Some(mode), Ok(response));
                    if self.hit(i, Fault::KillAfterAcknowledgement, true) {
                        return self.kill_for_a_while(i);
                    }
                }
                (_, done) => {
                    held.done = done;
                    self.clients.held[i].push(held);
                }
            }
        }
    }

    /// What a call comes to, and the event that has to be on both disks; nothing, if the tracker dies.
    fn carry_out(&mut self, i: usize, held: &Held) -> Option<Result<(Response, u64), Refusal>> {
        let client = &self.clients.all[held.client];
        let response = match &held.call.request {
            Request::Resume { .. } => {
                let (who, token) = (&client.session.who, &client.session.token);
                Response::LoggedIn { user: who.user.clone(), user_id: who.user_id, token: token.clone() }
            }
            Request::CreateGroup { group } => {
                if self.nodes[i].full_until > self.now {
                    return Some(Err(Refusal::TrackerDiskFull));
                }
                let asked = tracker::store::Asked { device: client.device, request: held.call.request_id };
                let what = What::Own { name: group.to_string() };
                self.write(i, Op::light(asked, what));
                if self.hit(i, Fault::KillAfterCommit, true) {
                    self.kill_for_a_while(i);
                    return None;
                }
                Response::Done
            }
            Request::ListGroups { .. } => self.list(i)?,
            other => panic!("no client asks for {other:?}"),
        };
        let p = self.nodes[i].process.as_ref()?;
        let own = check::versions(&p.store).get(&p.store.origin()).copied().unwrap_or_default();
        Some(Ok((response, own)))
    }

    fn write(&mut self, i: usize, op: Op) {
        let now = self.instant();
        let Some(p) = &mut self.nodes[i].process else { return };
        let asked = op.asked;
        let written = self.rt.block_on(p.store.write(asked, move |state| {
            let decided = op.decide(state, None)?;
            let (facts, manifest) = (decided.facts, decided.manifest);
            Ok::<_, StoreError>(Change { facts, manifest, answer: vec![1], value: () })
        }));
        written.expect("written");
        p.machine.committed(now, &check::versions(&p.store));
        self.pump(i);
    }

    fn list(&self, i: usize) -> Option<Response> {
        let p = self.nodes[i].process.as_ref()?;
        let groups =
            self.rt.block_on(p.store.read(|state| Ok::<_, StoreError>(state.groups_after(None, ALL)))).expect("read");
        let row = |g: tracker::store::GroupEntry| GroupRow {
            group: g.name,
            admin: g.admin_name,
            members: g.members,
            relation: Relation::None,
        };
        Some(Response::Groups(Page { rows: List::first_of(groups.into_iter().map(row)), more: false }))
    }

    fn reply(
        &mut self,
        c: usize,
        i: usize,
        conn: u64,
        number: u64,
        mode: Option<Mode>,
        result: Result<Response, Refusal>,
    ) {
        let Some(p) = &self.nodes[i].process else { return };
        let view = p.machine.view();
        let mode = mode.unwrap_or(view.mode);
        let seen = replica::shown(&view, &check::versions(&p.store), p.store.origin(), mode);
        self.say(|| format!("tracker {} answers client {c}, call {number}, {mode:?}: {}", i + 1, brief(&result)));
        let frame = ServerFrame::Reply(Reply { number, mode, seen, result });
        let bytes = codec::encode(&frame, MAX_FRAME).map_or(MAX_FRAME, |bytes| bytes.len());
        let link = &mut self.clients.all[c].links[i];
        if matches!(link.keeper, Keeper::Up { conn: of, .. } if of == conn) {
            link.down.send(self.now, conn, bytes, Some(Box::new(frame)));
        }
    }
}

fn brief(result: &Result<Response, Refusal>) -> String {
    match result {
        Ok(Response::Groups(page)) => format!("{} groups", page.rows.len()),
        Ok(response) => format!("{response:?}").chars().take(20).collect(),
        Err(refusal) => format!("{refusal:?}"),
    }
}
