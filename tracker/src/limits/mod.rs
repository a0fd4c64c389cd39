//! Who may take how much of what everybody shares, and who is next. Knows nothing of what is done with it.

pub(crate) mod caller;
pub(crate) mod fair_queue;
pub(crate) mod receive_budget;
pub(crate) mod reply_budget;
pub(crate) mod seen_waits;
pub(crate) mod turns;

pub use caller::{Caller, Payer};
