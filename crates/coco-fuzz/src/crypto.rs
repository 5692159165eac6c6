//! Certificates and signed messages.

use coco_crypto::{Certificate, NodeRequest, cose::Sign1};

use crate::ledger::{node, service};

pub(crate) fn certificate(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data)
        && let Ok(certificate) = Certificate::from_pem(text)
    {
        read(&certificate);
    }
    if let Ok(certificate) = Certificate::from_der(data) {
        assert_eq!(certificate.der(), data);
        read(&certificate);
    }
    let requests =
        [str::from_utf8(data).ok().map(NodeRequest::from_pem), Some(NodeRequest::from_der(data))];
    for request in requests.into_iter().flatten().flatten() {
        assert_eq!(NodeRequest::from_pem(&request.pem()).as_ref(), Ok(&request));
    }
}

fn read(certificate: &Certificate) {
    let again = Certificate::from_pem(&certificate.pem());
    assert_eq!(again.as_ref(), Ok(certificate), "a certificate comes back from its PEM");
    if certificate.verify_issued_by(service()).is_ok() {
        // The service issued two, and nobody has its key any more.
        let issued = [service(), node()].map(Certificate::der);
        assert!(issued.contains(&certificate.der()), "a forged certificate is believed");
    }
    let _self_signed = certificate.verify_issued_by(certificate).is_ok();
}

pub(crate) fn cose_sign1(data: &[u8]) {
    if let Ok(message) = Sign1::decode(data) {
        assert_eq!(message.encode(), data, "a message has one encoding");
        let _believed = message.verify(service().key(), b"payload").is_ok();
    }
}
