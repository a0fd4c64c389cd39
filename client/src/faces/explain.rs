//! What is wrong with a line that the table does not take, and how it would be right. Pure.
//!
//! Invariant: a refused word may be a password or an invitation. It is repeated only where its command takes neither, or by the
//! check of an argument that is neither.

use std::any::TypeId;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command as Spec, CommandFactory};
use common::escape::Escaped;
use common::invitation::Invitation;

use super::linked;
use super::parse::{first_positional, unknown, usage_of};
use crate::engine::command::{InviteLine, Lifetime, Line, Secret, ShareFile, as_argument};
use crate::error::Error;
use crate::units;

/// What is wrong with `words`, the first of which is the command `known` if that is in the table.
pub(super) fn explain(error: &clap::Error, known: Option<&str>, words: &[String]) -> Error {
    let mut table = Line::command();
    let Some(command) = known.and_then(|name| table.find_subcommand_mut(name)) else {
        return unknown(words.first().map_or("", String::as_str));
    };
    let usage = usage_of(command);
    let refused = |text: String| with_usage(&text, &usage);
    let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
    let is_secret = takes_secret(command) || words.iter().any(|word| Invitation::is_meant(word));
    match error.kind() {
        ErrorKind::ValueValidation if !takes_secret(command) && is_invitation(error) => refused(format!(
            "an invitation is no argument of `{}`; `accept_invite` takes it",
            command.get_name()
        )),
        ErrorKind::ValueValidation => {
            let why = about_whole_shares(error, command, words).or_else(|| reason(error));
            Error::InvalidArgument(why.unwrap_or_else(|| format!("an argument is not valid; usage: {usage}")))
        }
        ErrorKind::InvalidValue => match choices(error) {
            Some(choices) => Error::InvalidArgument(format!("{} takes one of {choices}", Escaped(&argument))),
            None => refused(format!("the value of `{}` is missing", Escaped(&argument))),
        },
        ErrorKind::MissingRequiredArgument => {
            let missing = are_missing(&list(error, ContextKind::InvalidArg).unwrap_or_default());
            let meant = meant(command.get_name(), words).filter(|_| !is_secret);
            let meant = meant.map(|line| format!("; {line}")).unwrap_or_default();
            Error::Usage(format!("{missing}; usage: {usage}{meant}"))
        }
        ErrorKind::UnknownArgument if is_secret => refused(
            "there is an argument too many, or an unknown option, not shown as it may be secret; put quotes round what has \
             spaces in it"
                .to_owned(),
        ),
        ErrorKind::UnknownArgument => match option_at(&argument, words) {
            Some(at) => no_option(error, command, words, at),
            None => refused(surplus(&argument, command, words)),
        },
        ErrorKind::ArgumentConflict => {
            refused(conflict(&argument, &list(error, ContextKind::PriorArg).unwrap_or_default()))
        }
        ErrorKind::TooManyValues => refused(format!("`{}` takes no value", Escaped(&argument))),
        _ => Error::Usage(format!("usage: {usage}")),
    }
}

fn with_usage(text: &str, usage: &str) -> Error {
    let stop = if text.ends_with('?') { "" } else { ";" };
    Error::Usage(format!("{text}{stop} usage: {usage}"))
}

/// Whether a word of its line may be a password or an invitation.
fn takes_secret(command: &Spec) -> bool {
    let secrets = [TypeId::of::<Secret>(), TypeId::of::<InviteLine>()];
    command.get_arguments().any(|arg| secrets.iter().any(|secret| arg.get_value_parser().type_id() == *secret))
}

/// Whether an invitation was given in the place of something else.
fn is_invitation(error: &clap::Error) -> bool {
    text(error, ContextKind::InvalidValue).is_some_and(|value| Invitation::is_meant(&value))
}

// --- words too many ---

/// Where the word stands that was taken for the unknown option `option`. None if that is no option, or comes after `--`.
fn option_at(option: &str, words: &[String]) -> Option<usize> {
    let options = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let is_it = |word: &String| option.starts_with('-') && word.starts_with(option);
    words.iter().take(options).position(is_it)
}

