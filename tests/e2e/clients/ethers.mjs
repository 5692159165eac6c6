// ethers 6: everything a dapp does, and the shapes of what it reads.
import assert from "node:assert/strict";
import { ethers } from "ethers";
import { againstAnvil, call, chainId, contracts, failure, mnemonic, post, raw, step, url } from "./harness.mjs";

const provider = new ethers.JsonRpcProvider(url, undefined, { cacheTimeout: -1 });
provider.pollingInterval = 50;
const wallets = Array.from({ length: 10 }, (_, index) =>
  ethers.HDNodeWallet.fromPhrase(mnemonic, undefined, `m/44'/60'/0'/0/${index}`).connect(provider),
);
const [alice, bob, carol, dave] = wallets;
const supply = 10n ** 24n;
const hex = ethers.toBeHex;
const quantity = /^0x(0|[1-9a-f][0-9a-f]*)$/;
const word = /^0x[0-9a-f]{64}$/;
let token;
let failing;

const deploy = async (name, wallet, ...args) => {
  const factory = new ethers.ContractFactory(contracts[name].abi, contracts[name].bytecode, wallet);
  const contract = await factory.deploy(...args);
  await contract.waitForDeployment();
  return contract;
};
const nonceOf = (wallet) => provider.getTransactionCount(wallet.address, "latest");
const signed = async (wallet, fields) =>
  wallet.signTransaction({ chainId, type: 2, gasLimit: 21_000, maxFeePerGas: 0, maxPriorityFeePerGas: 0, ...fields });

await step("the network says who it is", async () => {
  assert.equal((await provider.getNetwork()).chainId, BigInt(chainId));
  assert.equal(await call("net_version"), String(chainId));
  assert.equal(await call("net_listening"), true);
  assert.equal(await call("eth_syncing"), false);
  assert.ok(Array.isArray(await call("eth_accounts")));
  assert.match(await call("web3_clientVersion"), /.+\/v?\d/);
});

await step("the ten well-known accounts are funded", async () => {
  assert.equal(alice.address, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
  for (const wallet of wallets) {
    assert.ok((await provider.getBalance(wallet.address)) > 9_000n * 10n ** 18n, wallet.address);
  }
});

await step("an ERC-20 is deployed", async () => {
  const nonce = await nonceOf(alice);
  token = await deploy("Token", alice, "Test Token", "TT", supply);
  const address = await token.getAddress();
  assert.equal(address, ethers.getCreateAddress({ from: alice.address, nonce }));
  const receipt = await token.deploymentTransaction().wait();
  assert.equal(receipt.status, 1);
  assert.equal(receipt.contractAddress, address);
  assert.equal(receipt.to, null);
  assert.ok((await provider.getCode(address)).length > 100);
  assert.equal(await token.name(), "Test Token");
  assert.equal(await token.symbol(), "TT");
  assert.equal(await token.totalSupply(), supply);
  assert.equal(await token.balanceOf(alice.address), supply);
});

await step("tokens move, and logs say so", async () => {
  const address = await token.getAddress();
  const receipt = await (await token.transfer(bob.address, 1_000n)).wait();
  assert.equal(receipt.status, 1);
  assert.equal(await token.balanceOf(bob.address), 1_000n);
  await (await token.connect(bob).approve(carol.address, 600n)).wait();
  const pulled = await (await token.connect(carol).transferFrom(bob.address, dave.address, 250n)).wait();
  assert.equal(await token.allowance(bob.address, carol.address), 350n);
  assert.equal(await token.balanceOf(dave.address), 250n);

  const events = await token.queryFilter(token.filters.Transfer(), receipt.blockNumber, pulled.blockNumber);
  assert.deepEqual(
    events.map(({ args }) => [args.from, args.to, args.value]),
    [
      [alice.address, bob.address, 1_000n],
      [bob.address, dave.address, 250n],
    ],
  );
  const [log] = events;
  assert.equal(log.transactionHash, receipt.hash);
  assert.equal(log.blockHash, receipt.blockHash);
  assert.equal(log.index, receipt.logs[0].index);
  assert.equal(log.address, address);
  assert.equal(log.removed, false);

  const transfer = ethers.id("Transfer(address,address,uint256)");
  const approval = ethers.id("Approval(address,address,uint256)");
  const range = { address, fromBlock: ethers.toQuantity(receipt.blockNumber), toBlock: ethers.toQuantity(pulled.blockNumber) };
  const count = async (filter) => (await call("eth_getLogs", { ...range, ...filter })).length;
  assert.equal(await count({}), 3);
  assert.equal(await count({ topics: [[transfer, approval]] }), 3);
  assert.equal(await count({ topics: [null, ethers.zeroPadValue(bob.address, 32)] }), 2);
  assert.equal(await count({ topics: [transfer, null, ethers.zeroPadValue(alice.address, 32)] }), 0);
  assert.equal(await count({ address: [dave.address] }), 0);
  const byHash = await call("eth_getLogs", { blockHash: receipt.blockHash, address });
  assert.equal(byHash.length, 1);
  assert.equal(byHash[0].transactionHash, receipt.hash);
});

await step("an event listener hears a transfer", async () => {
  const heard = new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error("nothing heard in 10 s")), 10_000).unref();
    token.on(token.filters.Transfer(null, dave.address), (event) => resolve(event.args.value));
  });
  // The listener's filter or first block number must be there before the event is.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await (await token.transfer(dave.address, 77n)).wait();
  assert.equal(await heard, 77n);
  await token.removeAllListeners();
});

