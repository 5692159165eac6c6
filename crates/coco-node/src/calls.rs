//! Requests whose transactions are with the replica: one request, many transactions, one answer.

use std::collections::HashMap;

use coco_adapter::Ticket;
use coco_replica::Reply;
use tokio::sync::oneshot;

/// Bits of a ticket that name the transaction within its request.
const INDEX_BITS: u32 = 16;

/// The open requests.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    open: HashMap<u64, Call>,
    made: u64,
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
        let first = self.made << INDEX_BITS;
        if count > 0 {
            self.open
                .insert(self.made, Call { replies: vec![None; count], missing: count, sender });
            self.made += 1;
        }
        (first..first + count_u64).map(Ticket)
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
    fn a_request_of_nothing_is_not_kept() {
        let mut calls = Calls::default();
        let (sender, mut receiver) = oneshot::channel();
        assert_eq!(calls.open(0, sender).count(), 0);
        assert!(calls.open.is_empty());
        assert!(receiver.try_recv().is_err());
    }
}
