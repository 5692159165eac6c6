"""Members of a development network sign with `ccf_cose_sign1` of the package `ccf`, which nobody here wrote, and the
node takes what they sign.
"""

import json
import subprocess
from datetime import datetime, timezone
from urllib.error import HTTPError
from urllib.request import Request

VERSION = "api-version=2024-07-01"
YES = "export function vote (proposal, proposerId) { return true; }"


class Member:
    """A member whose key `coco dev` made."""

    def __init__(self, network, name, sign):
        self.url, self.sign, self.open = network.url, sign, network.open
        self.key = network.folder / "members" / f"{name}.key.pem"
        self.cert = network.folder / "members" / f"{name}.cert.pem"
        self.encryption_key = network.folder / "members" / f"{name}.enc.key.pem"
        listed = json.loads(network.get(f"/gov/service/members?{VERSION}"))["value"]
        self.id = next(member["memberId"] for member in listed if member["memberData"]["name"] == name)

    def signed(self, kind, content, proposal=None):
        """The request in COSE, as the package's program makes it."""
        command = [
            self.sign, "--content", "-", "--signing-key", self.key, "--signing-cert", self.cert,
            "--ccf-gov-msg-type", kind,
            "--ccf-gov-msg-created-at", datetime.now(timezone.utc).isoformat(),
        ]
        if proposal:
            command += ["--ccf-gov-msg-proposal-id", proposal]
        text = b"" if content is None else json.dumps(content).encode()
        return subprocess.run(list(map(str, command)), input=text, stdout=subprocess.PIPE, check=True).stdout

    def post(self, path, envelope):
        """Status, and the answer's JSON if it has any."""
        headers = {"content-type": "application/cose"}
        request = Request(f"{self.url}/gov/{path}?{VERSION}", envelope, headers, method="POST")
        try:
            with self.open(request) as answer:
                status, body = answer.status, answer.read()
        except HTTPError as error:
            status, body = error.code, error.read()
        return status, json.loads(body) if body else None

    def propose(self, action, args=None):
        content = {"actions": [{"name": action, "args": args}]}
        return self.post("members/proposals:create", self.signed("proposal", content))

    def withdraw(self, proposal):
        return self.post(f"members/proposals/{proposal}:withdraw", self.signed("withdrawal", None, proposal))

    def vote(self, proposal, ballot=YES):
        envelope = self.signed("ballot", {"ballot": ballot}, proposal)
        return self.post(f"members/proposals/{proposal}/ballots/{self.id}:submit", envelope)


def acknowledge(member, check):
    digests = f"members/state-digests/{member.id}"
    status, answer = member.post(f"{digests}:update", member.signed("state_digest", None))
    check("a member asks for the state's digest", status == 200, answer)
    content = {"stateDigest": answer.get("stateDigest")}
    status, answer = member.post(f"{digests}:ack", member.signed("ack", content))
    check("a member acknowledges it", status == 204, answer)


def pass_proposal(members, check, action, args=None):
    status, made = members[0].propose(action, args)
    check(f"{action} is proposed", status == 200 and made["proposalState"] == "Open", made)
    status, first = members[0].vote(made["proposalId"])
    check(f"a ballot for {action} is taken", status == 200 and first["ballotCount"] == 1, first)
    status, last = members[1].vote(made["proposalId"])
    check(f"two of three members decide on {action}", status == 200 and last["proposalState"] == "Accepted", last)


def govern(network, sign, check):
    """Every kind of request, and some that are to be refused."""
    acme, bank = (Member(network, name, sign) for name in ["acme", "bank"])
    for member in [acme, bank]:
        acknowledge(member, check)
    status, made = acme.propose("trigger_recovery_shares_refresh")
    check("a proposal is made", status == 200 and made["proposerId"] == acme.id, made)
    status, answer = bank.withdraw(made["proposalId"])
    check("another member's proposal is not withdrawn", status == 403, answer)
    status, answer = acme.withdraw(made["proposalId"])
    check("a proposal is withdrawn", status == 200 and answer["proposalState"] == "Withdrawn", answer)
    data = {"name": "acme", "signed": "with another tool"}
    pass_proposal([acme, bank], check, "set_member_data", {"member_id": acme.id, "member_data": data})
    shown = json.loads(network.get(f"/gov/service/members/{acme.id}?{VERSION}"))
    check("what was decided is shown", shown["memberData"] == data, shown)
    before = json.loads(network.get("/node/network"))["service_certificate"]
    valid_from = datetime.now(timezone.utc).strftime("%y%m%d%H%M%SZ")
    period = {"valid_from": valid_from, "validity_period_days": 90}
    pass_proposal([acme, bank], check, "set_service_certificate_validity", period)
    after = json.loads(network.get("/node/network"))["service_certificate"]
    check("the service has another certificate", before != after, after)
    pass_proposal([acme, bank], check, "trigger_ledger_rekey")
    # Ends a chunk, so that there is one whose name says that it is committed.
    pass_proposal([acme, bank], check, "trigger_ledger_chunk")
    changed = bytearray(acme.signed("proposal", {"actions": [{"name": "trigger_snapshot"}]}))
    changed[-1] ^= 1
    status, answer = acme.post("members/proposals:create", bytes(changed))
    check("a changed signature is refused", status == 401, answer)
