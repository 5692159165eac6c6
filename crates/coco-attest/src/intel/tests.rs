//! Quotes of which Intel's documents were not recorded, as far as they prove anything without: what their keys signed, and what their logs
//! lead to. They lie where those of `tests/recorded` do.

use std::{fs, path::Path};

use super::*;

fn recorded(file: &str) -> Option<Vec<u8>> {
    let standard = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("COCO_TEST_DATA").map_or_else(standard, Into::into);
    let path = root.join("evidence").join(file);
    let read = fs::read(&path).ok();
    if read.is_none() {
        println!("skipped: {} is not there", path.display());
    }
    read
}

#[test]
fn quotes_of_clouds_are_signed_up_to_the_root() {
    for (file, data, mr_td) in [
        ("tdx/gcp-cos113-eventlog/quote.dat", "00", "dae67181d3d65e073ad8f95b7907d5e9"),
        ("azure/tdx/td_quote.bin", "9734504f161d104c", "024a32b0"),
    ] {
        let Some(body) = recorded(file) else { return };
        let quote = TdQuote::read(&body, &[]).expect("it is signed");
        assert!(hex::encode(quote.report_data()).starts_with(data), "{file}");
        assert!(hex::encode(quote.report.mr_td).starts_with(mr_td), "{file}");
        assert!(Machine::of(&quote.quote.chain.leaf).is_some(), "{file}");
    }
}

/// 43 events, of Google's firmware and loader and of Linux.
#[test]
fn a_log_of_a_cloud_leads_to_the_registers() {
    let Some(body) = recorded("tdx/gcp-cos113-eventlog/quote.dat") else { return };
    let Some(log) = recorded("tdx/gcp-cos113-eventlog/ccel_data.dat") else { return };
    let quote = TdQuote::read(&body, &log).expect("it leads there");
    let rtmrs = quote.report.rtmrs;
    let events = quote.log.expect("there are some");
    let count = |register| events.iter().filter(|event| event.register == register).count();
    assert_eq!((events.len(), [0, 1, 2, 3].map(count)), (43, [16, 7, 20, 0]));
    // Data that are what was measured, such as a separator, are proved by their digest.
    assert!(events.iter().any(|event| event.digest == event.data));
    assert!(events.iter().any(|event| event.digest != event.data));

    // Whatever a byte is turned into, the log leads elsewhere, or to the same by the same digests.
    let digests = |events: &[RegisterEvent]| -> Vec<(u8, [u8; 48])> {
        events.iter().map(|event| (event.register, event.digest)).collect()
    };
    let mut proved_nothing = 0;
    for at in 0..log.len() {
        let mut altered = log.clone();
        altered[at] ^= 1;
        match replay(&altered, &rtmrs) {
            Ok(other) => {
                assert_eq!(digests(&other), digests(&events), "byte {at}");
                proved_nothing += 1;
            }
            Err(VerifyError::Log { .. } | VerifyError::LogReplay { .. }) => (),
            Err(other) => panic!("byte {at}: {other:?}"),
        }
    }
    // All but the digests, and what says where they stand.
    assert!(proved_nothing < log.len() - events.len() * 60, "{proved_nothing} of {}", log.len());
}

