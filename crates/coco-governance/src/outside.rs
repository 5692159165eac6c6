//! What a script reaches outside of itself: tables, conversions, certificates, and effects that it asks for.
//!
//! Which tables: governance may read what is public and write what is governance's, as in CCF. While a proposal is
//! validated or decided, and in ballots, nothing is written. A table must be in the store already, and listable.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::{
    Certificate, PublicKey, SharedSecret, SignerCertificate, UserAuthority, is_root_authority,
    read_bundle, sha256, verify_issued_by,
};
use coco_kv::{KEY_BYTES_MAX, MapId, MapName, Transaction};
use coco_script::{Host, HostError, Value};
use coco_types::Digest;

use crate::{
    CERTIFICATE_DAYS_MAX, CertifyError, Situation,
    certify::Applicant,
    constitution::Prelude,
    jwk::{self, Jwk, may_constrain},
    rows::ServiceRow,
    tables::{SERVICE_INFO, SIGNATURES, is_of_governance, singleton_key},
};

/// Something that the node is to do once the changes are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make a new ledger secret.
    RekeyLedger,
    /// Share the ledger secret anew among the recovery members.
    RefreshRecoveryShares,
    /// Begin a new file of the ledger.
    ChunkLedger,
    /// Make a snapshot.
    Snapshot,
    /// Bring the ledger secrets back: enough recovery shares were sent. See [`SecretChain`](crate::SecretChain).
    Recovered(SharedSecret),
    /// Open the service, if it is the one that is meant.
    OpenService {
        /// The certificate of the service before a recovery, in PEM.
        previous: Option<Vec<u8>>,
        /// The certificate of this service, in PEM.
        next: Vec<u8>,
    },
}

/// Most effects of one proposal.
pub const EFFECTS_MAX: usize = 64;

/// Most bytes of keys and values that one proposal may write: half of the largest entry.
pub const WRITTEN_BYTES_MAX: usize = coco_types::limits::ENTRY_BYTES_MAX / 2;

/// Most constitutions that one run may have checked: each is compiled and so takes time of its own. A ballot has none checked, as
/// its fuel would be the least of what it takes.
pub const CONSTITUTIONS_CHECKED_MAX: u32 = 2;

/// Most rows and, but for the last row, bytes of one page of a table.
const PAGE_ROWS_MAX: usize = 256;
const PAGE_BYTES_MAX: usize = 1 << 20;

/// What a run may do to tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read them, for a ballot: what takes more than its fuel is not there.
    Vote,
    /// Read them.
    Read,
    /// Write governance's as well, and ask for effects.
    Write,
}

/// The host of one run.
pub(crate) struct Outside<'a, 's> {
    tx: &'a mut Transaction<'s>,
    situation: &'a Situation,
    prelude: &'a Prelude,
    access: Access,
    written_bytes_left: usize,
    checks_left: u32,
    /// The keys that certificates were made for. Whoever carries this out again has the last one of each only.
    certified: BTreeSet<Digest>,
    /// What was asked for, in order.
    pub(crate) effects: Vec<Effect>,
}

impl<'a, 's> Outside<'a, 's> {
    pub(crate) fn new(
        tx: &'a mut Transaction<'s>,
        situation: &'a Situation,
        prelude: &'a Prelude,
        access: Access,
    ) -> Self {
        Self {
            tx,
            situation,
            prelude,
            access,
            written_bytes_left: WRITTEN_BYTES_MAX,
            checks_left: match access {
                Access::Vote => 0,
                Access::Read | Access::Write => CONSTITUTIONS_CHECKED_MAX,
            },
            certified: BTreeSet::new(),
            effects: Vec::new(),
        }
    }

    /// The table to read, if the store has it.
    fn readable(&self, name: &str) -> Result<Option<MapId>, HostError> {
        if !name.starts_with("public:") {
            return Err(refused(format!("{name}: governance sees public tables only")));
        }
        let Ok(name) = MapName::new(name) else { return Ok(None) };
        Ok(self.tx.map(&name))
    }

    /// The table to write.
    fn writable(&mut self, name: &str, bytes: usize) -> Result<MapId, HostError> {
        if self.access != Access::Write {
            return Err(refused(format!("{name}: nothing can be written here")));
        }
        if !is_of_governance(name) {
            return Err(refused(format!("{name}: governance writes to its own tables only")));
        }
        let map = self.readable(name)?.filter(|map| self.tx.is_ordered(*map));
        let map = map.ok_or_else(|| refused(format!("{name}: the service has no such table")))?;
        let left = self.written_bytes_left.checked_sub(bytes);
        self.written_bytes_left = left.ok_or_else(|| {
            refused(format!("one proposal writes at most {WRITTEN_BYTES_MAX} bytes"))
        })?;
        Ok(map)
    }

