"""What a hostile or broken client sends: each must meet a clear error or a closed connection, and the node goes on.

usage: bad_input.py URL [--peer HOST:PORT]...

Codes and words are those of geth. Every case ends by asking the node for its chain id.
"""

import argparse
import concurrent.futures
import json
import os
import re
import socket
import struct
import sys
import time
from urllib.parse import urlparse

import rlp
from eth_account import Account

CHAIN_ID = 31337
PARSE, REQUEST, METHOD, PARAMS, REJECTED = -32700, -32600, -32601, -32602, -32000
# Larger than any body limit in use; geth's is 5 MiB, Coco's 1 MiB.
BODY_BYTES = 6 << 20
# A node's time-outs for a head or a body are 10 s and 15 s; this leaves room for a busy machine.
SLOW_SECONDS_MAX = 40
# How long an answer to anything that is not slow by design may take.
ANSWER_SECONDS_MAX = 10
IDLE_CONNECTIONS = 200
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Node:
    def __init__(self, url):
        parsed = urlparse(url)
        self.host, self.port, self.path = parsed.hostname, parsed.port or 80, parsed.path or "/"
        Account.enable_unaudited_hdwallet_features()
        phrase = " ".join(["test"] * 11 + ["junk"])
        self.account = Account.from_mnemonic(phrase, account_path="m/44'/60'/0'/0/3")
        self.other = Account.from_mnemonic(phrase, account_path="m/44'/60'/0'/0/2").address
        self.against_anvil = self.call("web3_clientVersion", [])["result"].startswith("anvil")

    def connect(self, seconds=ANSWER_SECONDS_MAX):
        return socket.create_connection((self.host, self.port), timeout=seconds)

    def head(self, length, extra=b""):
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\nConnection: close\r\n"
        ).encode() + extra + b"\r\n"

    def exchange(self, data, seconds=ANSWER_SECONDS_MAX):
        """Sends bytes, reads until the other side closes; returns (status or None, body)."""
        with self.connect(seconds) as stream:
            try:
                stream.sendall(data)
            except (ConnectionResetError, BrokenPipeError):
                pass  # The answer may have been sent before the rest was read.
            return read_answer(stream)

    def post(self, body):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self.exchange(self.head(len(body)) + body)
        return status, json.loads(answer)

    def call(self, method, params):
        _, answer = self.post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return answer

    def alive(self):
        assert self.call("eth_chainId", [])["result"] == hex(CHAIN_ID), "the node no longer answers"

    def refused(self, answer, codes, pattern=""):
        """`answer` must be an error with one of `codes`, its message matching `pattern`."""
        found = answer.get("error")
        assert found, f"should have been refused: {answer}"
        assert answer.get("result") is None, answer
        if self.against_anvil:
            return
        codes = codes if isinstance(codes, tuple) else (codes,)
        assert found["code"] in codes, f"code {found['code']}, expected {codes}: {found}"
        assert re.search(pattern, found["message"], re.IGNORECASE), f"no {pattern!r} in {found['message']!r}"

    def nonce(self):
        return int(self.call("eth_getTransactionCount", [self.account.address, "latest"])["result"], 16)

    def signed(self, **fields):
        base = {
            "chainId": CHAIN_ID, "nonce": self.nonce(), "to": self.other, "value": 1, "gas": 21_000,
            "maxFeePerGas": 0, "maxPriorityFeePerGas": 0,
        }
        fields = {**base, **fields}
        if "gasPrice" in fields:
            del fields["maxFeePerGas"], fields["maxPriorityFeePerGas"]
        fields = {name: value for name, value in fields.items() if value is not None}
        return bytes(self.account.sign_transaction(fields).raw_transaction)

    def submit(self, raw):
        raw = raw if isinstance(raw, str) else "0x" + raw.hex()
        return self.call("eth_sendRawTransaction", [raw])


def read_answer(stream):
    data = b""
    try:
        while chunk := stream.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    if not data.startswith(b"HTTP/"):
        return None, data
    head, _, body = data.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        body = unchunked(body)
    return int(head.split()[1]), body


