//! Outcomes, news and progress as one line of JSON each, for scripts.

use common::id::{GroupName, UserName};
use serde::Serialize;

use crate::engine::news::{Happening, News};
use crate::engine::outcome::Data;
use crate::engine::{Outcome, Progress};
use crate::error::Error;

/// News in one line of JSON, for the stderr of `--json`.
#[derive(Serialize)]
struct NewsLine<'a> {
    v: u32,
    event: Happening,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a GroupName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a UserName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    new_version: bool,
}

/// News as a line of JSON, without the sentence for people.
pub(crate) fn news(news: &News) -> Option<String> {
    let News { event, group, user, claimed, new_version, .. } = news;
    let (group, user, claimed) = (group.as_ref(), user.as_ref(), claimed.as_deref());
    serde_json::to_string(&NewsLine { v: 1, event: *event, group, user, claimed, new_version: *new_version }).ok()
}

/// Progress in one line of JSON, for the stderr of `--json`.
#[derive(Serialize)]
struct ProgressLine<'a> {
    v: u32,
    event: &'static str,
    #[serde(flatten)]
    progress: &'a Progress,
}

/// Progress as a line of JSON.
pub(crate) fn progress(progress: &Progress) -> Option<String> {
    serde_json::to_string(&ProgressLine { v: 1, event: "progress", progress }).ok()
}

#[derive(Serialize)]
struct Success<'a> {
    v: u32,
    command: Option<&'a str>,
    ok: bool,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Failure<'a> {
    v: u32,
    command: Option<&'a str>,
    ok: bool,
    error: Cause<'a>,
}

/// What was done, and counts as a failure for what it shows.
#[derive(Serialize)]
struct Unhealthy<'a> {
    v: u32,
    command: Option<&'a str>,
    ok: bool,
    data: Data<'a>,
    error: Cause<'a>,
}

/// The code of a `doctor` that found something.
pub(crate) const UNHEALTHY: &str = "unhealthy";

#[derive(Serialize)]
struct Cause<'a> {
    code: &'a str,
    message: String,
}

/// The one line for a command in `--json`, or for what happened before there was one.
pub(crate) fn json(command: Option<&str>, result: &Result<Outcome, Error>) -> String {
    let written = match result {
        Ok(outcome) if let Some(message) = outcome.wrong() => {
            let (data, error) = (outcome.into(), Cause { code: UNHEALTHY, message });
            serde_json::to_string(&Unhealthy { v: 1, command, ok: false, data, error })
        }
        Ok(outcome) => serde_json::to_string(&Success { v: 1, command, ok: true, data: outcome.into() }),
        Err(e) => {
            let error = Cause { code: e.code(), message: e.to_string() };
            serde_json::to_string(&Failure { v: 1, command, ok: false, error })
        }
    };
    // Maps have string keys and nothing else can fail; a line there must be.
    written.unwrap_or_else(|_| {
        r#"{"v":1,"command":null,"ok":false,"error":{"code":"internal","message":"cannot be written as JSON"}}"#
            .to_owned()
    })
}
