//! The first rows of governance: what a service is made with.

use coco_crypto::{Certificate, EncryptionKey, EncryptionKeyError};
use coco_kv::{MapName, WriteSet};
use coco_types::Digest;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{
    MemberId,
    tables::{
        CONSTITUTION, MEMBERS_CERTS, MEMBERS_ENCRYPTION_KEYS, MEMBERS_INFO, MemberRow,
        MemberStatus, RecoveryRole, SERVICE_CONFIG, VIRTUAL_MEASUREMENTS, VOTING_POLICY,
        singleton_key,
    },
};

/// Most members that a service is made with. One proposal may name as many.
pub const FIRST_MEMBERS_MAX: usize = 254;

/// A member of the first day. It becomes active by acknowledging the service's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstMember {
    /// Its certificate, in PEM, with a key on P-256, P-384 or P-521.
    pub certificate_pem: String,
    /// The key that its recovery share is encrypted to, in PEM; none for a member without a share.
    pub encryption_key_pem: Option<String>,
    /// What is said of it: a JSON object, such as its name.
    pub data: Option<Map<String, Value>>,
}

/// What the members' rules begin with.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstGovernance {
    /// The text of the constitution. Whoever makes a service checks it before: see [`crate::Governance::check_constitution`].
    pub constitution: String,
    /// The members; at least one.
    pub members: Vec<FirstMember>,
    /// How many shares restore the service: 1 to the number of members with an encryption key. None if there is none.
    pub recovery_threshold: Option<u8>,
    /// Whether nodes may go on from their own disks when they start again.
    pub restart_from_disk: bool,
    /// Which votes suffice, as the default constitution reads it; its own default if none.
    pub voting_policy: Option<Value>,
}

/// What a service cannot be made with.
#[derive(Debug, Error)]
pub enum FirstGovernanceError {
    /// Nobody could ever change anything.
    #[error("a service has 1 to {FIRST_MEMBERS_MAX} members when it is made, not {0}")]
    Members(usize),
    /// A certificate does not read.
    #[error("the certificate of member {position} cannot be used")]
    Certificate {
        /// Which member, counted from one.
        position: usize,
        /// The cause.
        source: coco_crypto::CertificateError,
    },
    /// Nothing can be encrypted to the key for a share.
    #[error("the encryption key of member {position} cannot be used")]
    EncryptionKey {
        /// Which member, counted from one.
        position: usize,
        /// The cause.
        source: EncryptionKeyError,
    },
    /// Two members have one certificate.
    #[error("member {position} has the certificate of another one: {id}")]
    Twice {
        /// Which member, counted from one.
        position: usize,
        /// Its id.
        id: MemberId,
    },
    /// The threshold cannot be met.
    #[error("the recovery threshold is {threshold}, and {shares} members have a key for a share")]
    Threshold {
        /// How many are needed.
        threshold: u8,
        /// How many there are.
        shares: usize,
    },
}

impl FirstGovernance {
    /// Writes the rows.
    ///
    /// # Errors
    /// [`FirstGovernanceError`]; then nothing was written that can be used.
    ///
    /// # Panics
    /// Never: every value has a JSON form.
    pub fn put(&self, set: &mut WriteSet) -> Result<(), FirstGovernanceError> {
        if self.members.is_empty() || self.members.len() > FIRST_MEMBERS_MAX {
            return Err(FirstGovernanceError::Members(self.members.len()));
        }
        let shares =
            self.members.iter().filter(|member| member.encryption_key_pem.is_some()).count();
        if let Some(threshold) = self.recovery_threshold
            && !(1..=shares).contains(&usize::from(threshold))
        {
            return Err(FirstGovernanceError::Threshold { threshold, shares });
        }
        let infos = MapName::from_static(MEMBERS_INFO);
        for (member, position) in self.members.iter().zip(1..) {
            let certificate = Certificate::from_pem(&member.certificate_pem)
                .map_err(|source| FirstGovernanceError::Certificate { position, source })?;
            let id = MemberId(certificate.digest());
            if set.get(&infos, &id.key()).is_some() {
                return Err(FirstGovernanceError::Twice { position, id });
            }
            let has_share = member.encryption_key_pem.is_some();
            put_json(set, MEMBERS_INFO, &id.key(), &row(member, has_share));
            let certs = MapName::from_static(MEMBERS_CERTS);
            set.insert(&certs, &id.key(), member.certificate_pem.as_bytes());
            if let Some(key) = &member.encryption_key_pem {
                EncryptionKey::from_pem(key)
                    .map_err(|source| FirstGovernanceError::EncryptionKey { position, source })?;
                let keys = MapName::from_static(MEMBERS_ENCRYPTION_KEYS);
                set.insert(&keys, &id.key(), key.as_bytes());
            }
        }
        put_json(set, CONSTITUTION, singleton_key(), &self.constitution);
        let mut configuration = Map::new();
        if let Some(threshold) = self.recovery_threshold {
            configuration.insert("recovery_threshold".to_owned(), json!(threshold));
        }
        if self.restart_from_disk {
            configuration.insert("restart_from_disk".to_owned(), json!(true));
        }
        put_json(set, SERVICE_CONFIG, singleton_key(), &configuration);
        if let Some(policy) = &self.voting_policy {
            put_json(set, VOTING_POLICY, singleton_key(), policy);
        }
        Ok(())
    }
}

/// Writes that nodes of the virtual platform may run this code.
///
/// # Panics
/// Never: text has a JSON form.
pub fn put_virtual_measurement(set: &mut WriteSet, code: &Digest) {
    put_json(set, VIRTUAL_MEASUREMENTS, code.to_string().as_bytes(), "AllowedToJoin");
}

fn row(member: &FirstMember, has_share: bool) -> MemberRow {
    MemberRow {
        status: MemberStatus::Accepted,
        member_data: member.data.clone().map(Value::Object),
        recovery_role: has_share.then_some(RecoveryRole::Participant),
        rest: Map::new(),
    }
}

fn put_json<T: serde::Serialize + ?Sized>(
    set: &mut WriteSet,
    name: &'static str,
    key: &[u8],
    row: &T,
) {
    let row = serde_json::to_vec(row).expect("every value has a JSON form");
    set.insert(&MapName::from_static(name), key, row);
}