/// That the word at `at` is no option, and what it may have been meant as.
fn no_option(error: &clap::Error, command: &mut Spec, words: &[String], at: usize) -> Error {
    let (word, usage, name) = (words[at].as_str(), usage_of(command), command.get_name());
    let near = list(error, ContextKind::SuggestedArg).and_then(|near| near.into_iter().next());
    let remedy = if ["-h", "--help"].contains(&word) {
        format!("`help {name}` explains it")
    } else if let Some(near) = near {
        format!("did you mean `{near}`?")
    } else if command.get_positionals().next().is_none() {
        format!("`help {name}` explains it")
    } else {
        match as_value(command, words, at) {
            Meant::Line(line) => format!("if it is a name, `--` goes before it: `{line}`"),
            // No option begins with a digit: it can only be a value, and that below zero.
            Meant::Wrong(reason) if word[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                return Error::InvalidArgument(reason);
            }
            Meant::Wrong(reason) => format!("as an argument: {reason}"),
            Meant::Unclear => {
                format!("`help {name}` shows its options; if it is a name, `--` goes before it: `-- {}`", Escaped(word))
            }
        }
    };
    with_usage(&format!("`{name}` has no option `{}`; {remedy}", Escaped(word)), &usage)
}

/// What a word is that was taken for an option, if it is none.
enum Meant {
    /// A value in this line, which is a good one.
    Line(String),
    /// A value that is not valid, for this reason.
    Wrong(String),
    /// Something in a line that is wrong elsewhere, too.
    Unclear,
}

/// Reads the word at `at` as the value of the option before it, or as an argument.
fn as_value(command: &Spec, words: &[String], at: usize) -> Meant {
    let meant = if at > 1 && is_option_with_value(command, &words[at - 1]) {
        let joined = format!("{}={}", words[at - 1], words[at]);
        [&words[..at - 1], &[joined], &words[at + 1..]].concat()
    } else {
        [&words[..at], &["--".to_owned()], &words[at..]].concat()
    };
    match Line::command().try_get_matches_from(&meant) {
        Ok(_) => Meant::Line(line(&meant)),
        Err(e) if e.kind() == ErrorKind::ValueValidation => reason(&e).map_or(Meant::Unclear, Meant::Wrong),
        Err(_) => Meant::Unclear,
    }
}

fn is_option_with_value(command: &Spec, word: &str) -> bool {
    let is_it = |option: &&clap::Arg| option.get_long().is_some() && option.get_long() == word.strip_prefix("--");
    command.get_opts().any(|option| is_it(&option) && option.get_action().takes_values())
}

/// That `word` is one more than the command takes.
fn surplus(word: &str, command: &Spec, words: &[String]) -> String {
    let too_many = format!("`{}` is an argument too many", Escaped(word));
    if command.get_positionals().next().is_none() {
        return format!("{too_many}: `{}` takes none", command.get_name());
    }
    match with_unit_joined(word, words) {
        Some(line) => format!("{too_many}; did you mean `{line}`?"),
        None => format!("{too_many}; put quotes round a name with spaces"),
    }
}

/// The line without the blank between a number and the unit `word`, if that is a good one.
fn with_unit_joined(word: &str, words: &[String]) -> Option<String> {
    let is_unit = units::parse_rate(&format!("5{word}")).is_ok() || format!("5{word}").parse::<Lifetime>().is_ok();
    let is_number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit()) && word.parse::<f64>().is_ok();
    let at = words.windows(2).position(|pair| is_unit && pair[1] == word && is_number(&pair[0]))?;
    let joined = [&words[..at], &[format!("{}{word}", words[at])], &words[at + 2..]].concat();
    Line::command().try_get_matches_from(&joined).ok().map(|_| line(&joined))
}

/// That `argument` is there twice, or that it and `others` exclude each other.
fn conflict(argument: &str, others: &[String]) -> String {
    match others {
        [] => "an option is there twice, or two exclude each other".to_owned(),
        [same] if same == argument => format!("`{argument}` is there twice; once is enough"),
        [first, ..] => format!("`{argument}` and `{first}` exclude each other; leave one of them out"),
    }
}

// --- words missing, or in a wrong place ---

