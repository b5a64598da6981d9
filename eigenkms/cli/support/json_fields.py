"""The fields that ``--json`` prints, by verb.

The tables in docs/cli.md and in the manual pages are made from them.
``--help`` leaves them out, because programs need them and people at a terminal do not. A field keeps its name and its meaning.
"""

from collections.abc import Mapping

_SENDING = {
    "action": "name of the verb",
    "account": "address of the account that sends",
    "chain_id": "id of the chain",
    "sent": "false after a dry run",
    "steps": "list, each with `step`, and `skipped`: the reason, or null",
    "steps[]": "of a step with a call: `contract`, `to`, `function`, `arguments`, `calldata`, `gas`, `max_cost_wei`; "
    "`simulation` in a dry run; `transaction`, `block`, `gas_used` if it was sent",
    "gas": "gas limit of all calls together",
    "fee_per_gas_wei": "highest price of a unit of gas",
    "max_cost_wei": "highest cost of all calls together",
    "notes": "list of remarks",
}
_KEY = {
    "kind": "`bn254`, `ecdsa` or `p2p`",
    "file": "path of the keystore",
    "g1, g2": "public key of a `bn254` key",
    "address": "address of an `ecdsa` key",
    "peer_id": "peer id of a `p2p` key",
}
_APPLICATION = {
    "app_id": "address of the application",
    "creator": "address of its creator",
    "status": "status on chain",
    "image_digest": "digest of the released image; null without a release, like all fields below",
    "registry": "name of the image",
    "public_env": "object of public variables",
    "encrypted_env_bytes": "size of the encrypted environment in bytes",
    "args, cmd_override": "arguments and command that the container must have",
    "env, env_override": "variables that the container must have, and those that must be overridden",
    "restart_policy": "restart policy that the container must have",
}
_BACKUP = {
    "file": "path of the backup",
    "operator, cluster": "whose backup it is",
    "made": "time at which the backup was made",
    "release": "release of eigenkms that made it",
    "version": "newest version that the node knew",
    "share": "version of the share in the backup, or null",
    "peer_id": "peer id of the p2p keystore",
    "keystores": "list of the keystores",
    "config": "path of the configuration file",
}
_LOG = {
    "operator, cluster": "whose log it is",
    "key": "BN254 key that signed the log",
    "begun": "time at which the log was begun",
    "entries": "number of entries in the log",
    "head": "hash of the last entry",
}

