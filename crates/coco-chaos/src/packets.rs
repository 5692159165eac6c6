//! Packets on their way into nodes pass through this process, which holds some back or changes them.
//!
//! The kernel hands them over one by one (NFQUEUE), and the verdict on one need not wait for another: what is held back
//! is overtaken. A packet of which this process is told has a full checksum; when it was changed, TCP checks it again.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use nfq::{Message, Queue, Verdict};

use crate::{
    dice::Dice,
    lan::{self, enter},
    tool::run,
};

/// The number of the queue; each namespace has its own.
const QUEUE: u16 = 0;
/// What waits in the kernel for this process, in packets. What comes beyond that is lost, as in any router.
const WAITING_MAX: u32 = 8192;
/// Packets that are held back at one time; what comes beyond that passes at once.
const HELD_MAX: usize = 2000;
/// Packets of one namespace that are taken before another's.
const TURN_MAX: usize = 64;
/// Nothing is longer than a frame of the veth pairs: large pieces come cut in frames.
const PACKET_BYTES_MAX: u16 = 2048;
/// How long to rest when nothing waits. Every packet is late by that much.
const REST: Duration = Duration::from_micros(500);

/// What is done to packets, each of which is struck by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It is held back for a drawn time, in milliseconds.
    HoldBack(u64, u64),
    /// One bit of the TCP segment is flipped, so that its checksum is wrong.
    Flip,
    /// One bit of what the segment carries is flipped, and the checksum made right again.
    FlipAndMend,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Packets that passed through.
    pub(crate) seen: u64,
    /// Those to which something was done.
    pub(crate) struck: u64,
}

/// A thread through which all TCP packets from others into some namespaces pass. Dropping it ends it; the kernel then
/// lets packets pass by themselves.
#[derive(Debug)]
pub(crate) struct Packets {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<Tally>>>,
    namespaces: Vec<String>,
}

impl Packets {
    /// Does `deed` to each packet with a chance of `per_thousand`.
    pub(crate) fn strike(
        namespaces: &[String],
        deed: Deed,
        per_thousand: u64,
        dice: Dice,
    ) -> anyhow::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let thread = {
            let (namespaces, is_over) = (namespaces.to_vec(), Arc::clone(&is_over));
            move || {
                let queues = open(&namespaces)?;
                ready.send(()).context("somebody waits for that")?;
                let held = BTreeMap::new();
                Pass { queues, held, deed, per_thousand, dice, tally: Tally::default() }
                    .run(&is_over)
            }
        };
        let thread = std::thread::Builder::new().name("packets".into()).spawn(thread)?;
        let mut packets = Self { is_over, thread: Some(thread), namespaces: namespaces.to_vec() };
        if is_ready.recv().is_err() {
            // It ended before it was ready, and says why.
            packets.end()?;
        }
        packets.rules("-I")?;
        Ok(packets)
    }

    fn rules(&self, operation: &str) -> anyhow::Result<()> {
        for namespace in &self.namespaces {
            let netns = format!("--net={}", lan::path(namespace));
            let queue = QUEUE.to_string();
            let rule = ["INPUT", "-i", "eth0", "-p", "tcp", "-j", "NFQUEUE", "--queue-num", &queue];
            let command = [&netns, "iptables", "-w", operation];
            run("nsenter", &[&command[..], &rule, &["--queue-bypass"]].concat())?;
        }
        Ok(())
    }

    fn end(&mut self) -> anyhow::Result<Tally> {
        self.is_over.store(true, Ordering::SeqCst);
        let thread = self.thread.take().context("it ends once")?;
        thread.join().unwrap_or_else(|_| Err(anyhow!("the thread of packets panicked")))
    }

    /// Lets all packets pass that were held back, and the later ones without a look.
    pub(crate) fn stop(mut self) -> anyhow::Result<Tally> {
        self.rules("-D")?;
        self.end()
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        if self.thread.is_some()
            && let Err(error) = self.end()
        {
            crate::say(&format!("{error:#}"));
        }
    }
}

