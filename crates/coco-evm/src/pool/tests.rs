use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Signature, TxKind, U256, keccak256};

use super::*;
use crate::block::TxEnvelope;

const RULES: Rules =
    Rules { spec: SpecId::OSAKA, gas_cap: 16_777_216, gas_limit: 30_000_000, base_fee: None };

fn priced(sender: u8, nonce: u64, fee: u128, tip: u128) -> PooledTx {
    let transaction = TxEip1559 {
        nonce,
        gas_limit: 21_000,
        to: TxKind::Call(Address::ZERO),
        max_fee_per_gas: fee,
        max_priority_fee_per_gas: tip,
        ..TxEip1559::default()
    };
    let signature = Signature::new(U256::from(1), U256::from(1), false);
    PooledTx {
        envelope: TxEnvelope::from(transaction.into_signed(signature)),
        hash: keccak256(
            [&[sender][..], &nonce.to_be_bytes(), &fee.to_be_bytes(), &tip.to_be_bytes()].concat(),
        ),
        sender: Address::repeat_byte(sender),
        raw: vec![0; 100].into(),
        authorities: Vec::new(),
    }
}

fn transfer(sender: u8, nonce: u64) -> PooledTx {
    priced(sender, nonce, 0, 0)
}

struct Test {
    pool: Pool,
    tickets: u64,
}

impl Test {
    fn new(limits: PoolLimits) -> Self {
        Self { pool: Pool::new(limits), tickets: 0 }
    }

    fn admit(&mut self, now_ms: u64, transaction: PooledTx) -> Result<Vec<Answer>, Refusal> {
        self.tickets += 1;
        let mut answers = Vec::new();
        let ticket = Ticket(self.tickets);
        self.pool.admit(now_ms, ticket, transaction, 0, &RULES, &mut answers)?;
        Ok(answers)
    }

    fn order(&mut self) -> Vec<(u8, u64)> {
        std::iter::from_fn(|| self.pool.take(u64::MAX, usize::MAX))
            .map(|(transaction, _)| (transaction.sender[0], transaction.envelope.nonce()))
            .collect()
    }
}

#[test]
fn senders_are_served_in_order_of_arrival_and_nonce() {
    let mut test = Test::new(PoolLimits::default());
    for transaction in
        [transfer(1, 1), transfer(2, 0), transfer(1, 0), transfer(3, 0), transfer(2, 1)]
    {
        assert_eq!(test.admit(0, transaction), Ok(Vec::new()));
    }
    assert_eq!(test.order(), [(2, 0), (1, 0), (1, 1), (3, 0), (2, 1)]);
    assert_eq!(test.pool.status(), PoolStatus::default());
}

#[test]
fn a_replacement_offers_a_tenth_more_of_both() {
    for (fee, tip, ok) in
        [(109, 110, false), (110, 109, false), (110, 110, true), (u128::MAX, 110, true)]
    {
        let mut test = Test::new(PoolLimits::default());
        test.admit(0, priced(1, 0, 100, 100)).expect("there is room");
        test.admit(0, priced(1, 1, 100, 100)).expect("there is room");
        let by = priced(1, 0, fee, tip);
        let replaced = Verdict::Refused(refusals::replaced(by.hash));
        let admitted = test.admit(0, by);
        if ok {
            assert_eq!(admitted, Ok(vec![Answer { ticket: Ticket(1), verdict: replaced }]));
        } else {
            assert_eq!(admitted, Err(refusals::replacement_underpriced()));
        }
        assert_eq!(test.order(), [(1, 0), (1, 1)]);
    }
    // What is free cannot be outbid without a tip.
    let mut test = Test::new(PoolLimits::default());
    test.admit(0, transfer(1, 0)).expect("there is room");
    assert_eq!(test.admit(0, priced(1, 0, 1, 0)), Err(refusals::replacement_underpriced()));
}

#[test]
fn a_replacement_keeps_the_limits_and_waits_no_longer() {
    let long = |nonce, fee, bytes| {
        let raw = vec![0; bytes].into();
        PooledTx { raw, ..priced(1, nonce, fee, fee) }
    };
    let limits =
        PoolLimits { bytes: 300, gap_wait_ms: 10, lifetime_ms: 50, ..PoolLimits::default() };
    let mut test = Test::new(limits);
    for nonce in [0, 1, 3] {
        test.admit(0, long(nonce, 100, 100)).expect("there is room");
    }
    assert_eq!(test.admit(0, long(1, 200, 101)), Err(refusals::pool_full()));
    assert_eq!(test.admit(0, long(0, 200, 200)), Err(refusals::pool_full()));
    assert_eq!(test.pool.status().bytes, 300);
    assert!(test.admit(9, long(3, 200, 100)).is_ok());
    assert!(test.admit(9, long(0, 200, 50)).is_ok());
    assert_eq!(test.pool.status(), PoolStatus { executable: 2, gapped: 1, bytes: 250 });
    test.pool.check();
    let tickets = |answers: Vec<Answer>| -> Vec<u64> {
        answers.into_iter().map(|answer| answer.ticket.0).collect()
    };
    assert_eq!(tickets(test.pool.expire(10)), [6], "it is gapped since the one before it was");
    assert_eq!(tickets(test.pool.expire(50)), [7, 2], "it waits since the one before it did");
}

