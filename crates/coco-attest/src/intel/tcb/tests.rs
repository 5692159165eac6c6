//! Levels that nobody has recorded.

use serde_json::{Value, json};

use super::*;

/// The newest level wants 5 of each part of the processor, and of TDX but its module; there are two older ones.
const SVNS: [u8; 3] = [5, 4, 3];

fn components(svn: u8) -> Value {
    json!(vec![json!({"svn": svn, "category": "BIOS"}); COMPONENTS])
}

fn svn_levels(levels: &[(u16, &str)]) -> Value {
    let level = |(svn, status): &(u16, &str)| {
        json!({
            "tcb": {"isvsvn": svn}, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": status,
            "advisoryIDs": [format!("INTEL-SA-{svn:05}")],
        })
    };
    levels.iter().map(level).collect()
}

/// The document of machines, with these statuses of its levels and this status of the older level of module 1.
fn info(statuses: [&str; 3], is_tdx: bool, module: &str) -> TcbInfo {
    let levels = SVNS.into_iter().zip(statuses).map(|(svn, status)| {
        let mut tcb = json!({"sgxtcbcomponents": components(svn), "pcesvn": svn});
        if is_tdx {
            tcb["tdxtcbcomponents"] = components(svn);
        }
        json!({
            "tcb": tcb, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": status,
            "advisoryIDs": [format!("INTEL-SA-1{svn:04}")],
        })
    });
    let kind = json!({
        "mrsigner": "00".repeat(48), "attributes": "00".repeat(8), "attributesMask": "FF".repeat(8),
    });
    let mut identity = kind.clone();
    identity["id"] = json!("TDX_01");
    identity["tcbLevels"] = svn_levels(&[(9, "UpToDate"), (7, module)]);
    let mut info = json!({
        "id": if is_tdx { "TDX" } else { "SGX" }, "version": 3,
        "issueDate": "2025-01-01T00:00:00Z", "nextUpdate": "2025-02-01T00:00:00Z",
        "fmspc": "00A067110000", "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 17,
        "tcbLevels": levels.collect::<Vec<_>>(),
    });
    if is_tdx {
        info["tdxModule"] = kind;
        info["tdxModuleIdentities"] = json!([identity]);
    }
    serde_json::from_value(info).unwrap()
}

/// A quoting enclave of which the second level is of this status.
fn identity(older: &str) -> QeIdentity {
    let identity = json!({
        "id": "QE", "version": 2,
        "issueDate": "2025-01-01T00:00:00Z", "nextUpdate": "2025-02-01T00:00:00Z",
        "tcbEvaluationDataNumber": 17, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
        "attributes": "11".repeat(16), "attributesMask": "FF".repeat(16), "mrsigner": "22".repeat(32),
        "isvprodid": 1, "tcbLevels": svn_levels(&[(8, "UpToDate"), (6, older)]),
    });
    serde_json::from_value(identity).unwrap()
}

const STATUSES: [&str; 3] = ["UpToDate", "ConfigurationNeeded", "Revoked"];

fn versions(sgx: &[u8; COMPONENTS]) -> Versions<'_> {
    Versions { sgx, pce: 5, qe: 8, tdx: None }
}

fn status(info: &TcbInfo, identity: &QeIdentity, have: &Versions<'_>) -> IntelTcbStatus {
    assess(info, identity, have).unwrap().status
}

#[test]
fn a_machine_is_of_the_newest_level_of_which_no_part_is_older() {
    let (info, identity) = (info(STATUSES, false, "OutOfDate"), identity("OutOfDate"));
    for (change, expected) in [
        (None, IntelTcbStatus::UpToDate),
        (Some((0, 200)), IntelTcbStatus::UpToDate),
        (Some((0, 4)), IntelTcbStatus::ConfigurationNeeded),
        (Some((15, 4)), IntelTcbStatus::ConfigurationNeeded),
        (Some((7, 3)), IntelTcbStatus::Revoked),
        (Some((7, 2)), IntelTcbStatus::NotSupported),
    ] {
        let mut sgx = [5; COMPONENTS];
        if let Some((at, svn)) = change {
            sgx[at] = svn;
        }
        assert_eq!(status(&info, &identity, &versions(&sgx)), expected, "{change:?}");
    }
    // More of one part does not make up for less of another.
    let mut sgx = [255; COMPONENTS];
    sgx[3] = 4;
    let found = status(&info, &identity, &versions(&sgx));
    assert_eq!(found, IntelTcbStatus::ConfigurationNeeded);
    let old = Versions { pce: 4, ..versions(&[5; COMPONENTS]) };
    assert_eq!(status(&info, &identity, &old), IntelTcbStatus::ConfigurationNeeded);
    let oldest = Versions { pce: 2, ..versions(&[5; COMPONENTS]) };
    assert_eq!(status(&info, &identity, &oldest), IntelTcbStatus::NotSupported);
}

