//! The fields of a form as arguments of a command, by the one table of commands.

use serde_json::{Map, Value};

use crate::engine::Command;
use crate::error::Error;
use crate::faces::control::arguments;
use crate::faces::parse;
use crate::link::ShareLink;

/// Fields that are switches: boxes to tick, and buttons.
const SWITCHES: [&str; 4] = ["all", "existing", "force", "replace"];
/// Fields that hold patterns, with blanks or ends of lines between them.
const PATTERNS: [&str; 2] = ["except", "only"];

/// The command `name` with these arguments. A field is named as it is in the local API; one that is left empty counts as
/// left out. The field `id` is a file id, with or without `id:`, in place of `file_name`; or a link, which says the group as well.
/// The field `under` is the path of a folder in a share, in place of a pattern that only what is in it fits.
///
/// # Errors
/// When there is no such command, or an argument is wrong.
pub(super) fn command(name: &str, fields: Vec<(String, String)>) -> Result<Command, Error> {
    let fields =
        fields.into_iter().map(file_id).map(|field| no_rate(name, field)).filter(|(_, value)| !value.is_empty());
    let mut fields: Map<_, _> = fields.map(|(field, text)| value(field, text)).collect();
    if fields.contains_key("link") {
        // The link says the group.
        fields.remove("group");
    }
    let words = arguments::words(name, fields)?;
    let parsed = parse::parse_words(&words).ok_or_else(|| Error::Usage("there is no command".to_owned()))?;
    parsed.command
}

/// A switch, several texts, or text.
fn value(field: String, text: String) -> (String, Value) {
    match field.as_str() {
        "under" => ("only".to_owned(), Value::from(vec![exactly(&text)])),
        name if PATTERNS.contains(&name) => {
            let patterns: Vec<_> = text.split_whitespace().collect();
            (field, Value::from(patterns))
        }
        name if SWITCHES.contains(&name) && text == "true" => (field, Value::Bool(true)),
        _ => (field, Value::String(text)),
    }
}

/// The pattern that this path in a share fits, with what is below it, and nothing else.
fn exactly(path: &str) -> String {
    let mut pattern = "/".to_owned();
    for c in path.chars() {
        if r"\*?[]{}".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// A limit that is left empty is none.
fn no_rate(command: &str, (field, value): (String, String)) -> (String, String) {
    let is_none = command == "limit" && field == "rate" && value.trim().is_empty();
    (field, if is_none { "off".to_owned() } else { value })
}

fn file_id((field, value): (String, String)) -> (String, String) {
    match field.as_str() {
        "id" if ShareLink::is_meant(value.trim()) => ("link".to_owned(), value),
        "id" => ("file_name".to_owned(), format!("id:{}", value.trim().trim_start_matches("id:"))),
        _ => (field, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, fields: &[(&str, &str)]) -> Result<Command, Error> {
        command(name, fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn fields_are_arguments_in_any_order_and_no_value_is_an_option() {
        let typed = |line: &str| parse::parse(line).expect("a line").command.expect("a command");
        let download = of("download_file", &[("destination", "/x"), ("file_name", "--force"), ("group", "lab")]);
        assert_eq!(download.expect("a command"), typed("download_file -- lab --force /x"));
        let by_id = of("download_file", &[("group", "lab"), ("id", " id:aabbccdd "), ("destination", "/x")]);
        assert_eq!(by_id.expect("a command"), typed("download_file lab id:aabbccdd /x"));
        let link = format!(" shoal:other/{} ", "ab".repeat(32));
        let by_link = of("download_file", &[("group", "lab"), ("id", &link), ("destination", "/x")]);
        assert_eq!(by_link.expect("a command"), typed(&format!("download_file {} /x", link.trim())));
        let upload = of("upload_file", &[("path", "/a b"), ("group", "lab"), ("name", ""), ("piece_size", "1M")]);
        assert_eq!(upload.expect("a command"), typed("upload_file '/a b' lab --piece-size 1M"));
        let unlimited = of("limit", &[("direction", "up"), ("rate", "")]);
        assert_eq!(unlimited.expect("a command"), typed("limit up off"));
        let subscribe = [("group", "lab"), ("glob", ""), ("destination", "/x"), ("existing", "true")];
        assert_eq!(of("subscribe", &subscribe).expect("a command"), typed("subscribe --existing lab /x"));
        let by_day = of("limit", &[("direction", "up"), ("rate", "1M"), ("at", "08:00-18:00")]);
        assert_eq!(by_day.expect("a command"), typed("limit up 1M --at 08:00-18:00"));
        assert_eq!(of("news", &[("all", "true")]).expect("a command"), typed("news --all"));
        let version = [("path", "/x"), ("group", "lab"), ("name", "a b"), ("replace", "true")];
        assert_eq!(of("upload_file", &version).expect("a command"), typed("upload_file /x lab --name 'a b' --replace"));
        assert_eq!(of("status", &[]).expect("a command"), Command::Status);
    }

    #[test]
    fn of_a_folder_can_be_said_what_comes_and_how() {
        let typed = |line: &str| parse::parse(line).expect("a line").command.expect("a command");
        let with = |more: &[(&str, &str)]| {
            let fields = [&[("group", "lab"), ("file_name", "src"), ("destination", "/x")][..], more].concat();
            of("download_file", &fields).expect("a command")
        };
        assert_eq!(with(&[("only", ""), ("except", " "), ("strategy", "rarest")]), typed("download_file lab src /x"));
        assert_eq!(
            with(&[("only", " *.md\r\nsrc/**  -x"), ("except", "a.md"), ("strategy", "sequential"), ("force", "true")]),
            typed(
                "download_file lab src /x --only *.md --only src/** --only=-x --except a.md --strategy sequential --force"
            )
        );
        assert_eq!(with(&[("under", "a b/[x]{y}")]), typed(r"download_file lab src /x --only '/a b/\[x\]\{y\}'"));
    }

    #[test]
    fn what_is_wrong_with_a_field_is_said() {
        for (name, fields, code) in [
            ("nonsense", vec![], "usage"),
            ("create_group", vec![("group", "..")], "invalid_argument"),
            ("create_group", vec![("group", "")], "usage"),
            ("create_group", vec![("group", "lab"), ("grop", "lab")], "usage"),
            ("upload_file", vec![("group", "lab"), ("path", "not/absolute")], "usage"),
        ] {
            assert_eq!(of(name, &fields).map_err(|e| e.code()), Err(code), "{name} {fields:?}");
        }
    }
}