#[test]
fn every_limit_holds_below_at_and_above() {
    let limits = PoolLimits { transactions: 3, per_sender: 2, bytes: 350, ..PoolLimits::default() };
    let mut test = Test::new(limits);
    test.admit(0, transfer(1, 0)).expect("below");
    test.admit(0, transfer(1, 1)).expect("at");
    assert_eq!(test.admit(0, transfer(1, 2)), Err(refusals::account_limit(2)));
    test.admit(0, transfer(2, 0)).expect("at");
    assert_eq!(test.admit(0, transfer(3, 0)), Err(refusals::pool_full()));
    assert_eq!(test.order().len(), 3);

    let mut test = Test::new(PoolLimits { bytes: 200, ..PoolLimits::default() });
    test.admit(0, transfer(1, 0)).expect("below");
    test.admit(0, transfer(2, 0)).expect("at");
    assert_eq!(test.admit(0, transfer(3, 0)), Err(refusals::pool_full()));

    let mut test = Test::new(PoolLimits::default());
    for _ in 0..TICKETS_MAX {
        test.admit(0, transfer(1, 0)).expect("up to the limit");
    }
    assert_eq!(test.admit(0, transfer(1, 0)), Err(refusals::already_known()));
    let (_, held) = test.pool.take(u64::MAX, usize::MAX).expect("it waits");
    assert_eq!(held.tickets.len(), TICKETS_MAX);
}

#[test]
fn what_waits_too_long_is_refused() {
    let mut test =
        Test::new(PoolLimits { gap_wait_ms: 10, lifetime_ms: 50, ..PoolLimits::default() });
    test.admit(0, transfer(1, 0)).expect("there is room");
    test.admit(5, transfer(1, 1)).expect("there is room");
    test.admit(5, transfer(1, 3)).expect("there is room");
    assert_eq!(test.pool.expire(14), []);
    let gap = Verdict::Refused(refusals::nonce_gap(2, 3));
    assert_eq!(test.pool.expire(15), [Answer { ticket: Ticket(3), verdict: gap }]);
    // The first one's end leaves a gap before the second.
    let expired = Verdict::Refused(refusals::expired(50));
    assert_eq!(test.pool.expire(50), [Answer { ticket: Ticket(1), verdict: expired }]);
    assert_eq!(test.pool.ready(), 0);
    let gap = Verdict::Refused(refusals::nonce_gap(0, 1));
    assert_eq!(test.pool.expire(60), [Answer { ticket: Ticket(2), verdict: gap }]);
    assert_eq!(test.pool.status(), PoolStatus::default());
}

#[test]
fn the_line_is_ordered_by_tip_under_the_base_fee() {
    let rules = Rules { base_fee: Some(100), ..RULES };
    let mut pool = Pool::new(PoolLimits::default());
    let offers = [(1, 0, 200, 1), (2, 0, 110, 50), (3, 0, 300, 9), (1, 1, 900, 90)];
    for (ticket, (sender, nonce, fee, tip)) in (1..).zip(offers) {
        let offer = priced(sender, nonce, fee, tip);
        pool.admit(0, Ticket(ticket), offer, 0, &rules, &mut Vec::new()).expect("there is room");
    }
    let low = pool.admit(0, Ticket(9), priced(5, 0, 99, 0), 0, &rules, &mut Vec::new());
    assert!(low.is_err());
    let order: Vec<u8> =
        std::iter::from_fn(|| pool.take(u64::MAX, usize::MAX)).map(|(t, _)| t.sender[0]).collect();
    assert_eq!(order, [2, 3, 1, 1]);
}

#[test]
fn a_block_without_room_takes_nothing() {
    let mut test = Test::new(PoolLimits::default());
    test.admit(0, transfer(1, 0)).expect("there is room");
    assert!(test.pool.take(20_999, usize::MAX).is_none());
    assert!(test.pool.take(21_000, 99).is_none());
    assert!(test.pool.take(21_000, 100).is_some());
}

#[test]
fn an_answer_is_not_lost_when_what_brought_it_is_refused() {
    let mut test = Test::new(PoolLimits::default());
    test.admit(0, transfer(1, 6)).expect("there is room");
    test.admit(0, priced(1, 7, 100, 100)).expect("there is room");
    // Somebody else's transaction moves the account's nonce to 7.
    let mut answers = Vec::new();
    let other = priced(1, 7, 100, 101);
    let admitted = test.pool.admit(0, Ticket(3), other, 7, &RULES, &mut answers);
    assert_eq!(admitted, Err(refusals::replacement_underpriced()));
    let passed = Verdict::Refused(refusals::nonce_too_low(7, 6));
    assert_eq!(answers, [Answer { ticket: Ticket(1), verdict: passed }]);
    assert_eq!(test.order(), [(1, 7)]);
}

