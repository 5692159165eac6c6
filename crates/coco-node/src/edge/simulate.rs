//! What a proposal would change, for whoever asks before a vote: carried out on the committed version, and thrown away.
//!
//! Nobody has to sign such a question, and it may take as long as a proposal: so there is room for few at one time, on
//! threads that serve nobody else.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_api::{
    ErrorCode,
    gov::{SimulatedEffect, SimulatedWrite, Simulation},
};
use coco_governance::{
    Certificates, Effect, Engine, Governance, GovernanceError, Simulated, Situation,
};
use coco_kv::Snapshot;
use coco_ledger::{LedgerSecrets, Period};
use coco_types::{Digest, Seqno};
use hyper::body::Bytes;
use parking_lot::Mutex;

use super::respond::{self, Reply};
use crate::clock::seconds_now;

/// Most that run at one time.
pub(crate) const SIMULATIONS_MAX: usize = 2;

/// Runs proposals to see what they would do.
#[derive(Debug, Default)]
pub(crate) struct Simulator {
    /// A place for each that may run; what is in it keeps its constitution compiled. The first use makes it.
    places: [Mutex<Option<Governance>>; SIMULATIONS_MAX],
}

impl Simulator {
    /// Carries a proposal out as of a version with this root, whose newest ledger secret begins there.
    pub(crate) async fn run(
        self: &Arc<Self>,
        snapshot: Snapshot,
        root: Digest,
        ledger_secret: Seqno,
        proposal: Bytes,
    ) -> Reply {
        let simulator = Arc::clone(self);
        let run = move || simulator.run_here(&snapshot, root, ledger_secret, &proposal);
        match tokio::task::spawn_blocking(run).await {
            Ok(Some(Ok(simulated))) => respond::json(&show(simulated)),
            Ok(Some(Err(error))) => respond::refused(&error),
            Ok(None) => respond::later(
                ErrorCode::SessionCapExhausted,
                format!("{SIMULATIONS_MAX} simulations run already; try again"),
            ),
            Err(error) => {
                tracing::error!(%error, "a simulation broke");
                respond::error(ErrorCode::InternalError, "the simulation broke")
            }
        }
    }

    /// Nothing, when all places are taken.
    fn run_here(
        &self,
        snapshot: &Snapshot,
        root: Digest,
        ledger_secret: Seqno,
        proposal: &[u8],
    ) -> Option<Result<Simulated, GovernanceError>> {
        let mut place = self.places.iter().find_map(Mutex::try_lock)?;
        let governance = place.get_or_insert_with(|| Governance::new(&Engine::new()));
        let now = seconds_now();
        let situation = Situation {
            root,
            now,
            ledger_secret,
            submitted_under: None,
            certificates: Certificates::Present,
        };
        Some(governance.simulate(snapshot.begin(), proposal, &situation))
    }
}

/// Where the newest period begins as of a committed position. One whose beginning is not committed may never be.
pub(crate) fn newest_period(secrets: &LedgerSecrets, committed: Seqno) -> Seqno {
    let is_committed = |period: &&Period| period.from <= committed.next();
    let newest = secrets.periods().iter().rev().find(is_committed);
    newest.unwrap_or_else(|| secrets.newest()).from
}

fn show(simulated: Simulated) -> Simulation {
    let writes = simulated.writes.iter().map(|(table, key, value)| {
        let ((key, key_encoding), value) = (shown(key), value.map(|value| shown(value)));
        let (value, value_encoding) = value.map_or((None, None), |(text, mark)| (Some(text), mark));
        SimulatedWrite {
            table: table.as_str().to_owned(),
            key,
            key_encoding,
            value,
            value_encoding,
        }
    });
    let writes = writes.collect();
    Simulation { writes, effects: simulated.effects.into_iter().map(effect).collect() }
}

/// Bytes as text where they are, else in base64 with a mark. The key of a table with one row is no text: nobody can see
/// its zeros.
fn shown(bytes: &[u8]) -> (String, Option<String>) {
    let is_shown = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    match str::from_utf8(bytes) {
        Ok(text) if text.chars().all(is_shown) => (text.to_owned(), None),
        Ok(_) | Err(_) => (STANDARD.encode(bytes), Some("base64".to_owned())),
    }
}

fn effect(effect: Effect) -> SimulatedEffect {
    let text = |pem: Vec<u8>| String::from_utf8_lossy(&pem).into_owned();
    match effect {
        Effect::RekeyLedger => SimulatedEffect::TriggerLedgerRekey,
        Effect::RefreshRecoveryShares => SimulatedEffect::TriggerRecoverySharesRefresh,
        Effect::ChunkLedger => SimulatedEffect::TriggerLedgerChunk,
        Effect::Snapshot => SimulatedEffect::TriggerSnapshot,
        Effect::OpenService { previous, next } => SimulatedEffect::TransitionServiceToOpen {
            previous_service_identity: previous.map(text),
            next_service_identity: text(next),
        },
        Effect::Recovered(_) => unreachable!("no proposal sends shares in"),
    }
}

