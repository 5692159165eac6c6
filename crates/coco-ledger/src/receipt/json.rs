//! The JSON form of a receipt.
//!
//! A receipt of an earlier service carries two proofs of that service. One is CCF's: `service_endorsements`, a certificate of its
//! key by the service of today, which no tool can tell the end of that service from. The other is ours:
//! `service_endorsements_cose`, the endorsements of the ledger, which say it. Here both have to hold.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coco_crypto::Certificate;
use coco_types::{Digest, NodeId};
use serde::{Deserialize, Serialize};

use super::{
    EarlierService, LeafComponents, Receipt, ReceiptVerifier, VerifiedReceipt, VerifyReceiptError,
    check_epoch, check_limits, check_path,
};
use crate::{ENDORSEMENTS_MAX, EndorsedService, Endorsements, PathStep, root_from_path};

#[derive(Serialize, Deserialize)]
struct Form {
    cert: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf_components: Option<Components>,
    node_id: String,
    proof: Vec<Step>,
    /// Certificates of earlier services, from the one that endorsed the node to the one that the next endorsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_endorsements: Option<Vec<String>>,
    /// Endorsements of earlier services in base64, the newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_endorsements_cose: Option<Vec<String>>,
    signature: String,
}

#[derive(Serialize, Deserialize)]
struct Components {
    claims_digest: String,
    commit_evidence: String,
    write_set_digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Step {
    Left(String),
    Right(String),
}

pub(super) fn encode(receipt: &Receipt) -> String {
    let step = |step: &PathStep| match step {
        PathStep::Left(digest) => Step::Left(digest.to_string()),
        PathStep::Right(digest) => Step::Right(digest.to_string()),
    };
    let components = |leaf: &LeafComponents| Components {
        claims_digest: leaf.claims_digest.to_string(),
        commit_evidence: leaf.commit_evidence.clone(),
        write_set_digest: leaf.write_set_digest.to_string(),
    };
    let earlier = receipt.earlier.as_ref();
    let messages = |earlier: &EarlierService| {
        earlier.endorsements.messages().iter().map(|message| STANDARD.encode(message)).collect()
    };
    let form = Form {
        cert: receipt.signature.node_certificate_pem.clone(),
        leaf: receipt.leaf.is_none().then(|| receipt.signature.root.to_string()),
        leaf_components: receipt.leaf.as_ref().map(components),
        node_id: receipt.signature.node_id.to_string(),
        proof: receipt.path.iter().map(step).collect(),
        service_endorsements: earlier.map(|earlier| vec![earlier.certificate.pem()]),
        service_endorsements_cose: earlier.map(messages),
        signature: STANDARD.encode(&receipt.signature.signature),
    };
    serde_json::to_string(&form).expect("text has a JSON form")
}

/// Verifies the JSON form of a receipt against a service certificate in PEM.
///
/// # Errors
/// [`VerifyReceiptError`] with the first thing that is wrong.
pub fn verify_json(
    receipt: &[u8],
    service_certificate_pem: &str,
) -> Result<VerifiedReceipt, VerifyReceiptError> {
    let service =
        Certificate::from_pem(service_certificate_pem).map_err(VerifyReceiptError::Service)?;
    ReceiptVerifier::new(service).json(receipt)
}

/// What a JSON receipt says of the node that signed its root.
#[derive(Clone, Copy, Debug)]
pub struct NodeWord<'a> {
    /// The node.
    pub node_id: NodeId,
    /// Its certificate, in PEM.
    pub certificate_pem: &'a str,
    /// Certificates of earlier services, from the one that endorsed the node to the one that the next endorsed.
    pub endorsements: &'a [String],
    /// Endorsements of earlier services in base64, the newest first.
    pub endorsements_cose: &'a [String],
    /// Where leaf and path lead.
    pub root: Digest,
    /// The node's signature over the root.
    pub signature: &'a [u8],
}

