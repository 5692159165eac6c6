//! A host removes a snapshot of a node that is down, exchanges two, or puts something else in the place of one: another node's,
//! one of another network, or an older one. The node starts from what it still believes, or from its whole ledger; where a
//! snapshot says that there should be more of the ledger, it does not start.

use coco_ledger::SnapshotName;

use crate::{
    foreign::foreign,
    machine::snapshots,
    plan::Restart,
    world::{Gift, World},
};

pub(super) fn act(world: &mut World) -> bool {
    let node = world.dice.place(world.machines.len());
    // A node that believes its disk, and has no other way to its state, would be lost.
    let is_needed =
        world.plan.restart == Restart::FromDisk && world.machines[node].copied_at.is_some();
    let may_be = !is_needed && !world.machines[node].goes_on() && world.may_lose(node);
    if !may_be || snapshots(&world.machines[node]).is_empty() {
        return false;
    }
    world.hold_down(node);
    let names = snapshots(&world.machines[node]);
    let Some(newest) = names.last() else { return false };
    let place = world.dice.place(names.len());
    let name = world.dice.one_of(&[*newest, names[place]]);
    match world.dice.below(5) {
        0 => remove(world, node, name),
        1 => exchange(world, node, name, &names),
        2 => of_another(world, node, name),
        3 => of_another_network(world, node, name),
        _ => older(world, node, name, &names),
    }
}

fn remove(world: &mut World, node: usize, name: SnapshotName) -> bool {
    let is_done = world.machines[node].snapshot_folder().lose(&name.to_string());
    world.marks.reach_if(is_done, "a host removed a snapshot")
}

fn exchange(world: &mut World, node: usize, name: SnapshotName, names: &[SnapshotName]) -> bool {
    let other = names[world.dice.place(names.len())];
    let folder = world.machines[node].snapshot_folder();
    let is_done = other != name && folder.exchange(&name.to_string(), &other.to_string());
    world.marks.reach_if(is_done, "a host exchanged two snapshots")
}

fn of_another(world: &mut World, node: usize, name: SnapshotName) -> bool {
    let nodes = world.machines.len();
    let other = world.dice.place(nodes);
    let names = snapshots(&world.machines[other]);
    if other == node || names.is_empty() {
        return false;
    }
    let found = names[world.dice.place(names.len())];
    let bytes = world.machines[other].shown(&found.to_string());
    let folder = world.machines[node].snapshot_folder();
    if folder.seen(&found.to_string()).as_ref() == Some(&bytes) {
        world.gave(node, Gift::Snapshot(found));
        return true;
    }
    // Whoever believes its disk will hold that for set back.
    let is_ahead = found.evidence.0 > world.machines[node].disk.entries.len() as u64;
    let is_lost = is_ahead && world.plan.restart == Restart::FromDisk;
    if is_lost && !world.may_be_damaged(node) || !folder.lose(&name.to_string()) {
        return false;
    }
    if folder.put(&found.to_string(), bytes) {
        world.gave(node, Gift::Snapshot(found));
        world.marks.reach("a host put another node's snapshot in a snapshot's place");
    }
    if is_lost {
        world.has_swapped(node);
    }
    true
}

fn of_another_network(world: &mut World, node: usize, name: SnapshotName) -> bool {
    let others = &foreign().snapshots;
    let (_, bytes) = &others[world.dice.place(others.len())];
    let folder = world.machines[node].snapshot_folder();
    let is_done = folder.tamper(&name.to_string(), |old| old.clone_from(bytes));
    world.marks.reach_if(is_done, "a host put another network's snapshot in a snapshot's place")
}

fn older(world: &mut World, node: usize, name: SnapshotName, names: &[SnapshotName]) -> bool {
    let before: Vec<_> = names.iter().filter(|other| **other < name).collect();
    if before.is_empty() {
        return false;
    }
    let before = before[world.dice.place(before.len())];
    let folder = world.machines[node].snapshot_folder();
    let Some(bytes) = folder.seen(&before.to_string()) else { return false };
    let is_done = folder.tamper(&name.to_string(), |old| *old = bytes);
    world.marks.reach_if(is_done, "a host put an older snapshot under a newer one's name")
}
