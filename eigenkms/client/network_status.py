"""The status of the network: can it serve, and what each operator states.

The version is verified against the chain's operator set. An operator's status is no more than its word: it counts to find out how
many operators could serve now. Every text in it that could command a terminal is dropped.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Final

import trio

from eigenkms import bounded_json
from eigenkms.client import api
from eigenkms.client.cluster_info import ClusterInfo
from eigenkms.client.progress import ProgressCallback
from eigenkms.client.settings import ClientSettings
from eigenkms.client.transport import ClientTransport
from eigenkms.errors import EigenKmsError
from eigenkms.types import OperatorAddress, to_hex
from eigenkms.wire.rpc_methods import STATUS

ANSWER_SECONDS = 5.0
"""Timeout of the query to one operator."""
MAX_ATTEMPTS: Final = 4
"""How often operators are queried while they change versions."""
PAUSE_SECONDS: Final = 1.0
"""Pause between two queries."""
MAX_ACCUSED: Final = 256
"""Operators that one answer names as accused; no set is larger."""
MAX_TEXT: Final = 100
"""Characters of a text in an answer; a longer one is dropped."""

Scalar = str | int | bool | None
Answers = Mapping[OperatorAddress, "StatusAnswer | None"]
"""The statement of each operator; None for one that did not answer."""


class NetworkHealth(Enum):
    """Whether the network can serve: all operators, a quorum, or fewer."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    CANNOT_SERVE = "cannot serve"


@dataclass(frozen=True, slots=True)
class StatusAnswer:
    """The statement of one operator on itself, unverified.

    A field is None if the operator states nothing for it that may be shown.
    """

    version: Scalar
    share: Scalar
    policy: Scalar
    peers: Scalar
    phase: Scalar
    boundary: Scalar
    head: Scalar
    evidence: Scalar
    released: Scalar
    release_head: Scalar
    canary: Scalar
    anchored: Scalar
    accused: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return the fields as ``eigenkms status --json`` has them."""
        return {**asdict(self), "accused": list(self.accused)}


@dataclass(frozen=True)
class NetworkStatus:
    """The verified version, and the answer of each of its recipients.

    ``undialable`` has the recipients without a usable address, and why.
    """

    info: ClusterInfo
    answers: Answers
    undialable: Mapping[OperatorAddress, str] = field(default_factory=dict)

    @property
    def serving(self) -> int:
        """How many recipients state that they hold a share of the verified version."""
        return sum(
            1 for said in self.answers.values() if said and said.version == self.info.version and said.share
        )

    @property
    def health(self) -> NetworkHealth:
        """Whether all recipients serve, or a quorum of them, or fewer."""
        return assess_health(self.serving, len(self.info.operators), self.info.threshold)

    @property
    def is_changing(self) -> bool:
        """Whether a recipient has another version, or no share of this one so far.

        During a rotation some recipients do.
        """
        said = [each for each in self.answers.values() if each and isinstance(each.version, int)]
        return any(each.version != self.info.version or each.share is False for each in said)

    def to_json(self) -> dict[str, object]:
        """Return the fields of ``eigenkms status --json``."""
        return {
            "health": self.health.value,
            "cluster": self.info.cluster_id.hex(),
            "version": int(self.info.version),
            "threshold": self.info.threshold,
            "operators": len(self.info.operators),
            "serving": self.serving,
            "silent": [to_hex(o) for o, said in self.answers.items() if said is None],
            "undialable": {to_hex(o): reason for o, reason in self.undialable.items()},
            "accused": sorted({name for said in self.answers.values() if said for name in said.accused}),
            "members": {to_hex(o): said and said.to_json() for o, said in self.answers.items()},
        }


def assess_health(serving: int, total: int, threshold: int) -> NetworkHealth:
    """Return the health of a network in which ``serving`` of ``total`` serve."""
    if serving < threshold:
        return NetworkHealth.CANNOT_SERVE
    return NetworkHealth.HEALTHY if serving == total else NetworkHealth.DEGRADED


async def fetch_status(settings: ClientSettings, progress: ProgressCallback) -> NetworkStatus:
    """Fetch the verified version, and query its recipients; again while they change.

    A rotation is no degradation; a node that stays behind is one. Raises as ``Client.fetch``.
    """
    async with api.open_client(settings) as client:
        status = await _query_all(client, progress)
        for _ in range(MAX_ATTEMPTS - 1):
            if not status.is_changing:
                break
            await trio.sleep(PAUSE_SECONDS)
            status = await _query_all(client, progress)
    return status


async def _query_all(client: api.Client, progress: ProgressCallback) -> NetworkStatus:
    info = await client.fetch(progress)
    answers: dict[OperatorAddress, StatusAnswer | None] = dict.fromkeys(info.operators)
    async with trio.open_nursery() as nursery:
        for operator in info.operators:
            nursery.start_soon(_query, client.transport, operator, answers)
    return NetworkStatus(info, answers, _undialable(client.transport, answers))


def _undialable(transport: ClientTransport, answers: Answers) -> dict[OperatorAddress, str]:
    """Return the silent operators that have no usable address, and why."""
    silent = [operator for operator, said in answers.items() if said is None]
    return {
        operator: transport.address_book.describe_missing_peer(operator)
        for operator in silent
        if transport.peer_of(operator) is None
    }


async def _query(
    transport: ClientTransport,
    operator: OperatorAddress,
    answers: dict[OperatorAddress, StatusAnswer | None],
) -> None:
    try:
        answers[operator] = read_status(await transport.call(operator, STATUS, b"", ANSWER_SECONDS))
    except EigenKmsError:
        answers[operator] = None


def read_status(answer: bytes) -> StatusAnswer | None:
    """Return an operator's status; None if the answer is not a node's.

    Each value that must not be shown is dropped.
    """
    try:
        said = bounded_json.loads(answer)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    shown = {name: _showable(said.get(name)) for name in _SCALAR_FIELDS}
    return StatusAnswer(**shown, accused=_addresses(said.get("accused")))


_SCALAR_FIELDS: Final = tuple(name for name in StatusAnswer.__dataclass_fields__ if name != "accused")


def _showable(value: object) -> Scalar:
    """Return the value if it is a number, a truth, or a short printable text.

    Else return None.
    """
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable():
        return value
    return None


def _addresses(value: object) -> tuple[str, ...]:
    """Return the operator addresses among the first MAX_ACCUSED items of a list."""
    listed = value[:MAX_ACCUSED] if isinstance(value, list) else []
    return tuple(text for text in listed if isinstance(text, str) and re.fullmatch("0x[0-9a-f]{40}", text))
