"""The configuration of a chain: the operator set, and the finality of its blocks."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self

from eigenkms.chain.provider_health import STALE_SECONDS
from eigenkms.chain.rpc import RpcRefusedError
from eigenkms.errors import ChainError, InputError
from eigenkms.types import Cluster

Tag = Literal["finalized", "safe", "latest"]
MAX_CONFIRMATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Finality:
    """The finality at which a block counts.

    It is the chain's ``finalized`` or ``safe`` block, or K blocks below the ``latest``. Written ``finalized``, ``safe``,
    ``latest`` or ``latest-K``; ``str`` and ``parse`` are inverse, and ``latest-0`` is ``latest``.
    """

    tag: Tag
    confirmations: int = 0

    FORMS: ClassVar[str] = "finalized, safe, latest or latest-K"

    def __post_init__(self) -> None:
        bound = MAX_CONFIRMATIONS if self.tag == "latest" else 0
        if not 0 <= self.confirmations <= bound:
            raise InputError(
                f"set finality: {self.confirmations} confirmations of {self.tag} is out of range"
            )

    def __str__(self) -> str:
        return f"{self.tag}-{self.confirmations}" if self.confirmations else self.tag

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raise InputError."""
        if text == "finalized":
            return cls("finalized")
        if text == "safe":
            return cls("safe")
        match = re.fullmatch(r"latest(?:-(0|[1-9][0-9]{0,4}))?", text, re.ASCII)
        if not match:
            raise InputError(f"set finality: {text[:40]!r} is unknown", hint=f"use {cls.FORMS}")
        return cls("latest", int(match[1] or 0))


def finality_hint(tag: Tag, flag: str) -> str:
    """Return the next step if an RPC has no block of that tag.

    ``flag`` sets the finality.
    """
    if tag == "latest":
        return "wait until the node is synchronised, or use another RPC"
    return (
        f"if the chain or this RPC knows no {tag} block, choose another finality with {flag} "
        f"({Finality.FORMS}; all operators of a network have the same); else wait until the node is synchronised"
    )


def explain_refusal(refusal: RpcRefusedError, tag: Tag, flag: str) -> None:
    """Raise ChainError that names ``flag`` if an RPC refused the block ``tag``."""
    if tag != "latest" and refusal.method == "eth_getBlockByNumber":
        raise ChainError(f"read the {tag} block: {refusal}", hint=finality_hint(tag, flag)) from refusal


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """One operator set of one AVS on one chain.

    Addresses are 20 bytes. ``rpc_url`` is one URL or several, the preferred one first; they may hold API keys: no repr
    shows them.

    ``stale_seconds``: age of its newest block from which on an RPC is asked after the others. ``app_controller``: where
    applications are looked up, None where that is not wanted.
    """

    rpc_url: str | Sequence[str] = field(repr=False)
    chain_id: int
    avs: bytes
    operator_set_id: int
    allocation_manager: bytes
    key_registrar: bytes
    finality: Finality
    app_controller: bytes | None = None
    stale_seconds: float = STALE_SECONDS

    def __post_init__(self) -> None:
        for name in ("avs", "allocation_manager", "key_registrar", "app_controller"):
            address = getattr(self, name)
            if name == "app_controller" and address is None:
                continue
            if len(address) != 20 or not any(address):
                raise InputError(f"configure the chain: {name} is not a 20-byte address other than zero")
        try:
            self.cluster  # noqa: B018 - its checks are ours
        except ValueError as exc:
            raise InputError(f"configure the chain: {exc}") from exc

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.chain_id, self.avs, self.operator_set_id)

    @property
    def rpc_urls(self) -> tuple[str, ...]:
        return (self.rpc_url,) if isinstance(self.rpc_url, str) else tuple(self.rpc_url)


@dataclass(frozen=True, slots=True)
class Deployment:
    """The contracts of one operator set, as the writer side needs them.

    Addresses are 20 bytes.

    ``app_controller`` is None where applications are no concern.
    """

    allocation_manager: bytes
    delegation_manager: bytes
    key_registrar: bytes
    registrar: bytes
    app_controller: bytes | None
    avs: bytes
    chain_id: int
    operator_set_id: int = 0

    def config(self, rpc_url: str | Sequence[str], finality: Finality) -> ChainConfig:
        """Return the configuration of a reader of this deployment."""
        return ChainConfig(
            rpc_url,
            self.chain_id,
            self.avs,
            self.operator_set_id,
            self.allocation_manager,
            self.key_registrar,
            finality,
            self.app_controller,
        )
