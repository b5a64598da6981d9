"""Checks of the chain: RPC, contracts, and registration of this operator."""

from typing import Final

from eigenkms.chain import abi
from eigenkms.chain.anchor import open_anchor
from eigenkms.chain.applications import applications_of
from eigenkms.chain.deployment_check import check_deployment
from eigenkms.chain.logs import LogQuery
from eigenkms.chain.operator_set_source import OperatorSetSource
from eigenkms.chain.registration import gas_of_socket
from eigenkms.chain.rpc import JsonRpc, RpcRefusedError, pin
from eigenkms.chain.rpc_values import Json, parse_block, parse_bytes, parse_quantity
from eigenkms.config.presets import DEVNET_CHAIN_ID
from eigenkms.errors import ChainError, InputError
from eigenkms.maintenance.doctor.checks import Finding, Verdict, failed, ok, skipped, warning
from eigenkms.maintenance.doctor.context import CheckContext
from eigenkms.p2p.identity import PeerAddress, why_undialable
from eigenkms.p2p.operator_socket import parse_socket
from eigenkms.types import BlockRef, to_hex

HEAD_BLOCKS: Final = 20
HEAD_SECONDS: Final = 30.0
"""The newest block may be so many blocks and seconds old."""
LONG_SOCKET: Final = 256
"""Characters of a socket with a URL and a name."""
COMMON_DEPTH: Final = 8
"""Blocks below the newest one from which on RPCs must agree."""


async def rpc(case: CheckContext) -> Finding:
    """Check that each URL answers JSON-RPC."""
    silent: list[ChainError] = []
    for client in case.rpcs:
        try:
            await client.call("eth_chainId")
        except ChainError as error:
            silent.append(error)
        else:
            case.rpc = case.rpc or client
    told = "; ".join(map(str, silent))
    if case.rpc is None:
        return failed(told, silent[0].hint or "give another rpc_url")
    if silent:
        return warning(told, "mend it, or take it out of rpc_url; the others are used meanwhile")
    return ok(f"{', '.join(client.endpoint for client in case.rpcs)}: answering")


async def chain_id(case: CheckContext) -> Finding:
    """Check that each RPC that answers serves the configured chain."""
    wanted, others = case.config.chain.chain_id, []
    for client in case.rpcs:
        try:
            found = parse_quantity(
                await client.call("eth_chainId"), f"chain id at {client.endpoint}", bits=256
            )
        except ChainError:
            continue  # the check before has named it
        if found != wanted:
            others.append(f"the RPC at {client.endpoint} serves chain {found}, not chain {wanted}")
    if others:
        return failed("; ".join(others), f"give an rpc_url of chain {wanted}, or correct chain_id")
    return ok(f"chain {wanted}")


async def rpc_methods(case: CheckContext) -> Finding:
    """Check the less usual methods that a node needs.

    These are blocks by finality, calls pinned to a block (EIP-1898), and events.
    """
    chain, config = case.chain, case.config
    head = await chain.head()
    call: Json = {
        "to": to_hex(config.chain.allocation_manager),
        "data": to_hex(abi.IS_OPERATOR_SET.encode(chain.set_id)),
    }
    try:
        await chain.rpc.call("eth_call", call, pin(head.hash))
    except RpcRefusedError as error:
        if not error.is_revert:
            return failed(
                f"the RPC does not answer for a block named by its hash (EIP-1898): {error}",
                "use another RPC: all operators must read the set at the very same block",
            )
    query = LogQuery(config.chain.allocation_manager, (abi.REMOVED,))
    await query.read(chain.rpc, max(0, head.number - 10), head.number)
    return ok(f"the {config.chain.finality} block is {head.number}; calls at a block and events are answered")


