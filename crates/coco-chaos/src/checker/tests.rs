//! Histories that are in order, and each way of being wrong.

use super::*;

/// A small world: three accounts, one block a transfer, entry seqno = 10 + 2 × block.
struct Story {
    history: History,
    chain: Chain,
}

fn address(name: u8) -> Address {
    Address::repeat_byte(name)
}

fn id(block: u64) -> TxId {
    TxId { view: View(2 + block / 3), seqno: Seqno(10 + 2 * block) }
}

impl Story {
    fn new() -> Self {
        let genesis =
            [1, 2, 3].map(|name| (address(name), Account { nonce: 0, balance: U256::from(100) }));
        let chain = Chain { genesis: genesis.into(), ..Chain::default() };
        Self { history: History::default(), chain }
    }

    /// A transfer from `begin` to `end`, in a block of its own.
    fn write(mut self, from: u8, to: u8, value: u64, begin: u64, end: u64) -> Self {
        let nonce = self.chain.blocks.iter().flat_map(|block| &block.transfers);
        let nonce = nonce.filter(|transfer| transfer.from == address(from)).count() as u64;
        let block = self.chain.blocks.len() as u64 + 1;
        let transfer = Transfer {
            hash: B256::with_last_byte(u8::try_from(block).expect("few blocks")),
            from: address(from),
            nonce,
            to: address(to),
            value: U256::from(value),
        };
        let Transfer { hash, from, nonce, to, value } = transfer;
        let place = Place { block, index: 0 };
        let outcome = Outcome::Acknowledged { end_us: end, id: id(block), place };
        self.history.writes.push(Write { hash, from, nonce, to, value, begin_us: begin, outcome });
        self.chain.blocks.push(Block { timestamp: block, transfers: vec![transfer] });
        self
    }

    fn read(
        mut self,
        account: u8,
        nonce: u64,
        balance: u64,
        blocks: (u64, u64),
        times: (u64, u64),
    ) -> Self {
        self.history.reads.push(Read {
            node: 1,
            start: 0,
            begin_us: times.0,
            end_us: times.1,
            account: address(account),
            block_before: blocks.0,
            state: Account { nonce, balance: U256::from(balance) },
            block_after: blocks.1,
        });
        self
    }

    fn finals(mut self, balances: [(u64, u64); 3]) -> Self {
        let accounts = (1..).zip(balances).map(|(name, (nonce, balance))| {
            (address(name), Account { nonce, balance: U256::from(balance) })
        });
        self.chain.finals.insert(4, accounts.collect());
        self
    }

    fn judge(&self) -> Result<Judged, Violation> {
        judge(&self.history, &self.chain)
    }
}

/// 1 pays 2, then 2 pays 3 while 1 pays 3.
fn three_writes() -> Story {
    Story::new()
        .write(1, 2, 10, 0, 100)
        .write(2, 3, 20, 150, 300)
        .write(1, 3, 30, 160, 250)
        .finals([(2, 60), (1, 90), (0, 150)])
}

fn wrong(story: &Story) -> Violation {
    story.judge().expect_err("it is wrong")
}

#[test]
fn an_orderly_history_is_taken() {
    let story = three_writes()
        .read(1, 0, 100, (0, 0), (0, 50))
        .read(1, 1, 90, (1, 1), (110, 120))
        .read(1, 2, 60, (1, 3), (200, 320))
        .read(9, 0, 0, (3, 3), (400, 410));
    assert_eq!(story.judge(), Ok(Judged { acknowledged: 3, unknown: 0, reads: 4 }));
}

#[test]
fn unknown_writes_may_be_there_or_not() {
    let mut story = three_writes();
    story.history.writes[2].outcome = Outcome::Unknown;
    assert_eq!(story.judge(), Ok(Judged { acknowledged: 2, unknown: 1, reads: 0 }));
    story.chain.blocks[2].transfers.clear();
    let story = story.finals([(1, 90), (1, 90), (0, 120)]);
    assert_eq!(story.judge(), Ok(Judged { acknowledged: 2, unknown: 1, reads: 0 }));
}

#[test]
fn a_lost_acknowledgement_is_found() {
    let mut story = three_writes();
    story.chain.blocks[2].transfers.clear();
    let hash = B256::with_last_byte(3);
    assert_eq!(wrong(&story), Violation::Lost { count: 1, hash, id: id(3) });
}

#[test]
fn a_moved_write_is_found() {
    let mut story = three_writes();
    story.chain.blocks.swap(1, 2);
    assert!(matches!(wrong(&story), Violation::Moved { .. }));
}

#[test]
fn a_refused_write_that_happened_is_found() {
    let mut story = three_writes();
    story.history.writes[1].outcome = Outcome::Refused("nonce too low".into());
    assert!(matches!(wrong(&story), Violation::RefusedButIncluded { .. }));
}

#[test]
fn what_nobody_sent_is_found() {
    let mut story = three_writes();
    story.history.writes.remove(1);
    assert!(matches!(wrong(&story), Violation::Invented { .. }));
    let mut story = three_writes();
    story.chain.blocks[1].transfers[0].value = U256::from(21);
    assert!(matches!(wrong(&story), Violation::Invented { .. }));
}

