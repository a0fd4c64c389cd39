//! From a JSON object to the words of a line: the command table judges both. Pure.

use std::any::TypeId;
use std::num::NonZeroU32;
use std::path::Path;

use clap::{Arg, ArgAction, CommandFactory};
use common::escape::Escaped;
use serde_json::{Map, Value};

use crate::engine::command::{Argument, Line, MaxRate};
use crate::error::Error;
use crate::faces::linked;

/// What a field may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number, or text that stands for one (`256KiB`).
    Number,
    /// Text.
    Text,
    /// Several texts.
    Texts,
}

impl Kind {
    pub(super) fn of(arg: &Arg) -> Self {
        if !arg.get_action().takes_values() {
            Self::Flag
        } else if [TypeId::of::<u64>(), TypeId::of::<NonZeroU32>(), TypeId::of::<MaxRate>()]
            .iter()
            .any(|t| arg.get_value_parser().type_id() == *t)
        {
            Self::Number
        } else if matches!(arg.get_action(), ArgAction::Append) {
            Self::Texts
        } else {
            Self::Text
        }
    }

    const fn said(self) -> &'static str {
        match self {
            Self::Flag => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::Texts => "a list of texts",
        }
    }
}

/// The name of an argument as a field.
pub(super) fn field(arg: &Arg) -> String {
    arg.get_long().unwrap_or(arg.get_id().as_str()).replace('-', "_")
}

/// Whether the table has a command of this name; an alias is for people.
pub(super) fn is_command(name: &str) -> bool {
    Line::command().get_subcommands().any(|c| c.get_name() == name)
}

/// The words of the line that calls `name` with these fields. `null` is as good as left out.
///
/// # Errors
/// When there is no such command, it has no such field, or a value is of another kind. What the words mean is judged by
/// the table afterwards.
pub(in crate::faces) fn words(name: &str, fields: Map<String, Value>) -> Result<Vec<String>, Error> {
    let table = Line::command();
    let command = table.get_subcommands().find(|c| c.get_name() == name);
    let command = command.ok_or_else(|| Error::Usage(format!("there is no command `{}`", Escaped(name))))?;
    let mut fields: Map<_, _> = fields.into_iter().filter(|(_, value)| !value.is_null()).collect();
    expand_link(command, &mut fields)?;
    let mut words = vec![name.to_owned()];
    let (positionals, options): (Vec<_>, Vec<_>) = command.get_arguments().partition(|arg| arg.is_positional());
    for option in options {
        if let Some(value) = fields.remove(&field(option)) {
            words.extend(option_words(option, &value)?);
        }
    }
    let (mut values, mut left_out) = (Vec::new(), None);
    for arg in positionals {
        match (fields.remove(&field(arg)), &left_out) {
            (Some(value), None) => values.push(text_of(arg, &value)?),
            (Some(_), Some(missing)) => return Err(Error::Usage(format!("`{missing}` is missing"))),
            // One that is followed by others that are not.
            (None, _) if !arg.is_required_set() && command.is_allow_missing_positional_set() => {}
            (None, _) => left_out = left_out.or_else(|| Some(field(arg))),
        }
    }
    // What follows is no option, whatever it begins with. Not where it need not be said: then nothing may be left out before it.
    words.extend(values.iter().any(|value| value.starts_with('-')).then(|| "--".to_owned()));
    words.extend(values);
    match fields.keys().next() {
        None => Ok(words),
        Some(unknown) => Err(Error::Usage(format!("{name} has no field `{}`; {}", Escaped(unknown), known(command)))),
    }
}

/// The field that takes a link in place of a group and a share.
pub(super) const LINK: &str = "link";

/// Group and share in place of a link.
fn expand_link(command: &clap::Command, fields: &mut Map<String, Value>) -> Result<(), Error> {
    let Some(share) = linked::share_argument(command) else { return Ok(()) };
    let Some(link) = fields.remove(LINK) else { return Ok(()) };
    let names = ["group".to_owned(), field(share)];
    if names.iter().any(|name| fields.contains_key(name)) {
        let [group, share] = names;
        return Err(Error::Usage(format!("a `{LINK}` stands for `{group}` and `{share}`; leave those out")));
    }
    let link = link.as_str().ok_or_else(|| Error::Usage(format!("`{LINK}` has to be text")))?;
    let values = linked::expanded(link, share)?;
    fields.extend(names.into_iter().zip(values.map(Value::from)));
    Ok(())
}

