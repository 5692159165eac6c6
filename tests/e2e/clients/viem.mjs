// viem 2: its own way through the same methods, with eth_sendRawTransactionSync first-class.
import assert from "node:assert/strict";
import {
  BaseError, ContractFunctionRevertedError, createPublicClient, createWalletClient, defineChain, getContract, http,
  keccak256, parseEther,
} from "viem";
import { generatePrivateKey, mnemonicToAccount, privateKeyToAccount } from "viem/accounts";
import { againstAnvil, chainId, contracts, mnemonic, step, url } from "./harness.mjs";

const chain = defineChain({
  id: chainId,
  name: "Coco",
  nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
  rpcUrls: { default: { http: [url] } },
});
const account = (addressIndex) => mnemonicToAccount(mnemonic, { addressIndex });
const [erin, frank] = [account(4), account(5)];
const options = { chain, transport: http(url), pollingInterval: 50, cacheTime: 0 };
const reader = createPublicClient(options);
const wallet = createWalletClient({ ...options, account: erin });
const batched = createPublicClient({ ...options, transport: http(url, { batch: { wait: 5 } }) });
const { Token, Failing, Delegate } = contracts;

const receiptOf = (hash) => reader.waitForTransactionReceipt({ hash, timeout: 10_000 });
const deploy = async ({ abi, bytecode }, args = []) => {
  const receipt = await receiptOf(await wallet.deployContract({ abi, bytecode, args }));
  assert.equal(receipt.status, "success");
  return receipt.contractAddress;
};
let token;

await step("the chain is the expected one", async () => {
  assert.equal(await reader.getChainId(), chainId);
  assert.ok((await reader.getBalance({ address: frank.address })) > parseEther("9000"));
});

await step("an ERC-20 is deployed, moved and its logs are read", async () => {
  token = await deploy(Token, ["Viem Token", "VT", 10_000n]);
  const contract = getContract({ address: token, abi: Token.abi, client: { public: reader, wallet } });
  assert.equal(await contract.read.name(), "Viem Token");
  const { blockNumber, status } = await receiptOf(await contract.write.transfer([frank.address, 40n]));
  assert.equal(status, "success");
  assert.equal(await contract.read.balanceOf([frank.address]), 40n);
  const events = await contract.getEvents.Transfer({ to: frank.address }, { fromBlock: blockNumber });
  assert.deepEqual(events.map(({ args }) => args.value), [40n]);
});

await step("a watcher sees an event", async () => {
  const seen = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("nothing seen in 10 s")), 10_000);
    const stop = reader.watchContractEvent({
      address: token, abi: Token.abi, eventName: "Approval",
      onError: reject,
      onLogs: ([log]) => {
        clearTimeout(timer);
        stop();
        resolve(log.args.value);
      },
    });
  });
  await new Promise((resolve) => setTimeout(resolve, 300));
  await wallet.writeContract({ address: token, abi: Token.abi, functionName: "approve", args: [frank.address, 5n] });
  assert.equal(await seen, 5n);
});

await step("a revert carries its reason and its custom error", async () => {
  const address = await deploy(Failing);
  const reverted = async (functionName, args = []) => {
    const error = await reader
      .simulateContract({ account: erin, address, abi: Failing.abi, functionName, args })
      .then(() => assert.fail("should have reverted"), (error) => error);
    assert.ok(error instanceof BaseError, String(error));
    return error.walk((cause) => cause instanceof ContractFunctionRevertedError);
  };
  assert.equal((await reverted("withReason")).reason, "not today");
  const { data } = await reverted("withError", [9n]);
  assert.equal(data.errorName, "Denied");
  assert.deepEqual(data.args, [erin.address, 9n]);
  const hash = await wallet.writeContract({ address, abi: Failing.abi, functionName: "withReason", gas: 100_000n });
  assert.equal((await receiptOf(hash)).status, "reverted");
});

await step("batched reads agree with single ones", async () => {
  const blockNumber = await reader.getBlockNumber();
  const addresses = Array.from({ length: 10 }, (_, index) => account(index).address);
  const both = [batched, reader].map((client) =>
    Promise.all(addresses.map((address) => client.getBalance({ address, blockNumber }))),
  );
  const [together, apart] = await Promise.all(both);
  assert.deepEqual(together, apart);
});

