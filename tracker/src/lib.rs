//! The tracker: keeps accounts, groups, requests and who seeds what, and never sees a byte of content.
//!
//! Rooms, each in one sentence: [`config`], [`console`] and `trial` are the operator's side; [`server`] lets connections
//! in; `session` speaks with one client; `command` has a file for each thing that can be asked;
//! [`rules`] says who may, and [`quota`] how much; [`state`] is what [`fact`]s add up to; [`store`] keeps [`fact`]s on disk;
//! [`presence`] and [`hub`] know who is here; [`admission`], [`throttle`] and [`password`] hold off who would take too much, and
//! [`limits`] says who is next.
//!
//! Dependencies point one way: `main -> server -> session -> command -> {rules, store}`. `command` knows no
//! frames, `store` no wire messages, `rules` no tokio.

pub mod admission;
pub mod arguments;
mod command;
pub mod config;
pub mod console;
pub mod fact;
mod failpoint;
#[cfg(test)]
mod golden;
pub mod hub;
pub mod limits;
pub mod password;
pub mod presence;
pub mod quota;
pub mod replica;
pub mod rules;
pub mod server;
mod session;
pub mod state;
pub mod store;
pub mod throttle;
mod tickets;
mod trial;
pub mod vote;
