//! What each command answers, as JSON Schema: kept beside the outcomes by a test that calls every command.

use serde_json::{Map, Value, json};

use crate::engine::Command;
use crate::settings::SettingName;

/// The schema of `data` for a command of the table; `None` for one that is not described yet.
pub(super) fn data_of(command: &str) -> Option<Value> {
    let data = done(command)?;
    // What claims a name says it in any case; the rest only where one of two trackers alone has the change so far.
    Some(if Command::changes(command)? { with(data, &[], &[("provisional", flag())]) } else { data })
}

/// As far as it does not depend on the trackers.
fn done(command: &str) -> Option<Value> {
    Some(match command {
        "create_user" => object(&[("user", text()), ("provisional", flag())], &[]),
        "login" | "whoami" => user(),
        "create_group" => object(&[("group", text()), ("provisional", flag())], &[]),
        "list_groups" => rows("groups", &group_row()),
        "join_group" => object(&[("group", text())], &[]),
        "leave_group" => {
            object(&[("group", text()), ("was", words(&["member", "pending"])), ("withdrawn", number())], &[])
        }
        "list_requests" => rows("requests", &user()),
        "accept_request" | "reject_request" | "remove_member" | "make_admin" => {
            object(&[("group", text()), ("user", text())], &[])
        }
        "invite" => object(
            &[("invite", text()), ("group", text()), ("n", number()), ("uses", number()), ("expires", text())],
            &[("local", flag())],
        ),
        "accept_invite" => object(&[("group", text())], &[]),
        "check_invite" => checked_invite(),
        "list_invites" => rows("invites", &invite_row()),
        "revoke_invite" => object(&[("group", text()), ("n", number())], &[]),
        "list_members" => rows("members", &object(&[("user", text()), ("admin", flag())], &[("claimed", text())])),
        "upload_file" => uploaded(),
        "list_files" => {
            let files = object(&[("files", json!({ "type": "array", "items": file_row() })), ("total", number())], &[]);
            // The one with more fields first: whoever takes the first that fits is right.
            json!({ "oneOf": [tree(), files] })
        }
        "download_file" => json!({ "oneOf": [downloaded(), begun()] }),
        "show_downloads" => rows("downloads", &download_row()),
        "pause_download" | "resume_download" | "cancel_download" => object(&[("n", number())], &[]),
        "list_shares" => rows("shares", &share_row()),
        "stop_share" => object(&[("group", text()), ("name", text())], &[("removed", text())]),
        "list_devices" => rows("devices", &object(&[("device", text()), ("since", text()), ("here", flag())], &[])),
        "end_login" => object(&[("device", text()), ("here", flag())], &[]),
        "news" => with(rows("news", &news_row()), &[], &[("since", text())]),
        "subscribe" => with(subscription(), &[("acts", flag())], &[("extended", flag())]),
        "list_subscriptions" => {
            rows("subscriptions", &with(subscription(), &[("fetched", number())], &[("problem", text())]))
        }
        "unsubscribe" => object(&[("n", number()), ("group", text())], &[]),
        "search" => hits(),
        "info" => info(),
        "verify" => verified(),
        "limit" => with(limits(), &[], &[("limits", limit_rows())]),
        "set" | "show" => rows("settings", &setting_row()),
        "status" => status(),
        "doctor" => rows("findings", &finding()),
        "web" => object(&[("link", text())], &[("fingerprint", text())]),
        "help" => object(&[("help", text())], &[]),
        "logout" | "change_password" | "quit" | "shutdown" => object(&[], &[]),
        _ => return None,
    })
}

