//! A device says that it is there, and where it serves. Repeated as a sign of life; nothing of it is
//! a fact.

use std::net::SocketAddr;
use std::sync::Arc;

use common::id::{DeviceId, UserId};
use common::wire::client::Response;
use common::wire::limits::Text;
use common::wire::refusal::Refusal;
use tokio::sync::mpsc;

use super::news::{self, News};
use super::{Call, Effect, LoginChange, Outcome, Services, now};
use crate::presence::{Announced, reachable};
use crate::rules::Login;
use crate::store::{PresenceRow, State, StoreError};

/// Files of a device that has come that others are told of; they learn of the rest when they ask.
const TOLD: usize = 64;

pub(super) async fn run(call: &Call, me: &Login, listen: SocketAddr, serial: u64, revision: u8) -> Outcome {
    if listen.port() == 0 {
        return Err(Refusal::Invalid(Text::clipped("nobody can reach port 0")).into());
    }
    // Whoever announces must still be logged in.
    call.read(me, |_, _| Ok(())).await?;
    if revision > 0 {
        call.services.hub.set_revision(me.user, call.connection, revision);
    }
    let row = PresenceRow { device: me.device, user: me.user, address: reachable(listen, call.address), serial };
    let announced = call.services.presence.announce(row, call.connection, now());
    let news = if announced == Announced::News { news(call, me).await? } else { Vec::new() };
    Ok(Effect { response: Response::Done, login: LoginChange::Same, news })
}

/// Tells of devices that have come to the other tracker, for as long as the link runs.
pub(crate) async fn hint_arrivals(services: Arc<Services>, mut arrivals: mpsc::Receiver<Vec<PresenceRow>>) {
    while let Some(rows) = arrivals.recv().await {
        let told = Arc::clone(&services);
        let found = services.store.read(move |state| {
            let mut news = Vec::new();
            for row in rows {
                news.extend(seeders_up(state, &told, row.device, row.user)?);
            }
            Ok::<_, StoreError>(news)
        });
        match found.await {
            Ok(found) => news::deliver(&services, found, None),
            Err(e) => tracing::warn!("clients were not told of seeders at the other tracker: {e}"),
        }
    }
}

async fn news(call: &Call, me: &Login) -> Result<Vec<News>, super::Halt> {
    let services = Arc::clone(&call.services);
    call.read(me, move |state, me| Ok(seeders_up(state, &services, me.device, me.user)?)).await
}

/// That a device is there which seeds: to the members of the groups where it does.
fn seeders_up(state: &State, services: &Services, device: DeviceId, user: UserId) -> Result<Vec<News>, StoreError> {
    let mut news = Vec::new();
    for (group, file) in state.seeded_by(device, user, TOLD) {
        news.extend(news::seeder_up(state, services, (group, file), (device, user))?);
    }
    Ok(news)
}

#[cfg(test)]
mod tests {
    use common::wire::client::{Push, Request};
    use common::wire::refusal::Refusal;

    use crate::command::tests::Fixture;

    #[tokio::test]
    async fn who_comes_back_is_told_of_once() {
        let f = Fixture::new().await;
        let (a, b) = (f.user("alice").await, f.user("bob").await);
        a.create_group("lab").await.expect("created");
        f.admit(&a, &b, "lab").await;
        let id = a.upload("lab", "f", b"content").await.expect("uploaded");
        b.heard();
        a.announce(1).await.expect("announced");
        let up = |p: &Push| matches!(p, Push::SeederUp { file_id, .. } if *file_id == id);
        assert_eq!(b.heard().iter().filter(|p| up(p)).count(), 1);
        a.announce(2).await.expect("announced");
        assert_eq!(b.heard().iter().filter(|p| up(p)).count(), 0);
    }

    #[tokio::test]
    async fn it_takes_a_login_and_a_port() {
        let f = Fixture::new().await;
        let a = f.user("alice").await;
        let listen = "0.0.0.0:0".parse().expect("address");
        assert!(matches!(a.ask(Request::Announce { listen, serial: 1 }).await, Err(Refusal::Invalid(_))));
        assert_eq!(f.device().announce(1).await, Err(Refusal::NotLoggedIn));
    }
}
