//! What a node answers, as a client reads it. Who asks for the certificate of a service does not know yet who answers.

use coco_client::{
    Refusal,
    join::JoinResponse,
    reply::{
        Actions, Commit, Consensus, JoinPolicy, List, Member, Network, Node, NodeState, Nodes,
        Proposal, ServiceInfo, Simulated, TxStatus,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The first byte says what was asked for.
pub(crate) fn answer(data: &[u8]) {
    if let Some((asked, body)) = data.split_first() {
        let _is_understood = READERS[usize::from(*asked) % READERS.len()](body);
    }
}

/// How many kinds of answers there are.
pub(crate) const KINDS: u8 = 17;

/// A reader of each kind; whether it understood.
const READERS: [fn(&[u8]) -> bool; KINDS as usize] = [
    read::<Network>,
    read::<Nodes>,
    read::<NodeState>,
    read::<Commit>,
    read::<ServiceInfo>,
    read::<List<Node>>,
    read::<List<Member>>,
    read::<Member>,
    read::<List<Proposal>>,
    read::<Proposal>,
    read::<Actions>,
    read::<Simulated>,
    read::<TxStatus>,
    read::<JoinResponse>,
    refusal,
    read::<Consensus>,
    read::<JoinPolicy>,
];

fn read<T: Serialize + DeserializeOwned>(body: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<T>(body) else { return false };
    let written = serde_json::to_vec(&value).expect("what was read has a JSON form");
    let again = serde_json::from_slice::<T>(&written).expect("what was written can be read");
    assert_eq!(shown(&again), shown(&value), "an answer comes back as it was written");
    true
}

/// What is compared: all but numbers that are no integers of 64 bits, whose last digits are the parser's choice.
fn shown<T: Serialize>(value: &T) -> Value {
    fn without_floats(value: &mut Value) {
        match value {
            Value::Number(number) if number.is_f64() => *value = Value::Null,
            Value::Array(items) => items.iter_mut().for_each(without_floats),
            Value::Object(members) => members.values_mut().for_each(without_floats),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut shown = serde_json::to_value(value).expect("what was read has a JSON form");
    without_floats(&mut shown);
    shown
}

fn refusal(body: &[u8]) -> bool {
    let refusal = Refusal::read(400, body);
    assert!(refusal.code.len() + refusal.message.len() <= 3 * body.len(), "it says no more");
    assert!(refusal.to_string().contains(&refusal.message));
    !refusal.code.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_each_kind_is_among_the_inputs_made_by_hand() {
        for (kind, read) in (0..).zip(READERS) {
            let is_of_kind = |seed: &Vec<u8>| seed.first() == Some(&kind) && read(&seed[1..]);
            assert!(crate::hostile::client_answer().iter().any(is_of_kind), "none of kind {kind}");
        }
    }
}
