//! Proposals about the service and its rules.

use std::path::PathBuf;

use coco_governance::CERTIFICATE_DAYS_MAX;
use serde_json::{Value, json};

use super::{Args, from_an_hour_ago, pem_of, value, without_null};
use crate::{commands::proposal::policy, fault::Fault, files, session::Session};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Kind {
    /// Change how votes are counted. The policy that is given replaces the one in force as a whole; the constitution and the
    /// policy itself stay for all to decide, unless a rule says otherwise
    #[command(after_help = "Examples:\n  coco proposal create set-policy --default at-least:3\n  \
                      coco proposal create set-policy --default majority --rule transition_node_to_trusted=automatic:2\n  \
                      coco proposal create set-policy policy.json")]
    SetPolicy {
        /// The policy as JSON
        #[arg(required_unless_present = "default", conflicts_with_all = ["default", "rule", "expire_days"])]
        file: Option<PathBuf>,
        /// The rule for all actions: majority, unanimous, one or at-least:N
        #[arg(long, value_name = "RULE", value_parser = policy::rule)]
        default: Option<Value>,
        /// The rule for one kind of action. May be given more than once. `transition_node_to_trusted` may also be automatic:N,
        /// so that each member trusts up to N nodes alone, or automatic:N:RULE with the rule for more
        #[arg(long, value_name = "ACTION=RULE", value_parser = policy::rule_of_action)]
        rule: Vec<(String, Value)>,
        /// For how many days a proposal stays open; 30 if it is not said
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=366))]
        expire_days: Option<u16>,
    },
    /// Change how many recovery shares are needed
    #[command(after_help = "Example:\n  coco proposal create set-threshold 2")]
    SetThreshold {
        /// How many
        #[arg(value_parser = clap::value_parser!(u8).range(1..=254))]
        shares: u8,
    },
    /// Change how many recent proposals new ones are compared with
    #[command(after_help = "Example:\n  coco proposal create set-window 200")]
    SetWindow {
        /// How many
        #[arg(value_parser = clap::value_parser!(u16).range(1..=10_000))]
        proposals: u16,
    },
    /// Open the service that is pinned here to participants
    #[command(
        after_help = "Examples:\n  coco proposal create open\n  coco proposal create open --recovered-from old_service_cert.pem"
    )]
    Open {
        /// The certificate of the service before a recovery (PEM)
        #[arg(long, value_name = "PEM")]
        recovered_from: Option<PathBuf>,
    },
    /// Renew the certificate of the service, for the same key, from an hour ago on
    #[command(
        after_help = "Examples:\n  coco proposal create renew-certificate\n  coco proposal create renew-certificate --days 90"
    )]
    RenewCertificate {
        /// For how many days; as many as members allow if left out, 365 unless they allow for more
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(CERTIFICATE_DAYS_MAX)))]
        days: Option<u32>,
    },
    /// Replace the constitution
    #[command(after_help = "Example:\n  coco proposal create set-constitution constitution.js")]
    SetConstitution {
        /// Its text, JavaScript
        file: PathBuf,
    },
    /// Begin a new ledger secret
    #[command(after_help = "Example:\n  coco proposal create rekey")]
    Rekey,
    /// Have the service replace its ledger secret by itself when it is so old
    #[command(after_help = "Example:\n  coco proposal create set-secret-age 90")]
    SetSecretAge {
        /// How old, in days
        #[arg(value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// Have nodes show again and again that they run admitted code; one that does not for so long is quarantined
    #[command(after_help = "Example:\n  coco proposal create set-node-lease 24")]
    SetNodeLease {
        /// For how long a node is believed, in hours; 0 asks nobody
        #[arg(value_parser = clap::value_parser!(u32).range(0..=87_600))]
        hours: u32,
    },
    /// Decide how nodes start again
    #[command(after_help = "Example:\n  coco proposal create set-restart through-others")]
    SetRestart {
        /// In what way
        #[arg(value_enum)]
        way: Restart,
    },
    /// Share the ledger secret anew among the recovery members
    #[command(after_help = "Example:\n  coco proposal create refresh-shares")]
    RefreshShares,
    /// Have the nodes make a snapshot
    #[command(after_help = "Example:\n  coco proposal create snapshot")]
    Snapshot,
    /// Have the nodes begin a new ledger file
    #[command(after_help = "Example:\n  coco proposal create chunk")]
    Chunk,
    /// Let members read private entries of the ledger with their shares, offline
    #[command(
        after_help = "Example:\n  coco proposal create disclose --from 120 --to 140 --reason 'order 12/2026 of the court'"
    )]
    Disclose {
        /// The first entry, by its seqno
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        from: u64,
        /// The last entry
        #[arg(long)]
        to: u64,
        /// Why. Everybody can read it
        #[arg(long)]
        reason: String,
    },
}

/// How nodes start again.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Restart {
    /// The others give each its seat, as another node: a host that sets its disk back gains nothing
    ThroughOthers,
    /// Those whose configuration says so go on from their own disks: all can be stopped at once, and hosts are believed
    FromDisk,
}

impl Kind {
    pub(super) fn action(&self, session: &Session) -> Result<(&'static str, Args), Fault> {
        Ok(match self {
            Self::SetPolicy { file: Some(file), .. } => {
                ("set_voting_policy", value(&files::read_text(file)?)?)
            }
            Self::SetPolicy { file: None, default, rule, expire_days } => {
                // Without a file there is a default: that is how the arguments are declared.
                let default = default.clone().unwrap_or_default();
                ("set_voting_policy", policy::document(&default, rule, *expire_days))
            }
            Self::SetThreshold { shares } => {
                ("set_recovery_threshold", json!({ "recovery_threshold": shares }))
            }
            Self::SetWindow { proposals } => (
                "set_service_configuration",
                json!({ "recent_cose_proposals_window_size": proposals }),
            ),
            Self::Open { recovered_from } => {
                let args = json!({
                    "next_service_identity": session.client().service().pem(),
                    "previous_service_identity": recovered_from.as_deref().map(pem_of).transpose()?,
                });
                ("transition_service_to_open", without_null(args))
            }
            Self::RenewCertificate { days } => {
                ("set_service_certificate_validity", from_an_hour_ago(*days)?)
            }
            Self::SetConstitution { file } => {
                ("set_constitution", json!({ "constitution": files::read_text(file)? }))
            }
            Self::Rekey => ("trigger_ledger_rekey", json!({})),
            Self::SetSecretAge { days } => (
                "set_service_configuration",
                json!({ "ledger_secret_age_max_s": u64::from(*days) * 86_400 }),
            ),
            Self::SetNodeLease { hours } => {
                let lease = json!({ "node_lease_s": u64::from(*hours) * 3600 });
                ("set_service_configuration", lease)
            }
            Self::SetRestart { way } => (
                "set_service_configuration",
                json!({ "restart_from_disk": matches!(way, Restart::FromDisk) }),
            ),
            Self::RefreshShares => ("trigger_recovery_shares_refresh", json!({})),
            Self::Snapshot => ("trigger_snapshot", json!({})),
            Self::Chunk => ("trigger_ledger_chunk", json!({})),
            Self::Disclose { from, to, reason } => {
                ("disclose_ledger_range", json!({ "from": from, "to": to, "reason": reason }))
            }
        })
    }
}
