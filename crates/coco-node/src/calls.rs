//! Requests whose transactions are with the replica: one request, many transactions, one answer.

use std::collections::HashMap;

use coco_adapter::Ticket;
use coco_replica::Reply;
use tokio::sync::oneshot;

/// Open requests that are kept without a look at whether their callers still wait.
const UNWATCHED_MAX: usize = 1024;

/// Bits of a ticket that name the transaction within its request.
const INDEX_BITS: u32 = 16;

/// The open requests.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    open: HashMap<u64, Call>,
    made: u64,
    /// How many were left when those of callers who had gone away were last dropped.
    left: usize,
}

/// One request that waits until all its transactions are answered.
#[derive(Debug)]
struct Call {
    replies: Vec<Option<Reply>>,
    missing: usize,
    sender: oneshot::Sender<Vec<Reply>>,
}

impl Calls {
    /// Opens a request of `count` transactions, at least one; gives their tickets in order.
    ///
    /// # Panics
    /// When a request has more transactions than a ticket can tell apart: the edge's limit on batches is far below.
    pub(crate) fn open(
        &mut self,
        count: usize,
        sender: oneshot::Sender<Vec<Reply>>,
    ) -> impl Iterator<Item = Ticket> + use<> {
        let count_u64 = count as u64;
        assert!(count_u64 <= 1 << INDEX_BITS, "a request of {count} transactions");
        self.drop_gone();
        let first = self.made << INDEX_BITS;
        if count > 0 {
            self.open
                .insert(self.made, Call { replies: vec![None; count], missing: count, sender });
            self.made += 1;
        }
        (first..first + count_u64).map(Ticket)
    }

    /// Drops the requests of callers who have gone away, whenever there are twice as many as the last time: what nobody
    /// answers and nobody waits for would stay for ever.
    fn drop_gone(&mut self) {
        if self.open.len() >= UNWATCHED_MAX.max(2 * self.left) {
            self.open.retain(|_, call| !call.sender.is_closed());
            self.left = self.open.len();
        }
    }

    /// Takes the answer to one transaction; the last one of a request answers it. A second answer to a ticket is a
    /// fault of the adapter and changes nothing.
    pub(crate) fn answer(&mut self, ticket: Ticket, reply: Reply) {
        let number = ticket.0 >> INDEX_BITS;
        let Some(call) = self.open.get_mut(&number) else { return };
        let index = usize::try_from(ticket.0 & ((1 << INDEX_BITS) - 1)).unwrap_or(usize::MAX);
        let Some(place @ None) = call.replies.get_mut(index) else { return };
        *place = Some(reply);
        call.missing -= 1;
        if call.missing == 0
            && let Some(call) = self.open.remove(&number)
        {
            let replies = call.replies.into_iter().flatten().collect();
            // A caller that has gone away does not need to know.
            let _gone: Result<(), Vec<Reply>> = call.sender.send(replies);
        }
    }
}

#[cfg(test)]
mod tests {
    use coco_types::TxId;

    use super::*;

    #[test]
    fn a_request_is_answered_once_in_order_when_all_of_it_is() {
        let mut calls = Calls::default();
        let (sender, mut first) = oneshot::channel();
        let tickets: Vec<_> = calls.open(2, sender).collect();
        let (sender, mut second) = oneshot::channel();
        let others: Vec<_> = calls.open(1, sender).collect();

        let reply = |seqno| Reply::Executed(TxId::new(2, seqno));
        calls.answer(tickets[1], reply(1));
        calls.answer(tickets[1], reply(9));
        assert!(first.try_recv().is_err());
        calls.answer(others[0], reply(2));
        assert_eq!(second.try_recv(), Ok(vec![reply(2)]));
        calls.answer(tickets[0], reply(3));
        assert_eq!(first.try_recv(), Ok(vec![reply(3), reply(1)]));
        calls.answer(tickets[0], reply(4));
        assert!(calls.open.is_empty());
    }

    #[test]
    fn requests_whose_callers_have_gone_away_do_not_pile_up() {
        let mut calls = Calls::default();
        let (sender, mut waits) = oneshot::channel();
        let ticket = calls.open(1, sender).next().expect("one");
        for _ in 0..10 * UNWATCHED_MAX {
            let (sender, gone) = oneshot::channel();
            drop(gone);
            assert_eq!(calls.open(1, sender).count(), 1);
            assert!(calls.open.len() <= UNWATCHED_MAX, "{}", calls.open.len());
        }
        let reply = Reply::Executed(TxId::new(2, 1));
        calls.answer(ticket, reply.clone());
        assert_eq!(waits.try_recv(), Ok(vec![reply]), "who waits is answered");
    }

    #[test]
    fn a_request_of_nothing_is_not_kept() {
        let mut calls = Calls::default();
        let (sender, mut receiver) = oneshot::channel();
        assert_eq!(calls.open(0, sender).count(), 0);
        assert!(calls.open.is_empty());
        assert!(receiver.try_recv().is_err());
    }
}
