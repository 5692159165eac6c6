"""Verifies receipts with the auditor's package `ccf` from PyPI, which nobody here wrote.

usage: python verify_receipts.py SERVICE_CERT.pem RECEIPT.json RECEIPT.cose

Exits 0 when both receipts verify against the service certificate and are about the same leaf, 1 otherwise.
"""

import hashlib
import json
import sys

import ccf.receipt
from cryptography.x509 import load_pem_x509_certificate


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


def main(service_path, json_path, cose_path):
    with open(service_path, "rb") as file:
        service = load_pem_x509_certificate(file.read())
    with open(json_path, "rb") as file:
        parts, root = verify_json(service, json.load(file))
    print(f"JSON receipt of {parts['commit_evidence']} verifies, root {root}")

    with open(cose_path, "rb") as file:
        cose = file.read()
    claims = bytes.fromhex(parts["claims_digest"])
    headers = ccf.receipt.verify_cose(cose, service.public_key(), claims)
    print(f"COSE receipt verifies, signed at {headers['ccf.v1']['txid']}")
    # verify_cose checks the path; that it is about the same leaf is ours to ask.
    if bytes.fromhex(parts["write_set_digest"]) not in cose:
        raise ValueError("the two receipts are about different entries")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Exception as error:  # every refusal is the same answer to a script
        print(f"refused: {type(error).__name__}: {error}")
        sys.exit(1)
