//! What Tab and the grey hints offer, by the one table of commands. Where names come from is hidden
//! behind [`Source`]; paths come from the disk.

use std::path::{MAIN_SEPARATOR, Path};

use clap::{Arg, CommandFactory};
use common::home::expand;
use common::id::GroupName;

use super::names::{List, Names};
use crate::engine::command::{Argument, Line};
use crate::faces::linked;
use crate::link::ShareLink;

/// Most candidates that are offered.
const MOST: usize = 500;

/// Where names come from.
pub(super) trait Source {
    /// The names of a list, as far as they are known.
    fn names(&self, list: &List) -> Vec<String>;
}

impl Source for Names {
    fn names(&self, list: &List) -> Vec<String> {
        self.get(list)
    }
}

/// Something that the word at the cursor may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// As shown in a list.
    pub(super) shown: String,
    /// As typed, quoted where needed.
    pub(super) typed: String,
}

/// A line up to the cursor, cut into words as the parser will; the last one is being typed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    before: Vec<String>,
    current: String,
    /// Where the current word begins, in bytes.
    start: usize,
    /// The quotation mark that is open at the cursor.
    quote: Option<char>,
}

impl Words {
    fn of(line: &str) -> Self {
        let mut words = Self { start: line.len(), ..Self::default() };
        let mut begun = false;
        let mut chars = line.char_indices();
        while let Some((at, c)) = chars.next() {
            if !begun && !c.is_whitespace() {
                (begun, words.start) = (true, at);
            }
            match (words.quote, c) {
                (None, '\'' | '"') => words.quote = Some(c),
                (Some(q), c) if q == c => words.quote = None,
                (None | Some('"'), '\\') => words.current.extend(chars.next().map(|(_, c)| c)),
                (None, c) if c.is_whitespace() => {
                    if begun {
                        words.before.push(std::mem::take(&mut words.current));
                    }
                    (begun, words.start) = (false, line.len());
                }
                (_, c) => words.current.push(c),
            }
        }
        words
    }
}

/// Candidates for the word that ends at the end of `line`, and where that word begins.
pub(super) fn complete(line: &str, source: &impl Source) -> (usize, Vec<Candidate>) {
    let words = Words::of(line);
    let found = candidates(&words, source);
    let only = found.len() == 1;
    let typed = |name: &str| {
        let complete = !name.ends_with(MAIN_SEPARATOR);
        let mut quoted = quoted(name, words.quote, only && complete);
        // Not to be taken for an option; those are completed only where one has been begun.
        if name.starts_with('-') && words.current.is_empty() && !words.before.iter().any(|word| word == "--") {
            quoted.insert_str(0, "-- ");
        }
        if only && complete { quoted + " " } else { quoted }
    };
    let candidates = found.iter().map(|name| Candidate { shown: last_part(name).to_owned(), typed: typed(name) });
    (words.start, candidates.take(MOST).collect())
}

fn candidates(words: &Words, source: &impl Source) -> Vec<String> {
    let Some(name) = words.before.first() else { return beginning(words, commands()) };
    let table = Line::command();
    let Some(command) = table.find_subcommand(name) else { return Vec::new() };
    let args = words.before.get(1..).unwrap_or_default();
    if let Some(option) = args.last().and_then(|last| option(command, last)) {
        return values(option, words, None, command, source);
    }
    if words.current.starts_with('-') && !args.iter().any(|arg| arg == "--") {
        let longs = command.get_arguments().filter_map(Arg::get_long).map(|long| format!("--{long}"));
        return beginning(words, longs.filter(|long| !args.contains(long)));
    }
    let given = positionals(command, args);
    let Some(argument) = missing(command, &given).next() else { return Vec::new() };
    values(argument, words, group(command, &given), command, source)
}

/// The arguments that do not come from the words that are `given`. A link stands for group and share.
fn missing<'a>(command: &'a clap::Command, given: &[&str]) -> impl Iterator<Item = &'a Arg> + use<'a> {
    let taken = given.len() + usize::from(is_linked(command, given));
    command.get_positionals().skip(taken)
}

fn is_linked(command: &clap::Command, given: &[&str]) -> bool {
    given.first().is_some_and(|word| ShareLink::is_meant(word)) && linked::share_argument(command).is_some()
}

