//! The user's logins on other devices.

use common::id::DeviceId;
use common::wire::client::{self, Request, Response};

use super::command::DevicePrefix;
use super::outcome::{DeviceRow, Moment, Outcome};
use super::{Engine, Error, unexpected};

impl Engine {
    pub(super) async fn list_devices(&self) -> Result<Outcome, Error> {
        let devices = self.devices().await?.into_iter().map(|row| DeviceRow {
            device: row.device.to_string(),
            since: Moment(row.since).to_string(),
            here: row.device == self.device,
        });
        Ok(Outcome::Devices { devices: devices.collect() })
    }

    /// Ends the user's logins on a device; on this one as `logout` does.
    pub(super) async fn end_login(&self, wanted: DevicePrefix) -> Result<Outcome, Error> {
        let device = the_one(&wanted, self.devices().await?.into_iter().map(|row| row.device))?;
        self.done(Request::EndLogin { device }).await?;
        let here = device == self.device;
        if here {
            self.done(Request::Logout).await?;
        }
        Ok(Outcome::LoginEnded { device: device.to_string(), here })
    }

    async fn devices(&self) -> Result<Vec<client::DeviceRow>, Error> {
        match self.trackers.call(Request::ListDevices).await? {
            Response::Devices(rows) => Ok(rows.into_vec()),
            _ => Err(unexpected()),
        }
    }
}

fn the_one(wanted: &DevicePrefix, devices: impl Iterator<Item = DeviceId>) -> Result<DeviceId, Error> {
    let mut meant = devices.filter(|device| wanted.is_of(*device));
    let none = || {
        Error::InvalidArgument(format!(
            "you are not logged in on a device that begins with `{wanted}`; `list_devices` shows all"
        ))
    };
    let device = meant.next().ok_or_else(none)?;
    if meant.next().is_some() {
        return Err(Error::InvalidArgument(format!("several devices begin with `{wanted}`; give more digits")));
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_meant_by_the_beginning_of_its_id_if_that_is_of_one_only() {
        let devices = || [[0xab; 32], [0xac; 32]].map(DeviceId::new).into_iter();
        let one = |text: &str| the_one(&text.parse().expect("digits"), devices()).map_err(|e| e.to_string());
        assert_eq!(one("ABabab"), Ok(DeviceId::new([0xab; 32])));
        assert!(one("adadad").is_err_and(|e| e.contains("list_devices")));
        assert!("a".parse::<DevicePrefix>().is_err() && "xyz123".parse::<DevicePrefix>().is_err());
        let twins = [[7; 32], [7; 32]].map(DeviceId::new).into_iter();
        assert!(the_one(&"070707".parse().expect("digits"), twins).is_err());
    }
}