def unchunked(body):
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        size = int(size, 16)
        whole += body[:size]
        body = body[size + 2:]
    return whole


# --- JSON-RPC that is not.


def malformed_json(node):
    for body in [b"{", b"nonsense", b'{"jsonrpc":"2.0","id":1,', b'{"a":"\xff\xfe"}', b"\x00\x01\x02"]:
        status, answer = node.post(body)
        assert status in (200, 400), status
        node.refused(answer, PARSE)


def not_a_request(node):
    for body in [b"5", b'"text"', b"{}", b'{"jsonrpc":"2.0","id":1}', b'{"jsonrpc":"2.0","id":1,"method":7}', b"[]"]:
        _, answer = node.post(body)
        # An empty batch may be answered with one error, in a list or not.
        answer = answer[0] if isinstance(answer, list) else answer
        node.refused(answer, (REQUEST, PARSE, METHOD))


def batch_of_garbage(node):
    _, answer = node.post([1, "x", {"jsonrpc": "2.0", "id": 4, "method": "eth_chainId", "params": []}])
    answers = answer if isinstance(answer, list) else [answer]
    good = [one for one in answers if one.get("id") == 4]
    if good:
        assert good[0]["result"] == hex(CHAIN_ID)
    bad = [one for one in answers if one.get("id") != 4]
    assert bad
    for one in bad:
        node.refused(one, (REQUEST, PARSE, METHOD))


def deeply_nested(node):
    for opening in [b"[", b'{"a":', b'{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[']:
        status, answer = node.exchange(node.head(len(opening) * 20_000) + opening * 20_000)
        assert status is None or status < 500, status
        assert b"result" not in answer


def unknown_method(node):
    node.refused(node.call("eth_doesNotExist", []), METHOD, "does not exist/is not available")
    node.refused(node.call("", []), (METHOD, REQUEST))
    node.refused(node.call("x" * 100_000, []), (METHOD, REQUEST))


def wrong_parameters(node):
    latest = "latest"
    for method, params in [
        ("eth_getBalance", []),
        ("eth_getBalance", ["0x1234", latest]),
        ("eth_getBalance", ["nonsense", latest]),
        ("eth_getBalance", [node.other, "0xzz"]),
        ("eth_getBalance", [node.other, "latestt"]),
        ("eth_getBlockByNumber", ["0x", False]),
        ("eth_getBlockByNumber", [latest, "yes"]),
        ("eth_getTransactionByHash", ["0x12"]),
        ("eth_getTransactionReceipt", [7]),
        ("eth_getLogs", ["nonsense"]),
        ("eth_call", [{"to": "nowhere"}, latest]),
        ("eth_sendRawTransaction", []),
        ("eth_sendRawTransaction", [{"to": node.other}]),
    ]:
        try:
            node.refused(node.call(method, params), PARAMS)
        except AssertionError as failure:
            raise AssertionError(f"{method} {params}: {failure}") from None


def ten_thousand_calls(node):
    calls = [{"jsonrpc": "2.0", "id": i, "method": "eth_chainId", "params": []} for i in range(10_000)]
    _, answer = node.post(calls)
    answers = answer if isinstance(answer, list) else [answer]
    assert len(answers) == 1, f"{len(answers)} answers"
    node.refused(answers[0], REQUEST, "batch too large")


# --- HTTP that is not.


