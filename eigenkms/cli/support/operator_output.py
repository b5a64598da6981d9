"""Operators on chain as the verbs show them.

They show one operator's registration, or the rows of an operator set.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eigenkms.cli.support.options import print_result_fields
from eigenkms.cli.support.socket_options import shown_socket, socket_of
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.chain.config import ChainConfig
    from eigenkms.chain.operator_plan import OperatorRegistration
    from eigenkms.chain.operator_set_source import OperatorSetSource

Rows = list[dict[str, Any]]


def print_registration(
    found: "OperatorRegistration", pending: int, keystore: Path | None, *, as_json: bool
) -> None:
    """Print the registration that the chain records for one operator.

    ``keystore``: the operator's own, to be compared with the key on chain.
    """
    from eigenkms.chain import abi
    from eigenkms.chain.operator_keys import CURVES
    from eigenkms.chain.rpc_values import format_ether
    from eigenkms.keys.keystores import claims_bn254, read_metadata
    from eigenkms.types import to_hex

    is_bn254, matches = found.curve == abi.CURVE_BN254, None
    if is_bn254 and keystore is not None and found.key is not None:
        matches = claims_bn254(read_metadata(keystore)[1], found.key[:64], found.key[64:])
    facts: dict[str, Any] = {
        "address": to_hex(found.address),
        "block": found.block,
        "operator": found.is_operator,
        "allowed": found.is_allowed,
        "member": found.is_member,
        "curve": CURVES[found.curve],
        "key": None if found.key is None else found.key[64 if is_bn254 else 0 :].hex(),
        "key_matches": matches,
        "socket": found.socket or None,
        **_socket_parts(found.socket),
        "slashable": found.is_slashable,
        "slashable_until": found.slashable_until,
        "balance_wei": found.balance,
        "pending": pending,
    }
    if not as_json:
        facts["socket"] = shown_socket(found.socket) if found.socket else None
        facts["balance"] = f"{format_ether(facts.pop('balance_wei'))} ether"
        facts = {name: value for name, value in facts.items() if value is not None}
    print_result_fields(facts, as_json=as_json)


async def read_operator_set(config: "ChainConfig") -> dict[str, Any]:
    """Read the operator set at the newest block, sorted by address.

    The fields are those of ``operator list --json``.
    """
    from eigenkms.chain import abi
    from eigenkms.chain.config import Finality
    from eigenkms.chain.operator_set_source import open_chain

    newest, curves = replace(config, finality=Finality("latest")), (abi.CURVE_BN254, abi.CURVE_ECDSA)
    async with open_chain(newest, curves=curves) as chain:
        block, rows = await (_ecdsa_rows if chain.curve == abi.CURVE_ECDSA else _bn254_rows)(chain)
    return {"block": block, "operators": sorted(rows, key=lambda row: str(row["address"]))}


async def _bn254_rows(chain: "OperatorSetSource") -> tuple[int, Rows]:
    """Return the block, and a row for each member.

    A key that cannot verify votes is a problem.
    """
    read = await chain.operators_at(await chain.head())
    rows = [_row(each.address, each.socket, "BN254", each.key.hex(), None) for each in read.operators]
    rows += [_row(address, "", "BN254", None, problem) for address, problem in read.rejected]
    return read.block.number, rows


async def _ecdsa_rows(chain: "OperatorSetSource") -> tuple[int, Rows]:
    block, found = await chain.set_now()
    rows = []
    for member, key in found.keys.items():
        known = (key.hex(), None) if isinstance(key, bytes) else (None, key)
        rows.append(_row(member, found.sockets[member], "ECDSA", *known))
    return block.number, rows


def _row(address: bytes, socket: str, curve: str, key: str | None, problem: str | None) -> dict[str, Any]:
    return {
        "address": to_hex(address),
        **_socket_parts(socket),
        "socket": socket,
        "curve": curve,
        "key": key,
        "problem": problem,
    }


def _socket_parts(text: str) -> dict[str, str | None]:
    """Return what can be dialled of a socket, null for all of one that is none."""
    socket = socket_of(text)
    return {
        "peer_id": None if socket is None else str(socket.address.peer_id),
        "http_url": None if socket is None or socket.http is None else str(socket.http),
    }


def operator_line(row: dict[str, Any]) -> str:
    """Return the line of one member for people."""
    if row["problem"]:
        return f"{row['address']}  {row['problem']}"
    return f"{row['address']}  {row['curve']} {row['key'][:16]}…  {shown_socket(row['socket'])}"
