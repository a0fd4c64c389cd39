//! The way in by an invitation that the client was started with: what it is for, a name and a password, unless somebody is logged
//! in, and then the group.

use std::time::Duration;

use common::id::UserName;
use common::invitation::Invitation;
use common::wire::client::InviteState;
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::{Interactive, Interrupts, Next};
use crate::engine::command::{InviteLine, Secret};
use crate::engine::outcome::{CheckedInvite, Status};
use crate::engine::{Call, Command, Event, Outcome};
use crate::error::Error;
use crate::faces::console::end_typing;
use crate::faces::execute::show;
use crate::faces::prompt::editor::Answer;
use crate::faces::render;
use crate::faces::signals::Signals;

/// What is asked first.
const NAME: &str = "your name here: ";
/// How long a newcomer waits to be told what the invitation is for. Without an answer the way in is the same.
const CHECK: Duration = Duration::from_secs(6);
/// How often somebody is asked for a name.
const TRIES: u32 = 10;
/// What somebody does who has come in by the invitation before.
const BEFORE: &str = "login <user>, if you have come in by it before";
/// What is said when somebody would rather not, or something went wrong.
const LATER: &str =
    "not in the group yet: start with the same --invite again, or `accept_invite <line>` once you are logged in";

impl Interactive {
    /// Joins the invitation's group; makes an account, or logs in, if nobody is logged in.
    pub(super) async fn come_in(&self, invitation: Invitation, signals: &mut Signals) -> Next {
        let line = InviteLine(invitation);
        let joined = match self.has_account(&line, signals).await {
            Ok(true) => self.join(line, signals).await,
            Ok(false) => return Next::Prompt,
            Err(next) => Err(next),
        };
        match joined {
            // In the browser meanwhile, or with the same line before.
            Ok(Err(e)) if e.code() == "already_member" => {
                self.console.message(&e.to_string());
                Next::Prompt
            }
            Ok(Ok(outcome)) => {
                show(&self.console, &outcome, true);
                self.names.note(None, &outcome);
                Next::Prompt
            }
            Ok(Err(e)) => {
                self.console.message(&render::error(&e));
                Next::Prompt
            }
            Err(Next::Interrupted) => {
                self.console.message(LATER);
                Next::Prompt
            }
            Err(next) => next,
        }
    }

    /// Joins as whoever is logged in. Where the invitation is over it is asked why.
    async fn join(&self, line: InviteLine, signals: &mut Signals) -> Result<Result<Outcome, Error>, Next> {
        let joined = self.carry_out(Command::AcceptInvite { line: Some(line.clone()) }, signals).await?;
        let Err(e) = joined else { return Ok(joined) };
        if e.code() != "no_such_invite" {
            return Ok(Err(e));
        }
        Ok(Err(match self.check(&line, signals).await? {
            Some(Ok(invite)) if invite.state != InviteState::Open => Error::InvalidArgument(render::checked(&invite)),
            Some(Err(unknown)) => unknown,
            // It is good, and not for this user.
            Some(Ok(_)) | None => e,
        }))
    }

