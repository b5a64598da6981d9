"""The registration of an operator on chain, and the plan of an action that changes it."""

from dataclasses import dataclass

from eigenkms.chain.registration import Call


@dataclass(frozen=True, slots=True)
class OperatorRegistration:
    """One operator as the chain has it at block ``block``.

    ``is_allowed`` and ``owner`` (of the registrar, 20 bytes) are None if the registrar has no such list. ``curve`` is that of
    the set's keys, as ``abi`` numbers it; ``key`` as registered (``operator_keys``), None without one. ``slashable_until`` is the
    last block at which an operator that left can be slashed, None if there is none, or it is not known. ``balance`` in wei.
    """

    address: bytes
    block: int
    is_operator: bool
    is_allowed: bool | None
    owner: bytes | None
    curve: int
    key: bytes | None
    is_member: bool
    is_slashable: bool
    slashable_until: int | None
    members: int
    socket: str
    balance: int

    @property
    def until(self) -> str:
        """Return how long an operator that left stays slashable, for a message."""
        return "" if self.slashable_until is None else f" until block {self.slashable_until}"


@dataclass(frozen=True, slots=True)
class TransactionStep:
    """A part of a plan: its call, or None with the reason why it is done."""

    name: str
    call: Call | None
    done: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """An action of an account (20 bytes) and its steps, in order.

    ``after`` is for the person when it is done, ``warnings`` are before it.
    """

    action: str
    account: bytes
    steps: tuple[TransactionStep, ...]
    after: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def calls(self) -> tuple[Call, ...]:
        """Return the calls of the steps that are not done."""
        return tuple(step.call for step in self.steps if step.call is not None)

    @property
    def gas(self) -> int:
        """Return the most that all calls together may use."""
        return sum(call.gas for call in self.calls)
