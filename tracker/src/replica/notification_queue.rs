//! Hands what came from the sibling to whoever tells clients, without waiting for them.
//!
//! Invariant: nothing that revokes is lost, however far behind they are. What else there is may be: clients ask for
//! it when they come back. Whoever uses this ends the connection when too much is owed, and pays before the next.

use tokio::sync::mpsc;

use crate::store::StampedFact;

/// Facts owed at most before the sibling has to wait.
const MAX_OWED_FACTS: usize = 1 << 16;

/// The way to the clients.
#[derive(Debug)]
pub(super) struct NotificationQueue {
    news: mpsc::Sender<Vec<StampedFact>>,
    /// What revokes, and did not fit, in the order in which it came.
    owed: Vec<StampedFact>,
}

impl NotificationQueue {
    pub(super) const fn new(news: mpsc::Sender<Vec<StampedFact>>) -> Self {
        Self { news, owed: Vec::new() }
    }

    /// Tells what is owed and then `news`, or owes it.
    pub(super) fn tell(&mut self, news: Vec<StampedFact>) {
        if news.is_empty() && self.owed.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.owed);
        batch.extend(news);
        if let Err(mpsc::error::TrySendError::Full(batch)) = self.news.try_send(batch) {
            self.owed = batch.into_iter().filter(|(_, fact)| fact.revokes()).collect();
        }
    }

    /// Returns when what is owed can be told; never, if nothing is. Cancel safe.
    pub(super) async fn ready(&self) {
        if self.owed.is_empty() || self.news.reserve().await.is_err() {
            std::future::pending().await
        }
    }

    /// Whether the sibling must wait.
    pub(super) const fn is_behind(&self) -> bool {
        self.owed.len() > MAX_OWED_FACTS
    }

    /// Waits until everything that is owed is told.
    pub(super) async fn pay(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        if !owed.is_empty() {
            // Fails only when the tracker is stopping, and with it all connections.
            let _ = self.news.send(owed).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use common::id::{GroupId, GroupName, MembershipId, OriginId, SessionId, UserId};

    use super::*;
    use crate::fact::{EndReason, Fact, Hlc, Stamp};

    fn fact(n: i64, fact: Fact) -> StampedFact {
        (Stamp { hlc: Hlc::from_stored(n), origin: OriginId::new([1; 16]) }, fact)
    }

    fn kick(n: i64) -> StampedFact {
        let membership = MembershipId::random();
        fact(n, Fact::Ended { membership, reason: EndReason::Kicked })
    }

    fn logout(n: i64) -> StampedFact {
        fact(n, Fact::SessionEnded { session: SessionId::random() })
    }

    fn group(n: i64) -> StampedFact {
        let name: GroupName = "lab".parse().expect("a name");
        fact(n, Fact::Group { id: GroupId::random(), name, creator: UserId::random() })
    }

    #[tokio::test]
    async fn no_revocation_is_lost_when_clients_are_behind() {
        let (news, mut heard) = mpsc::channel(1);
        let mut queue = NotificationQueue::new(news);
        let all = [group(1), kick(2), group(3), logout(4), kick(5)];
        all.iter().for_each(|f| queue.tell(vec![f.clone()]));
        assert_eq!(heard.recv().await, Some(vec![all[0].clone()]));
        queue.ready().await;
        queue.tell(Vec::new());
        let late = heard.recv().await.expect("told");
        assert_eq!(late, [all[1].clone(), all[3].clone(), all[4].clone()], "but what is no revocation");
        queue.tell(vec![group(6)]);
        queue.tell(vec![kick(7)]);
        let (paid, first) = tokio::join!(queue.pay(), heard.recv());
        assert_eq!((paid, first.map(|batch| batch.len())), ((), Some(1)));
        assert_eq!(heard.recv().await.map(|batch| batch[0].0.hlc), Some(Hlc::from_stored(7)));
        assert!(!queue.is_behind());
    }

    #[test]
    fn the_sibling_waits_when_too_much_is_owed() {
        let (news, _heard) = mpsc::channel(1);
        let mut queue = NotificationQueue::new(news);
        queue.tell(vec![group(1)]);
        queue.tell((0..MAX_OWED_FACTS as i64).map(kick).collect());
        assert!(!queue.is_behind());
        queue.tell(vec![kick(1)]);
        assert!(queue.is_behind());
    }
}
