//! The Merkle Patricia trie of Ethereum, kept up to date incrementally.
//!
//! Each node is stored in RLP under its owner and its path from the root, so a change rewrites the nodes on the way to
//! the root and nothing needs to be counted or collected: a node that a new one replaces has the same key. Two kinds of
//! trie share one map: the trie of accounts, and one trie of storage words for each incarnation of an account.
//!
//! A key is the owner (a kind byte; for storage the hash of the address, and the incarnation unless it is 0), the number
//! of nibbles in the path, and the nibbles in pairs. Keys of leaves have 64 nibbles, so no branch carries a value.
//!
//! Departure from the yellow paper: a node shorter than 32 bytes is embedded in its parent, as it must be, and is
//! also stored under its own path, so that every node is found the same way.

use std::collections::BTreeSet;

use alloy_primitives::{B256, keccak256};
use alloy_rlp::{Encodable, Header, PayloadView};
use alloy_trie::{EMPTY_ROOT_HASH, nodes::RlpNode};
use coco_kv::{MapId, Transaction, Value};

/// Where nodes are kept.
pub trait NodeStore {
    /// The node under `key`.
    fn load(&mut self, key: &[u8]) -> Option<Value>;
    /// Stores a node.
    fn save(&mut self, key: &[u8], node: Vec<u8>);
    /// Removes a node.
    fn remove(&mut self, key: &[u8]);
}

impl NodeStore for (&mut Transaction<'_>, MapId) {
    fn load(&mut self, key: &[u8]) -> Option<Value> {
        self.0.get(self.1, key)
    }

    fn save(&mut self, key: &[u8], node: Vec<u8>) {
        self.0.put(self.1, key, node);
    }

    fn remove(&mut self, key: &[u8]) {
        self.0.remove(self.1, key);
    }
}

/// Which trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The trie of accounts, by the hash of their address.
    Accounts,
    /// The storage of one incarnation of an account, by the hash of the slot.
    Storage {
        /// Keccak-256 of the address.
        address_hash: B256,
        /// The incarnation.
        incarnation: u64,
    },
}

/// Sets (`Some`) and removes (`None`) leaves and gives the new root. Sorted changes read each node once.
///
/// # Panics
/// When a stored node is missing or malformed: only this module writes them, behind the ledger's authentication.
pub fn update(
    store: &mut impl NodeStore,
    owner: Owner,
    changes: impl IntoIterator<Item = (B256, Option<Vec<u8>>)>,
) -> B256 {
    let mut editor = Editor { store, owner: owner_prefix(owner), loaded: BTreeSet::new() };
    let mut path = Vec::with_capacity(KEY_NIBBLES);
    let mut root = editor.load(&path).map(|(node, rlp)| Link::clean(node, RlpNode::from_rlp(&rlp)));
    for (key, value) in changes {
        let nibbles = unpack(key.as_slice());
        root = match value {
            Some(value) => Some(editor.put(root, &mut path, &nibbles, value)),
            None => root.and_then(|root| editor.remove(root, &mut path, &nibbles)),
        };
    }
    let hash = root.map_or(EMPTY_ROOT_HASH, |root| editor.save(&root, &mut path).1);
    editor.drop_unreached();
    hash
}

/// A place where a node is.
enum Link {
    /// In the store, under its path.
    Stored(RlpNode),
    /// In memory.
    Memory {
        node: Box<Node>,
        /// What the parent holds of it, when it was not changed since it was loaded.
        clean: Option<RlpNode>,
    },
}

enum Node {
    Leaf { suffix: Vec<u8>, value: Vec<u8> },
    Extension { prefix: Vec<u8>, child: Link },
    Branch { children: Box<[Option<Link>; 16]> },
}

impl Link {
    fn clean(node: Node, reference: RlpNode) -> Self {
        Self::Memory { node: Box::new(node), clean: Some(reference) }
    }

    fn changed(node: Node) -> Self {
        Self::Memory { node: Box::new(node), clean: None }
    }