fn asked(answers: Vec<Answer>) -> impl Iterator<Item = Ticket> {
    answers.into_iter().map(|answer| answer.ticket)
}

/// A block of all that is ready, of which the last is handed back; who is answered by it.
fn block(pool: &mut Pool, nonces: &mut [u64; 4], now_ms: u64) -> Vec<Ticket> {
    let mut answered = Vec::new();
    let mut taken: Vec<_> = std::iter::from_fn(|| pool.take(u64::MAX, usize::MAX)).collect();
    let last = taken.pop();
    let mut senders = Vec::new();
    let mut back = Vec::from_iter(last);
    for (transaction, held) in taken {
        let next = &mut nonces[usize::from(transaction.sender[0])];
        let nonce = transaction.envelope.nonce();
        senders.push(transaction.sender);
        if nonce > *next {
            back.push((transaction, held));
        } else {
            *next += u64::from(nonce == *next);
            answered.extend(held.tickets);
        }
    }
    for (transaction, held) in back {
        senders.push(transaction.sender);
        pool.put_back(transaction, held);
    }
    for sender in senders {
        let nonce = nonces[usize::from(sender[0])];
        answered.extend(asked(pool.settle(sender, nonce, now_ms)));
    }
    answered
}

#[test]
fn tables_agree_and_everybody_is_answered_once_after_any_sequence() {
    // A small generator: the point is the number of interleavings, and each is repeatable.
    for seed in 0..200_u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut pool =
            Pool::new(PoolLimits { transactions: 20, per_sender: 6, ..PoolLimits::default() });
        let mut nonces = [0_u64; 4];
        let mut now_ms = 0;
        let mut answered = Vec::new();
        let tickets = 0..300;
        for ticket in tickets.clone().map(Ticket) {
            now_ms += random(400);
            let sender = usize::try_from(random(4)).expect("below 4");
            let address = Address::repeat_byte(u8::try_from(sender).expect("below 4"));
            // A ticket that is not used counts as answered.
            match random(9) {
                0..=4 => {
                    let nonce = nonces[sender] + random(5);
                    let fee = u128::from(random(3)) * 100;
                    let transaction = priced(address[0], nonce, fee, fee);
                    let mut answers = Vec::new();
                    let admitted = pool.admit(
                        now_ms,
                        ticket,
                        transaction,
                        nonces[sender],
                        &RULES,
                        &mut answers,
                    );
                    answered.extend(asked(answers));
                    answered.extend(admitted.is_err().then_some(ticket));
                }
                5 => {
                    answered.push(ticket);
                    answered.extend(asked(pool.expire(now_ms)));
                }
                6 => {
                    answered.push(ticket);
                    answered.extend(block(&mut pool, &mut nonces, now_ms));
                }
                7 => {
                    answered.push(ticket);
                    // Moved by a transaction of somebody else.
                    nonces[sender] += random(3);
                }
                _ => {
                    answered.push(ticket);
                    nonces[sender] = nonces[sender].saturating_sub(random(2));
                    answered.extend(asked(pool.settle(address, nonces[sender], now_ms)));
                }
            }
            pool.check();
        }
        answered.extend(pool.clear());
        answered.sort_unstable();
        assert_eq!(answered, tickets.map(Ticket).collect::<Vec<_>>(), "seed {seed}");
    }
}

impl Pool {
    /// Checks every table against the queues.
    fn check(&self) {
        let (mut count, mut bytes, mut gapped) = (0, 0, 0);
        for (address, sender) in &self.senders {
            assert!(!sender.queue.is_empty() && sender.is_linked);
            let mut expected = sender.next;
            while sender.queue.contains_key(&expected) {
                expected += 1;
            }
            assert_eq!(sender.end, expected);
            assert_eq!(sender.turn.is_some(), sender.queue.contains_key(&sender.next));
            assert!(sender.turn.is_none_or(|turn| self.line.contains(&turn)));
            for (nonce, waiting) in &sender.queue {
                count += 1;
                bytes += waiting.transaction.raw.len();
                assert_eq!(self.known.get(&waiting.transaction.hash), Some(&(*address, *nonce)));
                assert_eq!(self.arrivals.get(&waiting.held.arrival), Some(&(*address, *nonce)));
                assert_eq!(waiting.gapped_since.is_some(), *nonce >= sender.end);
                if let Some(since) = waiting.gapped_since {
                    gapped += 1;
                    assert!(self.gapped.contains(&(since, *address, *nonce)));
                }
            }
        }
        let turns = self.senders.values().filter(|sender| sender.turn.is_some()).count();
        assert_eq!((self.known.len(), self.arrivals.len(), self.line.len()), (count, count, turns));
        assert_eq!((self.bytes, self.gapped.len()), (bytes, gapped));
    }
}
