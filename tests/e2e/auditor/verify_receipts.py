"""Verifies receipts with the auditor's package `ccf` from PyPI, which nobody here wrote.

usage: python verify_receipts.py SERVICE_CERT.pem RECEIPT.json RECEIPT.cose [ENDORSEMENTS.cbor]

Exits 0 when both receipts verify against the service certificate and are about the same leaf, 1 otherwise. With endorsements the
receipts are of an earlier service: the JSON one brings certificates along, and the endorsements lead to the key of the other.
"""

import hashlib
import json
import sys

import cbor2
import ccf.cose
import ccf.receipt
from ccf.tx_id import TxID
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509 import load_pem_x509_certificate

# How many views a recovered service begins after the last one of the service before.
RECOVERY_VIEWS = 2


def verify_json(service, receipt):
    """Checks leaf, path, signature and endorsement; returns the leaf's parts and the root."""
    parts = receipt["leaf_components"]
    leaf = hashlib.sha256(
        bytes.fromhex(parts["write_set_digest"])
        + hashlib.sha256(parts["commit_evidence"].encode()).digest()
        + bytes.fromhex(parts["claims_digest"])
    ).hexdigest()
    root = ccf.receipt.root(leaf, receipt["proof"])
    node = load_pem_x509_certificate(receipt["cert"].encode())
    ccf.receipt.verify(root, receipt["signature"], node)
    endorsements = [
        load_pem_x509_certificate(pem.encode())
        for pem in receipt.get("service_endorsements", [])
    ]
    ccf.receipt.check_endorsements(node, service, endorsements)
    ccf.receipt.check_cert_chain(node, service, endorsements)
    return parts, root


def endorsed_key(key, endorsements, signed):
    """Follows endorsements, the newest first, as CCF's own verifier of them does, to the key of the service that signed."""
    newer = None
    for endorsement in endorsements:
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        headers, _, payload = ccf.cose.verify_cose_sign1_with_key(pem, endorsement)
        epoch = headers["ccf.v1"]
        begin, end = (TxID.from_str(epoch[f"epoch.{side}.txid"]) for side in ["start", "end"])
        if newer and (newer.view - RECOVERY_VIEWS, newer.seqno - 1) != (end.view, end.seqno):
            raise ValueError(f"the epoch up to {end} does not lead to the one from {newer}")
        if len(epoch["epoch.end.merkle.root"]) != 32:
            raise ValueError("no root ends the epoch")
        key, newer = load_der_public_key(payload), begin
    if not begin.seqno <= signed.seqno <= end.seqno:
        raise ValueError(f"{signed} is not within the epoch from {begin} to {end}")
    return key


def main(service_path, json_path, cose_path, endorsements_path=None):
    with open(service_path, "rb") as file:
        service = load_pem_x509_certificate(file.read())
    with open(json_path, "rb") as file:
        parts, root = verify_json(service, json.load(file))
    print(f"JSON receipt of {parts['commit_evidence']} verifies, root {root}")

    with open(cose_path, "rb") as file:
        cose = file.read()
    claims = bytes.fromhex(parts["claims_digest"])
    key = service.public_key()
    if endorsements_path:
        if "service_endorsements" not in json.loads(open(json_path).read()):
            raise ValueError("the JSON receipt is not of an earlier service")
        protected = cbor2.loads(cbor2.loads(cose).value[0])
        with open(endorsements_path, "rb") as file:
            key = endorsed_key(key, cbor2.loads(file.read()), TxID.from_str(protected["ccf.v1"]["txid"]))
    headers = ccf.receipt.verify_cose(cose, key, claims)
    print(f"COSE receipt verifies, signed at {headers['ccf.v1']['txid']}")
    # verify_cose checks the path; that it is about the same leaf is ours to ask.
    if bytes.fromhex(parts["write_set_digest"]) not in cose:
        raise ValueError("the two receipts are about different entries")


if __name__ == "__main__":
    if len(sys.argv) not in [4, 5]:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Exception as error:  # every refusal is the same answer to a script
        print(f"refused: {type(error).__name__}: {error}")
        sys.exit(1)
