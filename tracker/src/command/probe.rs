//! Whether others can connect to a device: some members of its groups are asked to dial it, and what they find is answered.
//!
//! Nothing of it is a fact. Invariant: only who was asked is heard, once; nobody is sent anywhere but to where downloads from
//! the same device would send them (see [`reachable`]); and a question is forgotten with its answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::id::{DeviceId, UserId, UserName};
use common::wire::client::{ProbeOutcome, ProbeRow, Probed, Push, REVISION, Response};
use common::wire::limits::{List, MAX_PROBES, Text};
use common::wire::refusal::Refusal;
use rand::seq::SliceRandom;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Call, Effect, Halt, Outcome, Services, now};
use crate::presence::reachable;
use crate::rules::Login;

/// How long those who were asked may take.
/// Shorter than a client waits for any sign of its tracker: a logout waits for what runs on its connection.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 3 });
/// Members that are looked at to find some who are there.
const LOOKED_AT: usize = 4096;
/// The revision since which clients know what they are asked.
const KNOWN_SINCE: u8 = 3;

/// Questions that wait for answers.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    open: Mutex<HashMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    /// Who was asked and has not answered.
    asked: Vec<DeviceId>,
    answers: mpsc::Sender<(DeviceId, ProbeOutcome)>,
}

impl Probes {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question, until it is answered.
struct Question<'a> {
    probes: &'a Probes,
    id: u64,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.probes.lock().remove(&self.id);
    }
}

/// Somebody who is there and can be asked.
struct Fellow {
    user: UserId,
    name: UserName,
    device: DeviceId,
    from_elsewhere: bool,
}

/// Has others dial the caller, and tells what they find.
pub(super) async fn ask(call: &Call, me: &Login, listen: SocketAddr) -> Outcome {
    if listen.port() == 0 {
        return Err(Refusal::Invalid(Text::clipped("nobody can reach port 0")).into());
    }
    call.services.throttle.probe(me.user, now())?;
    let address = reachable(listen, call.address);
    let fellows = fellows(call, me, address.ip().to_canonical().is_loopback()).await?;
    let (answers, mut answered) = mpsc::channel(MAX_PROBES);
    let question = Question { probes: &call.services.probes, id: rand::random() };
    let asked = fellows.iter().map(|fellow| fellow.device).collect();
    call.services.probes.lock().insert(question.id, Open { asked, answers });
    let push = Push::Probe { id: question.id, device: me.device, address };
    for fellow in &fellows {
        call.services.hub.push_to(fellow.user, fellow.device, KNOWN_SINCE, &push);
    }
    let mut found: HashMap<DeviceId, ProbeOutcome> = HashMap::new();
    let all = async {
        while found.len() < fellows.len()
            && let Some((device, outcome)) = answered.recv().await
        {
            found.insert(device, outcome);
            // That one has come from another machine settles it.
            let settles = |fellow: &Fellow| fellow.device == device && fellow.from_elsewhere;
            if outcome == ProbeOutcome::Reached && fellows.iter().any(settles) {
                break;
            }
        }
    };
    let _ = timeout(PATIENCE, all).await; // Who has not answered is named so.
    // Of an address that is not the one that the caller is seen at, only whether it is the caller's: what else may be there is
    // not told to whoever names it.
    let is_own = address.ip().to_canonical() == call.address.to_canonical();
    let told = |outcome| if is_own || outcome == ProbeOutcome::Reached { outcome } else { ProbeOutcome::Silent };
    let row = |fellow: Fellow| ProbeRow {
        outcome: found.get(&fellow.device).copied().map(told),
        user: fellow.name,
        from_elsewhere: fellow.from_elsewhere,
    };
    let rows = List::first_of(fellows.into_iter().map(row));
    Ok(Effect::plain(Response::Probed(Probed { address, rows })))
}

/// Takes what a member has found.
pub(super) fn answer(call: &Call, me: &Login, id: u64, outcome: ProbeOutcome) -> Outcome {
    let mut open = call.services.probes.lock();
    if let Some(question) = open.get_mut(&id)
        && let Some(at) = question.asked.iter().position(|device| *device == me.device)
    {
        question.asked.swap_remove(at);
        let _ = question.answers.try_send((me.device, outcome)); // There is room for all who were asked.
    }
    Ok(Effect::plain(Response::Done))
}

/// Some members of the caller's groups who are there, those on other machines first; `only_here`, none of those, since theirs is
/// another loopback.
async fn fellows(call: &Call, me: &Login, only_here: bool) -> Result<Vec<Fellow>, Halt> {
    let mut users = call.read(me, |state, me| Ok(state.some_fellows(me.user, LOOKED_AT))).await?;
    users.shuffle(&mut rand::rng());
    let (elsewhere, here) = there(&call.services, call, users);
    let elsewhere = if only_here { Vec::new() } else { elsewhere };
    let may_be_asked = |(user, ..): &(UserId, DeviceId, bool)| call.services.throttle.may_be_asked(*user, now());
    let chosen: Vec<_> = elsewhere.into_iter().chain(here).filter(may_be_asked).take(MAX_PROBES).collect();
    let named = move |state: &crate::store::State, _: &Login| {
        let named = chosen.into_iter().filter_map(|(user, device, from_elsewhere)| {
            let name = state.user_name(user)?;
            Some(Fellow { user, name, device, from_elsewhere })
        });
        Ok(named.collect())
    };
    call.read(me, named).await
}