#[cfg(test)]
mod tests {
    use coco_api::gov::{SimulatedEffect, SimulatedWrite};
    use coco_governance::tables::NODES_INFO;
    use coco_kv::MapName;
    use coco_ledger::{LEDGER_SECRET_BYTES, LedgerSecret};
    use serde_json::json;

    use super::{
        super::fixture::{Fixture, NODE},
        *,
    };

    const SECRET_SINCE: Seqno = Seqno(20);

    fn run(fixture: &Fixture, name: &str, args: &serde_json::Value) -> Simulation {
        let proposal = json!({ "actions": [{ "name": name, "args": args }] }).to_string();
        let snapshot = fixture.store.reader().head();
        let simulated = Simulator::default().run_here(
            &snapshot,
            Digest::ZERO,
            SECRET_SINCE,
            proposal.as_bytes(),
        );
        show(simulated.expect("a place is free").expect("the constitution takes it"))
    }

    #[test]
    fn writes_and_effects_are_shown_and_nothing_is_changed() {
        let mut fixture = Fixture::new();
        let user = fixture.outsider();
        let before = fixture.store.reader().version();
        let shown =
            run(&fixture, "set_user", &json!({ "cert": user.pem, "user_data": { "n": 1 } }));
        let write = |table: &str, value: Option<String>| SimulatedWrite {
            table: table.to_owned(),
            key: user.id.clone(),
            key_encoding: None,
            value,
            value_encoding: None,
        };
        let certificate = write("public:ccf.gov.users.certs", Some(user.pem.clone()));
        let info = write("public:ccf.gov.users.info", Some(r#"{"user_data":{"n":1}}"#.to_owned()));
        assert_eq!((shown.writes, shown.effects), (vec![certificate, info], vec![]));
        assert_eq!(fixture.store.reader().version(), before);

        fixture.pass("set_user", &json!({ "cert": user.pem }));
        let shown = run(&fixture, "remove_user", &json!({ "user_id": user.id }));
        assert_eq!(shown.writes, [write("public:ccf.gov.users.certs", None)]);
        let shown = run(&fixture, "trigger_snapshot", &json!({}));
        assert_eq!(shown.effects, [SimulatedEffect::TriggerSnapshot]);
    }

    #[test]
    fn a_node_that_would_be_trusted_gets_the_newest_secret_that_is_committed() {
        let secret = |byte| LedgerSecret::new(&[byte; LEDGER_SECRET_BYTES]);
        let periods = [(1, 1), (20, 2)]
            .map(|(from, byte)| Period { from: Seqno(from), secret: secret(byte) });
        let secrets = LedgerSecrets::new(periods).expect("a sequence");
        for (committed, expected) in [(1, 1), (18, 1), (19, 20), (30, 20)] {
            assert_eq!(newest_period(&secrets, Seqno(committed)), Seqno(expected), "{committed}");
        }

        let mut fixture = Fixture::new();
        let key = NODE.to_string();
        let row = fixture.store.reader().head();
        let row =
            row.get(row.map(&MapName::from_static(NODES_INFO)).unwrap(), key.as_bytes()).unwrap();
        let mut row: serde_json::Value = serde_json::from_slice(&row).unwrap();
        row["status"] = "Pending".into();
        fixture.put(NODES_INFO, key.as_bytes(), row.to_string().as_bytes());
        let args = json!({ "node_id": key });
        let shown = run(&fixture, "transition_node_to_trusted", &args);
        let write = shown.writes.iter().find(|write| write.table == NODES_INFO);
        let written = write.and_then(|write| write.value.as_deref()).unwrap_or_default();
        assert!(written.contains(r#""ledger_secret_seqno":20"#), "{:?}", shown.writes);
    }

    #[test]
    fn a_key_that_nobody_can_read_is_marked() {
        let shown = run(
            &Fixture::new(),
            "set_service_configuration",
            &json!({ "recent_cose_proposals_window_size": 7 }),
        );
        let [write] = &shown.writes[..] else { panic!("{shown:?}") };
        assert_eq!(
            (write.key.as_str(), write.key_encoding.as_deref()),
            ("AAAAAAAAAAA=", Some("base64"))
        );
        assert!(write.value.as_deref().is_some_and(|value| value.contains(":7")), "{write:?}");
        assert_eq!(super::shown(b"a\xff").1.as_deref(), Some("base64"));
        assert_eq!(super::shown("-----BEGIN\nä".as_bytes()).1, None);
    }

    #[test]
    fn no_more_run_than_there_are_places() {
        let simulator = Simulator::default();
        let fixture = Fixture::new();
        let snapshot = fixture.store.reader().head();
        let run = || simulator.run_here(&snapshot, Digest::ZERO, SECRET_SINCE, b"{}");
        let taken: Vec<_> = simulator.places.iter().skip(1).map(Mutex::lock).collect();
        assert!(
            run().is_some_and(|result| result.is_err()),
            "a place is free, and takes no such thing"
        );
        let last = simulator.places[0].lock();
        assert!(run().is_none());
        drop((taken, last));
    }
}
