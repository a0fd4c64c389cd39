//! What clients do, and what their machines want.

use std::time::Duration;

use client::trackers::machine::{Effect, Tell};
use common::codec;
use common::wire::client::Request;
use common::wire::limits::MAX_FRAME;

use super::{Asked, Keeper};
use crate::world::World;

impl World {
    /// Makes a group, or lists all, if it is time to.
    pub(super) fn act(&mut self, c: usize) {
        let (now, instant) = (self.now, self.instant());
        let (over, makes) = (self.clients.over, self.clients.rng.bool());
        let client = &mut self.clients.all[c];
        if over || client.asked.is_some() || client.next_at > now {
            return;
        }
        client.count += 1;
        let name = format!("c{c}n{}", client.count);
        let (request, makes) = if makes {
            (Request::CreateGroup { group: name.parse().expect("a name") }, Some(name))
        } else {
            (Request::ListGroups { after: None }, None)
        };
        let number = client.machine.call(instant, request);
        client.asked = Some(Asked { number, made: now, makes: makes.clone() });
        self.say(|| format!("client {c} asks {number}: {}", makes.unwrap_or_else(|| "a list".to_owned())));
    }

    pub(super) fn pump_client(&mut self, c: usize) {
        let (now, instant) = (self.now, self.instant());
        loop {
            let client = &mut self.clients.all[c];
            for i in 0..2 {
                let Keeper::Up { conn, .. } = client.links[i].keeper else { continue };
                while let Some(call) = client.machine.poll_transmit(instant, i) {
                    let bytes = codec::encode(&call, MAX_FRAME).map_or(MAX_FRAME, |bytes| bytes.len());
                    client.links[i].up.send(now, conn, bytes, call);
                }
            }
            let Some(effect) = client.machine.poll_effect() else { return };
            match effect {
                Effect::Answer(number, result) => self.judge_answer(c, number, result),
                Effect::Close(i) => {
                    if let Keeper::Up { since, .. } = client.links[i].keeper {
                        self.wait_to_dial(c, i, now.saturating_sub(since));
                    }
                }
                Effect::Redial(i) => {
                    if let Keeper::Idle { at } = &mut client.links[i].keeper {
                        *at = now;
                    }
                }
                Effect::Save(number, _) => client.machine.saved(number, Ok(())),
                Effect::Tell(what) => {
                    self.say(|| format!("client {c} is told: {what:?}"));
                    if let Tell::Behind(i) = what {
                        self.goes_back(c, i);
                    }
                }
                Effect::Show(_) | Effect::ForgetTickets | Effect::News(_) => {}
                Effect::Solo(_) | Effect::Dated(..) | Effect::Probe(..) => {}
            }
        }
    }

    /// The pause before the next call.
    pub(super) fn rest(&mut self, c: usize) {
        let pause = Duration::from_millis(self.clients.rng.u64(20..2500));
        self.clients.all[c].next_at = self.now + pause;
    }
}