await step("every envelope is included", async () => {
  const to = privateKeyToAccount(generatePrivateKey()).address;
  const accessList = [{ address: token, storageKeys: [`0x${"00".repeat(31)}01`] }];
  const legacy = { type: "legacy", gasPrice: 0n };
  const berlin = { type: "eip2930", gasPrice: 0n, accessList };
  const london = { type: "eip1559", maxFeePerGas: 0n, maxPriorityFeePerGas: 0n, accessList };
  for (const kind of [legacy, berlin, london]) {
    const receipt = await receiptOf(await wallet.sendTransaction({ to, value: 3n, gas: 60_000n, ...kind }));
    assert.equal(receipt.status, "success");
    assert.equal(receipt.type, kind.type);
    const transaction = await reader.getTransaction({ hash: receipt.transactionHash });
    assert.equal(transaction.type, kind.type);
    assert.equal(transaction.value, 3n);
  }
  assert.equal(await reader.getBalance({ address: to }), 9n);
});

await step("a sender may set its own code (7702)", async () => {
  const address = await deploy(Delegate);
  const self = privateKeyToAccount(generatePrivateKey());
  await receiptOf(await wallet.sendTransaction({ to: self.address, value: parseEther("1") }));
  const own = createWalletClient({ ...options, account: self });
  const authorization = await own.signAuthorization({ contractAddress: address, executor: "self" });
  const hash = await own.writeContract({
    address: self.address, abi: Delegate.abi, functionName: "note", args: [123n],
    authorizationList: [authorization], gas: 300_000n,
  });
  const receipt = await receiptOf(hash);
  assert.equal(receipt.status, "success");
  assert.equal(receipt.type, "eip7702");
  assert.equal(await reader.getCode({ address: self.address }), `0xef0100${address.slice(2).toLowerCase()}`);
  const noted = await reader.readContract({ address: self.address, abi: Delegate.abi, functionName: "noted" });
  assert.equal(noted, 123n);
  assert.equal(await reader.getTransactionCount({ address: self.address }), 2);
});

await step("a transaction is sent and its receipt comes back at once", async () => {
  const request = await wallet.prepareTransactionRequest({ to: frank.address, value: 1n });
  const serializedTransaction = await wallet.signTransaction(request);
  const receipt = await wallet.sendRawTransactionSync({ serializedTransaction });
  assert.equal(receipt.status, "success");
  assert.equal(receipt.transactionHash, keccak256(serializedTransaction));
  assert.equal((await reader.getTransactionReceipt({ hash: receipt.transactionHash })).blockHash, receipt.blockHash);
  if (againstAnvil) return;
  const sync = await wallet.sendTransactionSync({ to: frank.address, value: 1n, timeout: 5_000 });
  assert.equal(sync.status, "success");
});

await step("errors are recognised by their words", async () => {
  const poor = privateKeyToAccount(generatePrivateKey());
  const client = createWalletClient({ ...options, account: poor });
  const fixed = { to: frank.address, gas: 21_000n, maxFeePerGas: 0n, maxPriorityFeePerGas: 0n };
  const named = (client, request) =>
    client.sendTransaction(request).then(
      () => assert.fail("should have been refused"),
      (error) => error.walk((cause) => /Nonce|Funds/.test(cause.name))?.name ?? error.message,
    );
  assert.equal(await named(client, { ...fixed, value: 1n, nonce: 0 }), "InsufficientFundsError");
  assert.equal(await named(wallet, { ...fixed, nonce: 0 }), "NonceTooLowError");
});

await step("blocks, fees and fee history", async () => {
  const block = await reader.getBlock({ includeTransactions: true });
  assert.equal(block.baseFeePerGas, 0n);
  assert.ok(block.transactions.every((transaction) => transaction.blockHash === block.hash));
  const history = await reader.getFeeHistory({ blockCount: 3, rewardPercentiles: [50] });
  assert.equal(history.reward.length, 3);
  assert.equal(history.baseFeePerGas.length, 4);
  const fees = await reader.estimateFeesPerGas();
  assert.ok(fees.maxFeePerGas >= fees.maxPriorityFeePerGas);
  assert.equal(await reader.estimateGas({ account: erin, to: frank.address, value: 1n }), 21_000n);
});

console.log("viem: all passed");
process.exit(0);
