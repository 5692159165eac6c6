//! Where an entry lies, for the people who must repair a ledger.

use std::{fs, path::Path, path::PathBuf};

use coco_ledger::{Chunk, ChunkName};
use coco_types::Seqno;

/// The file of an entry, and the offset in it where the entry begins. What cannot be found out is left out: the folder
/// stands for the file then, and 0 for the offset.
pub(crate) fn entry(folder: &Path, seqno: Seqno) -> (PathBuf, u64) {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.filter_map(|file| file.file_name().to_str()?.parse::<ChunkName>().ok());
    // The last one that begins at or before it; chunks follow each other without gaps.
    let Some(name) = names.filter(|name| name.first <= seqno).max_by_key(|name| name.first) else {
        return (folder.to_owned(), 0);
    };
    let path = folder.join(name.to_string());
    let offset = fs::read(&path).ok().and_then(|bytes| {
        let at = usize::try_from(seqno.0 - name.first.0).ok()?;
        let chunk = Chunk::parse(&bytes).ok()?;
        chunk.entries.get(at).map(|(offset, _)| *offset)
    });
    (path, offset.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provision::{LEDGER_FOLDER, NetworkSpec, NodeSpec, provision};
    use coco_evm::genesis::{ChainConfig, Genesis};
    use coco_types::Digest;

    #[test]
    fn an_entry_is_found_in_its_file_and_what_is_not_there_in_its_folder() {
        let folder = std::env::temp_dir().join(format!("coco-node-locate-{}", std::process::id()));
        let node = NodeSpec {
            folder: folder.join("n0"),
            client_address: "127.0.0.1:1".into(),
            peer_address: "127.0.0.1:2".into(),
        };
        let genesis = Genesis::new(ChainConfig::new(1));
        let spec = NetworkSpec {
            nodes: &[node],
            code_digest: Digest([0; 32]),
            names: &[],
            genesis: &genesis,
            now: 1_000_000_000,
        };
        provision(&spec).expect("a folder for temporary files can be written");
        let ledger = folder.join("n0").join(LEDGER_FOLDER);
        let file = ledger.join("ledger_1");
        assert_eq!(entry(&ledger, Seqno(1)), (file.clone(), 8), "entries follow the header");
        let bytes = fs::read(&file).expect("it was just written");
        let second = Chunk::parse(&bytes).expect("it was just written").entries[1].0;
        assert_eq!(entry(&ledger, Seqno(2)), (file.clone(), second));
        assert_eq!(entry(&ledger, Seqno(9)), (file, 0));
        assert_eq!(entry(&folder, Seqno(1)), (folder.clone(), 0));
        fs::remove_dir_all(folder).expect("it is this test's");
    }
}
