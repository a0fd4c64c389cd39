//! The files that the page is made with, out of the program itself.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// One of them.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        "page.css" => ("text/css; charset=utf-8", include_str!("../../../assets/page.css")),
        "htmx.min.js" => ("text/javascript; charset=utf-8", include_str!("../../../assets/htmx.min.js")),
        "hx-sse.min.js" => ("text/javascript; charset=utf-8", include_str!("../../../assets/hx-sse.min.js")),
        "page.js" => ("text/javascript; charset=utf-8", include_str!("../../../assets/page.js")),
        "icon.svg" => ("image/svg+xml", include_str!("../../../assets/icon.svg")),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    // A newer client may have others: a browser asks again after a minute.
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "private, max-age=60")], text).into_response()
}