/// Whose nodes may sign JSON receipts. The service's certificate is what counts; a simulation, whose signers sign faster and
/// mean less, has another.
pub trait ServiceNodes {
    /// Checks that the node is one of the service and that it signed the root; which earlier service it is of, if it is.
    ///
    /// # Errors
    /// [`VerifyReceiptError`] with the first thing that is wrong.
    fn check(&self, word: &NodeWord<'_>) -> Result<Option<EndorsedService>, VerifyReceiptError>;
}

impl ServiceNodes for ReceiptVerifier {
    fn check(&self, word: &NodeWord<'_>) -> Result<Option<EndorsedService>, VerifyReceiptError> {
        let (node, earlier) = endorsed(word, self)?;
        if node.key().node_id() != word.node_id {
            return Err(VerifyReceiptError::NodeId(word.node_id));
        }
        node.key()
            .verify_prehashed(&word.root, word.signature)
            .map_err(|_| VerifyReceiptError::Signature { root: word.root })?;
        Ok(earlier)
    }
}

impl ServiceNodes for Certificate {
    fn check(&self, word: &NodeWord<'_>) -> Result<Option<EndorsedService>, VerifyReceiptError> {
        ReceiptVerifier::new(self.clone()).check(word)
    }
}

/// Verifies the JSON form of a receipt under whoever answers for nodes.
///
/// # Errors
/// [`VerifyReceiptError`] with the first thing that is wrong.
pub fn verify_json_under(
    receipt: &[u8],
    service: &dyn ServiceNodes,
) -> Result<VerifiedReceipt, VerifyReceiptError> {
    check_limits(receipt.len())?;
    let form: Form = serde_json::from_slice(receipt).map_err(VerifyReceiptError::Json)?;
    let node_id: NodeId = form.node_id.parse().map_err(|_| VerifyReceiptError::Field("node_id"))?;
    let leaf_components = form.leaf_components.as_ref().map(Components::read).transpose()?;
    let leaf = match (&leaf_components, &form.leaf) {
        (Some(components), _) => components.leaf(),
        (None, Some(leaf)) => digest(leaf, "leaf")?,
        (None, None) => return Err(VerifyReceiptError::Field("leaf_components")),
    };
    check_path(form.proof.len())?;
    let path: Vec<PathStep> = form.proof.iter().map(Step::read).collect::<Result<_, _>>()?;
    let root = root_from_path(leaf, &path);
    let signature =
        STANDARD.decode(&form.signature).map_err(|_| VerifyReceiptError::Field("signature"))?;
    let earlier = service.check(&NodeWord {
        node_id,
        certificate_pem: &form.cert,
        endorsements: form.service_endorsements.as_deref().unwrap_or_default(),
        endorsements_cose: form.service_endorsements_cose.as_deref().unwrap_or_default(),
        root,
        signature: &signature,
    })?;

    let tx_id = leaf_components.as_ref().map(LeafComponents::tx_id).transpose();
    let tx_id = tx_id.map_err(VerifyReceiptError::CommitEvidence)?;
    let verified = VerifiedReceipt { tx_id, leaf_components, root, node_id: Some(node_id) };
    if let Some(earlier) = earlier {
        check_epoch(&earlier, None, &verified)?;
    }
    Ok(verified)
}

/// The node's certificate, once it leads to the service, and the earlier service that endorsed it, if one did.
fn endorsed(
    word: &NodeWord<'_>,
    verifier: &ReceiptVerifier,
) -> Result<(Certificate, Option<EndorsedService>), VerifyReceiptError> {
    let node =
        Certificate::from_pem(word.certificate_pem).map_err(VerifyReceiptError::Endorsement)?;
    // Else the link to a service of before would make a node of that service's key.
    node.check_node().map_err(VerifyReceiptError::Endorsement)?;
    let own = own_endorsements(word, verifier)?;
    let mut before = verifier.before.iter().chain(&own);
    let earlier = before.find(|earlier| node.verify_signed_by(&earlier.key).is_ok()).cloned();
    // A receipt of before the recovery has no certificates of its service, and needs none when endorsements are known.
    if !word.endorsements.is_empty() || earlier.is_none() {
        check_certificates(&node, word.endorsements, &verifier.service)?;
    }
    if !word.endorsements.is_empty() && earlier.is_none() {
        return Err(VerifyReceiptError::NoEpoch);
    }
    Ok((node, earlier))
}

/// Checks that certificates lead from the node to the service.
fn check_certificates(
    node: &Certificate,
    links: &[String],
    service: &Certificate,
) -> Result<(), VerifyReceiptError> {
    if links.len() > ENDORSEMENTS_MAX {
        return Err(VerifyReceiptError::Field("service_endorsements"));
    }
    let mut below = node.clone();
    for pem in links {
        let above = Certificate::from_pem(pem).map_err(VerifyReceiptError::Endorsement)?;
        below.verify_issued_by(&above).map_err(VerifyReceiptError::Endorsement)?;
        below = above;
    }
    below.verify_issued_by(service).map_err(VerifyReceiptError::Endorsement)
}

/// The services that the receipt's own endorsements lead to.
fn own_endorsements(
    word: &NodeWord<'_>,
    verifier: &ReceiptVerifier,
) -> Result<Vec<EndorsedService>, VerifyReceiptError> {
    let messages = word.endorsements_cose.iter();
    let messages = messages.map(|text| STANDARD.decode(text)).collect::<Result<_, _>>();
    let messages = messages.map_err(|_| VerifyReceiptError::Field("service_endorsements_cose"))?;
    let endorsements = Endorsements::new(messages).map_err(VerifyReceiptError::Earlier)?;
    endorsements.verify(verifier.service.key()).map_err(VerifyReceiptError::Earlier)
}

impl Components {
    fn read(&self) -> Result<LeafComponents, VerifyReceiptError> {
        Ok(LeafComponents {
            write_set_digest: digest(&self.write_set_digest, "write_set_digest")?,
            commit_evidence: self.commit_evidence.clone(),
            claims_digest: digest(&self.claims_digest, "claims_digest")?,
        })
    }
}

impl Step {
    fn read(&self) -> Result<PathStep, VerifyReceiptError> {
        match self {
            Self::Left(text) => digest(text, "proof").map(PathStep::Left),
            Self::Right(text) => digest(text, "proof").map(PathStep::Right),
        }
    }
}

fn digest(text: &str, field: &'static str) -> Result<Digest, VerifyReceiptError> {
    text.parse().map_err(|_| VerifyReceiptError::Field(field))
}