    fn get(&mut self, name: &str, key: &[u8]) -> Result<Value, HostError> {
        check_key(key)?;
        if name == SIGNATURES && key == singleton_key() {
            // Signatures stay in the ledger. What constitutions read of the last one is the root.
            let row = serde_json::json!({ "root": self.situation.root.to_string() });
            return Ok(Value::Bytes(row.to_string().into_bytes()));
        }
        let Some(map) = self.readable(name)? else { return Ok(Value::Undefined) };
        let row = self.tx.get(map, key);
        Ok(row.map_or(Value::Undefined, |row| Value::Bytes(row.to_vec())))
    }

    fn table_call(
        &mut self,
        operation: &str,
        name: &str,
        rest: &[Value],
    ) -> Result<Value, HostError> {
        match (operation, rest) {
            ("get", [Value::Bytes(key)]) => self.get(name, key),
            ("has", [Value::Bytes(key)]) => {
                Ok(Value::Bool(self.get(name, key)? != Value::Undefined))
            }
            ("set", [Value::Bytes(key), Value::Bytes(value)]) => {
                check_key(key)?;
                let map = self.writable(name, key.len() + value.len())?;
                self.tx.put(map, key, value.as_slice());
                Ok(Value::Undefined)
            }
            ("delete", [Value::Bytes(key)]) => {
                check_key(key)?;
                let map = self.writable(name, key.len())?;
                let was_there = self.tx.get(map, key).is_some();
                if was_there {
                    self.tx.remove(map, key);
                }
                Ok(Value::Bool(was_there))
            }
            ("page", [Value::Undefined]) => self.page(name, &[]),
            ("page", [Value::Bytes(after)]) => self.page(name, &[after, &[0][..]].concat()),
            _ => Err(refused(format!("{operation}: not these arguments"))),
        }
    }

