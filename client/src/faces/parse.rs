//! From a line to a command, or to a sentence that says what is wrong with it. Pure.
//!
//! What is wrong with a line that the table does not take is told by [`explain`].

use std::path::{Component, Path};

use clap::{CommandFactory, FromArgMatches};
use common::escape::Escaped;
use common::invitation::Invitation;

use super::explain::explain;
use super::{linked, suggest};
use crate::engine::Command;
use crate::engine::command::{Line, as_argument};
use crate::error::Error;
use crate::link::ShareLink;

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
    parse_words(&words)
}

/// Parses the words of a line, or gives `None` if there are none.
pub(crate) fn parse_words(words: &[String]) -> Option<Parsed> {
    let typed = words.first()?.clone();
    // A message that an invitation stands in may be pasted as it is.
    let joined;
    let words = match words {
        [command, message @ ..]
            if ["accept_invite", "check_invite"].contains(&command.as_str()) && message.len() > 1 =>
        {
            joined = [typed.clone(), message.join(" ")];
            &joined[..]
        }
        words => words,
    };
    let mut table = Line::command();
    let expanded = match table.find_subcommand(&typed).map(|command| with_link(command, words)) {
        Some(Err(e)) => return Some(Parsed { name: typed, command: Err(e) }),
        Some(Ok(Some(expanded))) => expanded,
        Some(Ok(None)) | None => words.to_vec(),
    };
    let known = table.find_subcommand(&typed).map(|c| c.get_name().to_owned());
    let parsed = table.try_get_matches_from_mut(&expanded).and_then(|m| Line::from_arg_matches(&m));
    match parsed {
        Ok(line) => Some(Parsed { name: line.command.name().to_owned(), command: checked(line.command) }),
        Err(_) if known.is_none() && Invitation::is_meant(&typed) => {
            // The line is a secret: nothing of it is said again.
            let text = "an invitation is accepted by `accept_invite <line>`, once you are logged in; a client that is started with \
                        `--invite <line>` makes an account, too";
            Some(Parsed { name: "accept_invite".to_owned(), command: Err(Error::Usage(text.to_owned())) })
        }
        Err(e) => {
            let command = Err(explain(&e, known.as_deref(), &expanded));
            Some(Parsed { name: known.unwrap_or(typed), command })
        }
    }
}

/// The words with a group and a share in place of a link, where `command` takes those and begins with one.
fn with_link(command: &clap::Command, words: &[String]) -> Result<Option<Vec<String>>, Error> {
    let Some(share) = linked::share_argument(command) else { return Ok(None) };
    let Some(at) = first_positional(command, words).filter(|at| ShareLink::is_meant(&words[*at])) else {
        return Ok(None);
    };
    let mut expanded = words.to_vec();
    expanded.splice(at..=at, linked::expanded(&words[at], share)?);
    Ok(Some(expanded))
}

/// A command as it was parsed, unless an argument is in the place of another.
fn checked(command: Command) -> Result<Command, Error> {
    match &command {
        Command::Subscribe { group, glob: None, destination, .. } if is_like_pattern(destination) => {
            let typed = destination.to_string_lossy();
            let (pattern, directory) = (as_argument(&typed), as_argument(&format!("./{typed}")));
            Err(Error::Usage(format!(
                "`{}` is a pattern, and the directory where its files go is missing: `subscribe {group} {pattern} <destination>`; for a \
                 directory of that name: `subscribe {group} {directory}`",
                Escaped(&typed)
            )))
        }
        _ => Ok(command),
    }
}

/// Whether what was to be a path is a pattern for names. One that begins with `/`, `./` or `../` is a path for certain.
fn is_like_pattern(path: &Path) -> bool {
    let begins_with_name = matches!(path.components().next(), Some(Component::Normal(_)));
    begins_with_name && path.to_string_lossy().contains(['*', '?', '['])
}

/// Where the first word stands that is no option and no value of one.
pub(super) fn first_positional(command: &clap::Command, words: &[String]) -> Option<usize> {
    let takes_value = |word: &str| {
        let long = word.strip_prefix("--");
        let is_named = |option: &&clap::Arg| option.get_long().is_some() && option.get_long() == long;
        command.get_opts().find(is_named).is_some_and(|option| option.get_action().takes_values())
    };
    let mut is_value = false;
    for (at, word) in words.iter().enumerate().skip(1) {
        match word.as_str() {
            _ if std::mem::take(&mut is_value) => {}
            "--" => return (at + 1 < words.len()).then_some(at + 1),
            option if option.starts_with('-') => is_value = takes_value(option),
            _ => return Some(at),
        }
    }
    None
}

