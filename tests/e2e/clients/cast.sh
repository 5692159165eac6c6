#!/usr/bin/env bash
# Foundry's cast: deploy, call, send in every envelope, read blocks, receipts and logs.
# usage: cast.sh URL   (CAST names the program, COCO_E2E_CONTRACTS the compiled contracts)
# The wrapper of the package @foundry-rs/cast loses the exit code, so the platform's program is called.
set -euo pipefail

url=$1
cast=${CAST:-$(echo node_modules/@foundry-rs/cast-*/bin/cast)}
export ETH_RPC_URL=$url FOUNDRY_DISABLE_NIGHTLY_WARNING=1
# The well-known accounts 8 and 9.
key=0xdbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97
own=0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f
other_key=0x2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6
other=0xa0Ee7A142d267C1f36714E4a8F75612F20a79720

ok() { echo "ok $*"; }
fail() {
  echo "FAILED $*"
  exit 1
}
# is NAME FOUND EXPECTED
is() { [ "$2" = "$3" ] && ok "$1" || fail "$1: found '$2', expected '$3'"; }
# has NAME TEXT PATTERN
has() { grep -Eqi -- "$3" <<<"$2" && ok "$1" || fail "$1: no '$3' in '$2'"; }
field() { node -e 'const [text, path] = process.argv.slice(1);
  let at = JSON.parse(text); for (const step of path.split(".")) at = at?.[step]; console.log(at);' "$1" "$2"; }
bytecode() { node -e 'const contracts = JSON.parse(require("fs").readFileSync(process.env.COCO_E2E_CONTRACTS));
  console.log(contracts[process.argv[1]].bytecode);' "$1"; }
# send KEY ARGUMENTS...: signs, sends and prints the receipt
send() {
  local key=$1
  shift
  "$cast" send --json --private-key "$key" "$@"
}

is "chain id" "$("$cast" chain-id)" 31337
has "balance" "$("$cast" balance --ether "$own")" '^[0-9]{4,}'

arguments=$("$cast" abi-encode 'constructor(string,string,uint256)' 'Cast Token' CT 1000000)
receipt=$(send "$key" --create "$(bytecode Token)${arguments#0x}")
is "deployment succeeds" "$(field "$receipt" status)" 0x1
token=$(field "$receipt" contractAddress)
is "name" "$("$cast" call "$token" 'name()(string)')" '"Cast Token"'

receipt=$(send "$key" "$token" 'transfer(address,uint256)(bool)' "$other" 250)
is "token transfer succeeds" "$(field "$receipt" status)" 0x1
is "token balance" "$("$cast" call "$token" 'balanceOf(address)(uint256)' "$other")" 250
block=$(field "$receipt" blockNumber)
logs=$("$cast" logs --json --from-block "$((block))" --address "$token" 'Transfer(address indexed,address indexed,uint256)')
is "log is found" "$(field "$logs" 0.transactionHash)" "$(field "$receipt" transactionHash)"
is "log's value" "$(($(field "$logs" 0.data)))" 250
is "receipt by hash" "$(field "$("$cast" receipt --json "$(field "$receipt" transactionHash)")" blockHash)" \
  "$(field "$receipt" blockHash)"
is "transaction's sender" "$("$cast" tx "$(field "$receipt" transactionHash)" from)" "$own"

if output=$("$cast" call "$token" 'transfer(address,uint256)' "$own" 99999 --from "$other" 2>&1); then
  fail "a failing call must fail: $output"
fi
has "a failing call gives its reason" "$output" 'execution reverted.*balance too low'
if output=$(send "$other_key" "$token" 'transfer(address,uint256)' "$own" 99999 2>&1); then
  fail "an estimate of a failing call must fail: $output"
fi
has "an estimate gives the reason" "$output" 'balance too low'
receipt=$(send "$other_key" "$token" 'transfer(address,uint256)' "$own" 99999 --gas-limit 100000 || true)
is "a failing transaction is included" "$(field "$receipt" status)" 0x0

free=(--gas-price 0)
receipt=$(send "$key" "$other" --value 1 --legacy "${free[@]}")
is "legacy" "$(field "$receipt" status)$(field "$receipt" type)" 0x10x0
receipt=$(send "$key" "$other" --value 1 "${free[@]}" --priority-gas-price 0)
is "eip-1559" "$(field "$receipt" status)$(field "$receipt" type)" 0x10x2
list="[{\"address\":\"$token\",\"storageKeys\":[\"0x$(printf '%064d' 1)\"]}]"
receipt=$(send "$key" "$other" --value 1 --legacy "${free[@]}" --access-list "$list" --gas-limit 60000)
is "eip-2930" "$(field "$receipt" status)$(field "$receipt" type)" 0x10x1

delegate=$(field "$(send "$key" --create "$(bytecode Delegate)")" contractAddress)
fresh_key=$(field "$("$cast" wallet new --json)" 0.private_key)
fresh=$("$cast" wallet address --private-key "$fresh_key")
authorization=$("$cast" wallet sign-auth "$delegate" --private-key "$fresh_key" --nonce 0 --chain 31337)
receipt=$(send "$key" "$fresh" 'note(uint256)' 5 --auth "$authorization" --gas-limit 300000)
is "eip-7702" "$(field "$receipt" status)$(field "$receipt" type)" 0x10x4
is "borrowed code" "$("$cast" code "$fresh")" "0xef0100$(tr 'A-F' 'a-f' <<<"${delegate#0x}")"
is "borrowed code ran" "$("$cast" call "$fresh" 'noted()(uint256)')" 5

nonce=$("$cast" nonce "$other")
if output=$(send "$other_key" "$own" --value 1 --nonce "$((nonce - 1))" 2>&1); then
  fail "a used nonce must be refused: $output"
fi
has "a used nonce is refused" "$output" 'nonce too low'

raw=$("$cast" mktx --private-key "$other_key" "$own" --value 1 --nonce "$nonce")
receipt=$("$cast" rpc eth_sendRawTransactionSync "$raw")
is "sent and answered with the receipt" "$(field "$receipt" status)" 0x1
is "nonce moved" "$("$cast" nonce "$other")" "$((nonce + 1))"

is "estimate" "$("$cast" estimate --from "$own" "$other" --value 1)" 21000
is "base fee" "$("$cast" base-fee)" 0
latest=$("$cast" block latest --json)
is "block number" "$(($(field "$latest" number)))" "$("$cast" block-number)"
is "block by hash" "$("$cast" block "$(field "$latest" hash)" --field number)" "$(($(field "$latest" number)))"
is "storage" "$("$cast" storage "$token" 2)" "0x$(printf '%064x' 1000000)"
has "client" "$("$cast" client)" '/'
if output=$("$cast" rpc coco_noSuchMethod 2>&1); then fail "an unknown method must fail"; fi
has "unknown method" "$output" '32601'
echo "cast: all passed"