    fn page(&mut self, name: &str, start: &[u8]) -> Result<Value, HostError> {
        let Some(map) = self.readable(name)? else { return Ok(Value::List(Vec::new())) };
        if !self.tx.is_ordered(map) {
            return Err(refused(format!("{name}: the rows of this table cannot be listed")));
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        for (key, value) in self.tx.range(map, start, None, PAGE_ROWS_MAX) {
            bytes += key.len() + value.len();
            if bytes > PAGE_BYTES_MAX && !page.is_empty() {
                break;
            }
            page.push(Value::List(vec![Value::Bytes(key.into()), Value::Bytes(value.to_vec())]));
        }
        Ok(Value::List(page))
    }

    fn effect(&mut self, name: &str, rest: &[Value]) -> Result<Value, HostError> {
        let effect = match (name, rest) {
            ("triggerLedgerRekey", []) => Effect::RekeyLedger,
            ("triggerRecoverySharesRefresh", []) => Effect::RefreshRecoveryShares,
            ("triggerLedgerChunk", []) => Effect::ChunkLedger,
            ("triggerSnapshot", []) => Effect::Snapshot,
            ("transitionServiceToOpen", [Value::Undefined, Value::Bytes(next)]) => {
                Effect::OpenService { previous: None, next: next.clone() }
            }
            ("transitionServiceToOpen", [Value::Bytes(previous), Value::Bytes(next)]) => {
                Effect::OpenService { previous: Some(previous.clone()), next: next.clone() }
            }
            _ => return Err(refused(format!("{name}: no such effect"))),
        };
        if self.access != Access::Write {
            return Err(refused(format!("{name}: nothing can be asked for here")));
        }
        if self.effects.len() == EFFECTS_MAX {
            return Err(refused(format!("one proposal has at most {EFFECTS_MAX} effects")));
        }
        self.effects.push(effect);
        Ok(Value::Undefined)
    }

    /// A certificate in the place of the service's, in PEM. It becomes the service's when the script writes it down.
    fn network_certificate(&mut self, valid_from: &str, days: f64) -> Result<Value, HostError> {
        let service = self.issuing_certificate()?;
        self.certify(service.key())?;
        let renewed = whole_days(days)
            .and_then(|days| self.situation.certificates.renew_service(&service, valid_from, days));
        in_pem(renewed)
    }

    /// The certificate that answers a node's request, or takes the place of its present one, in PEM. It becomes the node's when the
    /// script writes it down.
    fn endorsed_certificate(
        &mut self,
        pem: &str,
        valid_from: &str,
        days: f64,
    ) -> Result<Value, HostError> {
        let service = self.issuing_certificate()?;
        let node =
            Applicant::read(self.tx, &service, pem).map_err(|error| refused(error.to_string()))?;
        self.certify(node.key())?;
        let made = whole_days(days).and_then(|days| {
            self.situation.certificates.endorse_node(&service, &node, valid_from, days)
        });
        in_pem(made)
    }

    /// Notes that another certificate is made for a key.
    fn certify(&mut self, key: &PublicKey) -> Result<(), HostError> {
        // Each is signatures, of which no fuel is counted.
        if self.certified.len() == CERTIFICATES_MADE_MAX {
            let most =
                format!("one proposal has at most {CERTIFICATES_MADE_MAX} certificates made");
            return Err(refused(most));
        }
        if !self.certified.insert(key.digest()) {
            return Err(refused("one proposal has one certificate made for a key"));
        }
        Ok(())
    }

    /// The certificate of the service, as the ledger has it: another one is about to be made.
    fn issuing_certificate(&mut self) -> Result<Certificate, HostError> {
        if self.access != Access::Write {
            return Err(refused("a certificate is made when a proposal is carried out only"));
        }
        let row = self.readable(SERVICE_INFO)?.and_then(|map| self.tx.get(map, singleton_key()));
        let row = row.and_then(|row| serde_json::from_slice::<ServiceRow>(&row).ok());
        let certificate = row.and_then(|row| row.certificate());
        certificate.ok_or_else(|| refused(CertifyError::NoService.to_string()))
    }

    fn validate_constitution(&mut self, text: &str) -> Result<Value, HostError> {
        self.checks_left = self.checks_left.checked_sub(1).ok_or_else(|| {
            refused(format!(
                "at most {CONSTITUTIONS_CHECKED_MAX} constitutions are checked at once, and none in a ballot"
            ))
        })?;
        match self.prelude.load(text) {
            Ok(_) => Ok(Value::Bool(true)),
            Err(error) => Err(refused(error.to_string())),
        }
    }
}

impl Host for Outside<'_, '_> {
    fn call(&mut self, operation: &str, arguments: &[Value]) -> Result<Value, HostError> {
        match (operation, arguments) {
            // As in CCF's engine, what is no UTF-8 becomes replacement characters.
            ("bufToStr", [Value::Bytes(bytes)]) => {
                Ok(Value::Text(String::from_utf8_lossy(bytes).into_owned()))
            }
            ("digest", [Value::Text(algorithm), Value::Bytes(data)]) => match &**algorithm {
                "SHA-256" => Ok(Value::Bytes(sha256(data).0.to_vec())),
                _ => Err(refused("the only digest is SHA-256")),
            },
            ("pemToId", [Value::Text(pem)]) => {
                let bundle = read_bundle(pem).map_err(|error| refused(error.to_string()))?;
                let first = bundle.first().expect("a bundle has one at least");
                Ok(Value::Text(sha256(first).to_string()))
            }
            ("isValidX509CertBundle", [Value::Text(pem)]) => {
                Ok(Value::Bool(read_bundle(pem).is_ok()))
            }
            ("isValidX509RootCACert", [Value::Text(pem)]) => {
                Ok(Value::Bool(is_root_authority(pem)))
            }
            ("isValidX509CertChain", [Value::Text(chain), Value::Text(trusted)]) => {
                is_chain(chain, trusted).map(Value::Bool)
            }
            ("isUserAuthority", [Value::Text(pem)]) => {
                Ok(Value::Bool(UserAuthority::from_pem(pem).is_ok()))
            }
            ("isRequestSigner", [Value::Text(pem)]) => {
                Ok(Value::Bool(SignerCertificate::from_pem(pem).is_ok()))
            }
            ("jwkToPem", [Value::Text(jwk)]) => {
                let pem = Jwk::read(jwk).and_then(|jwk| jwk.pem());
                pem.map(Value::Text).map_err(|error| refused(error.to_string()))
            }
            ("rsaPemToJwk", [Value::Text(pem)]) => {
                jwk::of_rsa(pem).map(Value::Text).map_err(|error| refused(error.to_string()))
            }
            ("jwkToTokenKey", [Value::Text(jwk)]) => {
                let key = Jwk::read(jwk).and_then(|jwk| jwk.token_key());
                let key = key.map_err(|error| refused(error.to_string()))?;
                Ok(Value::Text(STANDARD.encode(key.spki_der())))
            }
            ("mayConstrain", [Value::Text(constraint), Value::Text(issuer)]) => {
                Ok(Value::Bool(may_constrain(constraint, issuer)))
            }
            ("validateConstitution", [Value::Text(text)]) => self.validate_constitution(text),
            ("ledgerSecretSeqno", []) => {
                #[expect(clippy::cast_precision_loss, reason = "no ledger reaches 2^53 entries")]
                let seqno = self.situation.ledger_secret.0 as f64;
                Ok(Value::Number(seqno))
            }
            ("networkCertificate", [Value::Text(valid_from), Value::Number(days)]) => {
                self.network_certificate(valid_from, *days)
            }
            (
                "endorsedCertificate",
                [Value::Text(pem), Value::Text(valid_from), Value::Number(days)],
            ) => self.endorsed_certificate(pem, valid_from, *days),
            ("effect", [Value::Text(name), rest @ ..]) => self.effect(name, rest),
            (_, [Value::Text(name), rest @ ..]) => self.table_call(operation, name, rest),
            _ => Err(refused(format!("{operation}: not these arguments"))),
        }
    }
}

fn whole_days(days: f64) -> Result<u32, CertifyError> {
    let whole = (1..=CERTIFICATE_DAYS_MAX).find(|whole| f64::from(*whole) == days);
    whole.ok_or(CertifyError::Days)
}

fn in_pem(made: Result<Certificate, CertifyError>) -> Result<Value, HostError> {
    made.map(|certificate| Value::Text(certificate.pem()))
        .map_err(|error| refused(error.to_string()))
}

/// Most certificates that one proposal has made.
pub const CERTIFICATES_MADE_MAX: usize = 256;

/// Most certificates of a chain: no public authority's is longer than four.
const CHAIN_CERTIFICATES_MAX: usize = 8;
/// Most certificates of which one may have issued a chain's last. Each is a signature to be verified, of which no fuel is counted.
const TRUSTED_CERTIFICATES_MAX: usize = 16;

/// Whether each certificate of a chain is issued by the next, and the last is trusted or issued by one that is. Whoever issues has
/// a key of ECDSA or RSA; periods are not looked at, for lack of a clock.
///
/// # Errors
/// [`HostError::Refused`], when there are too many certificates.
fn is_chain(chain: &str, trusted: &str) -> Result<bool, HostError> {
    let (Ok(chain), Ok(trusted)) = (read_bundle(chain), read_bundle(trusted)) else {
        return Ok(false);
    };
    for (certificates, what, most) in [
        (&chain, "a chain", CHAIN_CERTIFICATES_MAX),
        (&trusted, "what is trusted", TRUSTED_CERTIFICATES_MAX),
    ] {
        let count = certificates.len();
        if count > most {
            return Err(refused(format!("{what} has {count} certificates; it may have {most}")));
        }
    }
    let are_linked = chain.windows(2).all(|pair| match pair {
        [below, above] => verify_issued_by(below, above).is_ok(),
        _ => true,
    });
    let is_anchored = chain.last().is_some_and(|last| {
        trusted.iter().any(|root| root == last || verify_issued_by(last, root).is_ok())
    });
    Ok(are_linked && is_anchored)
}

fn check_key(key: &[u8]) -> Result<(), HostError> {
    if key.len() <= KEY_BYTES_MAX {
        Ok(())
    } else {
        Err(refused(format!("a key has {} bytes; it may have {KEY_BYTES_MAX}", key.len())))
    }
}

fn refused(message: impl Into<String>) -> HostError {
    HostError::Refused(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_at_what_is_trusted() {
        let root = include_str!("../../coco-crypto/tests/vectors/chain/rsa_root.pem");
        let other = include_str!("../../coco-crypto/tests/vectors/chain/other_root.pem");
        let authority = include_str!("../../coco-crypto/tests/vectors/chain/p384_authority.pem");
        let leaf = include_str!("../../coco-crypto/tests/vectors/chain/p256_leaf.pem");
        for (chain, trusted, expected) in [
            (vec![leaf, authority, root], root, true),
            (vec![leaf, authority], root, true),
            (vec![leaf, authority], authority, true),
            (vec![leaf], leaf, true),
            (vec![root], root, true),
            (vec![leaf], root, false),
            (vec![leaf, root], root, false),
            (vec![leaf, authority, root], other, false),
            (vec![authority, leaf], leaf, false),
        ] {
            let found = is_chain(&chain.concat(), trusted);
            assert!(matches!(found, Ok(found) if found == expected), "{found:?}: {chain:?}");
        }
    }

    #[test]
    fn a_chain_of_certificates_has_a_length() {
        let one = include_str!("../tests/vectors/p384.pem");
        let of = |count: usize| one.repeat(count);
        assert!(is_chain(&of(CHAIN_CERTIFICATES_MAX), &of(TRUSTED_CERTIFICATES_MAX)).is_ok());
        for (chain, trusted) in [(CHAIN_CERTIFICATES_MAX + 1, 1), (1, TRUSTED_CERTIFICATES_MAX + 1)]
        {
            let error = is_chain(&of(chain), &of(trusted)).expect_err("too many");
            assert!(error.to_string().contains("it may have"), "{error}");
        }
    }
}
