"""Operators that demand an authorisation, by the pipeline, the methods and the replay cache of a node."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from eigenkms.applications import Application, AppRelease, AppStatus
from eigenkms.attestation.ecdsa import Ecdsa
from eigenkms.attestation.interface import AttestationRefusedError, Method
from eigenkms.authorisation.pipeline import Authoriser
from eigenkms.authorisation.policy import Policy
from eigenkms.client.attesters import Attester
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Host, Request
from eigenkms.storage.replay_cache import ReplayCache
from eigenkms.types import AppId, OperatorAddress
from eigenkms.wire import rpc_methods
from eigenkms.wire.authorisation import Authorisation, Scope
from eigenkms.wire.client_rpc import PartialRequest, decode_partial_request
from tests.support.fake_network import CLUSTER, FakeNetwork, Keeper, Operator, operator_host
from tests.support.waiting import PATIENCE

APP = AppId("0x" + "ab" * 20)
CREATOR_KEY = b"\x11" * 32
DIGEST = bytes.fromhex("cd" * 32)


@dataclass
class Register:
    """The chain's applications; ``trouble`` is raised instead."""

    known: dict[str, Application] = field(default_factory=dict)
    trouble: Exception | None = None

    async def lookup(self, app_id: AppId, client: str = "") -> Application | None:
        if self.trouble is not None:
            raise self.trouble
        return self.known.get(app_id)

    def publish(self, creator: bytes, release: AppRelease | None = None) -> None:
        """``APP`` runs, as ``creator`` made it."""
        self.known[APP] = Application(APP, creator, AppStatus.STARTED, release)


class PolicyOperators(Keeper):
    """Operators with the policy attested. ``seen`` has all requests for a partial signature, by operator."""

    def __init__(self, network: FakeNetwork, policies: dict[OperatorAddress, Policy]) -> None:
        super().__init__(network)
        self.policies = policies
        self.seen: list[tuple[OperatorAddress, PartialRequest]] = []

    async def answer(self, operator: Operator, request: Request) -> bytes:
        if request.method == rpc_methods.PARTIAL:
            asked = decode_partial_request(request.body)
            self.seen.append((operator.address, asked))
            try:
                await self.policies[operator.address].authorise(asked)
            except AttestationRefusedError as error:
                raise RpcRefusal(error.code, error.one_line) from error
        return await super().answer(operator, request)


@contextmanager
def policies(
    network: FakeNetwork, register: Register, folder: Path, methods: Callable[[], list[Method]]
) -> Iterator[dict[OperatorAddress, Policy]]:
    """Give each operator a policy with a replay cache of its own."""
    made = {}
    with ExitStack() as stack:
        for operator in network.operators:
            home = folder / operator.address.hex()
            home.mkdir()
            authoriser = Authoriser(
                cluster=CLUSTER,
                operator=operator.address,
                applications=register,
                methods=methods(),
                spent=stack.enter_context(closing(ReplayCache.open(home))),
            )
            made[operator.address] = Policy("attested", authoriser)
        yield made


def ecdsa() -> list[Method]:
    """Return the method ecdsa alone."""
    return [Ecdsa()]


@asynccontextmanager
async def guarded(
    network: FakeNetwork,
    register: Register,
    folder: Path,
    *,
    methods: Callable[[], list[Method]] = ecdsa,
    make: Callable[[FakeNetwork, dict[OperatorAddress, Policy]], PolicyOperators] = PolicyOperators,
) -> AsyncIterator[PolicyOperators]:
    """Run the hosts of all operators, with the policy attested."""
    for operator in network.operators:
        operator.learn(network.first)
    async with AsyncExitStack() as stack:
        ways = make(network, stack.enter_context(policies(network, register, folder, methods)))
        for index in range(len(network.operators)):
            await stack.enter_async_context(operator_host(network, index, ways))
        yield ways


@dataclass
class RecordingAttester:
    """An attester that records the scopes that it was asked for, and its authorisations."""

    inner: Attester
    given: list[tuple[Scope, Authorisation]] = field(default_factory=list)

    async def attest(self, scope: Scope) -> Authorisation:
        made = await self.inner.attest(scope)
        self.given.append((scope, made))
        return made


async def show(host: Host, network: FakeNetwork, index: int, request: PartialRequest) -> bytes:
    """Send a request, as it is, to an operator."""
    operator = network.operators[index]
    socket = next(o.socket for o in network.chain.operators if o.address == operator.address)
    host.set_addresses(operator.peer.peer_id, [socket])
    return await host.call(
        operator.peer.peer_id,
        rpc_methods.CLIENT_PROTOCOL,
        rpc_methods.PARTIAL,
        request.encoded,
        timeout=PATIENCE,
    )