/// That a path in a folder was given where a whole share is asked for, and the lines that are about that and about the path.
fn about_whole_shares(error: &clap::Error, command: &Spec, words: &[String]) -> Option<String> {
    let argument = linked::share_argument(command).filter(|argument| !linked::takes_path(argument))?;
    if text(error, ContextKind::InvalidArg)? != argument.to_string() {
        return None;
    }
    let typed = text(error, ContextKind::InvalidValue)?;
    let ShareFile { path: Some(path), .. } = typed.parse().ok()? else { return None };
    let (share, _) = typed.split_once('/')?;
    let (group, name) = (words.get(first_positional(command, words)?)?, command.get_name());
    let of_file = if name == "info" {
        format!("; `list_files {group} {}` shows the file", as_argument(&format!("{share}/{}", path.as_str())))
    } else {
        String::new()
    };
    Some(format!(
        "`{}` is in a folder, and `{name}` is about whole shares: `{name} {group} {}`{of_file}",
        Escaped(&typed),
        as_argument(share)
    ))
}

/// `<group>, <file_name> and <destination> are missing`
fn are_missing(names: &[String]) -> String {
    match names {
        [] => "an argument is missing".to_owned(),
        [one] => format!("{one} is missing"),
        [first @ .., last] => format!("{} and {last} are missing", first.join(", ")),
    }
}

/// The line that was meant, where the group was left out, as other systems have it, or the destination.
fn meant(name: &str, words: &[String]) -> Option<String> {
    match (name, arguments(words)?.as_slice()) {
        ("upload_file", [path]) => {
            Some(format!("a file is shared with a group: `upload_file {path} <group>` (`list_groups` shows yours)"))
        }
        ("download_file", [file]) => Some(format!(
            "a file is fetched from a group: `download_file <group> {file} .` (`list_files <group>` shows its files)"
        )),
        ("download_file", [group, file]) => {
            Some(format!("`download_file {group} {file} .` puts it into the directory that the client was started in"))
        }
        _ => None,
    }
}

/// The words after the command as they would have to be typed. None if one is an option.
fn arguments(words: &[String]) -> Option<Vec<String>> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let is_option = |word: &String| word.starts_with('-');
    let before = words.get(1..end).filter(|before| !before.iter().any(is_option))?;
    Some(before.iter().chain(words.iter().skip(end + 1)).map(|word| as_argument(word)).collect())
}

/// Words as the line that they are of.
fn line(words: &[String]) -> String {
    let joined = shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "));
    Escaped(&joined).to_string()
}

// --- what clap tells ---

