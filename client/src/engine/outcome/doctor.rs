//! What was found where something was looked at.

use serde::{Deserialize, Serialize};

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How it is, as a sentence; what came from elsewhere is escaped.
    pub what: String,
    /// Whether that is as it should be.
    pub ok: bool,
    /// What to do about it, or to learn more.
    pub remedy: Option<String>,
}

impl Finding {
    /// All is well.
    pub(crate) fn good(what: impl Into<String>) -> Self {
        Self { what: what.into(), ok: true, remedy: None }
    }

    /// It is not.
    pub(crate) fn bad(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), ok: false, remedy: Some(remedy.into()) }
    }
}
