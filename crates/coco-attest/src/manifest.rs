//! What members wrote into their tables about platforms and programs, as a policy.

use std::collections::BTreeSet;

use crate::{AppraisalPolicy, TrustClass, policy::InsecurePolicy};

/// Rows of members' tables, as they stand there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifests {
    /// The keys of `public:ccf.gov.nodes.virtual.measurements`: each the digest of a program, in hexadecimal.
    pub virtual_measurements: Vec<Vec<u8>>,
}

impl Manifests {
    /// Whether members admit nothing: a service without members never does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { virtual_measurements } = self;
        virtual_measurements.is_empty()
    }

    /// What they admit as of `version`, a seqno. What cannot be read admits nothing.
    #[must_use]
    pub fn policy(&self, version: u64) -> AppraisalPolicy {
        let mut policy = AppraisalPolicy::none(version);
        let digests = self.virtual_measurements.iter().filter_map(|key| {
            let text = str::from_utf8(key).ok()?;
            text.parse().ok()
        });
        let code: BTreeSet<_> = digests.collect();
        if !code.is_empty() {
            policy.class_min = TrustClass::Insecure;
            policy.insecure = Some(InsecurePolicy { code });
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use coco_types::Digest;

    use super::*;

    #[test]
    fn measurements_of_the_virtual_platform_admit_it_and_nothing_else() {
        assert!(Manifests::default().is_empty());
        assert_eq!(Manifests::default().policy(7), AppraisalPolicy::none(7));
        let code = Digest([0xab; 32]);
        let virtual_measurements = vec![code.to_string().into_bytes(), b"unreadable".to_vec()];
        let manifests = Manifests { virtual_measurements };
        let admitted = AppraisalPolicy {
            class_min: TrustClass::Insecure,
            insecure: Some(InsecurePolicy { code: BTreeSet::from([code]) }),
            ..AppraisalPolicy::none(7)
        };
        assert_eq!((manifests.policy(7), manifests.is_empty()), (admitted, false));
        let unreadable = Manifests { virtual_measurements: vec![b"x".to_vec()] };
        assert_eq!(
            (unreadable.policy(7), unreadable.is_empty()),
            (AppraisalPolicy::none(7), false)
        );
    }
}
