//! The way of a command through any face: where its paths count from, who carries it out, and how people see the outcome.

use std::path::PathBuf;

use super::console::Console;
use super::{Service, help, render};
use crate::engine::{Call, Command, Outcome};
use crate::error::Error;

/// Carries out a command; the texts of `help` are known here, and are as wide as so many columns allow. Paths count from the
/// working directory of this process, whichever carries the command out.
pub(super) async fn execute(
    service: &dyn Service,
    command: Command,
    call: Call,
    columns: usize,
) -> Result<Outcome, Error> {
    match command {
        Command::Help { command } => help::help(command.as_deref(), columns).map(|help| Outcome::Help { help }),
        command => service.run(anchored(command), call).await,
    }
}

fn anchored(command: Command) -> Command {
    // Only an empty path cannot be made absolute: it is refused as it is.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    match command {
        Command::UploadFile { path, group, piece_size, name, replace } => {
            Command::UploadFile { path: absolute(path), group, piece_size, name, replace }
        }
        Command::DownloadFile { group, file_name, destination, strategy, force, only, except } => {
            let destination = absolute(destination);
            Command::DownloadFile { group, file_name, destination, strategy, force, only, except }
        }
        Command::Subscribe { group, glob, destination, existing } => {
            Command::Subscribe { group, glob, destination: absolute(destination), existing }
        }
        other => other,
    }
}

/// Shows an outcome to people.
pub(super) fn show(console: &Console, outcome: &Outcome, hints: bool) {
    let text = render::text(outcome);
    if !text.data.is_empty() {
        console.data(&text.data);
    }
    if !text.message.is_empty() {
        console.message(&text.message);
    }
    if let Some(hint) = text.hint.filter(|_| hints) {
        console.hint(&hint);
    }
}