fn known(command: &clap::Command) -> String {
    let link = linked::share_argument(command).map(|_| format!("or `{LINK}` for the first two"));
    let names: Vec<_> = command.get_arguments().map(|arg| format!("`{}`", field(arg))).chain(link).collect();
    if names.is_empty() { "it takes none".to_owned() } else { format!("it takes {}", names.join(", ")) }
}

fn option_words(option: &Arg, value: &Value) -> Result<Vec<String>, Error> {
    let long = option.get_long().unwrap_or_default();
    let with = |value: &Value| Ok(format!("--{long}={}", text_of(option, value)?));
    match (Kind::of(option), value) {
        (Kind::Flag, Value::Bool(given)) => Ok(given.then(|| format!("--{long}")).into_iter().collect()),
        (Kind::Flag, _) => Err(of_another_kind(option)),
        (Kind::Texts, Value::Array(values)) => values.iter().map(with).collect(),
        (Kind::Number | Kind::Text | Kind::Texts, _) => Ok(vec![with(value)?]),
    }
}

fn text_of(arg: &Arg, value: &Value) -> Result<String, Error> {
    let text = match (Kind::of(arg), value) {
        (Kind::Number | Kind::Text | Kind::Texts, Value::String(text)) => text.clone(),
        (Kind::Number, Value::Number(number)) if number.is_u64() => number.to_string(),
        _ => return Err(of_another_kind(arg)),
    };
    let is_path = Argument::of(arg.get_id().as_str()) == Argument::Path;
    if is_path && !is_anchored(&text) {
        return Err(Error::Usage(format!(
            "`{}` has to be an absolute path: the client runs in a directory of its own",
            field(arg)
        )));
    }
    Ok(text)
}

/// Whether a path means the same whatever the working directory. An empty one means nothing anywhere: the table refuses it.
fn is_anchored(path: &str) -> bool {
    path.is_empty() || Path::new(path).is_absolute() || path == "~" || path.starts_with("~/")
}

