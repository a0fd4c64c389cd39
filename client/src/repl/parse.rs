//! From a line to a command, or to a sentence that says what is wrong with it. Pure.
//!
//! A refused argument may be a password, so what is repeated from the line is only the command and what
//! a named argument's own check says.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};
use common::escape::Escaped;

use crate::app::Command;
use crate::app::command::Line;
use crate::error::Error;

/// A line that was understood, or not.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The command's name: of the table, or as typed if it is not in it.
    pub(crate) name: String,
    pub(crate) command: Result<Command, Error>,
}

/// Parses `line`, or gives `None` if there is nothing on it but blanks and a comment.
pub(crate) fn parse(line: &str) -> Option<Parsed> {
    let Some(words) = shlex::split(line) else {
        let name = line.split_whitespace().next().unwrap_or_default().to_owned();
        let text = "a quotation mark is not closed, or the line ends in a backslash";
        return Some(Parsed { name, command: Err(Error::Usage(text.to_owned())) });
    };
    let typed = words.first()?.clone();
    let mut table = Line::command();
    let known = table.find_subcommand(&typed).map(|c| c.get_name().to_owned());
    let parsed = table.try_get_matches_from_mut(words).and_then(|m| Line::from_arg_matches(&m));
    match parsed {
        Ok(line) => Some(Parsed { name: line.command.name().to_owned(), command: Ok(line.command) }),
        Err(e) => {
            let command = Err(explain(&e, known.as_deref(), &typed));
            Some(Parsed { name: known.unwrap_or(typed), command })
        }
    }
}

/// The help for all commands, or for one.
///
/// # Errors
/// When there is no such command.
pub(crate) fn help(command: Option<&str>) -> Result<String, Error> {
    let mut table = Line::command();
    match command {
        None => Ok(overview(&mut table)),
        Some(name) => match table.find_subcommand_mut(name) {
            Some(found) => {
                let mut found = found.clone().disable_help_flag(true);
                Ok(found.render_help().to_string().trim_end().to_owned())
            }
            None => Err(unknown(name, None)),
        },
    }
}

/// All commands: usage and a line about each.
fn overview(table: &mut clap::Command) -> String {
    let rows: Vec<_> = table
        .get_subcommands_mut()
        .map(|c| (usage_of(c), c.get_about().map(ToString::to_string).unwrap_or_default()))
        .collect();
    // What is longer has a line of its own.
    let width = rows.iter().map(|(usage, _)| usage.len()).filter(|w| *w <= 32).max().unwrap_or_default();
    let lines = rows.iter().map(|(usage, about)| match usage.len() <= width {
        true => format!("  {usage:width$}  {about}"),
        false => format!("  {usage}\n  {:width$}  {about}", ""),
    });
    let lines: Vec<_> = lines.collect();
    format!(
        "{}\n\n`help <command>` tells more. A file is named, or chosen by `id:` and digits of its id.\n\
         Quote what has spaces: 'my file.pdf'.",
        lines.join("\n")
    )
}

/// `login <user> [password]`
fn usage_of(command: &mut clap::Command) -> String {
    let usage = command.clone().disable_help_flag(true).render_usage().to_string();
    usage.trim_start_matches("Usage: ").trim().to_owned()
}

/// The usage of a command of the table.
pub(crate) fn usage(name: &str) -> Option<String> {
    Line::command().find_subcommand_mut(name).map(usage_of)
}

fn explain(error: &clap::Error, known: Option<&str>, typed: &str) -> Error {
    let Some(name) = known else {
        return unknown(typed, suggested(error));
    };
    let usage = usage(name).unwrap_or_default();
    match error.kind() {
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            Error::InvalidArgument(reason.unwrap_or_else(|| format!("an argument is not valid; usage: {usage}")))
        }
        ErrorKind::InvalidValue => match (text(error, ContextKind::InvalidArg), choices(error)) {
            (Some(argument), Some(choices)) => {
                Error::InvalidArgument(format!("{} takes one of {choices}", Escaped(&argument)))
            }
            _ => Error::Usage(format!("a value is missing; usage: {usage}")),
        },
        ErrorKind::MissingRequiredArgument => {
            let missing = list(error, ContextKind::InvalidArg).unwrap_or_default().join(" and ");
            Error::Usage(format!("{missing} is missing; usage: {usage}"))
        }
        ErrorKind::UnknownArgument => {
            Error::Usage(format!("an argument too many, or an unknown option; usage: {usage}"))
        }
        ErrorKind::ArgumentConflict => Error::Usage(format!("an option is there twice; usage: {usage}")),
        _ => Error::Usage(format!("usage: {usage}")),
    }
}

fn unknown(typed: &str, suggestion: Option<String>) -> Error {
    let typed: String = typed.chars().take(80).collect();
    let nearest = suggestion.or_else(|| nearest(&typed));
    let remedy = nearest.map_or_else(|| "`help` shows all".to_owned(), |n| format!("did you mean `{n}`?"));
    Error::Usage(format!("there is no command `{}`; {remedy}", Escaped(&typed)))
}

fn suggested(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::SuggestedSubcommand)? {
        ContextValue::String(s) => Some(s.clone()),
        ContextValue::Strings(all) => all.last().cloned(), // The best comes last.
        _ => None,
    }
}

