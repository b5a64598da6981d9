// Compiles eigenkms/chain/contracts/src with the pinned solc and prints one artefact a contract as JSON on stdout:
// {"<Contract>": {"contractName", "compiler", "abi", "bytecode"}, ...}. The metadata hash is off and nothing of this
// machine enters the bytes, so equal sources give equal artefacts everywhere.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import solc from "solc";

const folder = fileURLToPath(new URL("../eigenkms/chain/contracts/src/", import.meta.url));
const deployed = [
  "AllocationManager",
  "AppController",
  "CommitmentRegistry",
  "DelegationManager",
  "EigenKMSRegistrar",
  "KeyRegistrar",
];

const files = readdirSync(folder).filter((name) => name.endsWith(".sol")).sort();
const input = {
  language: "Solidity",
  sources: Object.fromEntries(files.map((name) => [name, { content: readFileSync(folder + name, "utf8") }])),
  settings: {
    evmVersion: "cancun",
    optimizer: { enabled: true, runs: 200 },
    metadata: { appendCBOR: false, bytecodeHash: "none" },
    outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
  },
};

const output = JSON.parse(solc.compile(JSON.stringify(input)));
const complaints = (output.errors ?? []).filter((entry) => entry.severity !== "info");
if (complaints.length > 0) {
  for (const entry of complaints) process.stderr.write(entry.formattedMessage + "\n");
  process.exit(1);
}

const artefacts = {};
for (const name of deployed) {
  const { abi, evm } = output.contracts[`${name}.sol`][name];
  artefacts[name] = {
    contractName: name,
    compiler: `solc ${solc.version().split("+")[0]}`,
    abi,
    bytecode: "0x" + evm.bytecode.object,
  };
}
process.stdout.write(JSON.stringify(artefacts));