/// What the check of an argument says of its value.
fn reason(error: &clap::Error) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
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

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    fn error(line: &str) -> Error {
        parse(line).expect("a command").command.expect_err(line)
    }

    #[test]
    fn a_word_too_many_is_named_with_its_remedy() {
        for (line, what) in [
            (
                "list_files lab my src",
                "`src` is an argument too many; put quotes round a name with spaces; usage: list_files",
            ),
            ("info lab a\u{1b} b\u{1b}", r"`b\u{1b}` is an argument too many"),
            ("download_file lab my file.bin .", "`.` is an argument too many"),
            ("logout now", "`now` is an argument too many: `logout` takes none; usage: logout"),
            ("limit up 10 M", "`M` is an argument too many; did you mean `limit up 10M`? usage: limit"),
            ("upload_file 'a b' lab --piece-size 1 MiB", "did you mean `upload_file 'a b' lab --piece-size 1MiB`?"),
            ("invite lab --expires 7 d", "did you mean `invite lab --expires 7d`?"),
            ("join_group -- lab -x", "`-x` is an argument too many"),
        ] {
            let error = error(line);
            assert!(error.code() == "usage" && error.to_string().contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn an_unknown_option_is_named_with_its_remedy() {
        for (line, what) in [
            ("search -x", "`search` has no option `-x`; if it is a name, `--` goes before it: `search -- -x`; usage"),
            ("list_files lab -rf", "`list_files lab -- -rf`"),
            ("list_files lab '--my src'", "`list_files lab -- '--my src'`"),
            ("download_file lab -x", "if it is a name, `--` goes before it: `-- -x`"),
            ("list_files --help", "`list_files` has no option `--help`; `help list_files` explains it; usage"),
            ("news -a", "`news` has no option `-a`; `help news` explains it; usage"),
            ("list_files lab --mach x", "has no option `--mach`; did you mean `--match`? usage: list_files"),
            ("create_group -x", "`create_group` has no option `-x`; as an argument: "),
            ("create_group '-\u{1b}'", r"no option `-\u{1b}`"),
        ] {
            let error = error(line);
            assert!(error.code() == "usage" && error.to_string().contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn a_number_below_zero_is_told_what_is_taken() {
        for (line, what) in [
            ("unsubscribe -1", "`-1` is not the number of a subscription; `list_subscriptions` shows them"),
            ("unsubscribe -12", "`-12` is not the number of a subscription"),
            ("pause_download -1", "`-1` is not the number of a download"),
            ("limit up -5", "`-5` is not a rate"),
            ("invite lab --expires -1d", "`-1d` is not a time such as 30m, 12h or 7d"),
            ("invite lab --uses -3", "and not `-3`"),
            ("list_files lab --page -1", "`-1` is not a number from 1"),
        ] {
            let error = error(line);
            assert!(error.code() == "invalid_argument" && error.to_string().contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn options_that_exclude_each_other_or_lack_a_value_are_named() {
        for (line, what) in [
            (
                "limit up 1M --group lab --download 3",
                ["`--group <group>`", "`--download <n>`", "exclude each other; leave one"],
            ),
            ("limit up 1M --group lab --group lab", ["`--group <group>` is there twice", "once", "usage: limit"]),
            ("list_files lab --sort size --sort size", ["`--sort <sort>` is there twice", "once", "usage: list_files"]),
            ("login bob --code c pass", ["`--code <code>`", "`[password]`", "exclude each other"]),
            ("invite lab --expires", ["the value of `--expires <time>` is missing", "usage", "invite"]),
            ("news --all=yes", ["`--all` takes no value", "usage", "news"]),
        ] {
            let error = error(line);
            let text = error.to_string();
            assert!(error.code() == "usage" && what.iter().all(|what| text.contains(what)), "{line}: {error}");
        }
    }

    #[test]
    fn a_word_that_may_be_secret_is_not_named() {
        for line in [
            "login bob my s3cret",
            "login bob pass --s3cret",
            "create_user bob my s3cret",
            "change_password a b s3cret",
            "change_password a b -- -s3cret",
            "join_group lab shoal-invite:s3cret",
        ] {
            let text = error(line).to_string();
            assert!(!text.contains("s3cret") && text.contains("put quotes round"), "{line}: {text}");
        }
        for (line, what) in [
            ("download_file lab shoal-invite:s3cret", "`accept_invite` takes it"),
            ("upload_file shoal-invite:s3cret", "<group> is missing"),
        ] {
            let text = error(line).to_string();
            assert!(!text.contains("s3cret") && text.contains(what), "{line}: {text}");
        }
    }

    #[test]
    fn a_path_in_a_folder_is_answered_with_the_line_for_the_share() {
        for (line, what) in [
            ("info lab 'my src/a b.rs'", "`info lab 'my src'`; `list_files lab 'my src/a b.rs'` shows the file"),
            (
                "verify lab src/main.rs",
                "`src/main.rs` is in a folder, and `verify` is about whole shares: `verify lab src`",
            ),
            ("stop_share lab -- -src/main.rs", "`stop_share lab -- -src`"),
            ("info lab id:0011223344/a", "`info lab id:0011223344`"),
            ("info lab /home/me/a.rs", "`/home/me/a.rs` is a path, and this is about whole shares"),
        ] {
            let error = error(line);
            assert!(error.code() == "invalid_argument" && error.to_string().contains(what), "{line}: {error}");
        }
    }

    #[test]
    fn a_line_that_was_meant_can_be_pasted() {
        for (line, what) in [
            ("upload 'my results.tar'", "`upload_file 'my results.tar' <group>`"),
            ("upload -- -results.tar", "`upload_file -- -results.tar <group>`"),
            ("download_file lab 'my results.tar'", "`download_file lab 'my results.tar' .`"),
            ("download_file lab -- -results.tar", "`download_file lab -- -results.tar .`"),
        ] {
            let text = error(line).to_string();
            assert!(text.contains(what), "{line}: {text}");
        }
        let with_option = error("download_file lab a --force").to_string();
        assert!(!with_option.contains("puts it into"), "{with_option}");
    }
}
