//! Lines in, outcomes out: the prompt, and scripts.
//!
//! `script` and `interactive` feed lines through `parse` to the app and its outcomes through `render`
//! to the `console`. The rest serves the prompt: the line editor, completion, history, live progress.

mod complete;
mod console;
mod history;
mod interactive;
mod names;
mod parse;
mod passwords;
mod progress;
mod prompt;
mod render;
mod run;
mod script;
mod secrecy;
mod signals;
mod suggest;

pub use self::run::start;