#[test]
fn an_old_part_makes_the_whole_old() {
    let names = [
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
        "Revoked",
    ];
    for (whole, expected) in names.into_iter().zip([
        "OutOfDate",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
        "OutOfDateConfigurationNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
        "Revoked",
    ]) {
        let info = info([whole; 3], false, "OutOfDate");
        let sgx = [5; COMPONENTS];
        for (qe, older, expected) in [
            (8, "OutOfDate", whole),
            (9, "OutOfDate", whole),
            (7, "OutOfDate", expected),
            (6, "ConfigurationNeeded", expected),
            (6, "Revoked", "Revoked"),
            (5, "OutOfDate", if whole == "Revoked" { "Revoked" } else { "NotSupported" }),
        ] {
            let have = Versions { qe, ..versions(&sgx) };
            let found = status(&info, &identity(older), &have);
            assert_eq!(found.name(), expected, "{whole}, quoting enclave {qe} {older}");
        }
    }
}

#[test]
fn what_is_wrong_with_each_part_is_wrong_with_the_whole() {
    let identity = identity("OutOfDate");
    let start = [7, 1, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5];
    let tdx = Some(TdxVersions { start, now: None });
    let have = Versions { qe: 6, tdx, ..versions(&[5; COMPONENTS]) };
    let found = assess(&info(STATUSES, true, "OutOfDate"), &identity, &have).unwrap();
    let advisories: Vec<_> = found.advisories.iter().map(String::as_str).collect();
    assert_eq!(advisories, ["INTEL-SA-00006", "INTEL-SA-00007", "INTEL-SA-10005"]);
    assert_eq!(found.status, IntelTcbStatus::OutOfDate);
    let short = |part, have, need| IntelShortage { part, name: String::new(), have, need };
    assert_eq!(found.short, [short(IntelTcbPart::Module, 7, 9), short(IntelTcbPart::Qe, 6, 8)]);
}

#[test]
fn a_machine_is_short_of_the_newest_level_that_is_up_to_date() {
    let identity = identity("OutOfDate");
    let mut sgx = [5; COMPONENTS];
    (sgx[0], sgx[7]) = (3, 4);
    let have = Versions { pce: 3, ..versions(&sgx) };
    let found = assess(&info(STATUSES, false, ""), &identity, &have).unwrap().short;
    let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "SGX component 1 (BIOS) is 3 of 5",
            "SGX component 8 (BIOS) is 4 of 5",
            "provisioning certification enclave is 3 of 5",
        ]
    );
    // Where none is, of the newest; and where the second is, of that.
    let none = info(["OutOfDate"; 3], false, "");
    assert_eq!(assess(&none, &identity, &have).unwrap().short, found);
    let second = info(["OutOfDate", "UpToDate", "OutOfDate"], false, "");
    let short = assess(&second, &identity, &have).unwrap().short;
    let (part, name) = (IntelTcbPart::Sgx(1), "BIOS".to_owned());
    assert_eq!(short[0], IntelShortage { part, name, have: 3, need: 4 });
    assert_eq!(short.len(), 2);
}

fn tdx(start: [u8; 4], now: Option<[u8; 4]>) -> TdxVersions {
    let whole = |[svn, number, late, rest]: [u8; 4]| {
        let mut all = [rest; COMPONENTS];
        (all[0], all[1], all[2]) = (svn, number, late);
        all
    };
    TdxVersions { start: whole(start), now: now.map(whole) }
}

fn td_status(info: &TcbInfo, older: &str, qe: u16, tdx: TdxVersions) -> IntelTcbStatus {
    let have = Versions { qe, tdx: Some(tdx), ..versions(&[5; COMPONENTS]) };
    status(info, &identity(older), &have)
}

