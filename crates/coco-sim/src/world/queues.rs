//! Nodes that are slow: what happens to them waits its turn.

use std::collections::BTreeMap;

use super::Event;
use crate::plan::Micros;

/// How far a node may be behind with what it was sent, before its channels take no more.
const BEHIND_US_MAX: Micros = 3_000_000;

/// How slow nodes are, and how far behind.
#[derive(Clone, Debug, Default)]
pub struct Queues(BTreeMap<usize, Queue>);

#[derive(Clone, Copy, Debug)]
struct Queue {
    until: Micros,
    step_us: Micros,
    /// When all that waits is done.
    free: Micros,
}

/// When an event has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Now.
    Now,
    /// After so long.
    After(Micros),
    /// Never: nobody keeps so much.
    Never,
}

impl Queues {
    /// Makes each step of a node take so long, until then.
    pub fn slow(&mut self, node: usize, until: Micros, step_us: Micros) {
        let free = self.0.get(&node).map_or(0, |queue| queue.free);
        self.0.insert(node, Queue { until, step_us, free });
    }

    /// Makes all nodes as fast as ever.
    pub fn heal(&mut self) {
        self.0.clear();
    }

    /// A node gives its turn to an event.
    pub(super) fn turn(&mut self, node: usize, time: Micros, event: &Event) -> Turn {
        let Some(queue) = self.0.get_mut(&node) else { return Turn::Now };
        if queue.until <= time && queue.free <= time {
            self.0.remove(&node);
            return Turn::Now;
        }
        let at = queue.free.max(time);
        if matches!(event, Event::Message { .. }) && at - time > BEHIND_US_MAX {
            return Turn::Never;
        }
        queue.free = at + if queue.until > time { queue.step_us } else { 0 };
        if at == time { Turn::Now } else { Turn::After(at - time) }
    }
}

#[cfg(test)]
mod tests {
    use coco_types::NodeId;

    use super::*;

    #[test]
    fn what_comes_while_a_node_is_busy_waits_in_order_and_messages_not_for_ever() {
        let message = || Event::Message {
            to: (0, NodeId([2; 32])),
            from: NodeId([1; 32]),
            bytes: bytes::Bytes::new(),
        };
        let mut queues = Queues::default();
        assert_eq!(queues.turn(0, 5, &message()), Turn::Now);
        queues.slow(0, 10, 2_000_000);
        assert_eq!(queues.turn(0, 5, &Event::Tick(0)), Turn::Now);
        assert_eq!(queues.turn(0, 6, &message()), Turn::After(1_999_999));
        assert_eq!(queues.turn(0, 7, &message()), Turn::Never);
        assert_eq!(queues.turn(0, 7, &Event::Tick(0)), Turn::After(3_999_998));
        assert_eq!(queues.turn(1, 7, &message()), Turn::Now);
        assert_eq!(queues.turn(0, 7_000_000, &message()), Turn::Now);
    }
}