    /// Whether somebody is logged in, in the end; if not, why and what to do is said.
    async fn has_account(&self, line: &InviteLine, signals: &mut Signals) -> Result<bool, Next> {
        if self.service.user().is_some() {
            return Ok(true);
        }
        match self.check(line, signals).await? {
            Some(Ok(invite)) if invite.state == InviteState::Open => {
                self.console.message(&format!("You are invited to {}.", render::invited_to(&invite)));
            }
            Some(Ok(invite)) => {
                self.console.message(&format!("error: {}", render::checked(&invite)));
                self.console.hint(&format!("{BEFORE}; or create_user <user>, and join_group {}", invite.group));
                return Ok(false);
            }
            Some(Err(e)) => {
                self.console.message(&render::error(&e));
                self.console.hint(&format!("{BEFORE}; or start with the same --invite again"));
                return Ok(false);
            }
            None => self.console.message("You are invited."),
        }
        self.console.message("Choose a name, by which the others in the group know you, and a password.");
        self.console.message("Who has an account here already gives its name and password.");
        for _ in 0..TRIES {
            let name = self.a_name(signals).await?;
            // In a browser, meanwhile.
            if self.service.user().is_some() {
                return Ok(true);
            }
            let Some(user) = name else { break };
            let wanted = Command::CreateUser { user: user.clone(), password: None, invite: Some(line.clone()) };
            let command = match self.with_password(wanted, signals).await? {
                Ok(command) => command,
                Err(e) => {
                    self.console.message(&render::error(&e));
                    continue;
                }
            };
            let Command::CreateUser { password: Some(password), .. } = command.clone() else { break };
            match self.carry_out(command, signals).await? {
                Ok(made) => show(&self.console, &made, false),
                // With an invitation that is used up there may be an account all the same.
                Err(e) if ["user_exists", "no_such_invite"].contains(&e.code()) => {
                    if self.log_in(user, password, signals).await?.is_ok() {
                        return Ok(true);
                    }
                    if e.code() == "no_such_invite" {
                        self.console.message(&render::error(&e));
                        self.console
                            .hint("create_user <user>, and join_group <group>; or accept_invite with another line");
                        return Ok(false); // The same line would be refused again.
                    }
                    let text = "error: somebody here has that name, and another password: give the name again with its password, \
                                or choose another name";
                    self.console.message(text);
                    continue;
                }
                Err(e) => {
                    self.console.message(&render::error(&e));
                    if e.code() == "invalid_argument" {
                        continue;
                    }
                    break;
                }
            }
            match self.log_in(user, password, signals).await? {
                Ok(()) => return Ok(true),
                Err(e) => {
                    self.console.message(&render::error(&e));
                    break;
                }
            }
        }
        self.console.message(LATER);
        Ok(false)
    }

    /// What the invitation is for, or that no tracker knows it. Nothing, where that cannot be asked, or is not answered soon: then it
    /// may be good.
    async fn check(
        &self,
        line: &InviteLine,
        signals: &mut Signals,
    ) -> Result<Option<Result<CheckedInvite, Error>>, Next> {
        let check = Command::CheckInvite { line: Some(line.clone()) };
        tokio::select! {
            checked = timeout(CHECK, self.service.run(check, Call::unwatched(false))) => Ok(match checked {
                Ok(Ok(Outcome::Checked(invite))) => Some(Ok(invite)),
                Ok(Err(e)) if e.code() == "no_such_invite" => Some(Err(e)),
                _ => None,
            }),
            stop = signals.next() => Err(self.interrupted(stop)),
        }
    }

    async fn log_in(&self, user: UserName, password: Secret, signals: &mut Signals) -> Result<Result<(), Error>, Next> {
        let login = Command::Login { user, password: Some(password), code: None, new_password: None };
        Ok(self.carry_out(login, signals).await?.map(|outcome: Outcome| show(&self.console, &outcome, false)))
    }

    /// What is typed for a name. That somebody has logged in meanwhile is said: the line editor waits for a line all the same.
    async fn name_typed(&self, signals: &mut Signals) -> Result<Answer, Next> {
        let (mut interrupts, mut events, mut is_told) = (Interrupts::default(), self.service.events(), false);
        let mut typed = std::pin::pin!(self.typed(NAME, Vec::new(), &mut interrupts, signals));
        loop {
            tokio::select! {
                typed = &mut typed => return typed,
                event = events.recv(), if !is_told => match event {
                    Ok(Event::Status(Status { user: Some(user), .. })) => {
                        is_told = true;
                        self.console.message(&format!("logged in as {user} in the meantime: press Enter"));
                    }
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => is_told = true,
                },
            }
        }
    }

    /// The name that is typed; nothing, if somebody would rather not, or has logged in elsewhere.
    async fn a_name(&self, signals: &mut Signals) -> Result<Option<UserName>, Next> {
        loop {
            self.console.flush();
            match self.name_typed(signals).await? {
                Answer::Typed(_) if self.service.user().is_some() => return Ok(None),
                Answer::Typed(typed) => match typed.trim().parse::<UserName>() {
                    Ok(name) => return Ok(Some(name)),
                    Err(e) => self.console.message(&format!("error: {e}")),
                },
                Answer::Interrupted | Answer::End => {
                    end_typing();
                    return Ok(None);
                }
            }
        }
    }
}