/// `create_user <user> [password]`
pub(super) fn usage_of(command: &mut clap::Command) -> String {
    let usage = command.clone().disable_help_flag(true).render_usage().to_string();
    usage.trim_start_matches("Usage: ").trim().to_owned()
}

pub(super) fn unknown(typed: &str) -> Error {
    let remedy = suggest::remedy(typed);
    // A whole line in quotes is one word, and may hold a password.
    let typed: String = typed.split_whitespace().next().unwrap_or_default().chars().take(80).collect();
    Error::Usage(format!("there is no command `{}`; {remedy}", Escaped(&typed)))
}

#[cfg(test)]
mod tests {
    use common::invitation::InviteSecret;
    use common::secret::ClusterPin;

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
            assert!(
                matches!(parsed.command.expect(line), Command::ListFiles { group, .. } if group == "lab".parse().expect("a name")),
                "{line}"
            );
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
            ("show_d", "`show_downloads`"),
        ] {
            let error = error(typed);
            assert_eq!(error.code(), "usage");
            assert!(error.to_string().contains(nearest), "{error}");
        }
        let hostile = error("\u{1b}[2J");
        assert!(!hostile.to_string().contains('\u{1b}') && hostile.to_string().contains("`help`"), "{hostile}");
    }

    #[test]
    fn an_invitation_in_place_of_a_command_is_not_repeated() {
        let parsed = parse("shoal-invite:abcdefghijklmnopqrstuvwxyz").expect("a line");
        let error = parsed.command.expect_err("not a command").to_string();
        assert!(
            !format!("{} {error}", parsed.name).contains("abcdef") && error.contains("accept_invite <line>"),
            "{error}"
        );
    }

    #[test]
    fn missing_and_surplus_arguments_show_the_usage() {
        for (line, what) in [
            ("join_group", "<group> is missing; usage: join_group <group>"),
            ("accept_request lab", "<user> is missing; usage: accept_request <group> <user>"),
            ("accept_request", "<group> and <user> are missing; usage"),
            ("download_file", "<group>, <file_name> and <destination> are missing; usage"),
            ("change_password onlyone", "usage: change_password [old] [new]"),
            ("logout now", "usage: logout"),
            ("list_files lab --all", "usage: list_files [OPTIONS] <group>"),
            ("login", "usage: login [OPTIONS] <user> [password]"),
            ("limit up", "<rate|off> is missing"),
            ("set seeding_slots", "<value> is missing"),
            ("limit --at 8-9", "missing"),
            ("limit down 1M --download 3 --group lab", "exclude each other"),
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
            ("download_file lab a/../b .", "`..` in it"),
            ("info lab a/b", "about whole shares"),
            ("upload_file '' lab", "a path is empty"),
            ("subscribe lab '*' ''", "a path is empty"),
            ("subscribe lab '' /x", "a pattern is empty"),
            ("download_file lab a . --only ''", "a pattern is empty"),
            ("download_file lab a . --except=", "a pattern is empty"),
            ("upload_file f lab --piece-size big", "not a size"),
            ("pause_download x", "`x` is not the number of a download; `show_downloads` shows them"),
            ("pause_download -- -1", "not the number of a download"),
            ("download_file lab f . --strategy luck", "random, rarest, sequential"),
            ("list_files lab --sort luck", "name, size, age, seeders"),
            ("list_files lab --match [a", "is no pattern"),
            ("list_files lab --page 0", "is not a number from 1"),
            ("limit up 1M --at 8", "`8` is no part of a day"),
            ("set colour red", "limit_up, limit_down, seeding_slots"),
            ("show colour", "limit_up, limit_down, seeding_slots"),
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
            "'login bob s3cret-pass'",
        ] {
            assert!(!error(line).to_string().contains("s3cret"), "{line}");
        }
    }

    #[test]
    fn a_missing_group_or_destination_is_answered_with_the_line_that_was_meant() {
        for (line, what) in [
            ("upload results.tar", "`upload_file results.tar <group>`"),
            ("upload 'my results.tar'", "`upload_file 'my results.tar' <group>`"),
            ("download results.tar", "`download_file <group> results.tar .`"),
            ("download_file lab results.tar", "`download_file lab results.tar .`"),
        ] {
            let error = error(line);
            assert!(error.code() == "usage" && error.to_string().contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn a_pattern_is_not_taken_for_the_directory_that_was_forgotten() {
        for (line, what) in [
            ("subscribe lab *.rs", "`subscribe lab '*.rs' <destination>`"),
            ("subscribe lab *.rs", "`subscribe lab './*.rs'`"),
            ("subscribe lab 'run [0-9]' --existing", "`subscribe lab 'run [0-9]' <destination>`"),
            ("subscribe lab src/?.rs", "is missing"),
        ] {
            let error = error(line);
            assert!(error.code() == "usage" && error.to_string().contains(what), "{line}: {error}");
        }
        for line in [
            "subscribe lab './*.rs'",
            "subscribe lab '/x/run [1]'",
            "subscribe lab '../run?'",
            "subscribe lab '~/run[1]'",
            "subscribe lab '*.rs' 'run [1]'",
            "subscribe lab rust",
        ] {
            parse(line).expect("a command").command.expect(line);
        }
    }

    #[test]
    fn an_invitation_may_be_pasted_with_the_message_around_it() {
        let trackers = vec!["127.0.0.1:5000".parse().expect("an address")];
        let (pin, secret) = (ClusterPin::from_bytes([7; 32]), InviteSecret::new([9; 16]));
        let line = Invitation { trackers, pin, secret }.to_line();
        let typed = format!("accept_invite Come in, bob: {} see you there", *line);
        let command = parse(&typed).expect("a command").command.expect("found");
        assert!(matches!(command, Command::AcceptInvite { line: Some(found) } if found.0.to_line() == line));
    }

    #[test]
    fn a_link_stands_for_a_group_and_a_file() {
        let id = "ab".repeat(32);
        let command = |line: &str| parse(line).expect("a command").command.expect(line);
        for (line, meant) in [
            ("info shoal:lab/{}", "info lab id:{}"),
            ("verify shoal://lab/{}", "verify lab id:{}"),
            ("stop_share -- shoal:lab/{}", "stop_share lab id:{}"),
            ("download shoal:lab/{} .", "download_file lab id:{} ."),
            (
                "download_file --strategy random --force 'SHOAL:lab/{}' /x",
                "download_file lab id:{} /x --strategy random --force",
            ),
            ("download_file --strategy=random shoal:lab/{} /x", "download_file lab id:{} /x --strategy random"),
            ("download 'shoal:lab/{}/a b/c.rs' .", "download_file lab 'id:{}/a b/c.rs' ."),
            ("list_files shoal:lab/{}", "list_files lab id:{}"),
            ("list_files --sort size shoal:lab/{}/ --page 2", "list_files lab id:{} --sort size --page 2"),
            ("list_files shoal://lab/{}/deep/er/", "list_files lab id:{}/deep/er"),
        ] {
            assert_eq!(command(&line.replace("{}", &id)), command(&meant.replace("{}", &id)), "{line}");
        }
        for (line, code, what) in [
            ("info shoal:lab/12", "invalid_argument", "is no link to a share"),
            ("info shoal:lab", "invalid_argument", "no group, or no file id"),
            ("download_file shoal:lab/{}", "usage", "<destination> is missing"),
            ("download_file shoal:lab/{}", "usage", "`download_file lab id:{} .` puts it"),
            ("download_file shoal:lab/{}/../x .", "invalid_argument", "no path in a folder"),
            ("info shoal:lab/{}/a.rs", "invalid_argument", "leave out what follows the file id"),
            ("info shoal:lab/{} a.bin", "usage", "`a.bin` is an argument too many"),
            ("list_files shoal:lab/{} src", "usage", "`src` is an argument too many"),
            ("list_members shoal:lab/{}", "invalid_argument", "not a valid name"),
        ] {
            let error = error(&line.replace("{}", &id));
            let what = what.replace("{}", &id);
            assert!(error.code() == code && error.to_string().contains(&what), "{line}: {error}");
        }
    }
}
