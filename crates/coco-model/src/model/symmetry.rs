//! Founders are alike: of all states that differ in their numbers only, one is looked at.

use super::state::{Code, Entry, FOUNDERS, Log, NODES, Node, State};

/// Where each node's number goes.
type Renaming = [usize; NODES];

const RENAMINGS: [Renaming; 5] =
    [[0, 2, 1, 3], [1, 0, 2, 3], [1, 2, 0, 3], [2, 0, 1, 3], [2, 1, 0, 3]];

/// The least of all states that are the same but for the numbers of the founders.
#[must_use]
pub fn representative(state: &State) -> State {
    let renamed = RENAMINGS.iter().map(|to| rename(state, to));
    renamed.fold(*state, State::min)
}

fn rename(state: &State, to: &Renaming) -> State {
    let mut next = *state;
    for (node, number) in state.nodes.iter().zip(to) {
        next.nodes[*number] = rename_node(node, to);
    }
    for said in &mut next.said {
        said.log = rename_log(&said.log, to);
    }
    next.committed = rename_log(&state.committed, to);
    next
}

fn rename_node(node: &Node, to: &Renaming) -> Node {
    let mut next = *node;
    next.vote = rename_number(node.vote, to);
    next.votes = 0;
    for (number, acked) in node.acked.iter().enumerate() {
        next.acked[to[number]] = *acked;
        next.votes |= (node.votes >> number & 1) << to[number];
    }
    next.log = rename_log(&node.log, to);
    next
}

/// Of a number plus one, where zero is nobody.
fn rename_number(number: u8, to: &Renaming) -> u8 {
    let Some(number) = usize::from(number).checked_sub(1) else { return 0 };
    super::state::small(to[number]) + 1
}

fn rename_log(log: &Log, to: &Renaming) -> Log {
    if !log.entries().iter().any(|entry| matches!(entry.code(), Code::Remove(_) | Code::Swap(_))) {
        return *log;
    }
    let mut next = Log::default();
    for entry in log.entries() {
        let founder = |node: u8| super::state::small(to[usize::from(node)]);
        let code = match entry.code() {
            Code::Remove(node) => Code::Remove(founder(node)),
            Code::Swap(node) => Code::Swap(founder(node)),
            other => other,
        };
        next.push(Entry::new(entry.view(), code));
    }
    next
}

const _: () = assert!(FOUNDERS == 3, "the renamings are those of three");
