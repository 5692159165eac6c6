"""All nodes are given up. The service comes back from one node's ledger; members send their shares with
`submit_recovery_share.sh` of the package `ccf`, and `read_ledger.py` accepts the ledger that goes on.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from urllib.error import URLError
from urllib.request import urlopen

from members import Member, pass_proposal

SECONDS_MAX = 30


class Node:
    """The one node of a recovered service."""

    def __init__(self, coco, folder, node, service):
        self.folder, self.service = folder, service
        self.context = ssl.create_default_context(cafile=str(service))
        with open(node.parent / "recovered.log", "wb") as log:
            command = [coco, "node", "--config", str(node / "node.toml")]
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


def recover(coco, tools, folder, check):
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