    /// A node around `child`: unchanged if the child is.
    fn around(node: Node, clean: Option<RlpNode>) -> Self {
        Self::Memory { node: Box::new(node), clean }
    }

    const fn is_clean(&self) -> bool {
        matches!(self, Self::Stored(_) | Self::Memory { clean: Some(_), .. })
    }

    fn leaf(suffix: &[u8], value: Vec<u8>) -> Self {
        Self::changed(Node::Leaf { suffix: suffix.to_vec(), value })
    }

    /// `child` below `prefix`, which may be empty. The child is a branch.
    fn extension(prefix: &[u8], child: Self) -> Self {
        if prefix.is_empty() {
            return child;
        }
        Self::changed(Node::Extension { prefix: prefix.to_vec(), child })
    }
}

struct Editor<'a, S> {
    store: &'a mut S,
    owner: Vec<u8>,
    /// Paths of stored nodes that were loaded and not yet found again in the new trie.
    loaded: BTreeSet<Vec<u8>>,
}

impl<S: NodeStore> Editor<'_, S> {
    fn put(&mut self, link: Option<Link>, path: &mut Vec<u8>, rest: &[u8], value: Vec<u8>) -> Link {
        let Some(link) = link else { return Link::leaf(rest, value) };
        let (node, clean) = self.resolve(link, path);
        match node {
            Node::Leaf { suffix, value: old } if suffix == rest => {
                let clean = clean.filter(|_| old == value);
                Link::around(Node::Leaf { suffix, value }, clean)
            }
            Node::Leaf { suffix, value: old } => {
                let common = common_length(&suffix, rest);
                let old = Link::leaf(&suffix[common + 1..], old);
                fork(rest, common, (suffix[common], old), value)
            }
            Node::Extension { prefix, child } => {
                let common = common_length(&prefix, rest);
                if common < prefix.len() {
                    let below = Link::extension(&prefix[common + 1..], child);
                    return fork(rest, common, (prefix[common], below), value);
                }
                path.extend_from_slice(&prefix);
                let child = self.put(Some(child), path, &rest[common..], value);
                path.truncate(path.len() - common);
                let clean = clean.filter(|_| child.is_clean());
                Link::around(Node::Extension { prefix, child }, clean)
            }
            Node::Branch { mut children } => {
                let index = usize::from(rest[0]);
                path.push(rest[0]);
                let child = self.put(children[index].take(), path, &rest[1..], value);
                path.pop();
                let clean = clean.filter(|_| child.is_clean());
                children[index] = Some(child);
                Link::around(Node::Branch { children }, clean)
            }
        }
    }

    fn remove(&mut self, link: Link, path: &mut Vec<u8>, rest: &[u8]) -> Option<Link> {
        let (node, clean) = self.resolve(link, path);
        match node {
            Node::Leaf { suffix, .. } if suffix == rest => None,
            Node::Leaf { .. } => Some(Link::around(node, clean)),
            Node::Extension { prefix, child } => {
                let Some(below) = rest.strip_prefix(prefix.as_slice()) else {
                    return Some(Link::around(Node::Extension { prefix, child }, clean));
                };
                path.extend_from_slice(&prefix);
                let child = self.remove(child, path, below);
                let joined = child.map(|child| self.join(prefix.clone(), child, path, clean));
                path.truncate(path.len() - prefix.len());
                joined
            }
            Node::Branch { mut children } => {
                let index = usize::from(rest[0]);
                let Some(child) = children[index].take() else {
                    return Some(Link::around(Node::Branch { children }, clean));
                };
                path.push(rest[0]);
                children[index] = self.remove(child, path, &rest[1..]);
                path.pop();
                if let Some(child) = &children[index] {
                    let clean = clean.filter(|_| child.is_clean());
                    return Some(Link::around(Node::Branch { children }, clean));
                }
                Some(self.without_child(children, path))
            }
        }
    }

    /// A branch that lost a child: itself, or what becomes of its only other child.
    fn without_child(&mut self, mut children: Box<[Option<Link>; 16]>, path: &mut Vec<u8>) -> Link {
        let mut left = (0..).zip(children.iter_mut()).filter(|(_, child)| child.is_some());
        let first = left.next();
        if left.next().is_some() {
            return Link::changed(Node::Branch { children });
        }
        let (nibble, child) = first.expect("a branch has two children or more");
        let child = child.take().expect("it was just seen");
        path.push(nibble);
        let joined = self.join(vec![nibble], child, path, None);
        path.pop();
        joined
    }

    /// `child`, which is at `path`, below `prefix`: leaves and extensions take the prefix in.
    fn join(&mut self, prefix: Vec<u8>, child: Link, path: &[u8], clean: Option<RlpNode>) -> Link {
        let clean = clean.filter(|_| child.is_clean());
        let (node, child_clean) = self.resolve(child, path);
        match node {
            Node::Leaf { suffix, value } => {
                Link::changed(Node::Leaf { suffix: [prefix, suffix].concat(), value })
            }
            Node::Extension { prefix: below, child } => {
                Link::changed(Node::Extension { prefix: [prefix, below].concat(), child })
            }
            Node::Branch { .. } => Link::around(
                Node::Extension { prefix, child: Link::around(node, child_clean) },
                clean,
            ),
        }
    }

    /// The node behind a link, and its reference if it is unchanged.
    fn resolve(&mut self, link: Link, path: &[u8]) -> (Node, Option<RlpNode>) {
        match link {
            Link::Memory { node, clean } => (*node, clean),
            Link::Stored(reference) => {
                let (node, _) = self.load(path).expect("a node that its parent names is stored");
                (node, Some(reference))
            }
        }
    }

    fn load(&mut self, path: &[u8]) -> Option<(Node, Value)> {
        let rlp = self.store.load(&key(&self.owner, path))?;
        self.loaded.insert(path.to_vec());
        Some((decode(&rlp).expect("trie nodes are written by this module alone"), rlp))
    }

    /// Stores what changed at and below `link`; what a parent holds of it, and its hash.
    fn save(&mut self, link: &Link, path: &mut Vec<u8>) -> (RlpNode, B256) {
        let (node, clean) = match link {
            Link::Stored(reference) => {
                return (reference.clone(), reference.as_hash().unwrap_or_default());
            }
            Link::Memory { node, clean } => (node, clean),
        };
        self.loaded.remove(path.as_slice());
        let rlp = self.encode(node, path);
        let hash = |reference: &RlpNode| reference.as_hash().unwrap_or_else(|| keccak256(&rlp));
        if let Some(reference) = clean {
            return (reference.clone(), hash(reference));
        }
        let reference = RlpNode::from_rlp(&rlp);
        let hash = hash(&reference);
        self.store.save(&key(&self.owner, path), rlp);
        (reference, hash)
    }

    /// The RLP of a node; stores what changed below it.
    fn encode(&mut self, node: &Node, path: &mut Vec<u8>) -> Vec<u8> {
        match node {
            Node::Leaf { suffix, value } => {
                let mut payload = Vec::with_capacity(NODE_BYTES_USUAL);
                compact(suffix, IS_LEAF).as_slice().encode(&mut payload);
                value.as_slice().encode(&mut payload);
                list(&payload)
            }
            Node::Extension { prefix, child } => {
                path.extend_from_slice(prefix);
                let (reference, _) = self.save(child, path);
                path.truncate(path.len() - prefix.len());
                let mut payload = Vec::with_capacity(NODE_BYTES_USUAL);
                compact(prefix, 0).as_slice().encode(&mut payload);
                payload.extend_from_slice(&reference);
                list(&payload)
            }
            Node::Branch { children } => {
                let mut payload = Vec::with_capacity(BRANCH_BYTES_MAX);
                for (nibble, child) in (0..).zip(children.iter()) {
                    let Some(child) = child else {
                        payload.push(EMPTY_STRING);
                        continue;
                    };
                    path.push(nibble);
                    let (reference, _) = self.save(child, path);
                    path.pop();
                    payload.extend_from_slice(&reference);
                }
                payload.push(EMPTY_STRING);
                list(&payload)
            }
        }
    }

    /// Removes what was loaded and is no part of the new trie.
    fn drop_unreached(self) {
        for path in self.loaded {
            self.store.remove(&key(&self.owner, &path));
        }
    }
}