await step("a failing call gives its reason", async () => {
  failing = await deploy("Failing", alice);
  const to = await failing.getAddress();
  await assert.rejects(token.connect(carol).transfer.staticCall(bob.address, supply), (error) => {
    assert.equal(error.code, "CALL_EXCEPTION");
    assert.equal(error.reason, "balance too low");
    return true;
  });
  await assert.rejects(failing.withError.staticCall(7n), (error) => {
    assert.equal(error.revert.name, "Denied");
    assert.deepEqual([...error.revert.args], [alice.address, 7n]);
    return true;
  });
  await assert.rejects(failing.withPanic.staticCall(0n), (error) => {
    assert.match(error.reason, /0x12|DIVIDE|division/i);
    return true;
  });
  const data = (name, args = []) => failing.interface.encodeFunctionData(name, args);
  const reason = await failure("eth_call", { to, data: data("withReason") }, "latest");
  assert.equal(reason.code, 3);
  assert.equal(reason.message, "execution reverted: not today");
  assert.equal(reason.data, failing.interface.encodeErrorResult("Error(string)", ["not today"]));
  const silent = await failure("eth_call", { to, data: data("withoutReason") }, "latest");
  assert.equal(silent.code, 3);
  assert.equal(silent.message, "execution reverted");
  assert.equal(silent.data, "0x");
  await assert.rejects(failing.withReason.estimateGas(), (error) => error.reason === "not today");
});

await step("a failing transaction is included with status 0 and changes nothing", async () => {
  const response = await failing.withReason({ gasLimit: 100_000 });
  await assert.rejects(response.wait(), (error) => error.code === "CALL_EXCEPTION" && error.receipt.status === 0);
  const receipt = await provider.getTransactionReceipt(response.hash);
  assert.equal(receipt.status, 0);
  assert.equal(receipt.logs.length, 0);
  assert.ok(receipt.gasUsed < 100_000n);
  assert.equal(await failing.stored(), 42n);
  const loop = await failing.withEndlessLoop({ gasLimit: 90_000 });
  await assert.rejects(loop.wait());
  assert.equal((await provider.getTransactionReceipt(loop.hash)).gasUsed, 90_000n);
  assert.equal(await provider.getStorage(await failing.getAddress(), 0), hex(42, 32));
});