JSON_FIELDS: Mapping[str, Mapping[str, str]] = {
    "secrets get": {"NAME": "value of the secret NAME; one field for each secret"},
    "inspect": {
        "format": "format of the file",
        "version": "version of the format",
        "armored": "whether the file is armored",
        "size, plaintext_size": "sizes in bytes",
        "kind": "kind of the recipient; null in version 1",
        "chunk_size": "size of a chunk in bytes; null in version 1",
        "app_id": "null: neither version records it",
        "cluster": "cluster id; null in version 1",
    },
    "pubkey": {
        "mpk": "master public key in hex",
        "cluster, version, block": "what the key belongs to",
        "transcript_hash": "hash of the transcript",
        "threshold": "number of votes that a certificate needs",
        "transcript, certificate": "the proof, in hex",
        "operators": "the operator set at the block, in the form that `--operators` reads",
        "signers": "addresses that signed the certificate",
        "anchored_by": "operators that anchored exactly this version; null if no anchor was queried",
    },
    "status": {
        "health": "`healthy`, `degraded` or `cannot serve`",
        "reason": "why the network cannot serve at all; then `health` is the only other field",
        "cluster": "cluster id",
        "version": "newest verified version",
        "threshold": "operators that a decryption needs",
        "operators, serving": "number of operators, and of those that serve",
        "silent": "addresses that did not answer",
        "undialable": "object: address of an operator without a usable socket, and why",
        "accused": "addresses that operators report to hold evidence against; `eigenkms evidence list` verifies it",
        "members": "object: address, and that operator's report of itself",
    },
    "doctor": {
        "health": "`healthy`, `to be mended here` or `not in this machine's power`",
        "checks": "list, each with `check`, `verdict` (`ok`, `warning`, `failed` or `skipped`), `says`, and "
        "`next`: the next step or null",
    },
    "evidence list": {
        "evidence": "list, each with `fault`, `accused`, `block`, `block_hash`, `version`, `session`, `cluster`, `noticed_by`, and "
        "with `--data-dir` only, `noticed`: unix seconds",
        "rejected": "list of operator and reason, one for each piece that did not verify",
        "silent": "object: address, and why its evidence is missing",
    },
    "evidence verify": {
        "online": "whether keys were compared with the chain",
        "evidence": "list, each with `holds`, `reason`, `fault`, `accused`, `block`, `block_hash`, `version`, `session`, "
        "`cluster`, `frames` (kinds and senders), `operators` (the set that it names: ADDRESS KEY), and `source` for a fault about "
        "an older version: `version`, `block`, `block_hash`, `transcript_hash`, `operators`",
    },
    "audit show": _LOG
    | {
        "releases": "list, each with `number`, `time`, `app_id`, `ciphertext_version`, `version`, `transcript`, `method`, "
        "`evidence`, `subject`, `reply_key` (SHA-256 digests in hex; null if none was required)"
    },
    "audit verify": _LOG | {"key_is": "how the key was compared: `chain`, `given` or `unchecked`"},
    "keys new": _KEY,
    "keys import": _KEY,
    "keys show": _KEY | {"verified": "whether the public values were compared with the key"},
    "config check": {
        "file": "path of the file",
        "valid": "whether a node would start with it",
        "problems": "list, each with `message` and `hint`",
        "warnings": "list of warnings",
        "settings": "object: name, and its `value` and `from`",
    },
    "operator register": _SENDING,
    "operator deregister": _SENDING,
    "operator update-socket": _SENDING,
    "operator rotate-peer-key": _SENDING,
    "operator allow": _SENDING,
    "operator show": {
        "address, block": "the operator, and the block that was read",
        "operator": "whether it is an EigenLayer operator",
        "allowed": "whether it is on the allow-list; null if there is no list",
        "member": "whether it is in the operator set",
        "curve": "curve of the set's keys",
        "key": "G2 key or address in hex",
        "key_matches": "whether it is the keystore's key; null if not compared",
        "socket": "socket on chain",
        "peer_id": "peer id in the socket, or null",
        "http_url": "URL of the HTTP API in the socket, or null",
        "slashable, slashable_until": "whether it can be slashed, and until which block",
        "balance_wei": "balance of the account",
        "pending": "number of pending transactions",
    },
    "operator list": {
        "block": "the block that was read",
        "operators": "list, each with `address`, `peer_id` and `http_url` (null if the socket has none), `socket`, `curve`, "
        "`key` (G2 key or address in hex), `problem`: why its key cannot be used, or null",
    },
    "anchor deploy": {
        "registry": "address of the registry",
        "owner": "address of its owner",
        "chain_id": "id of its chain",
    },
    "anchor allow": {
        "address": "the operator",
        "member": "whether it may write",
        "sent": "false if there was nothing to do",
    },
    "anchor show": {
        "registry, chain_id": "address of the registry, and id of its chain",
        "owner": "address of its owner",
        "entries": "number of entries ever written",
        "members, missing": "operators of today's set that may write, and those that may not",
    },
    "share repair": {
        "operator, cluster": "the operator and its cluster",
        "data_dir": "path of the data folder",
        "health": "state of the data folder",
        "set_aside": "folder into which `--reset` moved the old database, or null",
        "running": "process id of the node, or null",
        "version": "newest version of the network",
        "holders": "number of other operators that show it",
        "threshold": "operators that a decryption needs",
        "share": "version of the share that the node holds",
        "held": "whether it is the share of the newest version",
        "next_boundary, next_boundary_seconds": "block of the next boundary, and the time until then",
    },
    "backup create": _BACKUP,
    "backup verify": _BACKUP
    | {
        "keys_opened": "whether the keystores were opened",
        "network_version": "newest version that operators show, if the network was queried",
        "stale": "why the backup is stale, or null, if the network was queried",
    },
    "backup restore": {
        "file": "path of the backup",
        "operator, cluster": "whose backup it is",
        "data_dir": "path of the data folder",
        "files": "list of the files that were written",
        "share": "version of the share that was restored, or null",
        "share_refused": "why the share was not restored, or null",
        "missing": "settings whose files you must restore by hand",
    },
    "devnet run": {
        "operators, engine": "what ran",
        "started, genesis, decrypt, decrypt_after_kill": "scenario `genesis`: seconds of each step",
        "interval, window": "scenario `rotation`: the pace",
        "rows": "scenario `rotation`: list, one for each rotation: `rotation`, `block`, `operators`, `seconds`, `version`, `mpk`, "
        "`certified_by`, `dealers`, `missing`, `holders`, `erased`, `events`, `decrypts`, `failed_decrypts`",
        "decrypts, failed_decrypts": "scenario `rotation`: number of decryptions",
        "decrypt_p50, decrypt_p99, decrypt_max": "scenario `rotation`: seconds of a decryption",
        "versions": "scenario `rotation`: decryptions that each version served",
        "faults": "scenario `rotation`: what failed",
        "total": "seconds in all",
    },
    "devnet fund": {"address": "the account", "balance_wei": "its balance"},
    "devnet allow": {"address": "the operator", "sent": "false if it was on both lists"},
    **{
        f"devnet app {verb}": _APPLICATION
        for verb in ("create", "release", "start", "stop", "terminate", "suspend", "resume", "show")
    },
    "version": {
        "version": "version of eigenkms",
        "python": "version of Python",
        "backends": "object: curve, and its library",
        "fallbacks": "object: curve, and why it uses slow py_ecc",
        "protocol": "version of the protocol",
        "formats": "object: format, and its version",
    },
}
"""Fields and their meaning, by the words of the verb."""
