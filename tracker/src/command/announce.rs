//! A device says that it is there, and where it serves. Repeated as a sign of life; nothing of it is
//! a fact.

use std::net::SocketAddr;

use common::wire::client::Response;
use common::wire::limits::Text;
use common::wire::refusal::Refusal;

use super::start_seeding::seeder_up;
use super::{Call, Effect, LoginChange, Outcome, now};
use crate::presence::{Announced, reachable};
use crate::rules::Login;
use crate::store::PresenceRow;

/// Files of a device that has come that others are told of; they learn of the rest when they ask.
const TOLD: usize = 64;

pub(super) async fn run(call: &Call, me: &Login, listen: SocketAddr, serial: u64) -> Outcome {
    if listen.port() == 0 {
        return Err(Refusal::Invalid(Text::clipped("nobody can reach port 0")).into());
    }
    // Whoever announces must still be logged in.
    call.read(me, |_, _| Ok(())).await?;
    let row = PresenceRow { device: me.device, user: me.user, address: reachable(listen, call.address), serial };
    let announced = call.services.presence.announce(row, call.connection, now());
    let news = if announced == Announced::News { news(call, me).await? } else { Vec::new() };
    Ok(Effect { response: Response::Done, login: LoginChange::Same, news })
}

async fn news(call: &Call, me: &Login) -> Result<Vec<super::News>, super::Halt> {
    let services = std::sync::Arc::clone(&call.services);
    call.read(me, move |state, me| {
        let mut news = Vec::new();
        for (group, file) in state.seeded_by(me.device, me.user, TOLD)? {
            news.extend(seeder_up(state, &services, me, group, file)?);
        }
        Ok(news)
    })
    .await
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
