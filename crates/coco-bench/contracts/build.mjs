// Compiles Token.sol with the solc of npm and writes Token.hex, the creation bytecode without 0x.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const here = import.meta.dirname;
const solc = createRequire(join(process.cwd(), "package.json"))("solc");
const input = {
  language: "Solidity",
  sources: { "Token.sol": { content: readFileSync(join(here, "Token.sol"), "utf8") } },
  settings: {
    evmVersion: "paris",
    optimizer: { enabled: true, runs: 200 },
    metadata: { appendCBOR: false, bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["evm.bytecode.object"] } },
  },
};
const output = JSON.parse(solc.compile(JSON.stringify(input)));
for (const error of output.errors ?? []) console.error(error.formattedMessage);
const hex = output.contracts["Token.sol"].Token.evm.bytecode.object;
writeFileSync(join(here, "Token.hex"), hex + "\n");
console.log(`${hex.length / 2} bytes, solc ${solc.version()}`);
