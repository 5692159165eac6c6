//! What a host does with whole files of a disk, when nothing of them waits to become durable. Programs see it at once, and
//! no power cut takes it back.

use super::{FileState, SimFolder};

impl SimFolder {
    /// Puts a file in place that no program wrote, instead of whatever has the name. Whether it was done.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> bool {
        let name = self.path(name);
        let state = &mut *self.change();
        if state.names.contains_key(&name) && state.at_rest(&name).is_none() {
            return false;
        }
        let number = state.files.len();
        state.files.push(FileState { seen: bytes.clone(), durable: bytes, ..FileState::default() });
        state.spoiled.insert(number);
        state.names.insert(name.clone(), number);
        state.durable_names.insert(name, number);
        true
    }

    /// Gives two files each other's name. Whether it was done.
    pub fn exchange(&self, one: &str, other: &str) -> bool {
        let (one, other) = (self.path(one), self.path(other));
        let state = &mut *self.change();
        let (Some(first), Some(second)) = (state.at_rest(&one), state.at_rest(&other)) else {
            return false;
        };
        state.spoiled.extend([first, second]);
        for names in [&mut state.names, &mut state.durable_names] {
            names.insert(one.clone(), second);
            names.insert(other.clone(), first);
        }
        true
    }

    /// Gives a file another name, which nothing has. Whether it was done.
    pub fn call(&self, name: &str, other: &str) -> bool {
        let (name, other) = (self.path(name), self.path(other));
        let state = &mut *self.change();
        let Some(number) = state.at_rest(&name) else { return false };
        if state.names.contains_key(&other) {
            return false;
        }
        state.spoiled.insert(number);
        for names in [&mut state.names, &mut state.durable_names] {
            names.remove(&name);
            names.insert(other.clone(), number);
        }
        true
    }

    /// Takes a file away for good. Whether it was done.
    pub fn lose(&self, name: &str) -> bool {
        let name = self.path(name);
        let state = &mut *self.change();
        let is_there = state.at_rest(&name).is_some();
        if is_there {
            state.names.remove(&name);
            state.durable_names.remove(&name);
            state.has_lost = true;
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use coco_ledger::{Folder, FolderFile};

    use super::*;
    use crate::dice::Dice;

    fn write(folder: &SimFolder, name: &str, bytes: &[u8]) {
        let file = folder.create(name).expect("a new name");
        file.write_at(bytes, 0).expect("a new disk works");
        file.sync_all().expect("a new disk works");
    }

    #[test]
    fn what_a_host_does_survives_a_power_cut_and_shows_as_its_doing() {
        let folder = SimFolder::default();
        ["a", "b", "c"].iter().for_each(|name| write(&folder, name, name.as_bytes()));
        assert!(!folder.lose("a") && !folder.exchange("a", "b"), "names wait for the folder");
        assert!(!folder.put("a", b"x".to_vec()));
        folder.sync().expect("a new disk works");
        assert!(folder.exchange("a", "b") && folder.lose("c") && folder.put("d", b"x".to_vec()));
        assert!(folder.call("d", "e") && !folder.call("a", "e"));
        folder.lose_power(&mut Dice::new(1));
        let found = ["a", "b", "e"].map(|name| folder.seen(name).expect("it is there"));
        assert_eq!(found, [b"b", b"a", b"x"]);
        assert_eq!(folder.names().expect("it lists"), ["a", "b", "e"]);
        assert!(["a", "b", "e"].iter().all(|name| folder.is_spoiled(name)));
    }
}