async def rpc_head(case: CheckContext) -> Finding:
    """Check that the newest block is recent, and that all RPCs agree on the chain."""
    heads = await _blocks(case, "latest")
    if not heads:
        return failed(
            "no RPC tells its newest block",
            case.spare_rpc("use another RPC", alone="check that the RPC's node is synchronised"),
        )
    newest = max(heads.values(), key=lambda block: block.number)
    case.head_time = newest.timestamp
    age = case.clock() - newest.timestamp
    if age > HEAD_BLOCKS * case.config.session.block_seconds + HEAD_SECONDS:
        return failed(
            f"the newest block, {newest.number}, is {age:.0f} s old",
            case.spare_rpc(
                "wait until the RPC's node is synchronised, use another RPC, or set this machine's clock",
                alone="wait until the RPC's node is synchronised, or set this machine's clock",
            ),
        )
    behind = [client for client, head in heads.items() if newest.number - head.number > HEAD_BLOCKS]
    if behind:
        return warning(
            f"behind block {newest.number}: {', '.join(client.endpoint for client in behind)}",
            "take it out of rpc_url until it has caught up; the others are used meanwhile",
        )
    common = max(0, min(head.number for head in heads.values()) - COMMON_DEPTH)
    if len({block.hash for block in (await _blocks(case, hex(common))).values()}) > 1:
        return failed(
            f"the RPCs tell different blocks {common}: {', '.join(client.endpoint for client in heads)}",
            "ask a node of your own, or another RPC, which is right, and take the other out of rpc_url",
        )
    return ok(f"block {newest.number}, {max(age, 0):.0f} s old")


async def _blocks(case: CheckContext, selector: str) -> dict[JsonRpc, BlockRef]:
    """Return the newest block of each RPC that answers."""
    found = {}
    for client in case.rpcs:
        try:
            answer = await client.call("eth_getBlockByNumber", selector, False)
            found[client] = parse_block(answer, f"block {selector} at {client.endpoint}")
        except ChainError:
            continue
    return found


async def contracts(case: CheckContext) -> Finding:
    """Check that the contracts and the operator set exist, with keys and registrar.

    With the policy attested, also check that applications can be looked up.
    """
    chain, config = case.chain, case.config
    await check_deployment(chain)
    if config.policy.mode == "attested":
        found = applications_of(chain)
        if found is None:
            return failed("policy attested: no contract of applications is named", "set app_controller")
        await found.check()
    case.operators = await chain.operators_at(await chain.head())
    for operator in case.operators.operators:
        if operator.address != config.operator:
            try:
                case.addresses[operator.address] = parse_socket(operator.socket).address
            except InputError:
                continue  # its own operator's to mend; here it is somebody who cannot be asked
    members = len(case.operators.operators)
    return ok(
        f"operator set {config.chain.operator_set_id} of AVS {to_hex(config.chain.avs)} has {members} operators"
    )


async def membership(case: CheckContext) -> Finding:
    """Check that the operator is in the set, and name the next step if it is not."""
    chain, me = case.chain, case.config.operator
    assert case.operators is not None
    case.me = next((o for o in case.operators.operators if o.address == me), None)
    if case.me is not None:
        return ok(f"operator {to_hex(me)} is one of {len(case.operators.operators)}")
    return await _absent(case, chain)


async def _absent(case: CheckContext, chain: OperatorSetSource) -> Finding:
    """Return the reason on chain why the operator is absent, and the next step."""
    assert case.operators is not None
    me = case.config.operator
    for address, reason in case.operators.rejected:
        if address == me:
            return failed(
                f"operator {to_hex(me)} is left out by everybody: {reason}",
                f"eigenkms operator show {case.flag}",
            )
    key = case.public_value("bn254", "g1")
    owner = next((o.address for o in case.operators.operators if o.key_g1.hex() == key), None)
    if owner is not None:
        return failed(
            f"operator {to_hex(me)} is not in the operator set, "
            f"and the BN254 keystore is that of operator {to_hex(owner)}, which is",
            f'set operator = "{to_hex(owner)}", or give this operator\'s keystore',
        )
    newest, found = await chain.set_now()
    if me in found.members:
        return warning(
            f"operator {to_hex(me)} has joined; block {newest.number} is not {case.config.chain.finality} yet",
            "wait for it",
        )
    at = await chain.head()
    (registrar,) = await chain.read_at(
        at, case.config.chain.allocation_manager, [(abi.GET_AVS_REGISTRAR, (case.config.chain.avs,))]
    )
    (allowed,) = await chain.read_at(
        at, parse_bytes(registrar, "registrar", size=20), [(abi.IS_ALLOWED, (chain.set_id, me))]
    )
    if not allowed:
        return failed(
            f"operator {to_hex(me)} is neither in the operator set nor on its allow-list",
            f"let the AVS's owner run eigenkms operator allow {to_hex(me)}, then run eigenkms operator register {case.flag}",
        )
    return failed(
        f"operator {to_hex(me)} is on the allow-list, and not in the operator set",
        f"run eigenkms operator register {case.flag}",
    )


