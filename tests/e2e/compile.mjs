// Compiles contracts/*.sol: `node compile.mjs OUT.json` writes { Name: { abi, bytecode } }.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import solc from "solc";

const folder = join(import.meta.dirname, "contracts");
const files = readdirSync(folder).filter((name) => name.endsWith(".sol"));
const input = {
  language: "Solidity",
  sources: Object.fromEntries(files.map((name) => [name, { content: readFileSync(join(folder, name), "utf8") }])),
  settings: {
    evmVersion: "cancun",
    optimizer: { enabled: true, runs: 200 },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
const failures = (output.errors ?? []).filter((error) => error.severity === "error");
if (failures.length > 0) throw new Error(failures.map((error) => error.formattedMessage).join("\n"));
const contracts = {};
for (const byName of Object.values(output.contracts)) {
  for (const [name, { abi, evm }] of Object.entries(byName)) {
    contracts[name] = { abi, bytecode: `0x${evm.bytecode.object}` };
  }
}
writeFileSync(process.argv[2], JSON.stringify(contracts));
