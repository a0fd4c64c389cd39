//! `list_devices`: where the caller is logged in.

use std::collections::HashSet;

use common::ticket;
use common::wire::client::{DeviceRow, Response};
use common::wire::limits::List;

use super::{Call, Effect, Outcome};
use crate::rules::Login;
use crate::store::State;

pub(super) async fn run(call: &Call, me: &Login) -> Outcome {
    let logins = call.read(me, |state: &State, me| Ok(state.logins(me.user, ticket::now()))).await?;
    let mut seen = HashSet::new();
    // The newest first: of several on one device, that is the one in use.
    let devices = logins.into_iter().filter(|login| seen.insert(login.device));
    let rows = devices.map(|login| DeviceRow { device: login.device, since: login.since });
    Ok(Effect::plain(Response::Devices(List::first_of(rows))))
}

#[cfg(test)]
mod tests {
    use common::ticket;
    use common::wire::client::{Request, Response};

    use crate::command::tests::{Device, Fixture};

    async fn devices(of: &Device) -> Vec<common::id::DeviceId> {
        let Ok(Response::Devices(rows)) = of.ask(Request::ListDevices).await else { panic!("not a list") };
        assert!(rows.iter().all(|row| row.since.abs_diff(ticket::now()) < 60));
        rows.iter().map(|row| row.device).collect()
    }

    #[tokio::test]
    async fn each_device_once_the_newest_login_first_and_nobody_elses() {
        let f = Fixture::new().await;
        let (alice, bob) = (f.user("alice").await, f.user("bob").await);
        let phone = f.device();
        phone.login("alice", "password of alice").await.expect("logged in");
        assert_eq!(devices(&alice).await, [phone.device(), alice.device()]);
        alice.login("alice", "password of alice").await.expect("once more on the same device");
        assert_eq!(devices(&alice).await, [alice.device(), phone.device()]);
        assert_eq!(devices(&bob).await, [bob.device()]);
        phone.logout().await.expect("logged out");
        assert_eq!(devices(&alice).await, [alice.device()]);
    }
}