/// The group that the words name, by itself or in a link.
fn group(command: &clap::Command, given: &[&str]) -> Option<GroupName> {
    if is_linked(command, given) {
        return given.first()?.parse::<ShareLink>().ok().map(|link| link.group);
    }
    let (name, _) = given.iter().zip(command.get_positionals()).find(|(_, a)| a.get_id() == "group")?;
    name.parse().ok()
}

/// What an argument may be, in a line that has named a group, perhaps.
fn values(
    argument: &Arg,
    words: &Words,
    group: Option<GroupName>,
    command: &clap::Command,
    source: &impl Source,
) -> Vec<String> {
    let listed = argument.get_possible_values();
    if !listed.is_empty() {
        return beginning(words, listed.iter().map(|v| v.get_name().to_owned()));
    }
    match Argument::of(argument.get_id().as_str()) {
        Argument::Command => beginning(words, commands()),
        Argument::Group => beginning(words, source.names(&List::Groups)),
        Argument::User => group.map_or_else(Vec::new, |group| {
            let asks = matches!(command.get_name(), "accept_request" | "reject_request");
            let list = if asks { List::Requests(group) } else { List::Members(group) };
            beginning(words, source.names(&list))
        }),
        Argument::File => group.map_or_else(Vec::new, |group| beginning(words, source.names(&List::Files(group)))),
        // Invitations and subscriptions have numbers of their own, which are looked up.
        Argument::Download if !matches!(command.get_name(), "revoke_invite" | "unsubscribe") => {
            beginning(words, source.names(&List::Downloads))
        }
        Argument::Path => paths(&words.current, std::env::home_dir().as_deref()),
        // Either that, or what follows it.
        Argument::Other if argument.get_id() == "glob" => paths(&words.current, std::env::home_dir().as_deref()),
        Argument::Download | Argument::Other => Vec::new(),
    }
}

fn commands() -> Vec<String> {
    Line::command().get_subcommands().map(|c| c.get_name().to_owned()).collect()
}

fn beginning(words: &Words, names: impl IntoIterator<Item = String>) -> Vec<String> {
    names.into_iter().filter(|n| n.starts_with(&words.current)).collect()
}

/// The option that `word` is, if a value follows it.
fn option<'a>(command: &'a clap::Command, word: &str) -> Option<&'a Arg> {
    let long = word.strip_prefix("--")?;
    command.get_opts().find(|o| o.get_long() == Some(long) && !is_flag(o))
}

fn is_flag(arg: &Arg) -> bool {
    arg.get_long().is_some() && !arg.get_action().takes_values()
}

/// The arguments among `args` that are no options and no values of options.
fn positionals<'a>(command: &clap::Command, args: &'a [String]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let (mut skip, mut no_options) = (false, false);
    for arg in args {
        let value = std::mem::take(&mut skip);
        if !no_options && option(command, arg).is_some() {
            skip = true;
        } else if !value && !no_options && arg == "--" {
            no_options = true;
        } else if !value && (no_options || !arg.starts_with("--")) {
            found.push(arg.as_str());
        }
    }
    found
}

/// Paths that begin with what is typed; directories end with a separator.
fn paths(typed: &str, home: Option<&Path>) -> Vec<String> {
    let (directory, prefix) =
        typed.rsplit_once(MAIN_SEPARATOR).map_or(("", typed), |(_, p)| (&typed[..typed.len() - p.len()], p));
    if typed == "~" {
        return vec![format!("~{MAIN_SEPARATOR}")];
    }
    let directory_path = if directory.is_empty() { ".".into() } else { expand(directory.as_ref(), home) };
    let listed = std::fs::read_dir(directory_path);
    let mut found: Vec<_> = listed
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !prefix.starts_with('.');
            let fits = name.starts_with(prefix) && !hidden && !name.contains(char::is_control);
            let end = if entry.path().is_dir() { MAIN_SEPARATOR.to_string() } else { String::new() };
            // Where it begins a path, a `~` is the home directory.
            let here = if directory.is_empty() && name == "~" { "./" } else { "" };
            fits.then(|| format!("{here}{directory}{name}{end}"))
        })
        .take(MOST)
        .collect();
    found.sort_unstable();
    found
}

fn last_part(name: &str) -> &str {
    let end = name.strip_suffix(MAIN_SEPARATOR).unwrap_or(name);
    end.rfind(MAIN_SEPARATOR).map_or(name, |at| &name[at + 1..])
}

