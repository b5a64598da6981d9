"""The actions of an operator on chain, as plans that are checked before they are sent.

A plan has the steps of an action. A completed step is skipped, and the plan states so. If an action cannot work, it is
refused with a reason before anything is sent. So an interrupted action is completed by a second request. Everything is read
at the newest block, whatever the configured finality, since the next transaction meets that block.

An account acts for itself alone: EigenLayer lets an operator appoint others to act for it, and this program sends none of that.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from eigenkms.chain import abi, registration
from eigenkms.chain.config import ChainConfig, Deployment, Finality
from eigenkms.chain.logs import LogQuery
from eigenkms.chain.operator_keys import CURVES, OperatorKey
from eigenkms.chain.operator_plan import OperatorRegistration, Plan, TransactionStep
from eigenkms.chain.operator_set import MAX_MEMBERS
from eigenkms.chain.operator_set_source import OperatorSetSource, open_chain
from eigenkms.chain.plan_warnings import describe_replacement, socket_replaced, warnings_of_joining
from eigenkms.chain.registration import Call, OperatorProfile
from eigenkms.chain.revert_reasons import explain_revert
from eigenkms.chain.rpc import RpcRefusedError, pin
from eigenkms.chain.rpc_values import format_ether, format_gwei, parse_quantity
from eigenkms.chain.transactions import Terms, base_fee_of
from eigenkms.crypto.app_ids import checksummed
from eigenkms.errors import ChainError, InputError
from eigenkms.types import OperatorAddress, to_hex


@dataclass(frozen=True, slots=True)
class OperatorRegistry:
    """One operator set of a chain, and what the calls need to know of it."""

    chain: OperatorSetSource
    contracts: Deployment

    @property
    def _set(self) -> tuple[bytes, int]:
        return self.chain.set_id

    @property
    def _named_set(self) -> str:
        return f"operator set {self.contracts.operator_set_id} of AVS {to_hex(self.contracts.avs)}"

    # ------------------------------------------------------------------------------------------------- reading

    async def read_registration(self, operator: bytes) -> OperatorRegistration:
        """Return the state of ``operator`` (20 bytes) on chain now. Raises ChainError."""
        chain, contracts, of_set = self.chain, self.contracts, self._set
        head = await chain.head()
        is_member, is_slashable, members, delay = await chain.read_at(
            head,
            contracts.allocation_manager,
            [
                (abi.IS_MEMBER, (operator, of_set)),
                (abi.IS_SLASHABLE, (operator, of_set)),
                (abi.MEMBER_COUNT, (of_set,)),
                (abi.DEALLOCATION_DELAY, ()),
            ],
        )
        (is_operator,) = await chain.read_at(
            head, contracts.delegation_manager, [(abi.IS_OPERATOR, (operator,))]
        )
        member = OperatorAddress(operator)
        keys, sockets = await chain.details((member,), contracts.registrar, pin(head.hash))
        key = keys[member]
        until = None
        if is_slashable and not is_member:
            until = await self._slashable_until(operator, head.number, delay)
        return OperatorRegistration(
            address=operator,
            block=head.number,
            is_operator=is_operator,
            is_allowed=await self.is_allowed(operator),
            owner=await self.owner(),
            curve=chain.curve,
            key=key if isinstance(key, bytes) else None,
            is_member=is_member,
            is_slashable=is_slashable,
            slashable_until=until,
            members=members,
            socket=sockets[member],
            balance=await self.balance(operator),
        )

    async def owner(self) -> bytes | None:
        """Return the owner of the AVS registrar, 20 bytes, or None. Raises ChainError."""
        answer = await self._optional(abi.OWNER)
        return None if answer is None else bytes.fromhex(answer[2:])

    async def is_allowed(self, operator: bytes) -> bool | None:
        """Return whether ``operator`` may join; None if the registrar keeps no such list.

        Raises ChainError.
        """
        allowed: bool | None = await self._optional(abi.IS_ALLOWED, self._set, operator)
        return allowed

    async def balance(self, account: bytes) -> int:
        """Return an account's balance in wei. Raises ChainError."""
        answer = await self.chain.rpc.call("eth_getBalance", to_hex(account), "latest")
        return parse_quantity(answer, f"balance of {to_hex(account)}", bits=256)

    async def _optional(self, function: abi.Function, *values: object) -> Any:
        """Return the result of a function of the registrar.

        Returns None if the registrar has no such function.
        """
        try:
            (answer,) = await self.chain.read_at(
                await self.chain.head(), self.contracts.registrar, [(function, values)]
            )
        except RpcRefusedError as refusal:
            if not refusal.is_revert:
                raise
            return None
        return answer

    async def _slashable_until(self, operator: bytes, head: int, delay: int) -> int | None:
        """Return the last slashable block, from the newest event of its leaving.

        Returns None if the RPC does not serve events of that time.
        """
        query = LogQuery(self.contracts.allocation_manager, (abi.REMOVED,), operator.rjust(32, b"\0"))
        try:
            events = await query.read(self.chain.rpc, max(0, head - delay), head)
        except ChainError:
            return None
        left = [event.position[0] for event in events if self.chain.is_ours(event.data)]
        return left[-1] + delay if left else None

    # --------------------------------------------------------------------------------------------------- plans

    async def register(
        self,
        account: bytes,
        key: OperatorKey,
        socket: str,
        profile: OperatorProfile | None = None,
        *,
        replace_socket: bool = False,
    ) -> Plan:
        """Plan the way from a bare account to a member with this key and socket.

        ``replace_socket``: another socket of the operator may be overwritten.

        Raises InputError for what cannot work, and ChainError.
        """
        action = f"register operator {to_hex(account)}"
        self._check_curve(action, key)
        now = await self.read_registration(account)
        if now.is_member:
            return self._registered(action, now, key, socket)
        self._check_may_join(action, now)
        if now.socket not in ("", socket) and not replace_socket:
            raise socket_replaced(action, now.socket, socket)
        profile = profile or OperatorProfile()
        become = TransactionStep("become operator", None, "it is an operator already")
        if not now.is_operator:
            call = registration.call_register_as_operator(self.contracts, account, profile)
            become = replace(become, call=call, done="")
        return Plan(
            action,
            account,
            (
                become,
                _allowed_step(now),
                await self._key_step(action, now, key),
                TransactionStep("join operator set", registration.call_join(self.contracts, account, socket)),
            ),
            ("start its node, if it does not run: it takes part from the next boundary on",)
            if key.curve == abi.CURVE_BN254
            else (),
            tuple(warnings_of_joining(now, key.curve, socket, profile)),
        )

    def _registered(self, action: str, now: OperatorRegistration, key: OperatorKey, socket: str) -> Plan:
        """Return an empty plan for a member; raise InputError if its key is another one."""
        self._check_own_key(action, now, key)
        steps = (
            TransactionStep("become operator", None, "it is an operator already"),
            TransactionStep("allow-list", None, "it is a member already"),
            TransactionStep("register key", None, "this key is registered already"),
            TransactionStep("join operator set", None, "it is a member already"),
        )
        after = (
            ()
            if now.socket == socket
            else (f"its socket on chain is {now.socket!r}: change it with operator update-socket",)
        )
        return Plan(action, now.address, steps, after)

    def _check_curve(self, action: str, key: OperatorKey) -> None:
        if key.curve != self.chain.curve:
            raise InputError(
                f"{action}: {self._named_set} takes {CURVES[self.chain.curve]} keys, and the keystore holds one of "
                f"{CURVES[key.curve]}",
                hint="give --ecdsa-keystore FILE for a set of ECDSA keys, bn254_keystore for one of BN254; or check avs and "
                "operator_set_id",
            )

    def _check_may_join(self, action: str, now: OperatorRegistration) -> None:
        if now.is_slashable:
            raise InputError(
                f"{action}: it left the set so recently that it is slashable{now.until}, and may not come back before",
                hint="try again after that block; the key that is registered stays usable",
            )
        if now.members >= MAX_MEMBERS:
            raise InputError(f"{action}: the {self._named_set} is full: it has {now.members} members")
        if now.is_allowed is False:
            owner = (
                "its owner" if now.owner is None else f"the owner of the AVS registrar, {to_hex(now.owner)},"
            )
            raise InputError(
                f"{action}: it is not on the allow-list of {self._named_set}",
                hint=f"{owner} must run: eigenkms operator allow {to_hex(now.address)}",
            )

    async def _key_step(self, action: str, now: OperatorRegistration, key: OperatorKey) -> TransactionStep:
        if now.key is not None:
            self._check_own_key(action, now, key)
            return TransactionStep("register key", None, "this key is registered already")
        await self._check_unburned(action, key)
        call = await registration.call_register_key(self.chain.rpc, self.contracts, now.address, key)
        return TransactionStep("register key", call)

    def _check_own_key(self, action: str, now: OperatorRegistration, key: OperatorKey) -> None:
        if now.key != key.data:
            raise InputError(
                f"{action}: it has another {CURVES[key.curve]} key in this set than the one in the keystore",
                hint="give the keystore of the key that is registered; to change keys: leave, wait until it is not slashable, "
                "and run operator deregister --key",
            )

    async def _check_unburned(self, action: str, key: OperatorKey) -> None:
        registrar, head = self.contracts.key_registrar, await self.chain.head()
        burned, holder = await self.chain.read_at(
            head,
            registrar,
            [
                (abi.IS_KEY_BURNED, (key.hash,)),
                (abi.GET_OPERATOR_OF_KEY, (self._set, key.data)),
            ],
        )
        if not burned:
            return
        another = f"is registered by operator {holder}" if int(holder, 16) else "was registered before"
        raise InputError(
            f"{action}: the {CURVES[key.curve]} key of the keystore {another}, and a key can be registered only once",
            hint=f"make a new one with: eigenkms keys new --kind {CURVES[key.curve].lower()} -o FILE",
        )

    async def leave(self, account: bytes) -> Plan:
        """Out of the set. Raises InputError for one that never was in it, and ChainError."""
        action = f"deregister operator {to_hex(account)}"
        now = await self.read_registration(account)
        if now.is_member:
            delay = await self._delay()
            after = (
                "keep its node running until there is a version without it: its share is needed until then",
                f"it stays slashable for {delay} blocks; its key stays registered, so that it can come back after that",
            )
            step = TransactionStep("leave operator set", registration.call_leave(self.contracts, account))
            return Plan(action, account, (step,), after)
        if now.key is None and not now.is_slashable:
            raise InputError(
                f"{action}: it is not in {self._named_set}, and has no key there",
                hint="check operator, avs and operator_set_id",
            )
        done = TransactionStep("leave operator set", None, "it is not in the set")
        return Plan(action, account, (done,), (f"it is slashable{now.until}",) if now.is_slashable else ())

    async def _delay(self) -> int:
        head = await self.chain.head()
        (delay,) = await self.chain.read_at(
            head, self.contracts.allocation_manager, [(abi.DEALLOCATION_DELAY, ())]
        )
        blocks: int = delay
        return blocks

    async def give_up_key(self, account: bytes) -> Plan:
        """Deregister the key, for good.

        Raises InputError while it is slashable, and ChainError.
        """
        action = f"deregister the key of operator {to_hex(account)}"
        now = await self.read_registration(account)
        if now.is_member:
            raise InputError(
                f"{action}: it is in the set, and a member must have a key",
                hint="leave first, with operator deregister, and wait until it is not slashable any more",
            )
        if now.key is None:
            return Plan(
                action, account, (TransactionStep("deregister key", None, "it has no key in this set"),)
            )
        if now.is_slashable:
            raise InputError(
                f"{action}: it left the set so recently that it is slashable{now.until}",
                hint="try again after that block; its key stays registered until then",
            )
        call = registration.call_deregister_key(self.contracts, account)
        warnings = ("this key can never be registered again, by nobody and in no set",)
        return Plan(action, account, (TransactionStep("deregister key", call),), warnings=warnings)

    async def update_socket(self, account: bytes, socket: str) -> Plan:
        """Publish ``socket``, unless the chain has it.

        Raises InputError for one that is no member, and ChainError.
        """
        action = f"update the socket of operator {to_hex(account)}"
        now = await self.read_registration(account)
        if not now.is_member:
            raise InputError(
                f"{action}: it is not in {self._named_set}", hint="join with operator register first"
            )
        if now.socket == socket:
            return Plan(
                action, account, (TransactionStep("update socket", None, f"the chain has {socket} already"),)
            )
        call = registration.call_update_socket(self.contracts, account, socket)
        warnings = (describe_replacement(now.socket, socket),) if now.socket else ()
        return Plan(action, account, (TransactionStep("update socket", call),), warnings=warnings)

    async def allow(self, account: bytes, operator: bytes, *, remove: bool = False) -> Plan:
        """Plan to put ``operator`` on the allow-list, or off it, as its owner.

        Raises InputError for another account, and ChainError.
        """
        action = f"{'take off the allow-list' if remove else 'allow'} operator {to_hex(operator)}"
        allowed, owner = await self.is_allowed(operator), await self.owner()
        if allowed is None:
            raise InputError(
                f"{action}: the AVS registrar {to_hex(self.contracts.registrar)} keeps no allow-list",
                hint="check avs; what its registrar asks for, its owner knows",
            )
        name = "take off the allow-list" if remove else "put on the allow-list"
        if allowed is not remove:
            done = "it is on the list already" if allowed else "it is not on the list"
            return Plan(action, account, (TransactionStep(name, None, done),))
        if owner is not None and owner != account:
            raise InputError(
                f"{action}: the account {to_hex(account)} is not the owner of the AVS registrar, {to_hex(owner)} is",
                hint="give the owner's account with --account-keystore, or ask the owner",
            )
        make = registration.call_disallow if remove else registration.call_allow
        after = ("a member stays in the set until it leaves, or the AVS removes it",) if remove else ()
        return Plan(action, account, (TransactionStep(name, make(self.contracts, operator)),), after)

    # ----------------------------------------------------------------------------------------- before sending

    async def fee(self, plan: Plan, terms: Terms) -> int:
        """Return the most that a unit of gas would cost now, in wei.

        Raises ChainError if the network asks more than ``terms`` allow, InputError if the account cannot pay the plan.
        """
        block = await self.chain.rpc.call("eth_getBlockByNumber", "latest", False)
        base_fee = base_fee_of(block)
        if plan.calls:
            terms.check(plan.action, base_fee)
        fee = terms.fee(base_fee)
        needed, balance = plan.gas * fee, await self.balance(plan.account)
        if balance < needed:
            raise InputError(
                f"{plan.action}: the account {to_hex(plan.account)} has {format_ether(balance)} ether, "
                f"and up to {format_ether(needed)} may be needed ({plan.gas} gas at {format_gwei(fee)} gwei)",
                hint=f"send at least {format_ether(needed - balance)} ether to {checksummed(plan.account)}; nothing was sent",
            )
        return fee

    async def simulate(self, plan: Plan, call: Call) -> str | None:
        """Return why the newest state would refuse ``call``, None if it would not.

        Returns "" if that shows only after the calls before it.

        Raises ChainError if it cannot be asked.
        """
        request = {"from": to_hex(plan.account), "to": to_hex(call.to), "data": to_hex(call.data)}
        try:
            await self.chain.rpc.call("eth_call", {**request, "gas": hex(call.gas)}, "latest")
        except RpcRefusedError as refusal:
            return explain_revert(refusal.data, refusal.text)[0] if call is plan.calls[0] else ""
        return None


def _allowed_step(now: OperatorRegistration) -> TransactionStep:
    done = "the AVS registrar keeps none" if now.is_allowed is None else "it is on the list"
    return TransactionStep("allow-list", None, done)


@asynccontextmanager
async def open_registry(config: ChainConfig, delegation_manager: bytes) -> AsyncIterator[OperatorRegistry]:
    """Connect, check the deployment, and find the AVS's registrar.

    Reads are of the newest block.

    Raises ChainError: chain id, missing contracts, operator set, registrar or curve; RPC down.
    """
    newest = replace(config, finality=Finality("latest"))
    async with open_chain(newest, curves=(abi.CURVE_BN254, abi.CURVE_ECDSA)) as chain:
        await chain.require_contract("delegation manager", delegation_manager)
        (registrar,) = await chain.read_at(
            await chain.head(), config.allocation_manager, [(abi.GET_AVS_REGISTRAR, (config.avs,))]
        )
        contracts = Deployment(
            config.allocation_manager,
            delegation_manager,
            config.key_registrar,
            bytes.fromhex(registrar[2:]),
            config.app_controller,
            config.avs,
            config.chain_id,
            config.operator_set_id,
        )
        yield OperatorRegistry(chain, contracts)
