//! What a call is answered: the object of `--json`, and the HTTP status that fits it.

use axum::body::Body;
use axum::http::{Response, StatusCode, header};

use crate::engine::Outcome;
use crate::error::Error;
use crate::faces::render;

/// The answer to `command`, or to something that is none.
pub(super) fn response(command: Option<&str>, result: &Result<Outcome, Error>) -> Response<Body> {
    let status = result.as_ref().map_or_else(|e| status_of(e.code()), |_| StatusCode::OK);
    json(status, render::json(command, result))
}

/// A body of JSON.
pub(super) fn json(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body + "\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// The status that fits an error code; a code that is not known here is a fault of ours.
pub(super) fn status_of(code: &str) -> StatusCode {
    match code {
        "usage" | "invalid_argument" => StatusCode::BAD_REQUEST,
        "not_logged_in" | "bad_credentials" => StatusCode::UNAUTHORIZED,
        "not_a_member" | "not_admin" => StatusCode::FORBIDDEN,
        "no_such_user" | "no_such_group" | "no_such_request" | "no_such_invite" | "no_such_file" | "no_seeders" => {
            StatusCode::NOT_FOUND
        }
        "user_exists" | "group_exists" | "already_member" | "already_requested" | "file_exists"
        | "destination_exists" | "in_use" => StatusCode::CONFLICT,
        "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
        "integrity" | "untrusted_tracker" => StatusCode::BAD_GATEWAY,
        "busy" | "trackers_unreachable" | "interrupted" => StatusCode::SERVICE_UNAVAILABLE,
        "timeout" => StatusCode::GATEWAY_TIMEOUT,
        "disk_full" | "tracker_disk_full" => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
