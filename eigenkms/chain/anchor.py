"""The anchor: entries of operators for each key version, in a commitment registry.

The registry is a contract on a chain of its own choosing, and a witness. No node needs it to make, rotate or use a key. A client
that queries it as well learns whether operators stated the same to all clients (docs/protocol.md, Anchor). An entry is that of an
operator for a version: the hash of the transcript, and a root that binds cluster, master public key and recipients. So these can be
compared without the transcript.

Any account may be on the registry's list of members, as far as a reader can see. So readers request the entries of given
operators, in practice the recipients of the version, and never "all". Entries are written once and hold the number of their
block. A later read with the same ``cutoff`` returns the same.

Each read is of one block, named by its hash (EIP-1898), and has the chain's id in it.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from eth_abi.abi import encode

from eigenkms.chain import abi
from eigenkms.chain.config import Finality, explain_refusal, finality_hint
from eigenkms.chain.contracts import artefact
from eigenkms.chain.revert_reasons import explain_revert
from eigenkms.chain.rpc import JsonRpc, RpcRefusedError, pin
from eigenkms.chain.rpc_values import Json, parse_bytes, parse_object, parse_quantity
from eigenkms.chain.transactions import Receipt, Sender, Terms, base_fee_of
from eigenkms.crypto.hashing import be64, keccak256
from eigenkms.errors import ChainError, InputError
from eigenkms.types import Cluster, ClusterId, OperatorAddress, to_hex
from eigenkms.wire.codec import encode as canonical
from eigenkms.wire.session import cluster_id, encode_recipients
from eigenkms.wire.transcript import Transcript

GAS_COMMITMENT: Final = 200_000
GAS_MEMBER: Final = 100_000
GAS_REGISTRY: Final = 2_000_000
_TAG: Final = b"eigenkms/anchor/1"


@dataclass(frozen=True, slots=True)
class Commitment:
    """Two hashes of 32 bytes that an operator wrote for a version."""

    transcript_hash: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class AnchorConfig:
    """The address of the registry (20 bytes), and the finality of its chain.

    The URL may hold an API key.
    """

    rpc_url: str = field(repr=False)
    chain_id: int
    registry: bytes
    finality: Finality = Finality("latest")  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if len(self.registry) != 20 or not any(self.registry):
            raise InputError("configure the anchor: the registry is not a 20-byte address other than zero")


def commitment_to(transcript: Transcript) -> Commitment:
    """Return the commitment that an operator anchors of a version.

    It is the transcript's hash and ``root = keccak256("eigenkms/anchor/1" ‖ cluster ‖ be64(version) ‖ MPK ‖ keccak256(R))``, R the
    recipients as in a session's id.
    """
    recipients = keccak256(canonical(encode_recipients(transcript.recipients)))
    root = keccak256(_TAG, transcript.cluster, be64(transcript.version), transcript.mpk, recipients)
    return Commitment(transcript.hash, root)


class Anchor:
    """One registry, of one cluster.

    Made by ``open_anchor``, which asks nothing yet; safe for many tasks at once.
    """

    def __init__(self, config: AnchorConfig, cluster: ClusterId, rpc: JsonRpc) -> None:
        self.config: Final = config
        self.rpc: Final = rpc
        self._cluster = cluster
        self._is_checked = False

    # ------------------------------------------------------------------------------------------------- reading

    async def commitments(
        self, version: int, operators: Iterable[OperatorAddress], *, cutoff: int | None = None
    ) -> dict[OperatorAddress, Commitment]:
        """Return the entries for this version of those of ``operators`` that have one.

        With ``cutoff`` later entries are left out. Raises ChainError.
        """
        asked = tuple(operators)
        entries = await self._read([(abi.GET_COMMITMENT, (version, operator)) for operator in asked])
        return {
            operator: Commitment(transcript_hash, root)
            for operator, (transcript_hash, root, block) in zip(asked, entries, strict=True)
            if block and (cutoff is None or block <= cutoff)
        }

    async def submissions(self) -> int:
        """Return how many entries were ever made, by all operators together.

        It is not zero once the cluster has an anchored key. Raises ChainError.
        """
        ((count,),) = await self._read([(abi.SUBMISSIONS, ())])
        return int(count)

    async def members_among(self, operators: Iterable[OperatorAddress]) -> frozenset[OperatorAddress]:
        """Return those of whom the registry takes entries. Raises ChainError."""
        asked = tuple(operators)
        answers = await self._read([(abi.IS_REGISTRY_MEMBER, (operator,)) for operator in asked])
        return frozenset(operator for operator, (member,) in zip(asked, answers, strict=True) if member)

    async def owner(self) -> bytes:
        """Return the owner of the list, 20 bytes. Raises ChainError."""
        ((owner,),) = await self._read([(abi.OWNER, ())])
        return bytes.fromhex(owner[2:])

    async def check(self) -> None:
        """Check that the registry is of this cluster.

        Every read checks it too, until it succeeded once. Raises ChainError.
        """
        if not self._is_checked:
            await self._check(await self._block_hash())

    async def _check(self, block_hash: bytes) -> None:
        config = self.config
        what = f"check commitment registry {to_hex(config.registry)} on chain {config.chain_id}"
        hint = "correct anchor_registry and anchor_chain_id, or leave the anchor out"
        code = await self.rpc.call("eth_getCode", to_hex(config.registry), pin(block_hash))
        if not parse_bytes(code, "code of the commitment registry"):
            raise ChainError(f"{what}: there is no contract at this address", hint=hint)
        try:
            found = await self._read_at(
                block_hash, [(abi.REGISTRY_CHAIN_ID, ()), (abi.REGISTRY_AVS, ()), (abi.REGISTRY_SET, ())]
            )
        except RpcRefusedError as refusal:
            if not refusal.is_revert:
                raise
            found = []
        if not found:
            other = "another contract is there, and no registry of this program (the reference's registry is none)"
            raise ChainError(f"{what}: {other}", hint=f"{hint}; eigenkms anchor deploy makes one")
        if _cluster_of(*(value for (value,) in found)) != self._cluster:
            raise ChainError(f"{what}: it is the registry of another cluster", hint=hint)
        self._is_checked = True

    async def _read(self, calls: Sequence[tuple[abi.Function, tuple[object, ...]]]) -> list[tuple[Any, ...]]:
        block_hash = await self._block_hash()
        if not self._is_checked:
            await self._check(block_hash)
        return await self._read_at(block_hash, calls)

    async def _read_at(
        self, block_hash: bytes, calls: Sequence[tuple[abi.Function, tuple[object, ...]]]
    ) -> list[tuple[Any, ...]]:
        at, to = pin(block_hash), to_hex(self.config.registry)
        answers = await self.rpc.batch(
            [
                ("eth_call", ({"to": to, "data": to_hex(function.encode(*values))}, at))
                for function, values in calls
            ]
        )
        return [
            function.decode(parse_bytes(answer, f"answer of {function.name}"))
            for (function, _), answer in zip(calls, answers, strict=True)
        ]

    async def _block_hash(self) -> bytes:
        """Return the hash of the newest block at the configured finality."""
        finality = self.config.finality
        try:
            number, block_hash = await self._block(finality.tag)
        except RpcRefusedError as refusal:
            explain_refusal(refusal, finality.tag, "--anchor-finality")
            raise
        if finality.confirmations and number:
            number, block_hash = await self._block(hex(max(0, number - finality.confirmations)))
        return block_hash

    async def _block(self, selector: str) -> tuple[int, bytes]:
        chain_id, answer = await self.rpc.batch(
            [("eth_chainId", ()), ("eth_getBlockByNumber", (selector, False))]
        )
        self._check_chain_id(chain_id)
        where = f"block {selector} of the anchor's chain at {self.rpc.endpoint}"
        if answer is None:
            hint = finality_hint(self.config.finality.tag, "--anchor-finality")
            raise ChainError(f"read {where}: the node has none", hint=hint)
        header = parse_object(answer, where)
        number = parse_quantity(header.get("number"), f"number of {where}", bits=63)
        return number, parse_bytes(header.get("hash"), f"hash of {where}", size=32)

    def _check_chain_id(self, answer: Json) -> None:
        chain_id = parse_quantity(answer, f"chain id at {self.rpc.endpoint}", bits=256)
        if chain_id != self.config.chain_id:
            raise ChainError(
                f"use the anchor's chain {self.config.chain_id}: the RPC at {self.rpc.endpoint} serves chain {chain_id}",
                hint="set anchor_rpc_url to an RPC of the anchor's chain, or correct anchor_chain_id",
            )

    # ------------------------------------------------------------------------------------------------- writing

    def sender(self, account_key: bytes, terms: Terms | None = None) -> Sender:
        """Return the account (32-byte private key) that writes, and pays for it.

        Raises InputError.
        """
        return Sender(self.rpc, account_key, self.config.chain_id, terms=terms)

    async def submit(self, operator: Sender, version: int, commitment: Commitment) -> Receipt:
        """Write the sender's entry for a version, once and for all.

        Tried as a call first, so that a refusal costs nothing.

        Raises ChainError: not a member, written before, too little ether, or no answer; then ask ``commitments`` before trying
        again.
        """
        what = f"anchor version {version}"
        data = abi.SUBMIT_COMMITMENT.encode(version, commitment.transcript_hash, commitment.root)
        await self.check()
        await self._try(what, operator, data)
        await self._require_ether(what, operator)
        return await operator.send(what, self.config.registry, data, gas=GAS_COMMITMENT)

    async def _try(self, what: str, operator: Sender, data: bytes) -> None:
        call: dict[str, Json] = {
            "from": to_hex(operator.address),
            "to": to_hex(self.config.registry),
            "data": to_hex(data),
        }
        try:
            await self.rpc.call("eth_call", call, "latest")
        except RpcRefusedError as refusal:
            if not refusal.is_revert:
                raise
            reason, hint = explain_revert(refusal.data, refusal.text)
            raise ChainError(f"{what} as {to_hex(operator.address)}: {reason}", hint=hint) from refusal

    async def _require_ether(self, what: str, operator: Sender) -> None:
        """Raise ChainError unless the account can pay for the transaction.

        The highest possible cost of now counts, within the sender's terms.
        """
        balance, block = await self.rpc.batch(
            [
                ("eth_getBalance", (to_hex(operator.address), "latest")),
                ("eth_getBlockByNumber", ("latest", False)),
            ]
        )
        base = base_fee_of(block)
        operator.terms.check(what, base)
        needed = GAS_COMMITMENT * operator.terms.fee(base)
        held = parse_quantity(balance, "balance", bits=256)
        if held < needed:
            raise ChainError(
                f"{what}: account {to_hex(operator.address)} has {held} wei on chain {self.config.chain_id}, "
                f"and {needed} are needed",
                hint="send it ether on the anchor's chain",
            )


@asynccontextmanager
async def open_anchor(config: AnchorConfig, cluster: ClusterId) -> AsyncIterator[Anchor]:
    """Open the anchor; the chain is not queried yet, so a client need not wait for it.

    Raises InputError for a bad URL.
    """
    async with JsonRpc(config.rpc_url) as rpc:
        yield Anchor(config, cluster, rpc)


def _cluster_of(chain_id: int, avs: str, operator_set_id: int) -> ClusterId | None:
    """Return the cluster id, or None for numbers that no cluster has."""
    try:
        return cluster_id(Cluster(chain_id, bytes.fromhex(avs[2:]), operator_set_id))
    except ValueError:
        return None


async def deploy_registry(owner: Sender, cluster: Cluster) -> bytes:
    """Deploy a registry of ``cluster`` and return its address.

    The sender keeps the list of members. Raises ChainError.
    """
    arguments = (owner.address, cluster.chain_id, cluster.avs, cluster.operator_set_id)
    creation = artefact("CommitmentRegistry").bytecode + encode(
        ("address", "uint256", "address", "uint32"), arguments
    )
    receipt = await owner.send("deploy CommitmentRegistry", None, creation, gas=GAS_REGISTRY)
    if receipt.contract is None:
        raise ChainError("deploy CommitmentRegistry: the transaction made no contract")
    return receipt.contract


async def set_member(owner: Sender, registry: bytes, operator: bytes, *, member: bool = True) -> Receipt:
    """Let ``operator`` (20 bytes) write from now on, or not any more.

    The sender must own the registry. Raises ChainError.
    """
    verb = "put" if member else "take"
    what = f"{verb} operator {to_hex(operator)} {'on' if member else 'off'} the member list of the registry"
    return await owner.send(what, registry, abi.SET_MEMBER.encode(operator, member), gas=GAS_MEMBER)
