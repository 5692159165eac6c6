"""All nodes are given up. The service comes back from one node's ledger; members send their shares with
`submit_recovery_share.sh` of the package `ccf`, and `read_ledger.py` accepts the ledger that goes on. A receipt that was kept, and
the same one asked for again, verify against the certificate of the service that came back.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from members import Member, pass_proposal

HERE = Path(__file__).resolve().parent
SECONDS_MAX = 30
DOES_NOT_VERIFY = 7


class Node:
    """The one node of a recovered service."""

    def __init__(self, coco, folder, node, service):
        self.folder, self.service = folder, service
        self.context = ssl.create_default_context(cafile=str(service))
        with open(node.parent / "recovered.log", "wb") as log:
            command = [coco, "node", "start", "--config", str(node / "node.toml")]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def open(self, request):
        return urlopen(request, timeout=20, context=self.context)

    def get(self, path):
        with self.open(f"{self.url}{path}") as answer:
            return answer.read()

    def waits_for(self, status):
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline:
            try:
                if json.loads(self.get("/node/network"))["service_status"] == status:
                    return True
            except (URLError, ConnectionError):
                pass
            time.sleep(0.1)
        return False

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=20)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(*command):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode(errors="replace")


class Receipts:
    """Both receipts of one transaction, as a service hands them out at one time."""

    def __init__(self, coco, transaction, folder, *of):
        self.transaction = transaction
        self.json, self.cose = (folder / f"{transaction}.receipt.{form}" for form in ["json", "cose"])
        of = [*map(str, of)]
        self.codes = [
            run(coco, "receipt", "get", transaction, "--form", path.suffix[1:], "--out", path, *of)
            for path in [self.json, self.cose]
        ]

    def are_there(self):
        return all(code == 0 for code, _ in self.codes)


def keep(coco, network, folder):
    """Receipts of one of the last transactions, that is no signature entry."""
    view, last = network.committed().split(".")
    for position in [int(last) - 1, int(last) - 2]:
        receipts = Receipts(coco, f"{view}.{position}", folder, "--url", network.url)
        if receipts.are_there():
            return receipts
    raise RuntimeError(f"no receipts: {receipts.codes}")


def verify_kept(coco, tools, node, kept, folder, check):
    """What was signed before the recovery is believed by who trusts the service of after it."""
    of = ["--url", node.url, "--service-cert", node.service]
    path = folder / "endorsements.cbor"
    code, text = run(coco, "receipt", "endorsements", kept.transaction, "--out", path, *of)
    check("the service endorses the one before it", code == 0, text)
    later = folder / "later"
    later.mkdir()
    later = Receipts(coco, kept.transaction, later, *of)
    check("receipts of before are handed out again", later.are_there(), later.codes)
    for name, receipt in {"kept json": kept.json, "kept cose": kept.cose, "later cose": later.cose}.items():
        verify = [coco, "receipt", "verify", receipt, "--service-cert", node.service]
        code, text = run(*verify, "--endorsements", path)
        check(f"coco verifies the {name} receipt with endorsements", code == 0, text)
        code, text = run(*verify)
        check(f"coco refuses the {name} receipt without them", code == DOES_NOT_VERIFY, text)
    code, text = run(coco, "receipt", "verify", later.json, "--service-cert", node.service)
    check("coco verifies the later json receipt by itself", code == 0, text)
    verify = [tools / "python", HERE / "verify_receipts.py", node.service, later.json]
    for name, receipt in {"kept": kept.cose, "later": later.cose}.items():
        code, text = run(*verify, receipt, path)
        check(f"the package ccf verifies both receipts of before, the {name} one as COSE", code == 0, text)
    code, text = run(*verify, kept.cose)
    check("the package ccf refuses them without endorsements", code == 1, text)
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    code, text = run(*verify, kept.cose, path)
    check("the package ccf refuses changed endorsements", code == 1, text)
    code, text = run(coco, "receipt", "verify", kept.cose, "--service-cert", node.service, "--endorsements", path)
    check("coco refuses changed endorsements", code == DOES_NOT_VERIFY, text)
    before = json.loads(node.get("/node/service/previous_identity"))["previous_service_identity"]
    check("the node names the service before", before == (folder / "service_cert.pem").read_text())


def recover(coco, tools, folder, receipts, check):
    lacking = [name for name in ["curl", "jq", "openssl"] if shutil.which(name) is None]
    if lacking:
        print(f"skipped: recovery, for lack of {', '.join(lacking)}")
        return
    kept, lost, again = folder / "kept", folder / "service_cert.pem", folder / "again"
    shutil.copytree(folder / "n1" / "ledger", kept)
    for node in ["n0", "n1", "n2"]:
        shutil.rmtree(folder / node)
    client, peer = (f"127.0.0.1:{free_port()}" for _ in range(2))
    command = [coco, "network", "recover", kept, "--service-cert", lost, "--dir", again, "--client", client, "--peer", peer]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check("coco makes a node of one ledger", done.returncode == 0, done.stdout.decode())
    service = again / "service_cert.pem"
    node = Node(coco, folder, again, service)
    node.url = f"https://{client}"
    try:
        check("the service is being recovered", node.waits_for("Recovering"))
        members = [Member(node, name, tools / "ccf_cose_sign1") for name in ["acme", "bank"]]
        identities = {"next_service_identity": service.read_text(), "previous_service_identity": lost.read_text()}
        pass_proposal(members, check, "transition_service_to_open", identities)
        check("the service waits for shares", node.waits_for("WaitingForRecoveryShares"))
        for number, member in enumerate(members, 1):
            keys = ["--member-enc-privk", member.encryption_key, "--member-id-privk", member.key]
            script = [tools / "submit_recovery_share.sh", node.url, *keys, "--member-id-cert", member.cert]
            environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
            sent = subprocess.run(
                list(map(str, [*script, "--cacert", service])),
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment,
            )
            text = sent.stdout.decode()
            check(f"submit_recovery_share.sh sends share {number}", sent.returncode == 0 and f"{number}/2" in text, text)
        check("the service is open again", node.waits_for("Open"))
        verify_kept(coco, tools, node, receipts, folder, check)
    finally:
        code = node.stop()
    check("the node stops cleanly", code == 0, code)
    ledger = again / "ledger"
    for name, command in {
        "read_ledger.py accepts the recovered ledger": [tools / "read_ledger.py", "--uncommitted", ledger],
        "verify_ledger_secrets_chain.py accepts the secrets of the recovered ledger": [
            tools / "verify_ledger_secrets_chain.py", "--uncommitted", ledger
        ],
        "coco verifies the recovered ledger": [coco, "ledger", "verify", ledger, "--service-cert", service],
    }.items():
        command = [tools / "python", *command] if command[0] != coco else command
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        check(name, done.returncode == 0, done.stdout.decode()[-2000:])
