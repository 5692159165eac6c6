//! The JSON that the outside sees: responses and error codes of `/node`, `/app` and `/gov`, in CCF's shapes and words
//! (CCF 7.0 HTTP API), so that tools written for it work unchanged. How anything is computed is not known here.

mod caller;
mod error;
pub mod gov;
pub mod join;
mod node;

pub use caller::Caller;
pub use error::{AuthenticationDetail, ErrorBody, ErrorCode, ErrorDetail};
pub use node::{
    Attestations, Commit, Consensus, ConsensusAck, ConsensusConfiguration, ConsensusDetails,
    ConsensusNode, HistoricalCache, InterfaceSessions, JwtRefresh, Network, Node, NodeMetrics,
    NodeState, Nodes, PreviousIdentity, Quote, Quotes, RpcInterface, SessionErrors, SessionMetrics,
    TxStatusBody, Version,
};

/// The header that carries the transaction id of every response.
pub const TRANSACTION_ID_HEADER: &str = "x-ms-ccf-transaction-id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_odata_shape() {
        let body = ErrorBody::new(ErrorCode::ResourceNotFound, "no such path");
        assert_eq!(
            serde_json::to_string(&body).expect("serialises"),
            r#"{"error":{"code":"ResourceNotFound","message":"no such path"}}"#
        );
    }

    #[test]
    fn effects_have_the_names_that_constitutions_use() {
        let open = gov::SimulatedEffect::TransitionServiceToOpen {
            previous_service_identity: None,
            next_service_identity: "PEM".into(),
        };
        for (effect, expected) in [
            (gov::SimulatedEffect::TriggerLedgerRekey, r#"{"name":"triggerLedgerRekey"}"#),
            (open, r#"{"name":"transitionServiceToOpen","nextServiceIdentity":"PEM"}"#),
        ] {
            assert_eq!(serde_json::to_string(&effect).expect("serialises"), expected);
        }
    }

    #[test]
    fn view_history_is_absent_unless_asked_for() {
        let body = Commit { transaction_id: "2.3".into(), view_history: None };
        assert_eq!(
            serde_json::to_string(&body).expect("serialises"),
            r#"{"transaction_id":"2.3"}"#
        );
    }
}
