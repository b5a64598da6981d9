"""The table of all checks, in the order in which ``run_doctor`` runs them."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from eigenkms.chain.rpc import JsonRpc
from eigenkms.errors import EigenKmsError
from eigenkms.maintenance.doctor import (
    configuration,
    disk,
    http_api,
    keys,
    limits,
    network,
    onchain,
    reachability,
)
from eigenkms.maintenance.doctor.checks import Check, Result, run_checks
from eigenkms.maintenance.doctor.context import CheckContext

CHECKS: Final[tuple[Check[CheckContext], ...]] = (
    Check(
        "configuration",
        "Do settings read, and fit together?",
        "correct the key that is named, in the line or variable that is named",
        configuration.configuration,
    ),
    Check(
        "policy",
        "Is anything set that a node outside of a devnet should not have?",
        "set the policy that you mean; see security.md",
        configuration.policy,
        needs=("configuration",),
    ),
    Check(
        "issuers",
        "With policy attested: do the attestation services serve their keys?",
        "let this machine reach the URL that is named, over HTTPS",
        configuration.issuers,
        needs=("configuration",),
        external=True,
    ),
    Check(
        "files",
        "Are keystores and password there, and readable for their owner alone?",
        "`chmod 600` what is named",
        keys.files,
        needs=("configuration",),
    ),
    Check(
        "keystores",
        "Are they keystores, of the right kind?",
        "give the right file",
        keys.keystores,
        needs=("files",),
    ),
    Check(
        "password",
        "Does the password open them? Without one, or `--verify-keys`, it is not tried, and nobody is asked to dial",
        "give the password that the keystores were made with",
        keys.password,
        needs=("keystores",),
    ),
    Check(
        "disk",
        "Is there room, on a file system that keeps what it is given?",
        "free some space; or move the data folder to a local disk, with the node stopped",
        disk.disk,
        needs=("configuration",),
    ),
    Check(
        "data-folder",
        "Can the data folder be made, written and flushed?",
        "let the node's user own it",
        disk.data_folder,
        needs=("disk",),
    ),
    Check(
        "stored-state",
        "Is what is stored sound, of this operator and cluster, and of a version that this program reads? Not where a node runs",
        "give each operator, and each cluster, a data folder of its own; `eigenkms share repair --reset` moves aside what is "
        "damaged; a release log of another key is evidence, and is moved by hand",
        disk.stored_state,
        needs=("data-folder",),
    ),
    Check(
        "open-files",
        "May the node, or a command started like this one, open enough files?",
        "`LimitNOFILE=8192` in the systemd unit",
        limits.open_files,
        needs=("data-folder",),
    ),
    Check(
        "core-dumps",
        "Could a crash write the node's keys to a core file?",
        "`LimitCORE=0` in the systemd unit",
        limits.core_dumps,
        needs=("data-folder",),
    ),
    Check(
        "certificate",
        "Is the certificate of the HTTP API good for two more weeks, and with its key?",
        "renew it, and start the node again",
        configuration.certificate,
        needs=("configuration",),
    ),
    Check(
        "monitor",
        "Is the monitoring listener for this machine alone?",
        "set `monitor_listen` to a loopback address",
        configuration.monitor,
        needs=("configuration",),
    ),
    Check(
        "rpc",
        "Does each RPC answer with JSON-RPC?",
        "give another rpc_url",
        onchain.rpc,
        needs=("configuration",),
        external=True,
    ),
    Check(
        "chain-id",
        "Is it the configured chain?",
        "give an RPC of that chain",
        onchain.chain_id,
        needs=("rpc",),
    ),
    Check(
        "rpc-methods",
        "Does it know finality, calls pinned to a block (EIP-1898), and events?",
        "use another RPC",
        onchain.rpc_methods,
        needs=("chain-id",),
        external=True,
    ),
    Check(
        "contracts",
        "Are the contracts there, and does the operator set exist, with BN254 keys and a registrar?",
        "correct the address that is named",
        onchain.contracts,
        needs=("rpc-methods",),
    ),
    Check(
        "membership",
        "Is this operator in the set?",
        "`eigenkms operator register`",
        onchain.membership,
        needs=("contracts",),
    ),
    Check(
        "signing-key",
        "Is the keystore's BN254 key the one on chain?",
        "give the keystore of the registered key",
        onchain.signing_key,
        needs=("membership", "keystores"),
    ),
    Check(
        "socket",
        "Does the socket on chain name the p2p keystore's peer, and an address that `announce` names?",
        "`eigenkms operator update-socket`",
        onchain.socket,
        needs=("membership", "keystores"),
    ),
    Check(
        "http-api",
        "Does the URL in the socket on chain lead to this node's HTTP API, with a certificate that clients accept?",
        "let URL, certificate and proxy lead to the node, or publish another URL",
        http_api.http_api,
        needs=("socket",),
    ),
    Check(
        "account",
        "Can the account that sends transactions, if one is configured, pay for another socket?",
        "send it ether",
        onchain.account,
        needs=("chain-id",),
    ),
    Check(
        "anchor",
        "Is the commitment registry, if one is configured, this cluster's, and does it take this operator's entries?",
        "correct `anchor_registry`; the registry's owner runs `eigenkms anchor allow`",
        onchain.anchor,
        needs=("configuration",),
    ),
    Check(
        "peers",
        "Do the other operators answer?",
        "let this machine open TCP connections outwards, or tell the operators whose nodes refuse",
        network.peers,
        needs=("contracts",),
        external=True,
    ),
    Check(
        "parameters",
        "Do the others run with the same interval, finality, window, quorum and smallest set?",
        "set what is named",
        network.parameters,
        needs=("peers",),
    ),
    Check(
        "rpc-head",
        "Is the newest block new, and do several RPCs tell of one chain?",
        "wait, or use another RPC",
        onchain.rpc_head,
        needs=("chain-id",),
        external=True,
    ),
    Check(
        "clock",
        "Is this machine's clock within 30 seconds of the operators' and of the chain's?",
        "`timedatectl set-ntp true`",
        network.clock,
        needs=("rpc-head",),
    ),
    Check(
        "port",
        "Is the port free, or held by this very node?",
        "stop who has it, or choose another",
        reachability.port,
        needs=("keystores", "data-folder"),
    ),
    Check(
        "reachable",
        "Do other operators reach the socket on chain? Where no node runs, this command listens in its place meanwhile",
        "open the port, or publish the address where the node is",
        reachability.reachable,
        needs=("signing-key", "socket", "password", "peers", "clock", "port"),
    ),
)


async def run_doctor(
    case: CheckContext, tell: Callable[[Result[CheckContext]], None] = lambda _result: None
) -> list[Result[CheckContext]]:
    """Run all checks, report each result through ``tell``, and close the RPC clients."""
    async with AsyncExitStack() as stack:
        for url in _urls(case):
            client = await stack.enter_async_context(JsonRpc(url))
            case.rpcs.append(client)
        return await run_checks(CHECKS, case, tell)


def _urls(case: CheckContext) -> tuple[str, ...]:
    """Return the RPC URLs, none if the configuration is invalid.

    The first check reports an invalid configuration.
    """
    try:
        return case.config.chain.rpc_urls
    except EigenKmsError:
        return ()
