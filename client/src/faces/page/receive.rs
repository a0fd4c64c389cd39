//! Files that the user chose or dropped: from the request to the disk to a share, one after the other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{Multipart, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use common::escape::Escaped;
use common::id::{FileName, GroupName};

use super::uploads::{Arriving, Shown, Stage};
use super::{Page, views};
use crate::engine::{Call, Command, Outcome, Progress};
use crate::error::Error;
use crate::share::blocking;

/// How often is shown how much has come.
const SHOW: Duration = Duration::from_millis(250);

/// Takes the files of a form.
pub(super) async fn upload(
    State(page): State<Arc<Page>>,
    Path(group): Path<String>,
    headers: HeaderMap,
    form: Multipart,
) -> Response {
    match take_all(&page, &group, &headers, form).await {
        Ok(names) => {
            let text = format!("shared with {group}: {}", names.join(", "));
            views::said(&page, &headers, Some(&text)).await
        }
        Err(e) => views::wrong(&e),
    }
}

async fn take_all(page: &Page, group: &str, headers: &HeaderMap, mut form: Multipart) -> Result<Vec<String>, Error> {
    let group: GroupName = group.parse().map_err(|e| Error::InvalidArgument(format!("{e}")))?;
    // Before anything is written: only members share.
    page.answers.members(&group).await?;
    let total = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let mut come = Come { bytes: 0, total };
    let mut names = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|e| broken(&e))? {
        names.push(take(page, &group, field, &mut come).await?);
    }
    if names.is_empty() {
        return Err(Error::InvalidArgument("no file was chosen".to_owned()));
    }
    Ok(names)
}

/// How much of the request has come.
struct Come {
    bytes: u64,
    total: Option<u64>,
}

async fn take(page: &Page, group: &GroupName, field: Field<'_>, come: &mut Come) -> Result<String, Error> {
    // Some browsers send the path that the file had there.
    let name = field.file_name().unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let shown = page.uploads.begin(group.clone(), name.clone(), Stage::Arriving(come.bytes, come.total));
    let done = share(page, group, &name, field, come, &shown).await;
    match &done {
        Ok(()) => shown.set(Stage::Shared),
        Err(e) => shown.set(Stage::Failed(e.to_string())),
    }
    done.map(|()| Escaped(&name).to_string())
}

async fn share(
    page: &Page,
    group: &GroupName,
    name: &str,
    mut field: Field<'_>,
    come: &mut Come,
    shown: &Shown,
) -> Result<(), Error> {
    let wrong = |e| Error::InvalidArgument(format!("a file cannot be shared as `{}`: {e}", Escaped(name)));
    let name: FileName = name.parse().map_err(wrong)?;
    let directory = page.engine.copies().directory().join(group.as_str());
    let expected = come.total.map_or(0, |total| total.saturating_sub(come.bytes));
    let mut file = Arriving::create(&directory, &name, expected).await?;
    let mut told = Instant::now();
    while let Some(bytes) = field.chunk().await.map_err(|e| broken(&e))? {
        file.write(&bytes).await?;
        come.bytes += bytes.len() as u64;
        if told.elapsed() >= SHOW {
            told = Instant::now();
            shown.set(Stage::Arriving(come.bytes, come.total));
        }
    }
    let path = file.keep().await?;
    let mut copy = Unshared(Some(path.clone()));
    let uploads = shown.clone();
    let progress = move |progress: &Progress| {
        if let Progress::Hashing(h) = progress {
            uploads.set(Stage::Hashing(h.done, h.total));
        }
    };
    let call = Call { wait: true, progress: Arc::new(progress) };
    let (piece_size, replace) = (None, false);
    let command =
        Command::UploadFile { path: path.clone(), group: group.clone(), piece_size, name: Some(name), replace };
    let outcome = page.engine.run(command, &call).await;
    page.answers.forget();
    match outcome {
        Ok(Outcome::Uploaded(shared)) => {
            copy.0 = None;
            let copies = Arc::clone(page.engine.copies());
            blocking(move || copies.add(&path, shared.file_id)).await
        }
        Ok(_) => Err(Error::Internal("the file was not shared".to_owned())),
        Err(e) => Err(e),
    }
}

/// A copy that nobody shares yet. It goes if that does not come to pass: also when the browser leaves meanwhile.
struct Unshared(Option<PathBuf>);

impl Drop for Unshared {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = std::fs::remove_file(path); // Nobody asks for it any more.
        }
    }
}

fn broken(error: &MultipartError) -> Error {
    Error::InvalidArgument(format!("the file did not come whole: {}", error.body_text()))
}