await step("legacy, 2930, 1559 and 7702 transactions", async () => {
  const to = ethers.Wallet.createRandom().address;
  const fees = { legacy: { gasPrice: 0 }, typed: { maxFeePerGas: 0, maxPriorityFeePerGas: 0 } };
  const accessList = [{ address: await token.getAddress(), storageKeys: [hex(1, 32)] }];
  const kinds = [
    { type: 0, ...fees.legacy },
    { type: 1, ...fees.legacy, accessList },
    { type: 2, ...fees.typed, accessList },
  ];
  for (const [index, kind] of kinds.entries()) {
    const response = await bob.sendTransaction({ to, value: 5n, gasLimit: 60_000, ...kind });
    const receipt = await response.wait();
    assert.equal(receipt.status, 1);
    assert.equal(receipt.type, kind.type);
    const stored = await provider.getTransaction(response.hash);
    assert.equal(stored.type, kind.type);
    assert.equal(stored.from, bob.address);
    assert.equal(stored.value, 5n);
    assert.equal(stored.chainId, BigInt(chainId));
    assert.equal(ethers.Transaction.from(stored).serialized, ethers.Transaction.from(response).serialized);
    if (kind.accessList) assert.equal(stored.accessList[0].storageKeys[0], hex(1, 32));
    assert.equal(await provider.getBalance(to), 5n * BigInt(index + 1));
  }
  const sealed = await call("eth_getTransactionReceipt", (await provider.getBlock("latest")).transactions[0]);
  assert.equal(sealed.type, "0x2");
});

await step("a 7702 account borrows code and gives it back", async () => {
  const delegate = await deploy("Delegate", alice);
  const address = await delegate.getAddress();
  const account = ethers.Wallet.createRandom().connect(provider);
  const authorization = await account.authorize({ address, nonce: 0, chainId });
  const note = delegate.interface.encodeFunctionData("note", [99]);
  const response = await carol.sendTransaction({
    type: 4, to: account.address, data: note, gasLimit: 300_000, authorizationList: [authorization],
    maxFeePerGas: 0, maxPriorityFeePerGas: 0,
  });
  const receipt = await response.wait();
  assert.equal(receipt.status, 1);
  assert.equal(receipt.type, 4);
  assert.equal(receipt.logs[0].address, account.address);
  assert.equal(await provider.getCode(account.address), `0xef0100${address.slice(2).toLowerCase()}`);
  assert.equal(await nonceOf(account), 1);
  assert.equal(await delegate.attach(account.address).noted(), 99n);
  const stored = await call("eth_getTransactionByHash", response.hash);
  assert.equal(stored.type, "0x4");
  assert.equal(stored.authorizationList.length, 1);
  assert.equal(stored.authorizationList[0].address, address.toLowerCase());

  const undo = await account.authorize({ address: ethers.ZeroAddress, nonce: 1, chainId });
  const second = await carol.sendTransaction({
    type: 4, to: carol.address, gasLimit: 300_000, authorizationList: [undo],
    maxFeePerGas: 0, maxPriorityFeePerGas: 0,
  });
  assert.equal((await second.wait()).status, 1);
  assert.equal(await provider.getCode(account.address), "0x");
});

await step("blob transactions are refused", async () => {
  const transaction = ethers.Transaction.from({
    type: 3, chainId, nonce: await nonceOf(dave), to: bob.address, gasLimit: 21_000, maxFeePerGas: 1,
    maxPriorityFeePerGas: 0, maxFeePerBlobGas: 1, blobVersionedHashes: [`0x01${"00".repeat(31)}`],
  });
  const error = await failure("eth_sendRawTransaction", await dave.signTransaction(transaction));
  if (!againstAnvil) {
    assert.equal(error.code, -32000);
    assert.match(error.message, /transaction type not supported/);
  }
});