/// A new branch after `common` nibbles of `rest`, with a new leaf and what was there before.
fn fork(rest: &[u8], common: usize, (nibble, old): (u8, Link), value: Vec<u8>) -> Link {
    let mut children: Box<[Option<Link>; 16]> = Box::default();
    children[usize::from(nibble)] = Some(old);
    children[usize::from(rest[common])] = Some(Link::leaf(&rest[common + 1..], value));
    Link::extension(&rest[..common], Link::changed(Node::Branch { children }))
}

fn common_length(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).collect()
}

/// Nibbles in the form of the yellow paper's appendix C: a flag nibble that tells leaves and odd lengths, then pairs.
fn compact(nibbles: &[u8], kind: u8) -> Vec<u8> {
    let odd = nibbles.len() % 2;
    let first = if odd == 1 { kind | IS_ODD | nibbles[0] } else { kind };
    let pairs = nibbles[odd..].chunks_exact(2).map(|pair| (pair[0] << 4) | pair[1]);
    std::iter::once(first).chain(pairs).collect()
}

fn list(payload: &[u8]) -> Vec<u8> {
    let header = Header { list: true, payload_length: payload.len() };
    let mut out = Vec::with_capacity(header.length() + payload.len());
    header.encode(&mut out);
    out.extend_from_slice(payload);
    out
}