type There = Vec<(UserId, DeviceId, bool)>;

/// Devices of `users` that can be asked, one of each: on other machines, and on the caller's.
fn there(services: &Services, call: &Call, users: Vec<UserId>) -> (There, There) {
    let (mut elsewhere, mut here) = (Vec::new(), Vec::new());
    for user in users {
        if elsewhere.len() >= MAX_PROBES {
            break;
        }
        for device in services.hub.devices_that_know(user, KNOWN_SINCE) {
            let Some(address) = services.presence.address(device, user, now()) else { continue };
            let from_elsewhere = address.ip().to_canonical() != call.address.to_canonical();
            let list = if from_elsewhere { &mut elsewhere } else { &mut here };
            list.push((user, device, from_elsewhere));
            break;
        }
    }
    (elsewhere, here)
}

const _: () = assert!(REVISION >= KNOWN_SINCE, "what is asked is known to clients of this release");

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use common::wire::client::Request;

    use super::*;
    use crate::command::tests::{Device, Fixture};

    async fn announce(device: &Device, revision: u8) {
        let listen = "0.0.0.0:7000".parse().expect("an address");
        device.ask(Request::AnnounceAs { listen, serial: 1, revision }).await.expect("announced");
    }

    async fn probe(device: &Device) -> Result<Probed, Refusal> {
        let listen = "0.0.0.0:7001".parse().expect("an address");
        match device.ask(Request::ProbeMe { listen }).await? {
            Response::Probed(probed) => Ok(probed),
            other => panic!("{other:?}"),
        }
    }

    /// The question that was put to a device.
    fn asked(device: &Device) -> Option<(u64, DeviceId, SocketAddr)> {
        device.heard().into_iter().find_map(|push| match push {
            Push::Probe { id, device, address } => Some((id, device, address)),
            _ => None,
        })
    }

    async fn until_asked(device: &Device) -> (u64, DeviceId, SocketAddr) {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(asked) = asked(device) {
                return asked;
            }
            assert!(Instant::now() < until, "never asked");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_fellow_member_who_is_there_is_asked_and_what_it_finds_is_told() {
        let f = Fixture::new().await;
        let (a, b, stranger) = (f.user("alice").await, f.user("bob").await, f.user("mallory").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        announce(&b, 3).await;
        announce(&stranger, 3).await;
        let answers = async {
            let (id, device, address) = until_asked(&b).await;
            assert_eq!((device, address.to_string().as_str()), (a.device(), "10.0.0.1:7001"));
            let lie = Request::ProbeResult { id, outcome: ProbeOutcome::Refused };
            stranger.ask(lie).await.expect("nobody was asked: as good as unheard");
            let outcome = ProbeOutcome::Reached;
            b.ask(Request::ProbeResult { id, outcome }).await.expect("heard");
            b.ask(Request::ProbeResult { id, outcome: ProbeOutcome::Silent }).await.expect("once");
        };
        let (probed, ()) = tokio::join!(probe(&a), answers);
        let rows = probed.expect("probed").rows.into_vec();
        let row = (rows[0].user.as_str(), rows[0].from_elsewhere, rows[0].outcome);
        assert_eq!((rows.len(), row), (1, ("bob", false, Some(ProbeOutcome::Reached))));
        assert!(asked(&stranger).is_none() && f.services().probes.lock().is_empty());
    }

    #[tokio::test]
    async fn a_client_of_before_is_not_asked_and_nobody_is_no_fault() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        b.announce(1).await.expect("announced");
        assert!(probe(&a).await.expect("probed").rows.is_empty());
        announce(&b, 2).await;
        assert!(probe(&a).await.expect("probed").rows.is_empty());
        assert!(asked(&b).is_none());
    }

    #[tokio::test]
    async fn who_does_not_answer_is_waited_for_for_a_while() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        announce(&b, 3).await;
        let begun = Instant::now();
        let rows = probe(&a).await.expect("probed").rows.into_vec();
        assert_eq!((rows.len(), rows[0].outcome), (1, None));
        assert!(begun.elapsed() >= PATIENCE && f.services().probes.lock().is_empty());
    }

    #[tokio::test]
    async fn who_asks_again_and_again_is_slowed() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        let asked = async {
            for n in 0.. {
                if let Err(refusal) = probe(&a).await {
                    return (n, refusal);
                }
            }
            unreachable!("it ends")
        };
        let (n, refusal) = asked.await;
        assert!(n <= 10 && matches!(refusal, Refusal::RateLimited { .. }), "{n} {refusal:?}");
    }
}