await step("nonces that do not fit are refused", async () => {
  const nonce = await nonceOf(dave);
  await (await dave.sendTransaction({ to: bob.address, value: 1n })).wait();
  const low = await failure("eth_sendRawTransaction", await signed(dave, { nonce, to: bob.address, value: 2n }));
  assert.match(low.message, /nonce too low/);
  await assert.rejects(dave.sendTransaction({ nonce, to: bob.address, value: 3n, gasLimit: 21_000 }), {
    code: "NONCE_EXPIRED",
  });
  if (againstAnvil) return;
  assert.equal(low.code, -32000);
  const gap = await signed(dave, { nonce: nonce + 5, to: bob.address });
  const error = await failure("eth_sendRawTransactionSync", gap, 1_000);
  assert.equal(error.code, 6);
  assert.equal(error.data, ethers.toQuantity(nonce + 1));
});

await step("a transaction sent synchronously is answered with its receipt", async () => {
  const nonce = await nonceOf(dave);
  const bytes = await signed(dave, { nonce, to: bob.address, value: 1n });
  const receipt = await call("eth_sendRawTransactionSync", bytes);
  assert.equal(receipt.transactionHash, ethers.keccak256(bytes));
  assert.equal(receipt.status, "0x1");
  assert.deepEqual(await call("eth_getTransactionReceipt", receipt.transactionHash), receipt);
  assert.equal(await nonceOf(dave), nonce + 1);
  if (againstAnvil) return;
  assert.deepEqual(await call("eth_sendRawTransactionSync", bytes), receipt, "sent again, answered the same");
  assert.equal(await call("eth_sendRawTransaction", bytes), receipt.transactionHash);
  assert.equal(await nonceOf(dave), nonce + 1);
});

await step("a nonce gap closes when the missing transaction comes", async () => {
  const nonce = await nonceOf(dave);
  const second = await signed(dave, { nonce: nonce + 1, to: bob.address, value: 1n });
  const first = await signed(dave, { nonce, to: bob.address, value: 1n });
  const wait = againstAnvil ? [] : [5_000];
  const waiting = call("eth_sendRawTransactionSync", second, ...wait);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const before = await call("eth_sendRawTransactionSync", first);
  const after = await waiting;
  assert.equal(before.status, "0x1");
  assert.equal(after.status, "0x1");
  assert.ok(BigInt(after.blockNumber) >= BigInt(before.blockNumber));
});

await step("batches keep ids and answer each call for itself", async () => {
  const answers = await post([
    { jsonrpc: "2.0", id: 7, method: "eth_chainId", params: [] },
    { jsonrpc: "2.0", id: "text", method: "eth_getBalance", params: [alice.address, "latest"] },
    { jsonrpc: "2.0", id: 9, method: "eth_thisDoesNotExist", params: [] },
    { jsonrpc: "2.0", id: 10, method: "eth_getBalance", params: ["0x12"] },
  ]);
  assert.equal(answers.length, 4);
  const byId = new Map(answers.map((answer) => [answer.id, answer]));
  assert.equal(byId.get(7).result, hex(chainId));
  assert.match(byId.get("text").result, quantity);
  assert.equal(byId.get(9).error.code, -32601);
  assert.equal(byId.get(10).error.code, -32602);
});

await step("a batch of transactions of one sender is taken in order", async () => {
  const nonce = await nonceOf(carol);
  const bytes = await Promise.all(
    [0, 1, 2, 3].map((offset) => signed(carol, { nonce: nonce + offset, to: bob.address, value: 1n })),
  );
  const answers = await post(
    bytes.map((raw, id) => ({ jsonrpc: "2.0", id, method: "eth_sendRawTransaction", params: [raw] })),
  );
  assert.deepEqual(
    answers.sort((a, b) => a.id - b.id).map(({ result }) => result),
    bytes.map((raw) => ethers.keccak256(raw)),
  );
  for (const raw of bytes) await provider.waitForTransaction(ethers.keccak256(raw), 1, 10_000);
  assert.equal(await nonceOf(carol), nonce + 4);
});