fn decode(rlp: &[u8]) -> Option<Node> {
    let PayloadView::List(items) = Header::decode_raw(&mut &*rlp).ok()? else { return None };
    if items.len() == 17 {
        let mut children: Box<[Option<Link>; 16]> = Box::default();
        for (child, item) in children.iter_mut().zip(&items) {
            if *item != [EMPTY_STRING] {
                *child = Some(Link::Stored(RlpNode::from_raw(item)?));
            }
        }
        return Some(Node::Branch { children });
    }
    let [path, item] = items.as_slice() else { return None };
    let path = Header::decode_bytes(&mut &**path, false).ok()?;
    let (first, pairs) = path.split_first()?;
    let mut nibbles = if first & IS_ODD == 0 { Vec::new() } else { vec![first & 0xf] };
    nibbles.extend(unpack(pairs));
    if first & IS_LEAF == 0 {
        return Some(Node::Extension {
            prefix: nibbles,
            child: Link::Stored(RlpNode::from_raw(item)?),
        });
    }
    let value = Header::decode_bytes(&mut &**item, false).ok()?.to_vec();
    Some(Node::Leaf { suffix: nibbles, value })
}

fn owner_prefix(owner: Owner) -> Vec<u8> {
    match owner {
        Owner::Accounts => vec![0],
        Owner::Storage { address_hash, incarnation: 0 } => [&[1], address_hash.as_slice()].concat(),
        Owner::Storage { address_hash, incarnation } => {
            [&[2], address_hash.as_slice(), incarnation.to_be_bytes().as_slice()].concat()
        }
    }
}

fn key(owner: &[u8], path: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(owner.len() + 1 + path.len().div_ceil(2));
    key.extend_from_slice(owner);
    key.push(u8::try_from(path.len()).expect("a path has at most 64 nibbles"));
    key.extend(path.chunks(2).map(|pair| (pair[0] << 4) | pair.get(1).copied().unwrap_or(0)));
    key
}