def oversized_body(node):
    status, _ = node.exchange(node.head(BODY_BYTES) + b" " * BODY_BYTES)
    assert status in (None, 413), status
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = node.head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    status, _ = node.exchange(head + chunk * (BODY_BYTES // 0x10000) + b"0\r\n\r\n")
    assert status in (None, 400, 413), status


def too_many_headers(node):
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
    many = b"".join(b"X-%d: 1\r\n" % i for i in range(2_000))
    large = b"X-Large: " + b"x" * (1 << 20) + b"\r\n"
    for extra in [many, large]:
        status, _ = node.exchange(node.head(len(body), extra) + body)
        assert status in (None, 400, 431), status


def garbage_on_the_wire(node):
    for data in [
        os.urandom(4096),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000,
        node.head(-5) + b"12345",
        node.head(5, b"Content-Length: 7\r\n") + b"1234567",
        b"POST / HTTP/9.9\r\n\r\n",
    ]:
        with node.connect() as stream:
            try:
                stream.sendall(data)
                stream.shutdown(socket.SHUT_WR)
            except OSError:
                continue
            try:
                status, _ = read_answer(stream)
            except TimeoutError:
                raise AssertionError(f"neither answered nor closed: {data[:40]!r}") from None
            assert status is None or 400 <= status < 500, f"{status} to {data[:40]!r}"


def wrong_http_method(node):
    for method in ["PUT", "DELETE", "PATCH"]:
        status, _ = node.exchange(f"{method} {node.path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert status in (404, 405), f"{method}: {status}"


def dropped_in_the_middle(node):
    for _ in range(50):
        with node.connect() as stream:
            stream.sendall(node.head(1000) + b'{"jsonrpc"')
            # Linger 0: close with a reset.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# --- Slow clients.


def closed_within(stream, seconds, drip=None):
    """True once the other side answers or closes; sends `drip` every second until then."""
    start = time.monotonic()
    stream.settimeout(1)
    while time.monotonic() - start < seconds:
        try:
            if drip:
                stream.sendall(drip)
            data = stream.recv(4096)
            if not data or data.startswith(b"HTTP/1.1 4"):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def slow_clients(node):
    def slow(first, drip):
        with node.connect() as stream:
            stream.sendall(first)
            return closed_within(stream, SLOW_SECONDS_MAX, drip)

    cases = {
        "says nothing": (b"", None),
        "a byte of the head each second": (b"POST ", b"a"),
        "a header line each second": (f"POST {node.path} HTTP/1.1\r\n".encode(), b"X-A: 1\r\n"),
        "stops in the body": (node.head(1000) + b"{", None),
        "a byte of the body each second": (node.head(1000), b" "),
    }
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        closed = dict(zip(cases, pool.map(lambda case: slow(*case), cases.values())))
    still_open = [name for name, was_closed in closed.items() if not was_closed]
    assert not still_open, f"still open after {SLOW_SECONDS_MAX} s: {still_open}"


def many_idle_connections(node):
    idle = [node.connect() for _ in range(IDLE_CONNECTIONS)]
    try:
        start = time.monotonic()
        node.alive()
        assert time.monotonic() - start < 5, "slow beside idle connections"
    finally:
        for stream in idle:
            stream.close()


# --- Transactions.


def raw_that_is_not(node):
    good = node.signed()
    for raw in ["0xzz", "0x123", good.hex()]:
        node.refused(node.submit(raw), PARAMS)
    for raw in ["0x", "0x02", "0x05" + "00" * 40, "0x" + good.hex()[:-20], "0xc0", "0x" + "ff" * 200]:
        node.refused(node.submit(raw), REJECTED)


def wrong_chain_id(node):
    for fields in [{"chainId": 1}, {"chainId": 1, "gasPrice": 0}]:
        node.refused(node.submit(node.signed(**fields)), REJECTED, "chain id")


def unprotected(node):
    node.refused(node.submit(node.signed(chainId=None, gasPrice=0)), REJECTED, "only replay-protected")


def bad_signature(node):
    # Fields of a type 2 transaction; the last three are the signature.
    fields = rlp.decode(node.signed()[1:])
    v, r, s = (int.from_bytes(field, "big") for field in fields[-3:])
    cases = {
        "s is high": (1 - v, r, CURVE_ORDER - s),
        "r is zero": (v, 0, s),
        "s is zero": (v, r, 0),
        "r is above the order": (v, CURVE_ORDER + 1, s),
        "signs another transaction": (v, r, (s + 1) % (CURVE_ORDER // 2)),
    }
    for name, (v, r, s) in cases.items():
        signature = [number.to_bytes((number.bit_length() + 7) // 8, "big") for number in (v, r, s)]
        answer = node.submit(b"\x02" + rlp.encode([*fields[:-3], *signature]))
        assert answer.get("error"), f"{name}: accepted: {answer}"
        # A signature of something else belongs to a stranger, who has nothing to send.
        node.refused(answer, REJECTED, "invalid sender|signature|v, r, s|insufficient funds|nonce")


def nonce_too_low(node):
    before, raw = node.nonce(), node.signed()
    assert "result" in node.submit(raw)
    wait_for(lambda: node.nonce() > before)
    node.refused(node.submit(node.signed(nonce=0, value=2)), REJECTED, "nonce too low")


def gas_that_does_not_fit(node):
    node.refused(node.submit(node.signed(gas=1 << 40)), REJECTED, "gas limit")
    node.refused(node.submit(node.signed(gas=20_999)), REJECTED, "intrinsic gas too low")


def fees_that_do_not_fit(node):
    node.refused(node.submit(node.signed(maxFeePerGas=1, maxPriorityFeePerGas=2)), REJECTED, "priority fee")
    node.refused(node.submit(node.signed(value=1 << 200)), REJECTED, "insufficient funds")


def too_large(node):
    node.refused(node.submit(node.signed(data=b"\x01" * 200_000, gas=10_000_000)), REJECTED, "oversized|size")
    node.refused(node.submit(node.signed(to=None, data=b"\x00" * 60_000, gas=10_000_000)), REJECTED, "initcode")


def wait_for(condition, seconds=10):
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "did not happen in time"
        time.sleep(0.02)


def still_takes_transactions(node):
    answer = node.call("eth_sendRawTransactionSync", ["0x" + node.signed().hex()])
    assert answer["result"]["status"] == "0x1", answer


# --- The port for other nodes.


def garbage_to_a_peer(node, peers):
    for host, port in peers:
        for data in [
            b"",
            os.urandom(100_000),
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(508),
            b"\xff" * 64,
        ]:
            with socket.create_connection((host, port), timeout=ANSWER_SECONDS_MAX) as stream:
                try:
                    stream.sendall(data)
                except OSError:
                    continue
                assert closed_within(stream, SLOW_SECONDS_MAX) or not data, f"{host}:{port} stays open: {data[:20]!r}"
        many = [socket.create_connection((host, port), timeout=ANSWER_SECONDS_MAX) for _ in range(100)]
        for stream in many:
            stream.close()
    still_takes_transactions(node)


CASES = [
    malformed_json, not_a_request, batch_of_garbage, deeply_nested, unknown_method, wrong_parameters,
    ten_thousand_calls, oversized_body, too_many_headers, garbage_on_the_wire, wrong_http_method,
    dropped_in_the_middle, raw_that_is_not, wrong_chain_id, unprotected, bad_signature, nonce_too_low,
    gas_that_does_not_fit, fees_that_do_not_fit, too_large, many_idle_connections, slow_clients,
    still_takes_transactions,
]

# What anvil, on which this program is tried out, takes or leaves open; and it has codes and words of its own.
ANVIL_TAKES = {
    oversized_body, raw_that_is_not, wrong_chain_id, unprotected, bad_signature, slow_clients, ten_thousand_calls,
    too_large,
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--peer", action="append", default=[], metavar="HOST:PORT")
    arguments = parser.parse_args()
    node = Node(arguments.url)
    cases = [(case.__name__, case) for case in CASES if not (node.against_anvil and case in ANVIL_TAKES)]
    if arguments.peer:
        peers = [(peer.rpartition(":")[0], int(peer.rpartition(":")[2])) for peer in arguments.peer]
        cases.append(("garbage_to_a_peer", lambda node: garbage_to_a_peer(node, peers)))
    failed = 0
    for name, case in cases:
        start = time.monotonic()
        try:
            case(node)
            node.alive()
        except Exception as problem:
            failed += 1
            print(f"FAILED {name}: {type(problem).__name__}: {problem}", flush=True)
            continue
        print(f"ok {name} ({(time.monotonic() - start) * 1e3:.0f} ms)", flush=True)
    print(f"bad input: {len(cases) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