await step("blocks have the right shape and their hash is the hash of their header", async () => {
  const head = Number(await call("eth_blockNumber"));
  assert.ok(head > 5);
  for (let number = Math.max(head - 8, 0); number <= head; number++) {
    const block = await call("eth_getBlockByNumber", ethers.toQuantity(number), false);
    checkBlock(block, number);
    if (number > 0) {
      const parent = await call("eth_getBlockByNumber", ethers.toQuantity(number - 1), false);
      assert.equal(block.parentHash, parent.hash);
      assert.ok(BigInt(block.timestamp) >= BigInt(parent.timestamp));
    }
    const full = await call("eth_getBlockByHash", block.hash, true);
    assert.deepEqual({ ...full, transactions: null }, { ...block, transactions: null });
    assert.deepEqual(full.transactions.map(({ hash }) => hash), block.transactions);
    const receipts = await call("eth_getBlockReceipts", ethers.toQuantity(number));
    assert.equal(receipts.length, block.transactions.length);
    await checkInside(full, receipts);
  }
});

function checkBlock(block, number) {
  assert.equal(block.number, ethers.toQuantity(number));
  for (const field of ["hash", "parentHash", "stateRoot", "transactionsRoot", "receiptsRoot", "sha3Uncles", "mixHash"]) {
    assert.match(block[field], word, field);
  }
  for (const field of ["gasLimit", "gasUsed", "timestamp", "difficulty", "size", "baseFeePerGas"]) {
    assert.match(block[field], quantity, field);
  }
  assert.match(block.logsBloom, /^0x[0-9a-f]{512}$/);
  assert.match(block.miner, /^0x[0-9a-f]{40}$/);
  assert.match(block.nonce, /^0x[0-9a-f]{16}$/);
  assert.deepEqual(block.uncles, []);
  const number_ = (field) => (BigInt(block[field]) === 0n ? "0x" : hex(BigInt(block[field])));
  const header = [
    block.parentHash, block.sha3Uncles, block.miner, block.stateRoot, block.transactionsRoot, block.receiptsRoot,
    block.logsBloom, number_("difficulty"), number_("number"), number_("gasLimit"), number_("gasUsed"),
    number_("timestamp"), block.extraData, block.mixHash, block.nonce, number_("baseFeePerGas"),
  ];
  if (block.withdrawalsRoot) header.push(block.withdrawalsRoot);
  if (block.blobGasUsed) header.push(number_("blobGasUsed"), number_("excessBlobGas"));
  if (block.parentBeaconBlockRoot) header.push(block.parentBeaconBlockRoot);
  if (block.requestsHash) header.push(block.requestsHash);
  assert.equal(ethers.keccak256(ethers.encodeRlp(header)), block.hash, `hash of block ${number}`);
}

async function checkInside(block, receipts) {
  let gas = 0n;
  let logIndex = 0;
  let bloom = 0n;
  for (const [index, transaction] of block.transactions.entries()) {
    const receipt = receipts[index];
    gas += BigInt(receipt.gasUsed);
    bloom |= BigInt(receipt.logsBloom);
    assert.equal(receipt.transactionHash, transaction.hash);
    assert.equal(receipt.blockHash, block.hash);
    assert.equal(receipt.transactionIndex, ethers.toQuantity(index));
    assert.equal(transaction.transactionIndex, ethers.toQuantity(index));
    assert.equal(transaction.blockHash, block.hash);
    assert.equal(BigInt(receipt.cumulativeGasUsed), gas);
    assert.match(receipt.effectiveGasPrice, quantity);
    assert.equal(receipt.from, transaction.from);
    for (const log of receipt.logs) {
      assert.equal(log.logIndex, ethers.toQuantity(logIndex++));
      assert.equal(log.transactionHash, transaction.hash);
    }
    const place = ethers.toQuantity(index);
    assert.deepEqual(await call("eth_getTransactionByBlockNumberAndIndex", block.number, place), transaction);
    assert.deepEqual(await call("eth_getTransactionByBlockHashAndIndex", block.hash, place), transaction);
    assert.deepEqual(await call("eth_getTransactionReceipt", transaction.hash), receipt);
  }
  assert.equal(BigInt(block.gasUsed), gas);
  assert.equal(BigInt(block.logsBloom), bloom);
  const count = ethers.toQuantity(block.transactions.length);
  assert.equal(await call("eth_getBlockTransactionCountByNumber", block.number), count);
  assert.equal(await call("eth_getBlockTransactionCountByHash", block.hash), count);
}