#[test]
fn a_write_twice_is_found() {
    let mut story = three_writes();
    let again = story.chain.blocks[0].clone();
    story.chain.blocks.push(Block { timestamp: 9, ..again });
    assert!(matches!(wrong(&story), Violation::IncludedTwice { .. }));
}

#[test]
fn gaps_of_nonces_and_spending_too_much_are_found() {
    let mut story = Story::new().write(1, 2, 10, 0, 1);
    story.history.writes[0].nonce = 1;
    story.chain.blocks[0].transfers[0].nonce = 1;
    assert!(matches!(wrong(&story), Violation::Nonce { expected: 0, found: 1, .. }));
    let story = Story::new().write(1, 2, 101, 0, 1);
    assert!(matches!(wrong(&story), Violation::Overdrawn { .. }));
    assert!(Story::new().write(1, 2, 100, 0, 1).judge().is_ok());
}

#[test]
fn time_that_goes_back_is_found() {
    let mut story = three_writes();
    story.chain.blocks[2].timestamp = 1;
    assert_eq!(wrong(&story), Violation::Time { number: 3, before: 2, found: 1 });
}

#[test]
fn ids_in_another_order_are_found() {
    let renamed = |write: usize, to: TxId| {
        let mut story = three_writes();
        if let Outcome::Acknowledged { id, .. } = &mut story.history.writes[write].outcome {
            *id = to;
        }
        wrong(&story)
    };
    let low = TxId { view: View(2), seqno: Seqno(11) };
    assert!(matches!(renamed(2, low), Violation::IdOrder { block: 3, .. }));
    let old_view = TxId { view: View(1), seqno: Seqno(16) };
    assert!(matches!(renamed(2, old_view), Violation::IdOrder { block: 3, .. }));

    let mut story = three_writes();
    let second = story.chain.blocks.remove(1);
    story.chain.blocks[0].transfers.extend(second.transfers);
    if let Outcome::Acknowledged { place, .. } = &mut story.history.writes[1].outcome {
        *place = Place { block: 1, index: 1 };
    }
    if let Outcome::Acknowledged { place, .. } = &mut story.history.writes[2].outcome {
        *place = Place { block: 2, index: 0 };
    }
    assert!(matches!(wrong(&story), Violation::TwoIds { block: 1, .. }));
}

#[test]
fn a_write_before_one_that_had_ended_is_found() {
    // The second stands behind the first, but ended before the first began.
    let story = Story::new().write(1, 2, 10, 200, 300).write(2, 3, 20, 0, 100);
    let (earlier, later) = (B256::with_last_byte(2), B256::with_last_byte(1));
    assert_eq!(wrong(&story), Violation::RealTime { earlier, later });
    // At the same moment there is no order.
    assert!(Story::new().write(1, 2, 10, 100, 300).write(2, 3, 20, 0, 100).judge().is_ok());
    // Nor with a write that nobody heard of.
    let mut story = Story::new().write(1, 2, 10, 200, 300).write(2, 3, 20, 0, 100);
    story.history.writes[1].outcome = Outcome::Unknown;
    assert!(story.judge().is_ok());
}

#[test]
fn another_end_on_one_node_is_found() {
    let story = three_writes().finals([(2, 60), (1, 91), (0, 150)]);
    assert!(matches!(wrong(&story), Violation::Final { node: 4, .. }));
    // Money on an account that nobody paid.
    let mut story = three_writes();
    let accounts = story.chain.finals.get_mut(&4).expect("it is there");
    accounts.insert(address(9), Account { nonce: 0, balance: U256::from(1) });
    assert!(matches!(wrong(&story), Violation::Final { .. }));
}

#[test]
fn reads_of_what_never_was_are_found() {
    for (what, story) in [
        ("a balance of no time", three_writes().read(1, 1, 89, (0, 3), (0, 400))),
        (
            "a nonce and a balance of an earlier block",
            three_writes().read(1, 1, 100, (0, 3), (0, 400)),
        ),
        ("what came later", three_writes().read(1, 2, 60, (1, 2), (0, 400))),
        ("what was long over", three_writes().read(1, 0, 100, (1, 3), (0, 400))),
        ("a block beyond the end", three_writes().read(1, 2, 60, (3, 4), (0, 400))),
        ("blocks backwards", three_writes().read(1, 2, 60, (3, 2), (0, 400))),
        ("a write that had not begun", three_writes().read(1, 2, 60, (0, 3), (0, 150))),
    ] {
        assert!(matches!(wrong(&story), Violation::Read { .. }), "{what}");
    }
}

#[test]
fn a_node_that_goes_back_is_found() {
    let story =
        three_writes().read(3, 0, 150, (3, 3), (310, 320)).read(3, 0, 120, (2, 2), (330, 340));
    assert_eq!(wrong(&story), Violation::WentBack { node: 1, from: 3, to: 2 });
    // Reads that overlap have no order, and a restarted node may be behind.
    let story =
        three_writes().read(3, 0, 150, (3, 3), (310, 335)).read(3, 0, 120, (2, 2), (330, 340));
    assert!(story.judge().is_ok());
    let mut story =
        three_writes().read(3, 0, 150, (3, 3), (310, 320)).read(3, 0, 120, (2, 2), (330, 340));
    story.history.reads[1].start = 1;
    assert!(story.judge().is_ok());
}
