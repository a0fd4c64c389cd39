//! Passwords that a command lacks, asked for at a terminal.

use common::escape::Escaped;

use super::console::Console;
use super::prompt::editor::{Answer, Prompt};
use crate::engine::Command;
use crate::engine::command::{InviteLine, Secret};
use crate::error::Error;

/// Whether a password or an invitation was left out.
pub(super) fn needs_password(command: &Command) -> bool {
    matches!(
        command,
        Command::CreateUser { password: None, .. }
            | Command::Login { password: None, code: None, .. }
            | Command::Login { code: Some(_), new_password: None, .. }
            | Command::ChangePassword { old: None, .. }
            | Command::AcceptInvite { line: None }
            | Command::CheckInvite { line: None }
    )
}

/// Asks for the passwords that were left out. `None` if the user would rather not; an error if the
/// two times that a new one is typed differ.
pub(super) async fn ask(prompt: &Prompt, console: &Console, command: Command) -> Option<Result<Command, Error>> {
    let filled = match command {
        Command::Login { user, password: None, code: None, new_password } => {
            let password = Some(one(prompt, console, &format!("password of {user}: ")).await?);
            Command::Login { user, password, code: None, new_password }
        }
        Command::Login { user, password, code: Some(code), new_password: None } => {
            match twice(prompt, console, &format!("new password for {user}: ")).await? {
                Ok(new) => Command::Login { user, password, code: Some(code), new_password: Some(new) },
                Err(e) => return Some(Err(e)),
            }
        }
        Command::CreateUser { user, password: None, invite } => {
            // Who is invited may have an account.
            let new = if invite.is_some() { "" } else { "new " };
            let password = twice(prompt, console, &format!("{new}password for {user}: ")).await?;
            match password {
                Ok(password) => Command::CreateUser { user, password: Some(password), invite },
                Err(e) => return Some(Err(e)),
            }
        }
        Command::AcceptInvite { line: None } => match line_sent(prompt, console).await? {
            Ok(line) => Command::AcceptInvite { line: Some(line) },
            Err(e) => return Some(Err(e)),
        },
        Command::CheckInvite { line: None } => match line_sent(prompt, console).await? {
            Ok(line) => Command::CheckInvite { line: Some(line) },
            Err(e) => return Some(Err(e)),
        },
        Command::ChangePassword { old: None, .. } => {
            let old = Some(one(prompt, console, "present password: ").await?);
            match twice(prompt, console, "new password: ").await? {
                Ok(new) => Command::ChangePassword { old, new: Some(new) },
                Err(e) => return Some(Err(e)),
            }
        }
        other => other,
    };
    Some(Ok(filled))
}

/// An invitation, or the message that it stands in.
async fn line_sent(prompt: &Prompt, console: &Console) -> Option<Result<InviteLine, Error>> {
    let typed = one(prompt, console, "the line that you were sent: ").await?;
    Some(typed.as_str().parse().map_err(Error::InvalidArgument))
}

async fn one(prompt: &Prompt, console: &Console, question: &str) -> Option<Secret> {
    let question = Escaped(question).to_string();
    let answer = prompt.password(&question).await;
    let typed = match answer {
        Answer::Typed(typed) => Some(Secret::new(typed.as_str().to_owned())),
        Answer::Interrupted | Answer::End => None,
    };
    // What is seen of it.
    let mask = "*".repeat(typed.as_ref().map_or(0, |t| t.as_str().chars().count()));
    console.typed(&question, &mask);
    typed
}

async fn twice(prompt: &Prompt, console: &Console, question: &str) -> Option<Result<Secret, Error>> {
    let first = one(prompt, console, question).await?;
    let again = one(prompt, console, "the same password again: ").await?;
    let differ = || Error::InvalidArgument("the two passwords differ; try again".to_owned());
    Some(if first == again { Ok(first) } else { Err(differ()) })
}