await step("tags, the past and what does not exist", async () => {
  const number = async (tag) => BigInt((await call("eth_getBlockByNumber", tag, false)).number);
  assert.equal(await number("earliest"), 0n);
  const latest = await number("latest");
  for (const tag of ["safe", "finalized"]) {
    const at = await number(tag);
    assert.ok(at <= latest, tag);
    if (!againstAnvil) assert.equal(at, latest, "visible means committed");
  }
  assert.ok((await call("eth_getBlockByNumber", "pending", false)) !== undefined);
  const nowhere = `0x${"12".repeat(32)}`;
  assert.equal(await call("eth_getBlockByNumber", ethers.toQuantity(latest + 100_000n), false), null);
  assert.equal(await call("eth_getBlockByHash", nowhere, false), null);
  assert.equal(await call("eth_getTransactionByHash", nowhere), null);
  assert.equal(await call("eth_getTransactionReceipt", nowhere), null);

  const before = await provider.getBlock("latest");
  const old = await provider.getBalance(bob.address);
  await (await alice.sendTransaction({ to: bob.address, value: 11n })).wait();
  assert.equal(await provider.getBalance(bob.address), old + 11n);
  assert.equal(await provider.getBalance(bob.address, before.number), old);
  const byHash = { blockHash: before.hash };
  assert.equal(BigInt(await call("eth_getBalance", bob.address, byHash)), old);
  assert.equal(BigInt(await call("eth_getBalance", bob.address, { blockNumber: ethers.toQuantity(before.number) })), old);
  const data = token.interface.encodeFunctionData("totalSupply");
  assert.equal(BigInt(await call("eth_call", { to: await token.getAddress(), data }, byHash)), supply);
});

await step("fees and estimates", async () => {
  const history = await call("eth_feeHistory", "0x4", "latest", [10, 50, 90]);
  assert.equal(history.baseFeePerGas.length, 5);
  assert.equal(history.gasUsedRatio.length, 4);
  assert.equal(history.reward.length, 4);
  assert.match(history.oldestBlock, quantity);
  for (const row of history.reward) {
    assert.equal(row.length, 3);
    for (const reward of row) assert.match(reward, quantity);
  }
  for (const ratio of history.gasUsedRatio) assert.ok(typeof ratio === "number" && ratio >= 0 && ratio <= 1);
  for (const fee of history.baseFeePerGas) assert.equal(fee, "0x0");
  assert.match(await call("eth_gasPrice"), quantity);
  assert.match(await call("eth_maxPriorityFeePerGas"), quantity);
  assert.equal(await provider.estimateGas({ from: alice.address, to: bob.address, value: 1n }), 21_000n);
  const needed = await token.transfer.estimateGas(carol.address, 3n);
  assert.ok(needed > 21_000n && needed < 80_000n, String(needed));
  const receipt = await (await token.transfer(carol.address, 3n, { gasLimit: needed })).wait();
  assert.equal(receipt.status, 1);
});

await step("methods that do not exist are said not to", async () => {
  const { error } = await raw("eth_fillTransaction", {});
  if (error) assert.equal(error.code, -32601);
  const unknown = await failure("coco_noSuchMethod");
  assert.equal(unknown.code, -32601);
  if (againstAnvil) return;
  assert.equal(unknown.message, "the method coco_noSuchMethod does not exist/is not available");
  await assert.rejects(provider.send("coco_noSuchMethod", []), { code: "UNSUPPORTED_OPERATION" });
});

provider.destroy();
console.log("ethers: all passed");