async def account(case: CheckContext) -> Finding:
    """Check that the account that publishes sockets can pay for it."""
    address = case.account()
    if address is None:
        return skipped("no account that sends transactions is configured")
    assert case.rpc is not None
    price, balance = await case.rpc.batch(
        [("eth_gasPrice", ()), ("eth_getBalance", (to_hex(address), "latest"))]
    )
    needed = parse_quantity(price, "gas price", bits=256) * gas_of_socket("x" * LONG_SOCKET)
    found = parse_quantity(balance, f"balance of {to_hex(address)}", bits=256)
    sentence = f"account {to_hex(address)} has {found / 10**18:.4f} ether"
    if found >= needed:
        return ok(sentence)
    fund = (
        f"run eigenkms devnet fund {to_hex(address)}"
        if _is_devnet(case)
        else f"send ether to {to_hex(address)}"
    )
    return warning(f"{sentence}; to publish another socket takes {needed / 10**18:.4f}", fund)


async def anchor(case: CheckContext) -> Finding:
    """Check that the commitment registry is this cluster's.

    If the node writes there, the registry must take this operator's entries.
    """
    config = case.config.anchor.registry
    if config is None:
        return skipped("no anchor is configured")
    me = case.config.operator
    async with open_anchor(config, case.cluster) as found:
        await found.check()
        members = await found.members_among([me])
    if case.config.anchor.account_keystore is not None and me not in members:
        return warning(
            f"the commitment registry {to_hex(config.registry)} takes no entries of operator {to_hex(me)}",
            f"let the registry's owner run eigenkms anchor allow {to_hex(me)}",
        )
    how = "read only" if case.config.anchor.account_keystore is None else "read and written"
    return ok(f"commitment registry {to_hex(config.registry)} on chain {config.chain_id}, {how}")


def _is_devnet(case: CheckContext) -> bool:
    return case.config.chain.chain_id == DEVNET_CHAIN_ID


async def signing_key(case: CheckContext) -> Finding:
    """Check that the chain has the keystore's key for this operator."""
    assert case.operators is not None
    if case.me is None:
        return skipped("the operator has not joined yet")
    key = case.public_value("bn254", "g1")
    if key is None:
        return skipped("without its password the keystore does not say which key it holds")
    if case.me.key_g1.hex() == key:
        return ok("the chain has the BN254 keystore's key")
    owner = next((o.address for o in case.operators.operators if o.key_g1.hex() == key), None)
    whose = "" if owner is None else f", but that of operator {to_hex(owner)}"
    return failed(
        f"{case.config.keys.bn254_keystore} is not the key that the chain has for operator {to_hex(case.me.address)}{whose}",
        "give the keystore of the registered key as bn254_keystore",
    )


async def socket(case: CheckContext) -> Finding:
    """Check that the socket on chain is valid, and belongs to this node."""
    if case.me is None:
        return skipped("the operator has not joined yet")
    try:
        case.socket = parse_socket(case.me.socket)
    except InputError as error:
        return failed(f"the socket on chain is none: {error}", f"run {case.update_socket()}")
    address = case.socket.address
    update = f"run {case.update_socket(address.multiaddr)}"
    own = case.public_value("p2p", "peer_id")
    if own is None:
        return failed(
            f"the socket on chain names peer {address.peer_id}, and there is no p2p keystore",
            f"give the keystore of that peer as p2p_keystore, or make one with eigenkms keys new --kind p2p "
            f"-o {case.p2p_path} and {update}",
        )
    if own != str(address.peer_id):
        return failed(
            f"the socket on chain names peer {address.peer_id}, the p2p keystore is that of peer {own}",
            f"give the keystore of that peer as p2p_keystore, or {update}",
        )
    return judge_address(case, address, update)


def judge_address(case: CheckContext, found: PeerAddress, update: str) -> Finding:
    announce = case.config.network.announce
    if announce and found.multiaddr not in announce:
        return warning(
            f"the socket on chain is {found.multiaddr}, the node announces {', '.join(announce)}: clients that come "
            "new know the chain's alone",
            f"{update}, or correct announce",
        )
    reason = why_undialable(found.transport, local=_is_devnet(case))
    if reason is not None:
        return failed(
            f"nobody can dial the socket on chain, {found.multiaddr}: {reason}",
            f"correct announce, and {update}",
        )
    if found.transport.is_public is False and not _is_devnet(case):
        return warning(
            f"the socket on chain, {found.multiaddr}, is an address of a private network",
            f"unless all operators and clients are in that network, set announce to a public address and {update}",
        )
    return Finding(Verdict.OK, f"the socket on chain is {found}")