/// Into the last register whatever runs there measures by itself, and tells of it or not.
#[test]
fn a_log_may_go_on_with_what_runs_there() {
    let Some(body) = recorded("tdx/gcp-cos113-eventlog/quote.dat") else { return };
    let Some(log) = recorded("tdx/gcp-cos113-eventlog/ccel_data.dat") else { return };
    let rtmrs = TdQuote::read(&body, &[]).expect("it is signed").report.rtmrs;
    let event = |register: u32, digest: [u8; 48]| {
        let head = [register, 0x8000_0001, 1].map(u32::to_le_bytes);
        [head.as_flattened(), &0x0c_u16.to_le_bytes(), &digest, &[0; 4]].concat()
    };
    let after = |events: &[[u8; 48]]| {
        events.iter().fold([0; 48], |was, digest| sha384([was, *digest].as_flattened()))
    };
    let told = |events: &[[u8; 48]], value: [u8; 48]| {
        let mut whole = log.clone();
        whole.extend(events.iter().flat_map(|digest| event(4, *digest)));
        let [rtmr0, rtmr1, rtmr2, _] = rtmrs;
        replay(&whole, &[rtmr0, rtmr1, rtmr2, value]).map(|events| events.len())
    };
    let refused = Err(VerifyError::LogReplay { register: 3 });
    assert_eq!(told(&[], [0; 48]), Ok(43));
    assert_eq!(told(&[], [7; 48]), Ok(43));
    assert_eq!(told(&[[1; 48], [2; 48]], after(&[[1; 48], [2; 48]])), Ok(45));
    assert_eq!(told(&[[2; 48], [1; 48]], after(&[[1; 48], [2; 48]])), refused);
    assert_eq!(told(&[[1; 48]], [0; 48]), refused);
    for register in 1..=3 {
        let more = [&log[..], &event(register, [1; 48])].concat();
        let register = u8::try_from(register - 1).expect("it is small");
        assert_eq!(replay(&more, &rtmrs), Err(VerifyError::LogReplay { register }));
    }
    let of_what_was_loaded = [&log[..], &event(0, [1; 48])].concat();
    let found = replay(&of_what_was_loaded, &rtmrs);
    assert!(matches!(found, Err(VerifyError::Log { .. })), "{found:?}");
}

/// The quoting enclave of Intel's document, and one that it describes.
fn quoting_enclave() -> (QeIdentity, SgxReport) {
    let identity = serde_json::json!({
        "id": "QE", "version": 2,
        "issueDate": "2025-01-01T00:00:00Z", "nextUpdate": "2025-02-01T00:00:00Z",
        "tcbEvaluationDataNumber": 17, "miscselect": "01000000", "miscselectMask": "FDFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "F9FFFFFFFFFFFFFF0000000000000000",
        "mrsigner": "8C".repeat(32), "isvprodid": 1, "tcbLevels": [],
    });
    let report = SgxReport {
        misc: 3,
        attributes: SgxAttributes { flags: 0x15, xfrm: 0xe7 },
        mr_enclave: [0; 32],
        mr_signer: [0x8c; 32],
        config_id: [0; 64],
        isv_prod_id: 1,
        isv_svn: 8,
        config_svn: 0,
        report_data: [0; 64],
    };
    (serde_json::from_value(identity).expect("it is one"), report)
}