fn of_another_kind(arg: &Arg) -> Error {
    Error::Usage(format!("`{}` has to be {}", field(arg), Kind::of(arg).said()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::Command;
    use crate::faces::parse::parse_words;

    fn parsed(name: &str, fields: Value) -> Result<Command, Error> {
        let Value::Object(fields) = fields else { panic!("an object") };
        parse_words(&words(name, fields)?).expect("a command").command
    }

    fn line(line: &str) -> Command {
        crate::faces::parse::parse(line).expect("a command").command.expect(line)
    }

    #[test]
    fn fields_are_the_arguments_of_the_table() {
        for (name, fields, meant) in [
            ("login", json!({"user": "bob", "password": "-x --y"}), "login bob '-x --y'"),
            ("login", json!({"user": "bob", "password": null}), "login bob"),
            ("whoami", json!({}), "whoami"),
            (
                "download_file",
                json!({"group": "lab", "file_name": "-rf", "destination": "/x y", "force": true, "strategy": "random"}),
                "download_file --force --strategy random -- lab -rf '/x y'",
            ),
            (
                "upload_file",
                json!({"path": "/x", "group": "lab", "piece_size": 65536}),
                "upload_file /x lab --piece-size 65536",
            ),
            (
                "upload_file",
                json!({"path": "/x", "group": "lab", "piece_size": "64KiB", "name": "-n"}),
                "upload_file /x lab --piece-size 64KiB --name=-n",
            ),
            (
                "download_file",
                json!({"link": format!("shoal:lab/{}", "ab".repeat(32)), "destination": "/x"}),
                &format!("download_file lab id:{} /x", "ab".repeat(32)),
            ),
            (
                "download_file",
                json!({"group": "lab", "file_name": "src/a.rs", "destination": "/x", "only": ["*.rs", "-x"], "except": "y"}),
                "download_file lab src/a.rs /x --only=*.rs --only=-x --except y",
            ),
            ("list_files", json!({"group": "lab", "folder": "src"}), "list_files lab src"),
            (
                "list_files",
                json!({"link": format!("shoal:lab/{}/a b", "ab".repeat(32)), "sort": "size"}),
                &format!("list_files lab 'id:{}/a b' --sort size", "ab".repeat(32)),
            ),
            ("pause_download", json!({"n": 3}), "pause_download 3"),
            ("pause_download", json!({"n": "3"}), "pause_download 3"),
        ] {
            assert_eq!(parsed(name, fields.clone()).map_err(|e| e.to_string()), Ok(line(meant)), "{name} {fields}");
        }
    }

    #[test]
    fn what_the_table_does_not_know_is_refused_and_says_what_it_does() {
        for (name, fields, what) in [
            ("nonsense", json!({}), "no command `nonsense`"),
            ("upload", json!({}), "no command `upload`"),
            ("whoami", json!({"user": "bob"}), "whoami has no field `user`; it takes none"),
            ("login", json!({"User": "bob"}), "it takes `user`, `password`"),
            ("info", json!({"link": 3}), "`link` has to be text"),
            ("info", json!({"link": "shoal:lab/x", "group": "lab"}), "leave those out"),
            ("list_files", json!({"link": "shoal:lab/x", "folder": "a"}), "`group` and `folder`; leave those out"),
            ("whoami", json!({"link": "shoal:lab/x"}), "it takes none"),
            ("login", json!({"user": 3}), "`user` has to be text"),
            ("login", json!({"user": ["bob"]}), "`user` has to be text"),
            ("login", json!({"password": "x"}), "`user` is missing"),
            ("login", json!({}), "<user> is missing"),
            ("pause_download", json!({"n": -1}), "`n` has to be a number"),
            ("pause_download", json!({"n": 1.5}), "`n` has to be a number"),
            ("download_file", json!({"group": "lab", "file_name": "a", "destination": "x"}), "an absolute path"),
            (
                "download_file",
                json!({"group": "lab", "file_name": "a", "destination": "/x", "force": "yes"}),
                "`force` has to be true or false",
            ),
        ] {
            let refused = parsed(name, fields.clone()).expect_err(name);
            assert!(refused.code() == "usage" && refused.to_string().contains(what), "{name} {fields}: {refused}");
        }
    }

    /// Otherwise two faces would understand the same command differently.
    #[test]
    fn every_command_survives_the_way_through_json() {
        let invitation = common::invitation::Invitation {
            trackers: vec!["tracker.example:5000".parse().expect("an address")],
            pin: common::secret::ClusterPin::from_bytes([7; 32]),
            secret: common::invitation::InviteSecret::new([9; 16]),
        };
        let accept = format!("accept_invite {}", *invitation.to_line());
        let check = format!("check_invite {}", *invitation.to_line());
        let create = format!("create_user bob 'long enough' --invite {}", *invitation.to_line());
        for text in [
            "create_user bob 'long enough'",
            &create,
            "login bob secret99",
            "login bob",
            "logout",
            "whoami",
            "change_password old-one new-one",
            "create_group lab",
            "list_groups",
            "join_group lab",
            "leave_group lab",
            "list_requests lab",
            "accept_request lab bob",
            "reject_request lab bob",
            "list_members lab",
            "remove_member lab bob",
            "make_admin lab bob",
            "invite lab",
            "invite lab --uses 3 --expires 12h",
            &accept,
            &check,
            "list_invites lab",
            "revoke_invite lab 3",
            "upload_file /x/y lab --piece-size 64KiB --name other",
            "list_files lab",
            "list_files lab --sort age --match '*.b?n' --page 2 --rows 7",
            "download_file lab id:0123456789 /x --strategy sequential --force",
            "download_file lab 'a b' /x/",
            "show_downloads",
            "pause_download 1",
            "resume_download 1",
            "cancel_download 1",
            "list_shares",
            "stop_share lab a",
            "search 'two words' --page 2",
            "info lab 'a b'",
            "verify lab id:0123456789",
            "login bob --code agx2k-rest --new-password 'long enough'",
            "news",
            "news --all",
            "subscribe lab /x",
            "subscribe lab '*.b?n' /x --existing",
            "list_subscriptions",
            "unsubscribe 1",
            "list_devices",
            "end_login abcdef",
            "limit up 10M",
            "limit down off",
            "limit",
            "limit up 1M --group lab --at 08:00-18:00 --at 22:00-06:00",
            "limit down 1M --download 3",
            "limit up 1M --download 3 --at 08:00-18:00",
            "set",
            "set seeding_slots 4",
            "show limit_up",
            "status",
            "doctor",
            "help login",
            "web",
            "quit",
            "shutdown",
        ] {
            let command = line(text);
            let fields = command.fields().expect("JSON");
            let again = parse_words(&words(command.name(), fields).expect(text)).expect("words").command;
            assert_eq!(again.expect(text), command);
        }
        let named: Vec<_> = Line::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
        assert_eq!(named.len(), 47, "each of {named:?} is above");
    }
}
