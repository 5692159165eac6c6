//! What policies refuse of enclaves that nobody has recorded.

use super::*;

const KEY: Digest = Digest([1; 32]);
const ROOT: Digest = Digest([2; 32]);

fn image(unique: u8) -> VbsImage {
    VbsImage { unique: [unique; 32], author: [4; 32], family: [5; 16], image: [6; 16], svn: 7 }
}

fn facts() -> VbsEnclaveFacts {
    let modules = [(3, "enclave.dll"), (9, "bcrypt.dll")];
    let modules =
        modules.map(|(unique, name)| VbsModule { image: image(unique), name: name.to_owned() });
    VbsEnclaveFacts {
        idks: VbsKey { key: KEY, root: Some(ROOT) },
        owner: [8; 32],
        image: image(3),
        kernel_svn: 10,
        platform_svn: 11,
        flags: 0,
        signing_level: 0,
        kind: 0,
        modules: modules.to_vec(),
    }
}

fn policy() -> VbsEnclavePolicy {
    let program =
        VbsProgram::Signed { author: [4; 32], family: [5; 16], image: [6; 16], svn_min: 7 };
    let code = VbsCode {
        program,
        owners: Some(BTreeSet::from([[8; 32]])),
        modules: Some(BTreeSet::from([[9; 32]])),
    };
    VbsEnclavePolicy {
        roots: BTreeSet::from([ROOT]),
        keys: BTreeSet::new(),
        kernel_svn_min: 10,
        platform_svn_min: 11,
        code: vec![code],
    }
}

fn judged(
    change: impl FnOnce(&mut VbsEnclaveFacts, &mut VbsEnclavePolicy),
) -> Result<(), AppraiseError> {
    let (mut facts, mut policy) = (facts(), policy());
    change(&mut facts, &mut policy);
    judge(&facts, &policy)
}

#[test]
fn a_secure_kernel_is_believed_by_its_root_or_its_key() {
    assert_eq!(judged(|_, _| ()), Ok(()));
    let is_key =
        |found: &Result<(), AppraiseError>| matches!(found, Err(AppraiseError::Key { .. }));
    let found = judged(|_, policy| policy.roots.clear());
    assert!(is_key(&found), "{found:?}");
    let found = judged(|facts, _| facts.idks.root = Some(KEY));
    assert!(is_key(&found), "{found:?}");
    // A key without a root that anybody vouches for, and the same when members name it.
    let found = judged(|facts, _| facts.idks.root = None);
    assert!(is_key(&found), "{found:?}");
    let found = judged(|facts, policy| {
        facts.idks.root = None;
        policy.keys = BTreeSet::from([KEY]);
    });
    assert_eq!(found, Ok(()));
    // A root is no key, and a key no root.
    let found = judged(|facts, policy| {
        facts.idks = VbsKey { key: ROOT, root: None };
        policy.keys = BTreeSet::from([KEY]);
    });
    assert!(is_key(&found), "{found:?}");
}

#[test]
fn debuggers_and_old_versions_are_refused() {
    for flags in [1, 2, 4, 1 << 31] {
        let found = judged(|facts, _| facts.flags = flags);
        assert_eq!(found, Err(AppraiseError::Flag(Flag::Debug)), "{flags}");
    }
    let below = |what, have, need| Err(AppraiseError::Svn { what, have, need });
    assert_eq!(judged(|facts, _| facts.kernel_svn = 9), below("secure kernel", 9, 10));
    assert_eq!(judged(|facts, _| facts.platform_svn = 10), below("platform", 10, 11));
}

#[test]
fn a_program_is_named_by_its_file_or_its_signer() {
    let refused: [fn(&mut VbsEnclaveFacts, &mut VbsEnclavePolicy); 9] = [
        |facts, _| facts.image.author[0] = 0,
        |facts, _| facts.image.family[0] = 0,
        |facts, _| facts.image.image[0] = 0,
        |facts, _| facts.image.svn = 6,
        |facts, _| facts.owner[0] = 0,
        |facts, _| facts.modules[1].image.unique[0] = 0,
        |_, policy| policy.code[0].modules = Some(BTreeSet::new()),
        |_, policy| policy.code[0].program = VbsProgram::Unique([9; 32]),
        |_, policy| policy.code.clear(),
    ];
    for (at, change) in refused.into_iter().enumerate() {
        let found = judged(change);
        assert!(matches!(found, Err(AppraiseError::Measurement { .. })), "{at}: {found:?}");
    }
    let admitted: [fn(&mut VbsEnclaveFacts, &mut VbsEnclavePolicy); 4] = [
        |_, policy| policy.code[0].program = VbsProgram::Unique([3; 32]),
        |_, policy| policy.code[0].owners = None,
        |_, policy| policy.code[0].modules = None,
        // What is loaded as the enclave itself is named already.
        |facts, _| facts.modules.truncate(1),
    ];
    for (at, change) in admitted.into_iter().enumerate() {
        assert_eq!(judged(change), Ok(()), "{at}");
    }
}