#[test]
fn a_quoting_enclave_is_what_intel_says_of_it() {
    let with = |change: fn(&mut SgxReport)| {
        let (identity, mut report) = quoting_enclave();
        change(&mut report);
        match check_qe(&report, &identity) {
            Ok(()) => None,
            Err(VerifyError::OtherPiece { piece: Piece::QeIdentity, what }) => Some(what),
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(with(|_| ()), None);
    // What the masks leave out.
    assert_eq!(with(|report| report.attributes.flags ^= 4), None);
    assert_eq!(with(|report| report.attributes.xfrm = 0), None);
    assert_eq!(with(|report| report.misc ^= 2), None);
    let refused = "the attributes of the quoting enclave";
    assert_eq!(with(|report| report.attributes.flags ^= 1 << 4), Some(refused));
    assert_eq!(with(|report| report.attributes.flags ^= 1 << 63), Some(refused));
    assert_eq!(with(|report| report.misc ^= 1), Some("what the quoting enclave saves"));
    assert_eq!(with(|report| report.misc ^= 1 << 31), Some("what the quoting enclave saves"));
    assert_eq!(with(|report| report.mr_signer[0] = 0), Some("the signer of the quoting enclave"));
    assert_eq!(with(|report| report.isv_prod_id = 2), Some("the product of the quoting enclave"));
    // This mask would leave that out.
    let refused = "that the quoting enclave cannot be looked into";
    assert_eq!(with(|report| report.attributes.flags |= 2), Some(refused));
}

/// Intel's document of machines, with this module without a number and these with one.
fn levels(module: &serde_json::Value, numbered: &serde_json::Value) -> TcbInfo {
    let info = serde_json::json!({
        "id": "TDX", "version": 3,
        "issueDate": "2025-01-01T00:00:00Z", "nextUpdate": "2025-02-01T00:00:00Z",
        "fmspc": "00A067110000", "pceId": "0001", "tcbType": 0, "tcbEvaluationDataNumber": 17,
        "tdxModule": module, "tdxModuleIdentities": numbered, "tcbLevels": [],
    });
    serde_json::from_value(info).expect("it is one")
}

#[test]
fn levels_are_of_one_kind_of_machine() {
    let info = levels(&serde_json::Value::Null, &serde_json::json!([]));
    let machine = Machine {
        svns: [0; 16],
        pce_svn: 0,
        pce_id: [0, 1],
        fmspc: [0, 0xa0, 0x67, 0x11, 0, 0],
        id: [0; 16],
        configuration: IntelConfiguration::default(),
    };
    assert_eq!(check_kind(&machine, &info), Ok(()));
    let refused = |what| Err(VerifyError::OtherPiece { piece: Piece::TcbInfo, what });
    let other = Machine { fmspc: [0; 6], ..machine };
    assert_eq!(check_kind(&other, &info), refused("the kind of machine (FMSPC)"));
    let other = Machine { pce_id: [0; 2], ..machine };
    assert_eq!(check_kind(&other, &info), refused("the certifying enclave (PCEID)"));
}

#[test]
fn a_tdx_module_is_one_of_intels() {
    let kind = |mrsigner: &str, attributes: &str, mask: &str| {
        serde_json::json!({
            "mrsigner": mrsigner.repeat(48), "attributes": attributes.repeat(8),
            "attributesMask": mask.repeat(8),
        })
    };
    let with = |number: u8, module: &serde_json::Value, change: fn(&mut TdReport)| {
        let mut identity = module.clone();
        (identity["id"], identity["tcbLevels"]) = ("TDX_03".into(), serde_json::json!([]));
        let info = levels(&kind("00", "00", "FF"), &serde_json::json!([identity]));
        let mut report = TdReport::read(LittleEndian::new(&[0; 584])).expect("it is one");
        report.tee_tcb_svn[1] = number;
        change(&mut report);
        match check_module(&report, &info) {
            Ok(()) => None,
            Err(VerifyError::OtherPiece { piece: Piece::TcbInfo, what }) => Some(what),
            Err(other) => panic!("{other:?}"),
        }
    };
    let good = kind("00", "00", "FF");
    let (signer, attributes) = ("the signer of the TDX module", "the attributes of the TDX module");
    for number in [0, 3] {
        assert_eq!(with(number, &good, |_| ()), None);
        assert_eq!(with(number, &good, |report| report.mr_signer_seam[47] = 1), Some(signer));
        assert_eq!(with(number, &good, |report| report.seam_attributes[7] = 1), Some(attributes));
    }
    assert_eq!(with(1, &good, |_| ()), Some("the number of the TDX module"));
    // Whatever the document says.
    let of_another = kind("01", "00", "FF");
    assert_eq!(with(3, &of_another, |_| ()), Some(signer));
    assert_eq!(with(3, &of_another, |report| report.mr_signer_seam = [1; 48]), Some(signer));
    let with_attributes = kind("00", "01", "FF");
    assert_eq!(with(3, &with_attributes, |_| ()), Some(attributes));
    assert_eq!(
        with(3, &with_attributes, |report| report.seam_attributes = [1; 8]),
        Some(attributes)
    );
    let masked = kind("00", "00", "00");
    assert_eq!(with(3, &masked, |report| report.seam_attributes = [1; 8]), Some(attributes));
}
