"""A JSON-RPC client that trusts no answer.

The node at the other end may be down, behind a proxy that answers HTML, rate limited, or hostile. So each call has one
deadline for everything (connection, retries, body). Bodies are read up to a size bound, uncompressed. The JSON is checked for
shape, version and request ids. Every fault becomes a ``ChainError`` that names the method and the endpoint, with the
provider's own words (``reasons``) and without the secrets of its URL (``endpoints``).

Many providers take no batches, or short ones, each with an error of its own: an error object in place of the list, a shorter
list, an HTTP status, a refusal of each call. So if a batch was not answered as one, its first call is made alone. If that is
answered, the endpoint gets single calls from then on.

Only the transport is retried (``transport``). An answer is never retried. ``retry=False`` is for requests that change something.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NewType, NoReturn, Protocol, Self

import trio

from eigenkms import bounded_json
from eigenkms.chain.reasons import reason_in
from eigenkms.chain.rpc_values import Json, excerpt, parse_object
from eigenkms.chain.transport import (
    ATTEMPTS,
    REASON_CHARACTERS,
    HttpTransport,
    RpcAnswerError,
    RpcTooLargeError,
    RpcUnavailableError,
)
from eigenkms.errors import ChainError
from eigenkms.types import to_hex

__all__ = [
    "ATTEMPTS",
    "MAX_BATCH",
    "BlockPin",
    "JsonRpc",
    "Request",
    "Rpc",
    "RpcAnswerError",
    "RpcRefusedError",
    "RpcStatistics",
    "RpcTooLargeError",
    "RpcUnavailableError",
    "pin",
]

MAX_ANSWER_BYTES: Final = 8 * 2**20
MAX_BATCH: Final = 64
SINGLES: Final = 8
"""Calls at once to an endpoint that takes no batches."""
LARGE_BODY: Final = 64 * 2**10
_HINTS: Final = {
    -32601: "use an RPC that offers this method",
    -32005: "the provider limits requests: use another RPC or plan, or ask again later",
}
"""By the code of a refusal (JSON-RPC 2.0, section 5.1; EIP-1474)."""

log = logging.getLogger("eigenkms.chain.rpc")

BlockPin = NewType("BlockPin", dict[str, Json])
"""An EIP-1898 block parameter: this hash, and only while it is canonical."""

Request = tuple[str, tuple[Json, ...]]


class RpcRefusedError(ChainError):
    """The node answered with a JSON-RPC error object: ``code`` and, for a revert, the revert ``data``.

    ``method`` is what it refused; of a batch that was refused as a whole it is no method.
    """

    def __init__(self, message: str, *, code: int, text: str, data: bytes = b"", method: str = "") -> None:
        super().__init__(message, hint=_HINTS.get(code))
        self.method = method
        self.code = code
        self.text = text
        self.data = data

    @property
    def is_revert(self) -> bool:
        """Return whether the contract itself refused the call, as opposed to the node."""
        return self.code == 3 or "revert" in self.text.lower()


def pin(block_hash: bytes) -> BlockPin:
    """Return the block parameter that makes a read fail rather than answer from another block (EIP-1898)."""
    return BlockPin({"blockHash": to_hex(block_hash), "requireCanonical": True})


@dataclass(frozen=True, slots=True)
class RpcStatistics:
    """Counters since the client was opened."""

    requests: int
    retries: int
    failures: int


class Rpc(Protocol):
    """The interface of one endpoint (``JsonRpc``) or several (``rpc_pool.RpcPool``)."""

    @property
    def endpoint(self) -> str:
        """Return the endpoint for messages; it holds no secret."""
        ...

    async def call(self, method: str, *params: Json, retry: bool = True) -> Json: ...

    async def batch(self, requests: Sequence[Request]) -> tuple[Json, ...]: ...

    async def batch_outcomes(self, requests: Sequence[Request]) -> tuple[Json | RpcRefusedError, ...]: ...

    def statistics(self) -> RpcStatistics: ...


class JsonRpc:
    """One endpoint, with pooled connections.

    Use as ``async with JsonRpc(url) as rpc``; safe for many tasks at once.

    ``deadline`` is in seconds and bounds each call as a whole, retries included. ``label`` tells endpoints of one host apart in
    messages.
    """

    def __init__(
        self, url: str, *, deadline: float = 5.0, max_answer_bytes: int = MAX_ANSWER_BYTES, label: str = ""
    ) -> None:
        self._http = HttpTransport(url, max_answer_bytes=max_answer_bytes, label=label)
        self.endpoint: str = self._http.endpoint
        self._deadline = deadline
        self._next_id = 1
        self._requests = 0
        self._takes_batches = True
        self._parsers = trio.CapacityLimiter(1)

    def __repr__(self) -> str:
        return f"<JsonRpc {self.endpoint}>"

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, exc, trace)

    def statistics(self) -> RpcStatistics:
        return RpcStatistics(self._requests, self._http.retries, self._http.failures)

    async def call(self, method: str, *params: Json, retry: bool = True) -> Json:
        """Return the result of one call.

        Raises RpcUnavailableError, RpcAnswerError or RpcRefusedError (all ChainError).
        """
        number = self._take_ids(1)
        body = self._encode(number, method, params)
        answer = await self._exchange(method, body, retry=retry)
        return _accepted(self._result(method, number, answer))

    async def batch(self, requests: Sequence[Request]) -> tuple[Json, ...]:
        """Return the results of many calls, in their order; raises the first refusal.

        See ``batch_outcomes``.
        """
        return tuple(_accepted(outcome) for outcome in await self.batch_outcomes(requests))

    async def batch_outcomes(
        self, requests: Sequence[Request], *, retry: bool = True
    ) -> tuple[Json | RpcRefusedError, ...]:
        """Return the results as ``batch``, each refusal in the place of its result.

        At most MAX_BATCH calls a round trip.
        """
        outcomes: list[Json | RpcRefusedError] = []
        for start in range(0, len(requests), MAX_BATCH):
            outcomes += await self._one_batch(requests[start : start + MAX_BATCH], retry)
        return tuple(outcomes)

    async def _one_batch(self, requests: Sequence[Request], retry: bool) -> list[Json | RpcRefusedError]:
        if not self._takes_batches:
            return await self._one_by_one(requests)
        try:
            outcomes = await self._batched(requests, retry)
        except RpcTooLargeError:
            raise
        except (RpcAnswerError, RpcRefusedError) as error:
            if not await self._is_answered_alone(requests[0], error):
                raise
        else:
            if not any(_is_of_batch(outcome) for outcome in outcomes):
                return outcomes
        self._takes_batches = False
        log.info("%s takes no batches of %d: it is asked one by one", self.endpoint, len(requests))
        return await self._one_by_one(requests)

    async def _is_answered_alone(self, request: Request, of_batch: ChainError) -> bool:
        """Return whether a single call gets another answer than its batch did."""
        try:
            outcome = await self._single(request, retry=False)
        except ChainError:
            return False
        if isinstance(outcome, RpcRefusedError) and isinstance(of_batch, RpcRefusedError):
            return outcome.code != of_batch.code
        return True

    async def _single(self, request: Request, *, retry: bool) -> Json | RpcRefusedError:
        method, params = request
        try:
            return await self.call(method, *params, retry=retry)
        except RpcRefusedError as refusal:
            return refusal

    async def _one_by_one(self, requests: Sequence[Request]) -> list[Json | RpcRefusedError]:
        """Make each call by itself, a few at a time, within the deadline of a batch."""
        outcomes: list[Json | RpcRefusedError] = [None] * len(requests)
        failures: list[ChainError] = []
        waiting = iter(enumerate(requests))

        async def work(all_of_it: trio.CancelScope) -> None:
            for index, request in waiting:
                try:
                    outcomes[index] = await self._single(request, retry=True)
                except ChainError as error:
                    failures.append(error)
                    all_of_it.cancel()
                    return

        with trio.move_on_after(self._deadline) as scope:
            async with trio.open_nursery() as nursery:
                for _ in range(min(SINGLES, len(requests))):
                    nursery.start_soon(work, nursery.cancel_scope)
        if failures:
            raise failures[0]
        if scope.cancelled_caught:
            self._late(f"batch of {requests[0][0]}")
        return outcomes

    async def _batched(self, requests: Sequence[Request], retry: bool) -> list[Json | RpcRefusedError]:
        first = self._take_ids(len(requests))
        methods = [method for method, _ in requests]
        calls = [self._encode(first + i, method, params) for i, (method, params) in enumerate(requests)]
        name = f"batch of {methods[0]}"
        answers = await self._exchange(name, calls, retry=retry)
        by_id = self._by_id(name, answers, range(first, first + len(requests)))
        return [self._result(method, first + i, by_id[first + i]) for i, method in enumerate(methods)]

    def _by_id(self, name: str, answers: Json, ids: range) -> dict[int, Json]:
        if isinstance(answers, dict) and answers.get("error") is not None:
            raise self._refusal(name, answers["error"])
        if not isinstance(answers, list) or len(answers) != len(ids):
            self._reject(name, "the answer is not a list with one entry for each request", answers)
        by_id: dict[int, Json] = {}
        for answer in answers:
            number = parse_object(answer, f"{name} at {self.endpoint}").get("id")
            if type(number) is not int or number not in ids or number in by_id:
                self._reject(name, "an answer has an id that was not asked, or twice the same")
            by_id[number] = answer
        return by_id

    def _take_ids(self, count: int) -> int:
        first = self._next_id
        self._next_id += count
        self._requests += 1
        return first

    @staticmethod
    def _encode(number: int, method: str, params: tuple[Json, ...]) -> dict[str, Json]:
        return {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}

    def _result(self, method: str, number: int, answer: Json) -> Json | RpcRefusedError:
        if not isinstance(answer, dict) or answer.get("jsonrpc") != "2.0":
            self._reject(method, "the answer is not a JSON-RPC 2.0 object", answer)
        if answer.get("error") is not None:
            return self._refusal(method, answer["error"])
        if type(answer.get("id")) is not int or answer["id"] != number:
            self._reject(method, "the answer has another id than the request")
        if "result" not in answer:
            self._reject(method, "the answer has neither result nor error")
        return answer["result"]

    def _refusal(self, method: str, error: Json) -> RpcRefusedError:
        if not isinstance(error, dict) or type(error.get("code")) is not int:
            self._reject(method, "the error is not a JSON-RPC error object", error)
        code, text = error["code"], error.get("message")
        assert isinstance(code, int)
        text = self._http.scrubbed(text) if isinstance(text, str) else ""
        said = excerpt(self._http.scrubbed(reason_in(error)), REASON_CHARACTERS)
        message = f"call {method} at {self.endpoint}: the node refused: {said} (code {code})"
        return RpcRefusedError(
            message, code=code, text=text[:300], data=_revert_data(error.get("data")), method=method
        )

    def _reject(self, method: str, why: str, answer: Json = None) -> NoReturn:
        self._http.failures += 1
        raise RpcAnswerError(f"call {method} at {self.endpoint}: {why}{self._http.quoted(reason_in(answer))}")

    def _late(self, method: str) -> NoReturn:
        self._http.failures += 1
        late = f"call {method} at {self.endpoint}: no answer within {self._deadline:g} s"
        raise RpcUnavailableError(late) from None

    async def _exchange(self, method: str, body: object, *, retry: bool) -> Json:
        content = json.dumps(body, separators=(",", ":")).encode()
        try:
            with trio.fail_after(self._deadline):
                raw = await self._http.post(method, content, retry=retry)
                return await self._parse(method, raw)
        except trio.TooSlowError:
            self._late(method)

    async def _parse(self, method: str, raw: bytes) -> Json:
        try:
            if len(raw) <= LARGE_BODY:
                return _parse_json(raw)
            return await trio.to_thread.run_sync(_parse_json, raw, limiter=self._parsers)
        except ValueError:
            self._reject(method, "the answer is not JSON")


def _is_of_batch(outcome: Json | RpcRefusedError) -> bool:
    """Return whether a call was refused because of the batch that it was in."""
    return isinstance(outcome, RpcRefusedError) and not outcome.is_revert and "batch" in outcome.text.lower()


def _no_constants(name: str) -> NoReturn:
    raise ValueError(name)


def _parse_json(raw: bytes) -> Json:
    parsed: Json = bounded_json.loads(raw.decode("utf-8"), parse_constant=_no_constants)
    return parsed


def _accepted(outcome: Json | RpcRefusedError) -> Json:
    if isinstance(outcome, RpcRefusedError):
        raise outcome
    return outcome


def _revert_data(value: Json) -> bytes:
    """Return the bytes that a reverting contract returned, or none where the node does not say."""
    if not isinstance(value, str) or not value.startswith("0x"):
        return b""
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        return b""
