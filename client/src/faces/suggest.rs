//! The command that was probably meant: a near name of the table, or what other systems call it. Pure.

use clap::CommandFactory;
use strsim::damerau_levenshtein;

use crate::engine::command::Line;

/// Letters from which on a beginning stands for the only command that begins so.
const MIN_BEGINNING: usize = 3;

/// What a word of another system is here.
struct Foreign {
    words: &'static [&'static str],
    /// What to say after "there is no command `…`".
    here: &'static str,
    /// Whether a password may follow the word.
    password: bool,
}

/// Words of shells, of file transfer programs, and of other trackers and their exercises.
const FOREIGN: [Foreign; 14] = [
    foreign(&["ls", "dir", "files", "list"], "files of a group: `list_files <group>`; groups: `list_groups`"),
    foreign(&["get", "fetch", "wget", "leech"], "here it is `download_file <group> <file_name> <destination>`"),
    foreign(&["put", "share", "share_file", "publish", "seed", "send"], "here it is `upload_file <path> <group>`"),
    foreign(&["unshare", "unseed", "remove_file", "rm"], "`stop_share <group> <file_name>` stops seeding a file"),
    foreign(&["requests", "request", "pending"], "here it is `list_requests <group>`"),
    foreign(&["members", "users", "list_users"], "here it is `list_members <group>`"),
    foreign(&["groups"], "here it is `list_groups`"),
    foreign(&["downloads", "progress"], "here it is `show_downloads`"),
    foreign(&["peers", "trackers", "server"], "`status` shows the trackers, `show_downloads` the peers"),
    foreign(&["kick", "ban"], "here it is `remove_member <group> <user>`"),
    foreign(&["clear", "cls"], "Ctrl-L clears the screen"),
    foreign(&["cd", "pwd"], "paths count from the directory that the client was started in"),
    foreign(&["?", "man", "h", "-h", "--help", "commands"], "`help` shows all"),
    Foreign {
        words: &["register", "signup", "sign_up", "adduser", "add_user", "signin", "sign_in", "auth", "user", "passwd"],
        here: "accounts: `create_user <user>`, `login <user>`, `change_password`",
        password: true,
    },
];

const fn foreign(words: &'static [&'static str], here: &'static str) -> Foreign {
    Foreign { words, here, password: false }
}

fn find_foreign(typed: &str) -> Option<&'static Foreign> {
    FOREIGN.iter().find(|f| f.words.contains(&typed.to_lowercase().as_str()))
}

/// A sentence that leads on from a word that is not in the table.
pub(crate) fn remedy(typed: &str) -> String {
    match (find_foreign(typed), nearest(typed)) {
        (Some(foreign), _) => foreign.here.to_owned(),
        (None, Some(name)) => format!("did you mean `{name}`?"),
        (None, None) => "`help` shows all".to_owned(),
    }
}

/// Whether a word is from elsewhere, and no password follows it there.
pub(crate) fn is_harmless_foreign(typed: &str) -> bool {
    find_foreign(typed).is_some_and(|foreign| !foreign.password)
}

/// The command that `typed` begins, if there is only one, or that it nearly is.
pub(crate) fn nearest(typed: &str) -> Option<String> {
    let typed = typed.to_lowercase();
    let table = Line::command();
    let begun = |name: &str| typed.chars().count() >= MIN_BEGINNING && name.starts_with(&typed);
    let mut begins = table.get_subcommands().filter(|c| begun(c.get_name()));
    if let (Some(only), None) = (begins.next(), begins.next()) {
        return Some(only.get_name().to_owned());
    }
    let names = table.get_subcommands().flat_map(clap::Command::get_name_and_visible_aliases);
    let near = names.filter(|name| is_near(&typed, name)).min_by_key(|name| damerau_levenshtein(&typed, name));
    near.map(ToOwned::to_owned)
}

/// Whether one is the other, mistyped: one letter in three may be wrong, missing, too many or swapped with the next.
pub(crate) fn is_near(typed: &str, name: &str) -> bool {
    let letters = typed.chars().count().min(name.chars().count());
    damerau_levenshtein(typed, name) <= letters / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_and_beginnings_are_found_and_far_ones_are_not() {
        for (typed, name) in [
            ("logn", "login"),
            ("LOGIN", "login"),
            ("list_file", "list_files"),
            ("create_grup", "create_group"),
            ("uplod_file", "upload_file"),
            ("show_d", "show_downloads"),
            ("leave", "leave_group"),
            ("qiut", "quit"),
            ("dwonload", "download"),
        ] {
            assert_eq!(nearest(typed).as_deref(), Some(name), "{typed}");
        }
        for far in ["me", "clear", "list", "x", "", "register", "hunter2", "carolpass1"] {
            assert_eq!(nearest(far), None, "{far}");
        }
    }

    #[test]
    fn words_of_elsewhere_lead_to_a_line_that_works_here() {
        for (typed, here) in [
            ("ls", "`list_files <group>`"),
            ("clear", "Ctrl-L"),
            ("requests", "`list_requests <group>`"),
            ("register", "`create_user <user>`"),
            ("me", "`help` shows all"),
        ] {
            assert!(remedy(typed).contains(here), "{typed}: {}", remedy(typed));
        }
        let table = Line::command();
        let known = |word: &&&str| table.find_subcommand(word).is_some();
        assert!(FOREIGN.iter().flat_map(|f| f.words).find(known).is_none(), "no word hides a command");
    }
}
