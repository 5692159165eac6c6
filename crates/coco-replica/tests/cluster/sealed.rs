//! With real keys: what the nodes wrote is what an auditor accepts, knowing only the service's certificate.

use bytes::Bytes;
use coco_ledger::{
    CHUNK_HEADER_BYTES, ChunkName, EntryFlags, EntryView, LedgerReport, ServiceStatus,
    SnapshotFile, Verifier, close_chunk, open_chunk,
};
use coco_replica::Settings;
use coco_types::Seqno;

use crate::{
    genesis::{FirstEntries, Keys, secret},
    network::{Cluster, EAGER, Plan},
};

/// The files that a node's disk would hold.
pub(crate) fn files(entries: &[Bytes]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut first = 1;
    let (mut file, mut offsets) = (open_chunk().to_vec(), Vec::new());
    for (entry, seqno) in entries.iter().zip(1..) {
        offsets.push(u32::try_from(file.len()).expect("a small chunk"));
        file.extend_from_slice(entry);
        if EntryView::parse(entry)
            .is_ok_and(|entry| entry.flags().contains(EntryFlags::CHUNK_AFTER))
        {
            let (header, table) = close_chunk(&offsets, file.len() as u64);
            file[..CHUNK_HEADER_BYTES].copy_from_slice(&header);
            file.extend_from_slice(&table);
            files.push((
                ChunkName::closed(Seqno(first), Seqno(seqno)).to_string(),
                std::mem::take(&mut file),
            ));
            file.extend_from_slice(&open_chunk());
            offsets.clear();
            first = seqno + 1;
        }
    }
    files.push((ChunkName::open(Seqno(first)).to_string(), file));
    files
}

/// Verifies every node's disk, snapshots included.
pub(crate) fn audit(cluster: &Cluster) -> Vec<LedgerReport> {
    let Keys::Real { service, .. } = &cluster.keys else { panic!("an audit needs real keys") };
    let audit = |node: &crate::network::Node| {
        let mut verifier = Verifier::new(service.clone()).with_secret(secret());
        for (name, bytes) in files(&node.disk.entries) {
            verifier.chunk(&name, &bytes).expect("the auditor accepts the chunk");
        }
        for (name, file) in &node.disk.snapshots {
            let snapshot = SnapshotFile::split(file).expect("it has a proof");
            let snapshot = snapshot.verify(*name, &service.pem()).expect("it holds");
            let result = verifier.check_snapshot(&name.to_string(), &snapshot);
            result.expect("the ledger vouches for its snapshots");
        }
        verifier.finish(None).expect("the auditor accepts the ledger")
    };
    cluster.nodes.iter().map(audit).collect()
}

#[test]
fn an_auditor_accepts_the_ledger_of_every_node() {
    for first in [FirstEntries::Two, FirstEntries::Four] {
        let settings = Settings { chunk_bytes: 20_000, ..EAGER };
        let plan = Plan { first, settings, batch: 3, ..Plan::default() };
        let mut cluster = Cluster::with_keys(plan, Keys::real(3));
        let mut primary = cluster.elect_another(usize::MAX);
        for _ in 0..3 {
            for _ in 0..8 {
                cluster.execute(primary);
                cluster.settle();
            }
            cluster.isolate(primary);
            cluster.execute(primary);
            primary = cluster.elect_another(primary);
            cluster.heal();
            cluster.run(3);
        }
        cluster.execute(primary);
        cluster.run(2);
        cluster.assert_equal();
        for report in audit(&cluster) {
            assert_eq!(report.signed, cluster.committed(0));
            assert_eq!(report.last, cluster.committed(0));
            let is_open = first == FirstEntries::Four;
            assert_eq!(
                report.status,
                if is_open { ServiceStatus::Open } else { ServiceStatus::Opening }
            );
            assert!(report.signatures > 10);
        }
        assert!(files(&cluster.nodes[0].disk.entries).len() > 2, "more than one chunk");
    }
}
