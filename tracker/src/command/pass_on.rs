//! Tells clients of this tracker what was decided at the other one: from the facts that came, on the state as it is
//! with them, by the same account as what is decided here (see [`news`]).

use std::sync::Arc;
use std::time::Instant;

use common::ticket::{self, Revocation};
use tokio::sync::mpsc;

use super::Services;
use super::news::{self, FactBatch, News};
use crate::fact::Fact;
use crate::store::StampedFact;

/// Facts that came at once and are looked at, but for those that revoke, which all are; of more, as when a
/// tracker catches up, clients that come back ask for themselves.
const MAX_OTHER_FACTS: usize = 2000;
/// Facts that are looked at in one reading: what they revoke is told before the next.
const FACTS_PER_READING: usize = 500;

/// Passes on what is heard, for as long as the link runs.
pub(crate) async fn pass_on(services: Arc<Services>, mut heard: mpsc::Receiver<Vec<StampedFact>>) {
    while let Some(facts) = heard.recv().await {
        let batch = Arc::new(FactBatch::of(facts.iter().map(|(_, fact)| fact), None));
        for some in worth_telling(facts).chunks(FACTS_PER_READING) {
            let (told, batch, some) = (Arc::clone(&services), Arc::clone(&batch), some.to_vec());
            let news = services.store.read(move |state| news::of_facts(state, &told, &some, &batch));
            match news.await {
                Ok(news) => {
                    note_ends(&services, &news);
                    news::deliver(&services, news, None);
                }
                Err(e) => tracing::warn!("clients were not told what the other tracker has done: {e}"),
            }
        }
    }
}

/// For those who are disconnected now: what was decided long ago they would not look for.
fn note_ends(services: &Services, news: &[News]) {
    let ends = news.iter().filter_map(|item| match item {
        News::Revoked { what, .. } => {
            Some(Revocation { what: what.clone(), at: services.replica.latest_clock(ticket::now()) })
        }
        _ => None,
    });
    ends.for_each(|end| services.recent_revocations.note(end, Instant::now()));
}

/// Everything that revokes, and the last of the rest, in the order in which they came.
fn worth_telling(facts: Vec<StampedFact>) -> Vec<Fact> {
    let rest = facts.iter().filter(|(_, fact)| !fact.revokes()).count();
    let mut skip = rest.saturating_sub(MAX_OTHER_FACTS);
    let mut worth = |(_, fact): StampedFact| {
        if fact.revokes() || skip == 0 {
            return Some(fact);
        }
        skip -= 1;
        None
    };
    facts.into_iter().filter_map(&mut worth).collect()
}

#[cfg(test)]
mod tests;
