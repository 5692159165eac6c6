//! With real keys: what the nodes wrote is what an auditor accepts, knowing only the service's certificate.

use coco_ledger::{LedgerReport, ServiceStatus, SnapshotFile, Verifier, chunk_files};
use coco_replica::Settings;

use crate::{
    genesis::{FirstEntries, Keys, secret},
    network::{Cluster, EAGER, Plan},
};

/// Verifies every node's disk, snapshots included.
pub(crate) fn audit(cluster: &Cluster) -> Vec<LedgerReport> {
    let Keys::Real { service, .. } = &cluster.keys else { panic!("an audit needs real keys") };
    let audit = |node: &crate::network::Node| {
        let mut verifier = Verifier::new(service.clone()).with_secret(secret());
        for (name, bytes) in chunk_files(&node.disk.entries) {
            verifier.chunk(&name.to_string(), &bytes).expect("the auditor accepts the chunk");
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
        assert!(chunk_files(&cluster.nodes[0].disk.entries).len() > 2, "more than one chunk");
    }
}
