//! Which lines may be kept: those that hold no password and no invitation, also where they are wrong. Pure.
//!
//! A line that is understood says by itself whether it holds one. One that is not may have been meant as a command with a
//! password, misspelled, with a quotation mark too many, or joined to another one; then it is kept only if nothing in
//! it is like such a command and it is like another.

use clap::CommandFactory;

use super::super::parse::Parsed;
use super::super::suggest;
use crate::engine::command::Line;

/// Commands whose lines may hold a password.
const WITH_PASSWORD: [&str; 5] = ["create_user", "login", "change_password", "accept_invite", "check_invite"];
/// What stands in every invitation, whatever was typed around it.
const INVITATION: &str = "shoal-invite";
/// Letters from which on a word may be the beginning of such a command.
const MIN_BEGINNING: usize = 3;

/// Whether `line` may be kept in the history.
pub(crate) fn is_harmless(line: &str, parsed: &Parsed) -> bool {
    match &parsed.command {
        Ok(command) if !holds_invitation(line) => !command.holds_password(),
        Ok(_) => false,
        Err(_) => is_harmless_mistake(line),
    }
}

/// An invitation may stand where none belongs, as in `upload_file shoal-invite:…`.
fn holds_invitation(line: &str) -> bool {
    line.to_ascii_lowercase().contains(INVITATION)
}

fn is_harmless_mistake(line: &str) -> bool {
    if holds_invitation(line) {
        return false;
    }
    let words = words(line);
    let Some((name, rest)) = words.split_first() else { return false };
    if asks_only_for_a_name(line, name, rest) {
        return true;
    }
    !words.iter().any(|word| may_mean_password(word)) && is_meant_otherwise(name)
}

/// The words of a line whatever its quotes and separators, in lower case.
fn words(line: &str) -> Vec<String> {
    let unquoted: String = line.chars().filter(|c| !matches!(c, '\'' | '"' | '\\')).collect();
    let is_separator = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '?'));
    unquoted.split(is_separator).filter(|w| !w.is_empty()).map(str::to_lowercase).collect()
}

/// `logn bob`: the password of such a line is asked for. Only where nothing else can hide in it.
fn asks_only_for_a_name(line: &str, name: &str, rest: &[String]) -> bool {
    let is_plain = line.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ' '));
    let is_named = WITH_PASSWORD[..2].iter().any(|known| suggest::is_near(name, known));
    is_plain && is_named && rest.len() <= 1
}

fn may_mean_password(word: &str) -> bool {
    let known = Line::command().find_subcommand(word).map(|c| WITH_PASSWORD.contains(&c.get_name()));
    let begins = |name: &str| word.chars().count() >= MIN_BEGINNING && name.starts_with(word);
    let is_like = || word.contains("pass") || WITH_PASSWORD.iter().any(|n| suggest::is_near(word, n) || begins(n));
    known.unwrap_or_else(is_like)
}

/// Whether the first word stands for a command without a password.
fn is_meant_otherwise(name: &str) -> bool {
    let known = Line::command().find_subcommand(name).is_some();
    known || suggest::is_harmless_foreign(name) || suggest::nearest(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::parse::parse;

    fn is_kept(line: &str) -> bool {
        is_harmless(line, &parse(line).expect("a command"))
    }

    #[test]
    fn no_line_with_a_password_is_kept() {
        for line in [
            "login bob secret99",
            "create_user bob secret99",
            "change_password a b",
            "login bob secret99 extra",
            "change_password onlyone",
            // Misspelled.
            "logn bob secret99",
            "LOGIN bob secret99",
            "lgoin bob secret99",
            "log bob secret99",
            "creat_user bob secret99",
            "create bob secret99",
            "chnage_password secret99",
            "change secret99 secret00",
            "register bob secret99",
            "passwd secret99",
            "su bob secret99",
            // With quotes.
            "login 'bob secret99",
            "\"login bob secret99",
            "lo\\gin bob 'secret99",
            "login \"bob\" \"secret99\" \"",
            "'login bob secret99'",
            "logn 'bob secret99'",
            // Joined.
            "list_groups login carol secret99",
            "list_groups; login carol secret99",
            "whoami&&login carol secret99",
            "list_groups⏎login carol secret99",
            "> login carol secret99",
            "shoal>login carol secret99",
            "list_files lab\u{a0}login carol secret99",
            "\u{feff}login carol secret99",
            // Invitations.
            "accept_invite shoal-invite:aeaq",
            "check_invite shoal-invite:aeaq",
            "acept_invite shoal-invite:aeaq",
            "invite shoal-invite:aeaq",
            "list_files shoal-invite:aeaq",
            "SHOAL-INVITE:aeaq",
            "accept_invite aeaq",
            "check_invite aeaq",
            "join lab shoal-invite:aeaq",
            // At the wrong place.
            "secret99",
            "logn:bob:secret99",
        ] {
            assert!(!is_kept(line), "{line}");
        }
    }

    #[test]
    fn wrong_lines_about_something_else_are_kept() {
        for line in [
            "login bob",
            "logn bob",
            "create_usr bob",
            "list_groups",
            "list_files",
            "lst_files lab",
            "download_file lab x .",
            "downlaod_file lab 'x y' .",
            "upload_file",
            "upload results.tar",
            "join lab",
            "ls lab",
            "logout now",
            "list_files 'lab",
        ] {
            assert!(is_kept(line), "{line}");
        }
    }
}
