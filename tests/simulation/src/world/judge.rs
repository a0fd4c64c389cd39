//! What must hold, all along and at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use common::id::GroupId;
use tracker::store::StoreError;

use super::{SETTLE, World};
use crate::check;
use crate::wire::Wire;

impl World {
    pub(super) fn look(&mut self) {
        for i in 0..2 {
            let Some(process) = &self.nodes[i].process else { continue };
            let members = self.rt.block_on(async {
                process.store.checkpoint().await?;
                process.store.read(|state| Ok::<_, StoreError>(state.live_memberships())).await
            });
            let conn = check::open(&self.nodes[i].database());
            let unsound = check::unsound_members(&conn, members.expect("read").into_keys());
            assert!(unsound.is_empty(), "members who should not be, at tracker {}: {unsound:x?}", i + 1);
            let ended: BTreeSet<_> = check::ended(&conn).into_iter().collect();
            assert!(ended.is_superset(&self.ended[i]), "what had ended is not any more");
            self.ended[i] = ended;
            let confirmed = check::confirmed(&conn);
            for (name, owner) in confirmed.iter().filter(|_| self.names_hold) {
                // A group's name is free again when everybody has left.
                let known = self.confirmed.insert(name.clone(), *owner);
                assert!(name.0 == 1 || known.is_none_or(|k| k == *owner), "two confirmed owners of {name:?}");
            }
            for (name, owner) in self.told[i].iter().filter(|(n, _)| n.0 == 0 && self.names_hold) {
                assert_eq!(confirmed.get(name), Some(owner), "a confirmed name was taken away: {name:?}");
            }
            self.told[i] = confirmed;
        }
    }

    pub(super) fn heal(&mut self) {
        self.heal_clients();
        self.say(|| "everything is mended".to_owned());
        self.armed = None;
        self.flap = None;
        self.wires.iter_mut().for_each(|w| w.cut_until = Duration::ZERO);
        for i in 0..2 {
            self.nodes[i].stalled_until = self.nodes[i].stalled_until.min(self.now);
            self.nodes[i].disk = Duration::ZERO;
            self.nodes[i].full_until = Duration::ZERO;
            self.restart_at[i] = self.restart_at[i].map(|_| self.now);
        }
    }

    pub(super) fn settled(&self) -> bool {
        let processes: Vec<_> = self.nodes.iter().filter_map(|n| n.process.as_ref()).collect();
        let [a, b] = processes.as_slice() else { return false };
        let up = |p: &crate::node::Process| {
            let view = p.machine.view();
            view.linked && view.open && view.lag == 0 && p.jobs.is_empty()
        };
        up(a)
            && up(b)
            && self.wires.iter().all(|w| w.len() == 0)
            && self.again.is_empty()
            && self.clients.are_quiet()
            && self.waiting.iter().all(Vec::is_empty)
            && check::versions(&a.store) == check::versions(&b.store)
    }

    pub(super) fn settle(&mut self) {
        let until = self.now + SETTLE;
        let (mut digests, mut level) = ((vec![], vec![]), false);
        while self.now < until {
            self.step();
            level |= self.settled();
            self.say(|| {
                format!(
                    "wires {:?} again {} waiting {:?} jobs {:?}",
                    self.wires.iter().map(Wire::len).collect::<Vec<_>>(),
                    self.again.len(),
                    self.waiting.iter().map(Vec::len).collect::<Vec<_>>(),
                    self.nodes.iter().map(|n| n.process.as_ref().map(|p| p.jobs.len())).collect::<Vec<_>>()
                )
            });
            if self.settled() && self.same_votes() {
                digests = self.digests();
                if digests.0 == digests.1 && self.missing_members().is_empty() {
                    break;
                }
            }
        }
        let votes = [0, 1].map(|i| check::votes(&check::open(&self.nodes[i].database())));
        assert!(
            level,
            "the two never agree: {:?}, {:?}",
            self.nodes[0].process.as_ref().map(|p| (p.machine.view(), check::versions(&p.store))),
            self.nodes[1].process.as_ref().map(|p| (p.machine.view(), check::versions(&p.store)))
        );
        assert!(!digests.0.is_empty(), "the votes never agree: {votes:?}");
        assert_eq!(digests.0, digests.1, "the same events, and not the same state");
        let missing = self.missing_members();
        assert!(missing.is_empty(), "accepted, and not members: {missing:x?}");
        self.look();
        self.verdict();
    }

    pub(super) fn missing_members(&self) -> Vec<[u8; 16]> {
        self.checkpoint();
        self.nodes.iter().flat_map(|n| check::missing_members(&check::open(&n.database()))).collect()
    }

    pub(super) fn digests(&self) -> (Vec<u64>, Vec<u64>) {
        let digest = |i: usize| {
            let store = &self.nodes[i].process.as_ref().expect("running").store;
            self.rt.block_on(store.digest()).expect("read").1
        };
        (digest(0), digest(1))
    }

    pub(super) fn verdict(&mut self) {
        for i in 0..2 {
            let store = &self.nodes[i].process.as_ref().expect("running").store;
            let versions = check::versions(store);
            for a in &self.acknowledged {
                let has = versions.get(&a.origin).copied().unwrap_or_default() >= a.seq;
                assert!(has, "acknowledged and not at tracker {}: {:.8} {}", i + 1, a.origin, a.seq);
            }
            let wrong = self.rt.block_on(store.verify()).expect("read");
            assert!(wrong.is_empty(), "the state in memory, at tracker {}: {wrong:#?}", i + 1);
            let flaw = self.rt.block_on(store.log_flaw()).expect("read");
            assert_eq!(flaw, None);
            let forked = self.rt.block_on(store.quarantined()).expect("read");
            assert!(forked.is_empty(), "quarantined, and nobody used a number twice: {forked:?}");
            let doubled = check::doubled(&check::open(&self.nodes[i].database()));
            assert!(doubled.is_empty(), "carried out more than once at one tracker: {doubled:?}");
        }
        let shares = [0, 1].map(|i| {
            let store = &self.nodes[i].process.as_ref().expect("running").store;
            self.rt.block_on(check::shares(store, &self.groups))
        });
        assert_eq!(shares[0], shares[1], "members see other shares at the other tracker");
        let whole = |share: &String| !share.contains("NoTree");
        assert!(shares[0].iter().all(whole), "a folder without its tree: {:#?}", shares[0]);
        self.report.folders += shares[0].iter().filter(|share| share.contains("TreePart")).count() as u64;
        self.count_invitations();
        self.clients_verdict();
        let dir = self._dir.path().join("replay");
        let store = &self.nodes[0].process.as_ref().expect("running").store;
        if let Some((state, replayed)) = check::replayed(&self.rt, store, &dir) {
            assert_eq!(state, replayed, "the state is not what the events say");
            self.report.replayed += 1;
        }
    }

    /// How many came by invitations in the end, and by how many invitations more than they were for.
    fn count_invitations(&mut self) {
        let store = &self.nodes[0].process.as_ref().expect("running").store;
        let groups = self.groups.clone();
        let all = self.rt.block_on(store.read(move |state| {
            let into = |group: &GroupId| state.invitations_into(*group, 0, usize::MAX);
            Ok::<_, StoreError>(groups.iter().flat_map(into).collect::<Vec<_>>())
        }));
        for invitation in all.expect("read") {
            self.report.redeemed += u64::from(invitation.used);
            self.report.overused += u64::from(invitation.used > invitation.uses);
        }
    }
}
