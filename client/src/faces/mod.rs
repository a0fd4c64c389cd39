//! The ways to use a running client. All know it only as a [`Service`]: commands, outcomes, progress and news.
//!
//! `script` and `prompt` feed lines through `parse` to the service and its outcomes through `render` to the `console`.
//! `control` lets other processes in, and is what this one is attached by.

mod ask;
mod console;
pub(crate) mod control;
mod execute;
mod explain;
pub(crate) mod front;
mod help;
mod linked;
pub(crate) mod page;
mod parse;
mod progress;
mod prompt;
mod render;
pub(crate) mod script;
pub mod service;
mod signals;
mod suggest;

pub(crate) use self::console::{fatal, fatal_data};
pub(crate) use self::render::{certificate, json};
pub use self::service::Service;
pub(crate) use self::signals::Signals;
