//! The consensus hard state on disk: two slots, written in turn, so that a torn write leaves the other one whole.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use coco_consensus::{HARD_STATE_BYTES, HardState};

/// Bytes of one slot, a disk sector. It holds a u64 counter and the encoded state, which carries its own checksum;
/// the rest is padding.
const SLOT_BYTES: usize = 512;

/// The open file.
#[derive(Debug)]
pub struct HardStateFile {
    file: File,
    counter: u64,
}

impl HardStateFile {
    /// Opens or creates the file and reads the newest whole state in it.
    ///
    /// # Errors
    /// Any error of the file system; a file that exists but holds no whole state is `InvalidData`.
    pub fn open(path: &Path) -> io::Result<(Self, Option<HardState>)> {
        let existed = path.try_exists()?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut newest: Option<(u64, HardState)> = None;
        for slot in 0..2 {
            if let Some(found) = read_slot(&file, slot)?
                && newest.as_ref().is_none_or(|(counter, _)| found.0 > *counter)
            {
                newest = Some(found);
            }
        }
        if existed && newest.is_none() && file.metadata()?.len() > 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} holds no whole state; this node must not vote again with this identity",
                    path.display()
                ),
            ));
        }
        // A vote that was written but not synced before a crash is read back as durable, so it is made so now.
        file.sync_all()?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let counter = newest.as_ref().map_or(0, |(counter, _)| *counter);
        Ok((Self { file, counter }, newest.map(|(_, state)| state)))
    }

    /// Writes `state` into the older slot. Durable only after [`HardStateFile::sync`].
    ///
    /// # Errors
    /// Any error of the file system.
    ///
    /// # Panics
    /// Never: the encoded state is far shorter than a slot.
    pub fn write(&mut self, state: &HardState) -> io::Result<()> {
        self.counter += 1;
        let mut slot = self.counter.to_le_bytes().to_vec();
        slot.extend_from_slice(&state.encode());
        assert!(slot.len() <= SLOT_BYTES, "a hard state fits its slot");
        slot.resize(SLOT_BYTES, 0);
        self.file.write_all_at(&slot, slot_offset(self.counter % 2))
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

const fn slot_offset(slot: u64) -> u64 {
    slot * SLOT_BYTES as u64
}

fn read_slot(file: &File, slot: u64) -> io::Result<Option<(u64, HardState)>> {
    let mut bytes = [0; SLOT_BYTES];
    match file.read_exact_at(&mut bytes, slot_offset(slot)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (counter, state) = bytes.split_at(8);
    let counter = u64::from_le_bytes(counter.try_into().expect("eight bytes"));
    Ok(HardState::decode(&state[..HARD_STATE_BYTES]).ok().map(|state| (counter, state)))
}

#[cfg(test)]
mod tests {
    use coco_types::View;

    use super::*;

    #[test]
    fn a_torn_slot_leaves_the_one_before() {
        let path = std::env::temp_dir().join(format!("coco-hard-state-{}", std::process::id()));
        let state = |view| HardState { view: View(view), vote: None };
        {
            let (mut file, found) = HardStateFile::open(&path).expect("opens");
            assert_eq!(found, None);
            file.write(&state(3)).expect("writes");
            file.write(&state(4)).expect("writes");
            file.sync().expect("syncs");
        }
        assert_eq!(HardStateFile::open(&path).expect("opens").1, Some(state(4)));
        let torn = OpenOptions::new().write(true).open(&path).expect("opens");
        torn.write_all_at(&[0xff; 16], 8).expect("writes");
        assert_eq!(HardStateFile::open(&path).expect("opens").1, Some(state(3)));
        torn.write_all_at(&[0xff; 16], 8 + SLOT_BYTES as u64).expect("writes");
        assert!(HardStateFile::open(&path).is_err(), "both slots are torn");
        std::fs::remove_file(&path).expect("removes");
    }
}