#[test]
fn a_module_with_a_number_is_judged_by_its_own_levels() {
    let known = info(STATUSES, true, "OutOfDate");
    for (start, expected) in [
        ([9, 1, 5, 5], IntelTcbStatus::UpToDate),
        ([200, 1, 5, 5], IntelTcbStatus::UpToDate),
        ([8, 1, 5, 5], IntelTcbStatus::OutOfDate),
        ([7, 1, 4, 5], IntelTcbStatus::OutOfDateConfigurationNeeded),
        ([6, 1, 5, 5], IntelTcbStatus::NotSupported),
        ([9, 1, 4, 5], IntelTcbStatus::ConfigurationNeeded),
        ([9, 1, 5, 3], IntelTcbStatus::Revoked),
        ([9, 1, 2, 5], IntelTcbStatus::NotSupported),
        // One without a number is the first part of TDX, and the second one is 0: less than any level here wants.
        ([9, 0, 5, 5], IntelTcbStatus::NotSupported),
    ] {
        assert_eq!(td_status(&known, "OutOfDate", 8, tdx(start, None)), expected, "{start:?}");
    }
    let unknown = Versions { tdx: Some(tdx([9, 2, 5, 5], None)), ..versions(&[5; COMPONENTS]) };
    let found = assess(&known, &identity("OutOfDate"), &unknown).map(|found| found.status);
    let what = "the number of the TDX module";
    assert_eq!(found, Err(VerifyError::OtherPiece { piece: Piece::TcbInfo, what }));
    let strange = info(STATUSES, true, "ConfigurationNeeded");
    let have = Versions { tdx: Some(tdx([7, 1, 5, 5], None)), ..versions(&[5; COMPONENTS]) };
    let found = assess(&strange, &identity("OutOfDate"), &have).map(|found| found.status);
    assert!(matches!(found, Err(VerifyError::Document { .. })), "{found:?}");
    let revoked = info(STATUSES, true, "Revoked");
    let found = td_status(&revoked, "OutOfDate", 8, tdx([7, 1, 5, 5], None));
    assert_eq!(found, IntelTcbStatus::Revoked);
}

/// What counts is what the domain was started with: a newer module of now makes nothing up to date.
#[test]
fn a_module_that_was_replaced_is_advised_to_start_again() {
    let up_to_date = info(STATUSES, true, "OutOfDate");
    let configured = info(["ConfigurationNeeded"; 3], true, "OutOfDate");
    let old = info(["OutOfDate"; 3], true, "OutOfDate");
    for (info, qe, start, now, expected) in [
        (&up_to_date, 8, [7, 1, 5, 5], Some([9, 1, 5, 5]), IntelTcbStatus::TdRelaunchAdvised),
        (&up_to_date, 8, [7, 1, 5, 5], Some([8, 1, 5, 5]), IntelTcbStatus::OutOfDate),
        (&up_to_date, 8, [7, 1, 5, 5], Some([9, 1, 4, 5]), IntelTcbStatus::OutOfDate),
        (&up_to_date, 8, [7, 1, 5, 5], None, IntelTcbStatus::OutOfDate),
        (&up_to_date, 8, [7, 1, 5, 5], Some([5, 0, 5, 5]), IntelTcbStatus::TdRelaunchAdvised),
        (&up_to_date, 8, [7, 1, 5, 5], Some([4, 0, 5, 5]), IntelTcbStatus::OutOfDate),
        // The quoting enclave is old as well.
        (&up_to_date, 6, [7, 1, 5, 5], Some([9, 1, 5, 5]), IntelTcbStatus::OutOfDate),
        // The machine is.
        (&old, 8, [7, 1, 5, 5], Some([9, 1, 5, 5]), IntelTcbStatus::OutOfDate),
        // Nothing was wrong at the start.
        (&up_to_date, 8, [9, 1, 5, 5], Some([9, 1, 5, 5]), IntelTcbStatus::UpToDate),
        (
            &configured,
            8,
            [7, 1, 5, 5],
            Some([9, 1, 5, 5]),
            IntelTcbStatus::TdRelaunchAdvisedConfigurationNeeded,
        ),
    ] {
        let found = td_status(info, "OutOfDate", qe, tdx(start, now));
        assert_eq!(found, expected, "{start:?} {now:?}");
    }
    let have =
        Versions { tdx: Some(tdx([7, 1, 5, 5], Some([9, 2, 5, 5]))), ..versions(&[5; COMPONENTS]) };
    let found = assess(&up_to_date, &identity("OutOfDate"), &have).map(|found| found.status);
    assert!(matches!(found, Err(VerifyError::OtherPiece { .. })), "{found:?}");
}
