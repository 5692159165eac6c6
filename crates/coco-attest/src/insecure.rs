//! The virtual platform: a process of any machine, which says itself what it runs. It proves nothing, and says so wherever it appears.
//!
//! Its evidence has the fields of CCF's `Insecure_Virtual`, in JSON. Nobody signs it: a signature by a key that came with it would prove
//! no more.

use coco_crypto::Validity;
use coco_types::Digest;
use serde::{Deserialize, Serialize};

use crate::{
    AppraiseError, PlatformId, REPORT_DATA_BYTES, ReportData,
    error::VerifyError,
    facts::{Facts, InsecureFacts, PlatformFacts},
    policy::InsecurePolicy,
};

/// What evidence of the virtual platform begins by saying.
const WARNING: &str = "INSECURE virtual platform: proves nothing";

/// Evidence of the virtual platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InsecureEvidence {
    platform: String,
    measurement: String,
    report_data: String,
}

impl InsecureEvidence {
    /// What a program with this digest says.
    #[must_use]
    pub fn new(measurement: &Digest, data: &ReportData) -> Self {
        Self {
            platform: WARNING.to_owned(),
            measurement: measurement.to_string(),
            report_data: hex::encode(data.bytes()),
        }
    }

    /// The body of the evidence.
    ///
    /// # Panics
    /// Never: text has a JSON form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text has a JSON form")
    }
}

pub(crate) fn verify(body: &[u8]) -> Result<Facts, VerifyError> {
    let malformed = |what| VerifyError::Malformed { what, at: 0 };
    let read: InsecureEvidence = serde_json::from_slice(body)
        .map_err(|_| malformed("not what the virtual platform says, in JSON"))?;
    if read.platform != WARNING {
        return Err(malformed("the virtual platform does not say that it proves nothing"));
    }
    let measurement = read.measurement.parse();
    let measurement = measurement.map_err(|_| malformed("the measurement is no digest"))?;
    let bound = hex::decode(&read.report_data).ok().filter(|it| it.len() == REPORT_DATA_BYTES);
    let bound = bound.ok_or(malformed("the report data are not 64 bytes"))?;
    let valid = Validity { not_before: 0, not_after: u64::MAX };
    let platform = PlatformFacts::Insecure(InsecureFacts { measurement });
    Ok(Facts { bound, made: None, valid, platform })
}

pub(crate) fn judge(facts: &InsecureFacts, policy: &InsecurePolicy) -> Result<(), AppraiseError> {
    if policy.code.contains(&facts.measurement) {
        return Ok(());
    }
    let have = facts.measurement.to_string();
    Err(AppraiseError::Measurement { platform: PlatformId::Insecure, have })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use coco_types::NodeId;

    use super::*;
    use crate::{
        AppraisalPolicy, AppraiseEvidenceError, Endorsements, Evidence, TrustClass, appraise,
    };

    const CODE: Digest = Digest([5; 32]);
    const DATA: ReportData = ReportData { node: NodeId([1; 32]), transcript: Digest([2; 32]) };

    fn evidence() -> Evidence {
        Evidence::new(PlatformId::Insecure, InsecureEvidence::new(&CODE, &DATA).encode())
    }

    fn policy() -> AppraisalPolicy {
        AppraisalPolicy {
            class_min: TrustClass::Insecure,
            insecure: Some(InsecurePolicy { code: BTreeSet::from([CODE]) }),
            ..AppraisalPolicy::none(4)
        }
    }

    fn appraised(
        evidence: &Evidence,
        policy: &AppraisalPolicy,
        data: &ReportData,
    ) -> Result<TrustClass, AppraiseEvidenceError> {
        let attested = appraise(evidence, &Endorsements::default(), 9, policy, data)?;
        assert_eq!(attested.claims().node, data.node);
        assert_eq!((attested.policy_version(), attested.evidence()), (4, evidence.digest()));
        assert_eq!(attested.claims().measurement, CODE.to_string());
        Ok(attested.claims().class)
    }

    #[test]
    fn what_the_virtual_platform_says_is_believed_only_where_members_want_that() {
        assert_eq!(appraised(&evidence(), &policy(), &DATA), Ok(TrustClass::Insecure));
        let refused = |policy: &AppraisalPolicy| match appraised(&evidence(), policy, &DATA) {
            Err(AppraiseEvidenceError::Appraise(error)) => error,
            other => panic!("{other:?}"),
        };
        let need = TrustClass::MeasuredBoot;
        let class = AppraiseError::Class { have: TrustClass::Insecure, need };
        assert_eq!(refused(&AppraisalPolicy { class_min: need, ..policy() }), class);
        let platform = AppraiseError::PlatformNotAllowed(PlatformId::Insecure);
        assert_eq!(refused(&AppraisalPolicy { insecure: None, ..policy() }), platform);
        let none = Some(InsecurePolicy { code: BTreeSet::new() });
        let error = refused(&AppraisalPolicy { insecure: none, ..policy() });
        assert!(matches!(error, AppraiseError::Measurement { .. }), "{error:?}");
    }

    #[test]
    fn evidence_of_another_node_or_channel_is_refused() {
        for other in [
            ReportData { node: NodeId([9; 32]), ..DATA },
            ReportData { transcript: Digest([9; 32]), ..DATA },
        ] {
            let found = appraised(&evidence(), &policy(), &other);
            let is_binding = matches!(
                found,
                Err(AppraiseEvidenceError::Appraise(AppraiseError::Binding { .. }))
            );
            assert!(is_binding, "{found:?}");
        }
    }

    #[test]
    fn evidence_that_says_anything_else_is_refused() {
        let mut accepted = 0;
        let whole = evidence();
        for at in 0..whole.body.len() {
            let mut altered = whole.clone();
            altered.body[at] ^= 1;
            accepted += usize::from(appraised(&altered, &policy(), &DATA).is_ok());
        }
        assert_eq!(accepted, 0);
        let text = String::from_utf8(whole.body).expect("a text");
        for other in [
            text.replace("INSECURE", "secure"),
            text.replace('}', ",\"more\":1}"),
            text.replace("0202\"}", "\"}"),
            String::new(),
        ] {
            let evidence = Evidence::new(PlatformId::Insecure, other.clone().into_bytes());
            assert!(appraised(&evidence, &policy(), &DATA).is_err(), "{other}");
        }
        let der = Endorsements::of_certificates([&b"x"[..]]);
        assert!(appraise(&evidence(), &der, 9, &policy(), &DATA).is_err());
    }
}
