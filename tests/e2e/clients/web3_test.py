"""web3.py and eth-account: deployment, logs, reverts, every envelope, batches and errors."""

import json
import os
import sys
import time

from eth_account import Account
from web3 import Web3
from web3.exceptions import ContractCustomError, ContractLogicError, ContractPanicError, Web3RPCError

CHAIN_ID = 31337
MNEMONIC = "test test test test test test test test test test test junk"

Account.enable_unaudited_hdwallet_features()


def account(index):
    return Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")


def check(value, expected):
    assert value == expected, f"{value!r} is not {expected!r}"


def refused(kind, action):
    """Runs `action`, which must raise `kind`; returns what it raised."""
    try:
        result = action()
    except kind as error:
        return error
    raise AssertionError(f"should have been refused, but gave {result!r}")


class Client:
    def __init__(self, url, contracts):
        self.w3 = Web3(Web3.HTTPProvider(url))
        self.contracts = contracts
        self.grace, self.heidi = account(6), account(7)
        self.against_anvil = self.w3.client_version.startswith("anvil")
        self.token = None

    def nonce(self, who):
        return self.w3.eth.get_transaction_count(who.address)

    def send(self, who, fields):
        """Signs `fields` as `who` and waits for the receipt."""
        fields = {"chainId": CHAIN_ID, "nonce": self.nonce(who), "value": 0, "gas": 21_000, **fields}
        if "gasPrice" not in fields:
            fields = {"maxFeePerGas": 0, "maxPriorityFeePerGas": 0, **fields}
        raw = who.sign_transaction(fields).raw_transaction
        return self.wait(self.w3.eth.send_raw_transaction(raw))

    def wait(self, digest):
        return self.w3.eth.wait_for_transaction_receipt(digest, timeout=10, poll_latency=0.02)

    def transact(self, who, call, **fields):
        filled = call.build_transaction(
            {"from": who.address, "nonce": self.nonce(who), "maxFeePerGas": 0, "maxPriorityFeePerGas": 0, **fields}
        )
        return self.wait(self.w3.eth.send_raw_transaction(who.sign_transaction(filled).raw_transaction))

    def deploy(self, name, *args):
        compiled = self.contracts[name]
        factory = self.w3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
        receipt = self.transact(self.grace, factory.constructor(*args))
        check(receipt.status, 1)
        return self.w3.eth.contract(address=receipt.contractAddress, abi=compiled["abi"])

    # Each method below is one test, run in this order.

    def test_the_chain_is_the_expected_one(self):
        check(self.w3.is_connected(), True)
        check(self.w3.eth.chain_id, CHAIN_ID)
        assert self.w3.eth.get_balance(self.grace.address) > Web3.to_wei(9_000, "ether")

    def test_an_erc20_is_deployed_and_moved(self):
        self.token = self.deploy("Token", "Web3 Token", "WT", 10**20)
        check(self.token.functions.name().call(), "Web3 Token")
        receipt = self.transact(self.grace, self.token.functions.transfer(self.heidi.address, 500))
        check(receipt.status, 1)
        check(self.token.functions.balanceOf(self.heidi.address).call(), 500)
        (event,) = self.token.events.Transfer().process_receipt(receipt)
        check((event.args["from"], event.args.to, event.args.value), (self.grace.address, self.heidi.address, 500))
        logs = self.token.events.Transfer().get_logs(
            from_block=receipt.blockNumber, argument_filters={"to": self.heidi.address}
        )
        check([log.transactionHash for log in logs], [receipt.transactionHash])

    def test_reverts_carry_their_reason(self):
        failing = self.deploy("Failing")
        call = self.token.functions.transfer(self.grace.address, 501)
        error = refused(ContractLogicError, lambda: call.call({"from": self.heidi.address}))
        check(error.message, "execution reverted: balance too low")
        assert error.data.startswith("0x08c379a0"), error.data
        refused(ContractCustomError, lambda: failing.functions.withError(1).call())
        refused(ContractPanicError, lambda: failing.functions.withPanic(0).call())
        refused(ContractLogicError, lambda: failing.functions.withReason().estimate_gas())
        receipt = self.transact(self.grace, failing.functions.withReason(), gas=100_000)
        check(receipt.status, 0)
        check(failing.functions.stored().call(), 42)

    def test_every_envelope_is_included(self):
        target = Account.create().address
        access_list = [{"address": self.token.address, "storageKeys": ["0x" + "00" * 31 + "01"]}]
        kinds = [
            (0, {"gasPrice": 0}),
            (1, {"gasPrice": 0, "accessList": access_list, "type": 1, "gas": 40_000}),
            (2, {"accessList": access_list, "gas": 40_000}),
        ]
        for number, fields in kinds:
            receipt = self.send(self.heidi, {"to": target, "value": 7, **fields})
            check((receipt.status, receipt.type), (1, number))
            stored = self.w3.eth.get_transaction(receipt.transactionHash)
            check((stored.type, stored.value, stored["from"]), (number, 7, self.heidi.address))
        check(self.w3.eth.get_balance(target), 21)

    def test_an_account_borrows_code(self):
        delegate = self.deploy("Delegate")
        borrower = Account.create()
        authorization = borrower.sign_authorization(
            {"chainId": CHAIN_ID, "address": delegate.address, "nonce": 0}
        )
        data = delegate.encode_abi("note", [31])
        receipt = self.send(
            self.heidi,
            {"to": borrower.address, "data": data, "gas": 300_000, "authorizationList": [authorization]},
        )
        check((receipt.status, receipt.type), (1, 4))
        code = self.w3.eth.get_code(borrower.address)
        check(bytes(code), bytes.fromhex("ef0100" + delegate.address[2:]))
        borrowed = self.w3.eth.contract(address=borrower.address, abi=self.contracts["Delegate"]["abi"])
        check(borrowed.functions.noted().call(), 31)

    def test_batches_answer_in_order(self):
        with self.w3.batch_requests() as batch:
            batch.add(self.w3.eth.get_balance(self.grace.address))
            batch.add(self.w3.eth.get_block("latest"))
            batch.add(self.token.functions.symbol())
            balance, block, symbol = batch.execute()
        check(balance, self.w3.eth.get_balance(self.grace.address))
        assert block.number > 0
        check(symbol, "WT")

    def test_errors_say_what_is_wrong(self):
        def send(who, **fields):
            fields = {
                "chainId": CHAIN_ID, "to": self.grace.address, "value": 0, "gas": 21_000,
                "maxFeePerGas": 0, "maxPriorityFeePerGas": 0, **fields,
            }
            raw = who.sign_transaction(fields).raw_transaction
            return refused(Web3RPCError, lambda: self.w3.eth.send_raw_transaction(raw)).rpc_response["error"]

        low = send(self.heidi, nonce=0)
        assert "nonce too low" in low["message"], low
        poor = send(Account.create(), nonce=0, value=1)
        assert "nsufficient funds" in poor["message"], poor
        unknown = self.w3.provider.make_request("coco_noSuchMethod", [])["error"]
        check(unknown["code"], -32601)
        if not self.against_anvil:
            check((low["code"], poor["code"]), (-32000, -32000))

    def test_the_receipt_comes_with_the_answer(self):
        raw = self.heidi.sign_transaction(
            {
                "chainId": CHAIN_ID, "nonce": self.nonce(self.heidi), "to": self.grace.address, "value": 1,
                "gas": 21_000, "maxFeePerGas": 0, "maxPriorityFeePerGas": 0,
            }
        ).raw_transaction
        start = time.monotonic()
        answer = self.w3.provider.make_request("eth_sendRawTransactionSync", [Web3.to_hex(raw)])
        assert time.monotonic() - start < 2, "slower than the default time-out"
        check(answer["result"]["status"], "0x1")
        check(answer["result"]["transactionHash"], Web3.to_hex(Web3.keccak(raw)))

    def test_blocks_and_fee_history(self):
        block = self.w3.eth.get_block("latest", full_transactions=True)
        parent = self.w3.eth.get_block(block.number - 1)
        check(block.parentHash, parent.hash)
        check(sum(self.w3.eth.get_transaction_receipt(tx.hash).gasUsed for tx in block.transactions), block.gasUsed)
        check(block.baseFeePerGas, 0)
        history = self.w3.eth.fee_history(2, "latest", [50])
        check(len(history.baseFeePerGas), 3)
        check(len(history.reward), 2)
        check(self.w3.eth.estimate_gas({"from": self.grace.address, "to": self.heidi.address, "value": 1}), 21_000)
        for tag in ["safe", "finalized", "earliest"]:
            assert self.w3.eth.get_block(tag).number <= self.w3.eth.get_block("latest").number


def main():
    with open(os.environ["COCO_E2E_CONTRACTS"], encoding="utf-8") as file:
        client = Client(sys.argv[1], json.load(file))
    for name in [name for name in vars(Client) if name.startswith("test_")]:
        start = time.monotonic()
        try:
            getattr(client, name)()
        except Exception:
            print(f"FAILED {name[5:].replace('_', ' ')}", flush=True)
            raise
        print(f"ok {name[5:].replace('_', ' ')} ({(time.monotonic() - start) * 1e3:.0f} ms)")
    print("web3.py: all passed")


if __name__ == "__main__":
    main()