const KEY_NIBBLES: usize = 64;
const IS_LEAF: u8 = 0x20;
const IS_ODD: u8 = 0x10;
const EMPTY_STRING: u8 = 0x80;
/// A leaf of an account.
const NODE_BYTES_USUAL: usize = 128;
/// Sixteen hashes with their prefix, and an empty value.
const BRANCH_BYTES_MAX: usize = 16 * 33 + 1;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use alloy_trie::{HashBuilder, Nibbles};
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Memory(BTreeMap<Vec<u8>, Value>);

    impl NodeStore for Memory {
        fn load(&mut self, key: &[u8]) -> Option<Value> {
            self.0.get(key).cloned()
        }

        fn save(&mut self, key: &[u8], node: Vec<u8>) {
            self.0.insert(key.to_vec(), node.into());
        }

        fn remove(&mut self, key: &[u8]) {
            self.0.remove(key);
        }
    }

    fn reference(leaves: &BTreeMap<B256, Vec<u8>>) -> B256 {
        let mut builder = HashBuilder::default();
        for (key, value) in leaves {
            builder.add_leaf(Nibbles::unpack(key), value);
        }
        builder.root()
    }

    /// Keys that share long prefixes and endings, so that every form of node comes up.
    fn any_key() -> impl Strategy<Value = B256> {
        let near = (0_u8..4, 0_u8..40, 0_u8..4).prop_map(|(first, at, last)| {
            let mut key = B256::ZERO;
            key[0] = first << 4;
            key[usize::from(at) % 32] |= 1;
            key[31] |= last;
            key
        });
        prop_oneof![near, any::<[u8; 32]>().prop_map(B256::from)]
    }

    /// Values from one byte (nodes that are embedded in their parents) to the size of an account.
    fn any_value() -> impl Strategy<Value = Option<Vec<u8>>> {
        let value = prop_oneof![
            proptest::collection::vec(1_u8.., 1..3),
            proptest::collection::vec(any::<u8>(), 30..110)
        ];
        proptest::option::weighted(0.6, value)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn the_root_is_that_of_a_trie_built_anew(
            batches in proptest::collection::vec(proptest::collection::vec((any_key(), any_value()), 1..24), 1..10)
        ) {
            let owner = Owner::Storage { address_hash: B256::repeat_byte(7), incarnation: 0 };
            let mut store = Memory::default();
            let mut leaves: BTreeMap<B256, Vec<u8>> = BTreeMap::new();
            let mut present: Vec<B256> = Vec::new();
            for batch in batches {
                for (key, value) in &batch {
                    match value {
                        Some(value) => {
                            leaves.insert(*key, value.clone());
                            present.push(*key);
                        }
                        None => {
                            leaves.remove(key);
                        }
                    }
                }
                prop_assert_eq!(update(&mut store, owner, batch), reference(&leaves));
            }
            let clear: Vec<_> = present.into_iter().map(|key| (key, None)).collect();
            for removal in clear {
                leaves.remove(&removal.0);
                prop_assert_eq!(update(&mut store, owner, [removal]), reference(&leaves));
            }
            prop_assert!(store.0.is_empty(), "{} nodes are left of an empty trie", store.0.len());
        }
    }

    #[test]
    fn tries_of_different_owners_do_not_meet() {
        let mut store = Memory::default();
        let storage = |incarnation| Owner::Storage { address_hash: B256::ZERO, incarnation };
        let leaf = |n: u8| [(B256::repeat_byte(n), Some(vec![n; 40]))];
        let roots = [
            update(&mut store, Owner::Accounts, leaf(1)),
            update(&mut store, storage(0), leaf(2)),
            update(&mut store, storage(1), leaf(3)),
        ];
        assert_eq!(store.0.len(), 3);
        assert_eq!(update(&mut store, Owner::Accounts, leaf(1)), roots[0]);
        assert_eq!(update(&mut store, storage(0), [(B256::repeat_byte(2), None)]), EMPTY_ROOT_HASH);
        assert_eq!(update(&mut store, storage(1), []), roots[2]);
    }
}