/// One queue a namespace. The calling thread is in the last of them when this ends.
fn open(namespaces: &[String]) -> anyhow::Result<Vec<Queue>> {
    let one = |namespace: &String| -> anyhow::Result<Queue> {
        enter(namespace)?;
        let mut queue = Queue::open()?;
        queue.bind(QUEUE)?;
        queue.set_copy_range(QUEUE, PACKET_BYTES_MAX)?;
        queue.set_queue_max_len(QUEUE, WAITING_MAX)?;
        queue.set_nonblocking(true);
        Ok(queue)
    };
    let opened = namespaces.iter().map(|namespace| {
        one(namespace).with_context(|| format!("no queue of packets in {namespace}"))
    });
    opened.collect::<anyhow::Result<Vec<_>>>()
}

struct Pass {
    queues: Vec<Queue>,
    /// By when they are due, and by their number, which keeps them apart.
    held: BTreeMap<(Instant, u64), (usize, Message)>,
    deed: Deed,
    per_thousand: u64,
    dice: Dice,
    tally: Tally,
}

impl Pass {
    fn run(mut self, is_over: &AtomicBool) -> anyhow::Result<Tally> {
        loop {
            let is_last = is_over.load(Ordering::SeqCst);
            let mut taken = 0;
            for place in 0..self.queues.len() {
                taken += self.take(place)?;
            }
            self.let_go(is_last)?;
            match (taken, is_last) {
                (0, true) => return Ok(self.tally),
                (0, false) => std::thread::sleep(REST),
                _ => {}
            }
        }
    }

    /// Takes what waits in one namespace; how many.
    fn take(&mut self, place: usize) -> anyhow::Result<usize> {
        for count in 0..TURN_MAX {
            let message = match self.queues[place].recv() {
                Ok(message) => message,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
                // A change of the namespace's rules made the kernel drop a packet that was held back here.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("no packet comes from the kernel"),
            };
            self.decide(place, message)?;
        }
        Ok(TURN_MAX)
    }

    fn decide(&mut self, place: usize, mut message: Message) -> anyhow::Result<()> {
        self.tally.seen += 1;
        if self.dice.between(1, 1000) <= self.per_thousand {
            match self.deed {
                Deed::HoldBack(ms_min, ms_max) if self.held.len() < HELD_MAX => {
                    let time_us = self.dice.between(ms_min * 1000, ms_max * 1000);
                    let due = Instant::now() + Duration::from_micros(time_us);
                    self.tally.struck += 1;
                    self.held.insert((due, self.tally.seen), (place, message));
                    return Ok(());
                }
                Deed::HoldBack(..) => {}
                Deed::Flip | Deed::FlipAndMend => {
                    let mut packet = message.get_payload().to_vec();
                    let is_whole = packet.len() == message.get_original_len();
                    if is_whole && change(&mut packet, self.deed, &mut self.dice).is_some() {
                        message.set_payload(packet);
                        self.tally.struck += 1;
                    }
                }
            }
        }
        self.accept(place, message)
    }

    /// Lets go what is due, or everything.
    fn let_go(&mut self, is_last: bool) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some(entry) = self.held.first_entry() {
            if entry.key().0 > now && !is_last {
                break;
            }
            let (place, message) = entry.remove();
            self.accept(place, message)?;
        }
        Ok(())
    }

    fn accept(&mut self, place: usize, mut message: Message) -> anyhow::Result<()> {
        message.set_verdict(Verdict::Accept);
        self.queues[place].verdict(message).context("the kernel does not take a packet back")
    }
}

/// Flips a bit of a packet that starts with its IPv4 header; `None` when it has none to flip.
fn change(packet: &mut [u8], deed: Deed, dice: &mut Dice) -> Option<()> {
    let segment = packet.get_mut(header_bytes(*packet.first()? & 0xf)..)?;
    let carried_from = header_bytes(segment.get(12)? >> 4);
    let from = if deed == Deed::FlipAndMend { carried_from } else { 0 };
    let bits = u64::try_from(segment.len().checked_sub(from)?).ok()? * 8;
    let bit = dice.between(0, bits.checked_sub(1)?);
    let at = from + usize::try_from(bit / 8).ok()?;
    *segment.get_mut(at)? ^= 1 << (bit % 8);
    if deed == Deed::FlipAndMend {
        segment.get_mut(16..18)?.fill(0);
        let sum = checksum(packet)?;
        let at = header_bytes(*packet.first()? & 0xf) + 16;
        packet.get_mut(at..at + 2)?.copy_from_slice(&sum.to_be_bytes());
    }
    Some(())
}