/// `name` as it has to be typed, in the style of quoting that has been begun: with backslashes, so
/// that names with a common beginning keep one.
fn quoted(name: &str, quote: Option<char>, close: bool) -> String {
    let mut typed: String = quote.into_iter().collect();
    for c in name.chars() {
        let special = match quote {
            Some('"') => matches!(c, '"' | '\\' | '$' | '`'),
            Some(_) => false,
            None => {
                !(c.is_alphanumeric()
                    || matches!(c, '.' | '_' | '-' | '/' | '+' | ',' | '=' | ':' | '@' | '%' | '^' | '~'))
            }
        };
        match (quote, c) {
            (Some('\''), '\'') => typed.push_str("'\\''"),
            _ => {
                typed.extend(special.then_some('\\'));
                typed.push(c);
            }
        }
    }
    typed.extend(quote.filter(|_| close));
    typed
}

/// What is still to be typed, in grey: the arguments that are missing.
pub(super) fn hint(line: &str) -> Option<String> {
    let words = Words::of(line);
    let (typed, rest) = (words.before.first()?, words.before.get(1..)?);
    if !words.current.is_empty() || words.quote.is_some() {
        return None;
    }
    let table = Line::command();
    let command = table.find_subcommand(typed)?;
    let missing = missing(command, &positionals(command, rest)).map(|a| {
        let name = a.get_value_names().and_then(|n| n.first()).map_or_else(|| a.get_id().as_str(), |n| n.as_str());
        if a.is_required_set() { format!("<{name}>") } else { format!("[{name}]") }
    });
    let missing = missing.collect::<Vec<_>>().join(" ");
    (!missing.is_empty()).then_some(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Source for Fixed {
        fn names(&self, list: &List) -> Vec<String> {
            let names: &[&str] = match list {
                List::Groups => &["lab", "lab-two", "office"],
                List::Files(group) if group.as_str() == "lab" => &["my file.pdf", "my film.mkv", "it's.txt"],
                List::Members(_) => &["alice", "bob"],
                List::Requests(_) => &["carol"],
                _ => &[],
            };
            names.iter().map(|n| (*n).to_owned()).collect()
        }
    }

    fn typed(line: &str) -> Vec<String> {
        complete(line, &Fixed).1.into_iter().map(|c| c.typed).collect()
    }

    #[test]
    fn commands_and_groups_are_completed() {
        assert_eq!(typed("list_r"), ["list_requests "]);
        assert_eq!(
            typed("list_"),
            [
                "list_groups",
                "list_requests",
                "list_members",
                "list_invites",
                "list_files",
                "list_shares",
                "list_subscriptions",
                "list_devices"
            ]
        );
        assert_eq!(typed("help log"), ["login", "logout"]);
        assert_eq!(typed("list_files la"), ["lab", "lab-two"]);
        assert_eq!(typed("list_files o"), ["office "]);
        assert_eq!(typed("download lab-"), ["lab-two "], "an alias, too");
        assert_eq!(typed("nonsense la"), [""; 0]);
        assert_eq!(typed("list_files lab x"), [""; 0]);
    }

    #[test]
    fn files_are_those_of_the_group_and_are_quoted() {
        assert_eq!(typed("download_file lab my"), ["my\\ file.pdf", "my\\ film.mkv"]);
        assert_eq!(typed("download_file lab my\\ fil"), ["my\\ file.pdf", "my\\ film.mkv"]);
        assert_eq!(typed("download_file lab 'my file"), ["'my file.pdf' "]);
        assert_eq!(typed("download_file lab \"it"), ["\"it's.txt\" "]);
        assert_eq!(typed("download_file lab it"), ["it\\'s.txt "]);
        assert_eq!(typed("stop_share office "), [""; 0]);
        assert_eq!(complete("download_file lab 'my file", &Fixed).0, "download_file lab ".len());
        for line in ["download_file lab 'my file", "download_file lab it", "download_file lab \"it"] {
            let (start, candidates) = complete(line, &Fixed);
            let whole = format!("{}{}", &line[..start], candidates[0].typed);
            assert_eq!(shlex::split(&whole).map(|w| w.len()), Some(3), "{whole}");
        }
    }

    #[test]
    fn a_link_stands_for_group_and_file() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("music")).expect("made");
        let (root, link) = (dir.path().display(), format!("shoal:lab/{}", "ab".repeat(32)));
        for link in [&link, &format!("SHOAL://lab/{}/deep", "ab".repeat(32)), "shoal:lab/no-id"] {
            assert_eq!(typed(&format!("download_file {link} {root}/m")), [format!("{root}/music/")], "{link}");
            assert_eq!(typed(&format!("download_file --force {link} my")), [""; 0], "no file of the group");
            assert_eq!(hint(&format!("download_file {link} ")).as_deref(), Some("<destination>"));
            for whole in ["info", "verify", "stop_share", "list_files"] {
                assert_eq!(typed(&format!("{whole} {link} ")), [""; 0], "{whole}");
                assert_eq!(hint(&format!("{whole} {link} ")), None, "{whole}");
            }
        }
        assert_eq!(typed(&format!("download_file {link} {root} --f")), ["--force "]);
        // Where no link is taken it is a word like any other.
        assert_eq!(hint(&format!("accept_request {link} ")).as_deref(), Some("<user>"));
    }

    #[test]
    fn users_are_those_that_the_command_is_about() {
        assert_eq!(typed("accept_request lab "), ["carol "]);
        assert_eq!(typed("remove_member lab b"), ["bob "]);
        assert_eq!(typed("login "), [""; 0]);
    }

    #[test]
    fn options_and_their_values_are_completed() {
        assert_eq!(typed("download_file lab x . --f"), ["--force "]);
        assert_eq!(typed("download_file lab x . --strategy r"), ["random", "rarest"]);
        assert_eq!(typed("download_file --strategy random l"), ["lab", "lab-two"]);
        assert_eq!(typed("upload_file x lab --p"), ["--piece-size "]);
        assert_eq!(typed("limit u"), ["up "]);
        assert_eq!(typed("limit up 1M --group o"), ["office "]);
        assert_eq!(typed("set limit_"), ["limit_up", "limit_down"]);
    }

    #[test]
    fn paths_are_completed_from_the_disk() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("sub")).expect("made");
        std::fs::write(dir.path().join("sum total.txt"), "").expect("made");
        std::fs::write(dir.path().join(".hidden"), "").expect("made");
        let root = dir.path().display().to_string();
        assert_eq!(
            typed(&format!("upload_file {root}/su")),
            [format!("{root}/sub/"), format!("{root}/sum\\ total.txt")]
        );
        assert_eq!(typed(&format!("upload_file {root}/sub")), [format!("{root}/sub/")], "no blank after a directory");
        assert_eq!(complete(&format!("upload_file {root}/s"), &Fixed).1[0].shown, "sub/");
        assert_eq!(typed(&format!("upload_file {root}/.h")), [format!("{root}/.hidden ")]);
    }

    #[test]
    fn the_home_directory_is_completed_and_stays_a_tilde() {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join("in")).expect("made");
        std::fs::write(home.path().join("in/my film.mkv"), "").expect("made");
        let paths = |typed: &str| paths(typed, Some(home.path()));
        assert_eq!(paths("~"), ["~/"]);
        assert_eq!(paths("~/i"), ["~/in/"]);
        assert_eq!(paths("~/in/my"), ["~/in/my film.mkv"]);
        assert_eq!(quoted("~/in/my film.mkv", None, true), "~/in/my\\ film.mkv", "as it has to be typed");
    }

    #[test]
    fn a_name_like_an_option_is_completed_behind_two_dashes() {
        struct Dashed;
        impl Source for Dashed {
            fn names(&self, list: &List) -> Vec<String> {
                if matches!(list, List::Files(_)) { vec!["-rf".to_owned()] } else { Vec::new() }
            }
        }
        let typed = |line: &str| complete(line, &Dashed).1.into_iter().map(|c| c.typed).collect::<Vec<_>>();
        assert_eq!(typed("download_file lab "), ["-- -rf "]);
        assert_eq!(typed("download_file lab -- -r"), ["-rf "]);
        assert_eq!(hint("download_file lab -- -rf ").as_deref(), Some("<destination>"));
    }

    #[test]
    fn hints_show_what_is_missing() {
        assert_eq!(hint("download_file ").as_deref(), Some("<group> <file_name> <destination>"));
        assert_eq!(hint("download_file lab --strategy random ").as_deref(), Some("<file_name> <destination>"));
        assert_eq!(hint("login bob ").as_deref(), Some("[password]"));
        for none in ["", "download_file", "list_groups ", "nonsense ", "login 'b "] {
            assert_eq!(hint(none), None, "{none:?}");
        }
    }
}
