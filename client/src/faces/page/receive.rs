//! Files that the user chose or dropped: from the request to the disk to a share, one after the other.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{Multipart, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use common::escape::Escaped;
use common::id::{FileName, GroupName};

use super::replaced::Before;
use super::under_way::{Shown, Stage};
use super::uploads::Arriving;
use super::{Page, act, views};
use crate::engine::{Call, Command, Outcome};
use crate::error::Error;
use crate::share::blocking;

/// How often is shown how much has come.
const SHOW: Duration = Duration::from_millis(250);
/// Longest text of a field, in bytes: a name is shorter.
const MAX_TEXT: usize = 1 << 10;

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
            views::shared(&page, &headers, &text).await
        }
        Err(e) => views::wrong(&e),
    }
}

/// What a form says of the files that follow.
#[derive(Default)]
struct Wanted {
    /// The name to share the file under; otherwise its own.
    name: Option<String>,
    /// Whether it takes the place of what has that name.
    replace: bool,
}

async fn take_all(page: &Page, group: &str, headers: &HeaderMap, mut form: Multipart) -> Result<Vec<String>, Error> {
    let group: GroupName = group.parse().map_err(|e| Error::InvalidArgument(format!("{e}")))?;
    // Before anything is written: only members share.
    page.answers.members(&group).await?;
    let total = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let (mut wanted, mut come) = (Wanted::default(), Come { bytes: 0, total });
    let mut names = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|e| broken(&e))? {
        match field.name() {
            Some("name") => wanted.name = Some(text(field).await?.trim().to_owned()).filter(|name| !name.is_empty()),
            Some("replace") => wanted.replace = text(field).await? == "true",
            _ if wanted.name.is_some() && !names.is_empty() => {
                let text = "the name is for one file, which is shared; choose the others without it";
                return Err(Error::InvalidArgument(text.to_owned()));
            }
            _ => names.push(take(page, &group, field, &wanted, &mut come).await?),
        }
    }
    if names.is_empty() {
        return Err(Error::InvalidArgument("no file was chosen".to_owned()));
    }
    Ok(names)
}

/// What a field holds that is no file.
async fn text(mut field: Field<'_>) -> Result<String, Error> {
    let mut bytes = Vec::new();
    while let Some(more) = field.chunk().await.map_err(|e| broken(&e))? {
        bytes.extend_from_slice(&more);
        if bytes.len() > MAX_TEXT {
            return Err(Error::InvalidArgument("a field of the form is longer than any name".to_owned()));
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::InvalidArgument("a field of the form is not UTF-8".to_owned()))
}

/// How much of the request has come.
struct Come {
    bytes: u64,
    total: Option<u64>,
}

async fn take(
    page: &Page,
    group: &GroupName,
    field: Field<'_>,
    wanted: &Wanted,
    come: &mut Come,
) -> Result<String, Error> {
    // Some browsers send the path that the file had there.
    let own = field.file_name().unwrap_or_default().rsplit(['/', '\\']).next().unwrap_or_default();
    // Where none was chosen, a name does not make one.
    let name = wanted.name.clone().filter(|_| !own.is_empty()).unwrap_or_else(|| own.to_owned());
    let shown = page.uploads.begin(group.clone(), name.clone(), Stage::Arriving(come.bytes, come.total));
    let done = share(page, group, &name, wanted.replace, field, come, &shown).await;
    shown.end(&done, views::words);
    done.map(|()| Escaped(&name).to_string())
}

async fn share(
    page: &Page,
    group: &GroupName,
    name: &str,
    replace: bool,
    mut field: Field<'_>,
    come: &mut Come,
    shown: &Shown,
) -> Result<(), Error> {
    let wrong = |e| Error::InvalidArgument(format!("a file cannot be shared as `{}`: {e}", Escaped(name)));
    let name: FileName = name.parse().map_err(wrong)?;
    let directory = page.engine.copies().directory().join(group.as_str());
    let (before, file_name) = match replace {
        true => (Before::of(page, group, &name), free(&directory, &name).await),
        false => (None, name.clone()),
    };
    let expected = come.total.map_or(0, |total| total.saturating_sub(come.bytes));
    let mut file = Arriving::create(&directory, &file_name, expected).await?;
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
    let call = Call { wait: true, progress: shown.progress() };
    let (group, name) = (group.clone(), Some(name));
    let command = Command::UploadFile { path: path.clone(), group, piece_size: None, name, replace };
    let outcome = page.engine.run(command, &call).await;
    page.answers.forget();
    outcome.iter().for_each(|outcome| act::note_provisional(page, outcome));
    match outcome.map(Outcome::into_done) {
        Ok(Outcome::Uploaded(shared)) => {
            copy.0 = None;
            let copies = Arc::clone(page.engine.copies());
            blocking(move || copies.add(&path, shared.file_id)).await?;
            if let Some(before) = before {
                before.remove(&page.engine).await;
            }
            Ok(())
        }
        Ok(_) => Err(Error::Internal("the file was not shared".to_owned())),
        Err(e) => Err(e),
    }
}

/// What the file of a new version is called on the disk: the one before it may still lie there under `name`, and is seeded
/// until the new one is.
async fn free(directory: &FilePath, name: &FileName) -> FileName {
    if tokio::fs::symlink_metadata(directory.join(name.as_str())).await.is_err() {
        return name.clone();
    }
    let mark = format!("{:08x}", rand::random::<u32>());
    let marked = format!("{mark}-{}", name.as_str()).parse().or_else(|_| mark.parse());
    marked.unwrap_or_else(|_| name.clone())
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