/// Headers of IPv4 and TCP give their length in words.
fn header_bytes(words: u8) -> usize {
    usize::from(words) * 4
}

/// The checksum of TCP over IPv4 (RFC 9293, section 3.1): 0 over a segment whose own checksum is right.
fn checksum(packet: &[u8]) -> Option<u16> {
    const TCP: u32 = 6;
    let segment = packet.get(header_bytes(*packet.first()? & 0xf)..)?;
    let length = u32::try_from(segment.len()).ok()?;
    let words = packet.get(12..20)?.chunks(2).chain(segment.chunks(2));
    let sum = words.fold(TCP + length, |sum, word| {
        let low = word.get(1).copied().unwrap_or_default();
        let sum = sum + u32::from(u16::from_be_bytes([word[0], low]));
        (sum & 0xffff) + (sum >> 16)
    });
    u16::try_from((sum & 0xffff) + (sum >> 16)).ok().map(|sum| !sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40 bytes of headers, the TCP one with 12 bytes of options if `has_options`, and what is carried.
    fn packet(carried: &[u8], has_options: bool) -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2];
        let words = if has_options { 8 } else { 5 };
        let mut tcp = vec![0x20, 0xfb, 0x9c, 0x40, 1, 2, 3, 4, 5, 6, 7, 8, words << 4, 0x18, 1, 0];
        tcp.resize(header_bytes(words), 0);
        ip.extend([&tcp, carried].concat());
        let sum = checksum(&ip).expect("it is whole");
        ip[36..38].copy_from_slice(&sum.to_be_bytes());
        ip
    }

    fn bits_between(one: &[u8], other: &[u8]) -> u32 {
        one.iter().zip(other).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        let good = packet(b"odd", false);
        assert_eq!(checksum(&good), Some(0));
        // By hand: pseudo header 10.77.0.1, 10.77.0.2, 6, 23; the header's words; "odd" with a zero.
        let words: [u32; 15] = [
            0x0a4d, 0x0001, 0x0a4d, 0x0002, 6, 23, 0x20fb, 0x9c40, 0x0102, 0x0304, 0x0506, 0x0708,
            0x5018, 0x0100, 0,
        ];
        let sum = words.iter().sum::<u32>() + 0x6f64 + 0x6400;
        let folded = (sum & 0xffff) + (sum >> 16);
        let expected = !u16::try_from(folded).expect("one carry is enough here");
        assert_eq!(good[36..38], expected.to_be_bytes());
    }

    #[test]
    fn a_flip_is_caught_by_the_checksum_and_a_mended_one_is_not() {
        let mut dice = Dice::new(1);
        for carried in [&b"x"[..], b"carried", &[7; 1400]] {
            for has_options in [false, true] {
                let good = packet(carried, has_options);
                for _ in 0..200 {
                    let mut flipped = good.clone();
                    change(&mut flipped, Deed::Flip, &mut dice).expect("there is a bit");
                    assert_eq!(bits_between(&good, &flipped), 1);
                    assert_ne!(checksum(&flipped), Some(0));
                    assert_eq!(flipped[..20], good[..20], "a node would not see the packet at all");

                    let mut mended = good.clone();
                    change(&mut mended, Deed::FlipAndMend, &mut dice).expect("there is a bit");
                    assert_eq!(checksum(&mended), Some(0));
                    let from = good.len() - carried.len();
                    assert_eq!(bits_between(&good[from..], &mended[from..]), 1);
                    let (ours, theirs) = (&good[..from], &mended[..from]);
                    assert_eq!((&ours[..36], &ours[38..]), (&theirs[..36], &theirs[38..]));
                }
            }
        }
    }

    #[test]
    fn what_is_no_whole_packet_stays_as_it_is() {
        let mut dice = Dice::new(2);
        let bare = packet(b"", true);
        for deed in [Deed::Flip, Deed::FlipAndMend] {
            for end in 0..20 {
                let mut short = bare[..end].to_vec();
                assert_eq!(change(&mut short, deed, &mut dice), None, "{end}");
            }
        }
        let mut mended = bare.clone();
        assert_eq!(change(&mut mended, Deed::FlipAndMend, &mut dice), None, "it carries nothing");
        assert_eq!(mended, bare);
    }
}