/// The command that `typed` begins, if there is only one, or that it is nearly.
fn nearest(typed: &str) -> Option<String> {
    let table = Line::command();
    let mut begun = table.get_subcommands().filter(|c| !typed.is_empty() && c.get_name().starts_with(typed));
    let only = begun.next().filter(|_| begun.next().is_none()).map(|c| c.get_name().to_owned());
    only.or_else(|| suggested(&Line::command().try_get_matches_from([typed]).err()?))
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(s) => Some(s.clone()),
        _ => None,
    }
}

fn list(error: &clap::Error, kind: ContextKind) -> Option<Vec<String>> {
    match error.get(kind)? {
        ContextValue::Strings(all) => Some(all.clone()),
        ContextValue::String(s) => Some(vec![s.clone()]),
        _ => None,
    }
}

fn choices(error: &clap::Error) -> Option<String> {
    list(error, ContextKind::ValidValue).filter(|all| !all.is_empty()).map(|all| all.join(", "))
}

/// Whether a line may be kept in the history: it is known not to hold a password.
pub(crate) fn is_harmless(parsed: &Parsed) -> bool {
    match &parsed.command {
        Ok(command) => !command.holds_password(),
        // A password may be on a line that was mistyped: keep it only if it is about something else.
        Err(_) => !may_mean_password(&parsed.name),
    }
}

fn may_mean_password(name: &str) -> bool {
    const WITH_PASSWORD: [&str; 3] = ["create_user", "login", "change_password"];
    // What is not in the table may be one of these three, mistyped.
    Line::command().find_subcommand(name).is_none_or(|known| WITH_PASSWORD.contains(&known.get_name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> Error {
        parse(line).expect("a command").command.expect_err(line)
    }

    #[test]
    fn nothing_is_not_a_command() {
        for line in ["", "   ", "# a comment", "  # another"] {
            assert!(parse(line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn quoting_is_that_of_the_shell() {
        for line in [r#"list_files "lab""#, "list_files 'lab'", r"list_files la\b", "list_files lab # all of it"] {
            let parsed = parse(line).expect("a command");
            let group = "lab".parse().expect("a name");
            assert_eq!(parsed.command.expect(line), Command::ListFiles { group });
        }
        for line in ["list_files 'lab", "list_files \"lab", "list_files lab\\"] {
            assert!(error(line).to_string().contains("quotation mark"), "{line}");
        }
    }

    #[test]
    fn an_unknown_command_suggests_the_nearest() {
        for (typed, nearest) in [
            ("logn bob", "`login`"),
            ("list_file lab", "`list_files`"),
            ("create_grup x", "`create_group`"),
            ("uplod_file a b", "`upload"),
            ("show", "`show_downloads`"),
        ] {
            let error = error(typed);
            assert_eq!(error.code(), "usage");
            assert!(error.to_string().contains(nearest), "{error}");
        }
        let hostile = error("\u{1b}[2J");
        assert!(!hostile.to_string().contains('\u{1b}') && hostile.to_string().contains("`help`"), "{hostile}");
    }

    #[test]
    fn missing_and_surplus_arguments_show_the_usage() {
        for (line, what) in [
            ("join_group", "<group> is missing; usage: join_group <group>"),
            ("accept_request lab", "<user> is missing; usage: accept_request <group> <user>"),
            ("change_password onlyone", "usage: change_password [old] [new]"),
            ("logout now", "usage: logout"),
            ("list_files lab --all", "usage: list_files <group>"),
            ("login", "usage: login <user> [password]"),
        ] {
            let error = error(line);
            assert_eq!(error.code(), "usage", "{line}");
            assert!(error.to_string().contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn arguments_out_of_rule_are_told_apart_from_bad_usage() {
        for (line, what) in [
            ("join_group ../etc", "not a valid name"),
            ("create_user -x password1", "usage"),
            ("download_file lab id:12 .", "8 to 64 hexadecimal"),
            ("download_file lab a/b .", "path separator"),
            ("upload_file f lab --piece-size big", "not a size"),
            ("pause_download one", "invalid digit"),
            ("download_file lab f . --strategy luck", "random, rarest, sequential"),
        ] {
            let error = error(line);
            let code = if what == "usage" { "usage" } else { "invalid_argument" };
            assert_eq!(error.code(), code, "{line}: {error}");
            assert!(error.to_string().contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn no_refusal_repeats_a_password() {
        for line in [
            "login bob s3cret-pass extra",
            "login b/b s3cret-pass",
            "change_password s3cret-pass",
            "create_user a s3cret-pass --x",
        ] {
            assert!(!error(line).to_string().contains("s3cret"), "{line}");
        }
    }

    #[test]
    fn lines_with_passwords_are_not_kept() {
        let kept = |line: &str| is_harmless(&parse(line).expect("a command"));
        for line in [
            "login bob secret99",
            "create_user bob secret99",
            "change_password a b",
            "login bob secret99 extra",
            "logn bob secret99",
            "LOGIN bob secret99",
            "login 'bob secret99",
            "change_password onlyone",
        ] {
            assert!(!kept(line), "{line}");
        }
        for line in ["login bob", "list_groups", "list_files", "download_file lab x .", "upload_file"] {
            assert!(kept(line), "{line}");
        }
    }

    #[test]
    fn every_command_has_help() {
        let all = help(None).expect("an overview");
        for command in Line::command().get_subcommands() {
            let name = command.get_name();
            assert!(all.contains(name), "{name}");
            assert!(help(Some(name)).expect(name).contains("Usage: "), "{name}");
        }
        assert!(help(Some("upload")).expect("an alias").contains("--piece-size"));
        assert_eq!(help(Some("nonsense")).expect_err("none").code(), "usage");
    }
}