/// The schema of an event's data.
pub(super) fn event(name: &str) -> Option<Value> {
    Some(match name {
        "progress" => {
            let hashing =
                [("what", words(&["hashing", "verifying"])), ("name", text()), ("done", number()), ("total", number())];
            json!({ "oneOf": [with(download_row(), &[("what", words(&["download"]))], &[]), object(&hashing, &[])] })
        }
        "news" => {
            let more = [("group", text()), ("user", text()), ("claimed", text()), ("new_version", flag())];
            object(&[("event", text()), ("text", text())], &more)
        }
        "download" => with(download_row(), &[], &[("done", downloaded()), ("removed", flag())]),
        "share" => object(&[("group", text()), ("name", text()), ("seeded", flag())], &[("reason", text())]),
        "status" => status(),
        _ => return None,
    })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn number() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn flag() -> Value {
    json!({ "type": "boolean" })
}

fn words(all: &[&str]) -> Value {
    json!({ "type": "string", "enum": all })
}

/// An object with these fields, and perhaps some of those.
pub(super) fn object(required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let fields = required.iter().chain(optional).map(|(name, schema)| ((*name).to_owned(), schema.clone()));
    let names: Vec<_> = required.iter().map(|(name, _)| *name).collect();
    json!({
        "type": "object",
        "properties": fields.collect::<Map<_, _>>(),
        "required": names,
        "additionalProperties": false,
    })
}

/// An object of [`object`] with further fields.
fn with(object: Value, required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let further = self::object(required, optional);
    let mut all = object;
    let (fields, names) = (further["properties"].as_object().cloned(), further["required"].as_array().cloned());
    if let Some(known) = all["properties"].as_object_mut() {
        known.extend(fields.into_iter().flatten());
    }
    if let Some(known) = all["required"].as_array_mut() {
        known.extend(names.into_iter().flatten());
    }
    all
}

fn rows(name: &str, row: &Value) -> Value {
    object(&[(name, json!({ "type": "array", "items": row }))], &[])
}

fn user() -> Value {
    object(&[("user", text())], &[("claimed", text())])
}

fn group_row() -> Value {
    let relation = words(&["admin", "member", "pending", "none"]);
    object(
        &[("group", text()), ("admin", text()), ("members", number()), ("relation", relation)],
        &[("claimed", text())],
    )
}

fn invite_row() -> Value {
    let state = words(&["open", "used_up", "expired", "revoked"]);
    object(
        &[
            ("n", number()),
            ("uses", number()),
            ("used", number()),
            ("expires", text()),
            ("by", text()),
            ("state", state),
        ],
        &[],
    )
}

fn checked_invite() -> Value {
    let state = words(&["open", "used_up", "expired", "revoked", "closed"]);
    object(&[("group", text()), ("by", text()), ("left", number()), ("expires", text()), ("state", state)], &[])
}

fn file_row() -> Value {
    object(
        &[
            ("name", text()),
            ("size", number()),
            ("file_id", text()),
            ("uploader", text()),
            ("seeders", number()),
            ("kind", words(&["file", "folder"])),
            ("here", flag()),
        ],
        &[("claimed", text()), ("entries", number()), ("published", text())],
    )
}

fn uploaded() -> Value {
    with(
        content(),
        &[],
        &[
            ("replaced", flag()),
            ("kind", words(&["folder"])),
            ("entries", number()),
            ("tree", text()),
            ("skipped", json!({ "type": "array", "items": object(&[("path", text()), ("why", text())], &[]) })),
        ],
    )
}

/// What there is to know of a share from the start.
fn content() -> Value {
    object(
        &[
            ("group", text()),
            ("name", text()),
            ("size", number()),
            ("piece_size", number()),
            ("pieces", number()),
            ("sha1", text()),
            ("file_id", text()),
            ("link", text()),
        ],
        &[],
    )
}

fn news_row() -> Value {
    object(
        &[("at", text()), ("event", text()), ("text", text())],
        &[
            ("group", text()),
            ("user", text()),
            ("name", text()),
            ("size", number()),
            ("file_id", text()),
            ("new_version", flag()),
        ],
    )
}

fn subscription() -> Value {
    object(
        &[("n", number()), ("group", text()), ("destination", text()), ("waiting", number()), ("here", number())],
        &[("glob", text())],
    )
}

fn hits() -> Value {
    let path = json!({ "type": ["string", "null"] });
    let hit =
        object(&[("group", text()), ("name", text()), ("path", path), ("size", number()), ("file_id", text())], &[]);
    object(&[("hits", json!({ "type": "array", "items": hit })), ("more", flag())], &[])
}

fn info() -> Value {
    let seeder = object(
        &[("device", text()), ("user", text()), ("address", text()), ("complete", flag())],
        &[("pieces", number()), ("reason", text())],
    );
    with(
        content(),
        &[("uploader", text()), ("here", flag()), ("seeders", json!({ "type": "array", "items": seeder }))],
        &[
            ("path", text()),
            ("kind", words(&["file", "folder"])),
            ("entries", number()),
            ("tree", text()),
            ("published", text()),
        ],
    )
}

fn verified() -> Value {
    object(
        &[
            ("group", text()),
            ("name", text()),
            ("path", text()),
            ("size", number()),
            ("pieces", number()),
            ("file_id", text()),
        ],
        &[],
    )
}

/// What `list_files` answers when it is asked for a folder.
fn tree() -> Value {
    let row = object(
        &[("path", text()), ("kind", words(&["file", "folder"])), ("size", number()), ("executable", flag())],
        &[("file_id", text())],
    );
    object(
        &[
            ("group", text()),
            ("name", text()),
            ("size", number()),
            ("entries", number()),
            ("files", json!({ "type": "array", "items": row })),
            ("total", number()),
        ],
        &[],
    )
}

/// What `download_file` answers when the file is there.
fn downloaded() -> Value {
    let peer = object(&[("device", text()), ("user", text()), ("bytes", number())], &[]);
    object(
        &[
            ("group", text()),
            ("name", text()),
            ("path", text()),
            ("size", number()),
            ("file_id", text()),
            ("seconds", json!({ "type": "number", "minimum": 0 })),
            ("peers", json!({ "type": "array", "items": peer })),
        ],
        &[("files", number()), ("reused", number())],
    )
}

/// What it answers when it has only begun.
fn begun() -> Value {
    object(&[("n", number()), ("group", text()), ("name", text())], &[("within", text())])
}

fn download_row() -> Value {
    let state = words(&["downloading", "paused", "waiting", "complete", "failed"]);
    object(
        &[
            ("n", number()),
            ("group", text()),
            ("name", text()),
            ("state", state),
            ("have", number()),
            ("size", number()),
            ("rate", number()),
            ("peers", number()),
        ],
        &[("within", text()), ("reason", text()), ("files_have", number()), ("files", number())],
    )
}

fn share_row() -> Value {
    object(
        &[
            ("group", text()),
            ("name", text()),
            ("file_id", text()),
            ("size", number()),
            ("state", words(&["seeding", "waiting", "refused", "changed"])),
            ("rate", number()),
            ("peers", number()),
            ("sent", number()),
        ],
        &[("reason", text()), ("entries", number()), ("changed", json!({ "type": "array", "items": text() }))],
    )
}

fn limits() -> Value {
    let rate = || json!({ "type": ["integer", "null"], "minimum": 1 });
    object(&[("up", rate()), ("down", rate())], &[])
}

fn finding() -> Value {
    object(&[("what", text()), ("ok", flag()), ("remedy", json!({ "type": ["string", "null"] }))], &[])
}

fn limit_rows() -> Value {
    let rate = json!({ "type": ["integer", "null"], "minimum": 1 });
    let row = object(
        &[("direction", words(&["up", "down"])), ("rate", rate), ("now", flag())],
        &[("group", text()), ("n", number()), ("at", text())],
    );
    json!({ "type": "array", "items": row })
}

fn setting_row() -> Value {
    let origin = || words(&["default", "file", "environment", "flag"]);
    let name = words(&SettingName::ALL.map(SettingName::word));
    object(&[("name", name), ("value", text()), ("from", origin())], &[("next_start", origin()), ("by_hours", flag())])
}

fn reach() -> Value {
    object(&[("state", words(&["loopback", "reached", "local", "unknown"]))], &[("at", text())])
}

fn status() -> Value {
    let tracker = object(&[("address", text()), ("up", flag()), ("current", flag())], &[("disk_full", flag())]);
    object(
        &[
            ("trackers", json!({ "type": "array", "items": tracker })),
            ("mode", words(&["dual", "solo", "none"])),
            ("user", json!({ "type": ["string", "null"] })),
            ("listen", text()),
            ("device", text()),
            ("rate_down", number()),
            ("limits", limits()),
            ("reach", reach()),
        ],
        &[("lag", number())],
    )
}
