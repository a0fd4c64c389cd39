//! The description of the local interface in OpenAPI 3.1, from the command table. Pure.

use clap::{Arg, CommandFactory};
use serde_json::{Map, Value, json};

use super::arguments::{Kind, LINK, field};
use super::shapes;
use crate::engine::command::Line;
use crate::faces::linked;

/// Names of the events, in the order in which they are described.
const EVENTS: [&str; 5] = ["progress", "news", "download", "share", "status"];

/// The whole description.
pub(super) fn document() -> Value {
    let table = Line::command();
    let commands = table.get_subcommands().map(|c| (format!("/v1/{}", c.get_name()), json!({ "post": operation(c) })));
    let mut paths: Map<_, _> = commands.collect();
    paths.insert("/v1/events".to_owned(), json!({ "get": events() }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Shoal: the local interface of a running client",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "HTTP/1.1 on the socket `control.sock` in the client's data directory. Sizes are in bytes, rates in \
                            bytes per second, times in RFC 3339 UTC, digests in lower-case hex. With `Accept: \
                            text/event-stream` a command answers with events: `progress`, and at last `result`.",
        },
        "paths": paths,
        "components": { "schemas": { "Failure": failure() } },
    })
}

fn operation(command: &clap::Command) -> Value {
    let arguments: Vec<_> = command.get_arguments().collect();
    let fields: Map<_, _> = arguments.iter().map(|arg| (field(arg), schema(arg))).collect();
    let required: Vec<_> = arguments.iter().filter(|arg| arg.is_required_set()).map(|arg| field(arg)).collect();
    let mut body = json!({
        "type": "object", "properties": fields, "required": required, "additionalProperties": false,
    });
    if let Some(share) = linked::share_argument(command) {
        let share_field = field(share);
        let others = required.iter().filter(|name| !["group", &share_field].contains(&name.as_str()));
        let instead: Vec<_> = std::iter::once(LINK).chain(others.map(String::as_str)).collect();
        let path = if linked::takes_path(share) { ", perhaps with `/` and a path in a folder" } else { "" };
        let text = format!("`shoal:<group>/<file id>`{path}, in place of group and {share_field}");
        body["properties"][LINK] = json!({ "type": "string", "description": text });
        body["anyOf"] = json!([{ "required": required }, { "required": instead }]);
        body["required"] = json!([]);
    }
    let mut parameters = Vec::new();
    if command.get_name() == "download_file" {
        parameters.push(json!({
            "name": "Prefer", "in": "header", "schema": { "type": "string" },
            "description": "`respond-async`: answer when the download has begun, and not when the file is there",
        }));
    }
    json!({
        "operationId": command.get_name(),
        "summary": command.get_about().map(ToString::to_string),
        "parameters": parameters,
        "requestBody": { "required": !required.is_empty(), "content": { "application/json": { "schema": body } } },
        "responses": {
            "200": { "description": "It was done", "content": { "application/json": { "schema": success(command) } } },
            "default": {
                "description": "It was not done; `error.code` says why",
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Failure" } } },
            },
        },
    })
}

fn schema(arg: &Arg) -> Value {
    let mut schema = match Kind::of(arg) {
        Kind::Flag => json!({ "type": "boolean", "default": false }),
        // Text as well, for suffixes: `64KiB`.
        Kind::Number => json!({ "type": ["integer", "string"] }),
        Kind::Text => json!({ "type": "string" }),
        // One by itself may stand alone.
        Kind::Texts => json!({ "type": ["array", "string"], "items": { "type": "string" } }),
    };
    if let Some(help) = arg.get_help() {
        schema["description"] = help.to_string().into();
    }
    let values = arg.get_possible_values();
    if Kind::of(arg) == Kind::Text && !values.is_empty() {
        schema["enum"] = values.iter().map(|value| value.get_name()).collect();
    }
    if let (Kind::Text, Some(default)) = (Kind::of(arg), arg.get_default_values().first()) {
        schema["default"] = default.to_string_lossy().into();
    }
    schema
}

fn success(command: &clap::Command) -> Value {
    let name = command.get_name();
    let data = shapes::data_of(name).unwrap_or_else(|| json!({ "type": "object" }));
    // One who finds something has been carried out all the same.
    let may_find = name == "doctor";
    let ok = if may_find { json!({ "type": "boolean" }) } else { json!({ "const": true }) };
    let error = [("error", cause())];
    shapes::object(
        &[("v", json!({ "const": 1 })), ("command", json!({ "const": name })), ("ok", ok), ("data", data)],
        if may_find { &error } else { &[] },
    )
}

fn cause() -> Value {
    let text = json!({ "type": "string" });
    shapes::object(&[("code", text.clone()), ("message", text)], &[])
}

fn failure() -> Value {
    let error = cause();
    shapes::object(
        &[
            ("v", json!({ "const": 1 })),
            ("command", json!({ "type": ["string", "null"] })),
            ("ok", json!({ "const": false })),
            ("error", error),
        ],
        &[],
    )
}

fn events() -> Value {
    let described = EVENTS.map(|name| (name.to_owned(), shapes::event(name).unwrap_or_default()));
    json!({
        "operationId": "events",
        "summary": "What happens, as server-sent events: one `status` at once, then whatever comes",
        "responses": {
            "200": {
                "description": "Events; the data of each is one JSON object",
                "content": { "text/event-stream": { "schema": { "type": "string" } } },
                "x-events": described.into_iter().collect::<Map<_, _>>(),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_table_is_described_with_what_it_answers() {
        let document = document();
        for command in Line::command().get_subcommands() {
            let name = command.get_name();
            assert!(shapes::data_of(name).is_some(), "{name}: shapes.rs does not know its answer");
            let operation = &document["paths"][format!("/v1/{name}")]["post"];
            assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{name}");
        }
        assert!(EVENTS.iter().all(|name| shapes::event(name).is_some()));
    }

    #[test]
    fn fields_have_the_types_of_the_table() {
        let document = document();
        let fields = |name: &str| {
            document["paths"][format!("/v1/{name}")]["post"]["requestBody"]["content"]["application/json"]["schema"]
                .clone()
        };
        let download = fields("download_file");
        assert_eq!(download["anyOf"][0]["required"], json!(["group", "file_name", "destination"]));
        assert_eq!(download["anyOf"][1]["required"], json!(["link", "destination"]));
        let listing = fields("list_files");
        assert_eq!(listing["anyOf"], json!([{ "required": ["group"] }, { "required": ["link"] }]));
        assert_eq!(download["properties"]["force"]["type"], "boolean");
        assert_eq!(download["properties"]["strategy"]["enum"], json!(["random", "rarest", "sequential"]));
        assert_eq!(fields("upload_file")["properties"]["piece_size"]["type"], json!(["integer", "string"]));
        assert_eq!(fields("login")["required"], json!(["user"]));
    }
}
