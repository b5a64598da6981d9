"""What is made of the other operators' answers."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from eigenkms.chain.operator_set import ChainOperator, RawOperatorSet
from eigenkms.chain.rpc import JsonRpc
from eigenkms.config.node import NodeConfig
from eigenkms.maintenance.doctor import configuration, disk, onchain, reachability
from eigenkms.maintenance.doctor import network as network_checks
from eigenkms.maintenance.doctor.checks import Finding, Verdict
from eigenkms.maintenance.doctor.context import CheckContext, PeerStatus
from eigenkms.p2p.identity import PeerKey, parse_address
from eigenkms.p2p.operator_socket import parse_socket
from eigenkms.types import DialOutcome, OperatorAddress
from eigenkms.wire.dial_back import ReachAnswer
from tests.support.black_holes import black_holes
from tests.support.fake_network import FakeNetwork, block_at
from tests.support.hosts import patient_host
from tests.support.live_network import free_port
from tests.support.nodes import make_config
from tests.support.token_issuer import Authority, Endpoint
from tests.support.waiting import PATIENCE

SOCKET = f"/ip4/9.9.9.9/tcp/9400/p2p/{PeerKey(bytes(31) + b'!').peer_id}"
A, B, C = (OperatorAddress(bytes([n]) * 20) for n in (1, 2, 3))


@pytest.fixture(autouse=True)
def _patient_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer counts however slow the machine is."""
    monkeypatch.setattr(network_checks, "ANSWER_SECONDS", PATIENCE)


@pytest.fixture
def case(network: FakeNetwork, tmp_path: Path) -> CheckContext:
    """The first operator's; it visits nobody."""
    return case_of(make_config(network, 0, tmp_path, announce=("/ip4/9.9.9.9/tcp/9400",)))


def case_of(config: NodeConfig) -> CheckContext:
    """An operator with this configuration and the socket."""
    found = CheckContext(lambda: config, lambda _config: None, None, file="my node.toml")  # type: ignore[arg-type]
    found.socket = parse_socket(SOCKET)
    return found


def judged(case: CheckContext, **answers: DialOutcome | str) -> Finding:
    """The verdict over what operators a, b and c met at the socket; a text is a refusal."""
    names = {"a": A, "b": B, "c": C}
    told = {names[n]: ReachAnswer(SOCKET, a) if isinstance(a, DialOutcome) else a for n, a in answers.items()}
    return reachability.judge_answers(case, SOCKET, told)


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (DialOutcome.REFUSED, "forward that port"),
        (DialOutcome.TIMED_OUT, "firewall"),
        (DialOutcome.OTHER_PEER, f"give the keystore of peer {SOCKET.rpartition('/')[2]} as p2p_keystore"),
        (DialOutcome.NOT_PUBLIC, "private address"),
        (DialOutcome.FAILED, "name, route and proxies"),
    ],
)
def test_each_way_of_not_being_reached_has_its_next_step(
    case: CheckContext, outcome: DialOutcome, words: str
) -> None:
    """And the command that publishes another address, quoted for a shell."""
    found = judged(case, a=outcome, b=outcome)
    assert found.verdict is Verdict.FAILED
    assert f"{outcome} at {SOCKET}" in found.sentence
    assert words in str(found.hint)
    assert "eigenkms operator update-socket --config 'my node.toml'" in str(found.hint)


def test_some_that_do_not_reach_it_are_a_warning(case: CheckContext) -> None:
    """They are named; refusals count neither way."""
    found = judged(case, a=DialOutcome.REACHED, b=DialOutcome.TIMED_OUT, c="busy: one dial at a time")
    assert found.verdict is Verdict.WARNING
    assert found.sentence.startswith(f"1 of 2 operators reach {SOCKET}; 0x{B.hex()}: timed-out")
    assert judged(case, a=DialOutcome.REACHED, c="busy").verdict is Verdict.OK


def test_nobody_who_tried_is_no_verdict(case: CheckContext) -> None:
    """Such as for an operator that has just joined."""
    found = judged(case, a="not-a-member: …")
    assert found.verdict is Verdict.WARNING
    assert "after the next boundary" in str(found.hint)


def test_operators_that_know_an_older_socket_are_not_wrong(case: CheckContext) -> None:
    """They read the chain at boundaries."""
    old = ReachAnswer(SOCKET.replace("9400", "9401"), DialOutcome.REFUSED)
    found = reachability.judge_answers(case, SOCKET, {A: old})
    assert found.verdict is Verdict.WARNING
    assert "ask again after the next boundary" in str(found.hint)
    assert reachability.judge_answers(case, SOCKET, {A: replace(old, outcome=DialOutcome.REACHED)}) == found


async def test_one_operator_with_other_settings_is_the_one_to_be_told(case: CheckContext) -> None:
    """Not us, who have what most have. Operators that do not say are not counted."""
    from eigenkms.config.node import parameters_of

    mine = parameters_of(case.config)
    case.peers = {
        A: PeerStatus({"parameters": mine}, 0),
        B: PeerStatus({"parameters": {**mine, "window_ms": 7}}, 0),
        C: PeerStatus({}, 0),
    }
    found = await network_checks.parameters(case)
    assert found.verdict is Verdict.WARNING
    assert found.sentence == f"others differ: window_ms at 0x{B.hex()}"
    case.peers = {C: PeerStatus({}, 0)}
    assert (await network_checks.parameters(case)).verdict is Verdict.SKIPPED


async def test_a_strangers_value_is_no_line_to_write(case: CheckContext) -> None:
    """Unless it is one that the setting could have."""
    from eigenkms.config.node import parameters_of

    evil = {**parameters_of(case.config), "finality": 'latest"\npolicy = "open'}
    case.peers = {A: PeerStatus({"parameters": evil}, 0)}
    assert (await network_checks.parameters(case)).hint == "set finality as the others have it"


@pytest.mark.parametrize(
    ("ahead", "words"), [(100.0, "100 s behind those"), (-100.0, "100 s ahead of those")]
)
async def test_which_way_a_clock_is_off(case: CheckContext, ahead: float, words: str) -> None:
    """By the middle one of the operators: one liar does not count."""
    case.peers = {A: PeerStatus({}, ahead), B: PeerStatus({}, ahead), C: PeerStatus({}, 1e12)}
    found = await network_checks.clock(case)
    assert found.verdict is Verdict.FAILED
    assert words in found.sentence


async def test_without_operators_the_chain_alone_tells(case: CheckContext) -> None:
    """A block from the future."""
    case.head_time = int(case.clock()) + 100
    assert "in the future of this machine's clock" in (await network_checks.clock(case)).sentence
    case.head_time -= 100
    assert (await network_checks.clock(case)).verdict is Verdict.OK


async def test_an_operator_that_talks_nonsense_is_silent(network: FakeNetwork, case: CheckContext) -> None:
    """It is named with what was wrong; the others are asked all the same."""
    from eigenkms.wire import rpc_methods
    from tests.support.fake_network import ANYWHERE

    async def nonsense(_request: object) -> bytes:
        return b"[1, 2"

    async with (
        patient_host(PeerKey.generate(), listen=[ANYWHERE]) as other,
        patient_host(PeerKey.generate()) as case.visitor,
    ):
        other.serve(rpc_methods.CLIENT_PROTOCOL, nonsense)
        members = tuple(replace(o, socket=str(other.addresses[0])) for o in network.chain.operators[:2])
        case.operators = RawOperatorSet(block_at(7), members, ())
        case.addresses = {
            o.address: parse_address(o.socket) for o in members if o.address != case.config.operator
        }
        found = await network_checks.peers(case)
    assert found.verdict is Verdict.FAILED
    assert "answers: 0x" in found.sentence


async def test_refused_filtered_and_unparsable_operators_are_told_apart(
    network: FakeNetwork, case: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has its reason, and the next step is that of the fault which this machine can have."""
    _, refusing, filtered, other = network.chain.operators
    closed = f"/ip4/127.0.0.1/tcp/{free_port()}"

    async def found(*sockets: tuple[ChainOperator, str], seconds: float) -> Finding:
        """With these sockets, and so long for a call and a dial."""
        monkeypatch.setattr(network_checks, "ANSWER_SECONDS", seconds)
        monkeypatch.setattr(network_checks, "DIAL_SECONDS", seconds)
        members = tuple(replace(operator, socket=socket) for operator, socket in sockets)
        case.operators = RawOperatorSet(block_at(7), members, ())
        case.addresses = {
            o.address: parse_address(f"{o.socket}/p2p/{PeerKey.generate().peer_id}")
            for o in members
            if o.address != other.address
        }
        async with patient_host(PeerKey.generate()) as case.visitor:
            return await network_checks.peers(case)

    foreign = (other, "http://localhost:7501")
    with black_holes(1) as (dark,):
        unanswered = await found(  # deadline of the subject: a black hole
            (filtered, dark), foreign, seconds=0.1
        )
    refused = await found((refusing, closed), foreign, seconds=PATIENCE)
    unparsable = await found(foreign, seconds=PATIENCE)
    assert f"nothing comes back from {dark}" in unanswered.sentence
    assert "TCP connections outwards" in str(unanswered.hint)
    assert f"connection refused: nothing listens at {closed}" in refused.sentence
    assert "no node listens there" in str(refused.hint)
    for each in (unanswered, refused, unparsable):
        assert "its socket on chain is no multiaddr with a peer id: 'http://localhost:7501'" in each.sentence
    assert "the reference implementation" in str(unparsable.hint)


@pytest.mark.parametrize("rpcs", [1, 2])
async def test_a_single_rpc_is_not_to_be_replaced_by_another(case: CheckContext, rpcs: int) -> None:
    """There is no other one in the settings: the advice is about that one."""
    case.peers = {A: PeerStatus({}, 0.0), B: PeerStatus({}, 0.0)}
    case.rpcs = [JsonRpc("http://127.0.0.1:1") for _ in range(rpcs)]
    case.head_time, case.clock = 1000, lambda: 0.0
    found = await network_checks.clock(case)
    assert found.verdict is Verdict.FAILED
    assert ("another RPC" in str(found.hint)) is (rpcs > 1)


@pytest.mark.parametrize("time", ["1" + "0" * 400, "true", '"noon"', "null", str(2**60)])
async def test_a_time_that_is_none_is_left_out(network: FakeNetwork, case: CheckContext, time: str) -> None:
    """An operator that says nonsense of its clock answers otherwise, and its clock is not compared."""
    from eigenkms.wire import rpc_methods
    from tests.support.fake_network import ANYWHERE

    async def nonsense(_request: object) -> bytes:
        return f'{{"time": {time}}}'.encode()

    async with (
        patient_host(PeerKey.generate(), listen=[ANYWHERE]) as other,
        patient_host(PeerKey.generate()) as case.visitor,
    ):
        other.serve(rpc_methods.CLIENT_PROTOCOL, nonsense)
        members = tuple(replace(o, socket=str(other.addresses[0])) for o in network.chain.operators[:2])
        case.operators = RawOperatorSet(block_at(7), members, ())
        case.addresses = {
            o.address: parse_address(o.socket) for o in members if o.address != case.config.operator
        }
        await network_checks.peers(case)
    assert [told.ahead for told in case.peers.values()] == [None]


# -- the machine's ------------------------------------------------------------------------------------------------


def test_the_file_system_of_a_path_is_known() -> None:
    """On Linux, whose /proc is one."""
    assert disk.file_system_type(Path("/proc/self")) == "proc"


async def test_a_folder_that_cannot_be_made_is_told(network: FakeNetwork, tmp_path: Path) -> None:
    """Where it would have to be made."""
    (tmp_path / "file").touch()
    case = case_of(make_config(network, 0, tmp_path / "file" / "data"))
    found = await disk.data_folder(case)
    assert (found.verdict, "would be in a file" in found.sentence) == (Verdict.FAILED, True)


def test_a_data_folder_is_left_as_it_was(case: CheckContext, tmp_path: Path) -> None:
    """What was written to try it is gone; a folder that others can look into is a warning with the command."""
    tmp_path.chmod(0o700)
    assert trio.run(disk.data_folder, case).verdict is Verdict.OK
    tmp_path.chmod(0o755)
    assert trio.run(disk.data_folder, case).hint == f"chmod 700 {tmp_path}"
    assert list(tmp_path.iterdir()) == []


async def test_an_open_policy_outside_of_a_devnet_is_told(
    case: CheckContext, network: FakeNetwork, tmp_path: Path
) -> None:
    """On a devnet it is what one has."""
    assert (await configuration.policy(case)).verdict is Verdict.OK
    case = case_of(make_config(network, 0, tmp_path, chain_id=1, force_open_policy=True))
    assert "every client gets" in (await configuration.policy(case)).sentence


async def test_a_private_address_on_a_public_chain_is_told(network: FakeNetwork, tmp_path: Path) -> None:
    """It may be meant, among operators of one network."""
    case = case_of(make_config(network, 0, tmp_path, chain_id=1, policy="closed"))
    address = parse_address(SOCKET.replace("9.9.9.9", "10.0.0.1"))
    assert "private network" in onchain.judge_address(case, address, "update").sentence
    assert onchain.judge_address(case, parse_address(SOCKET), "update").verdict is Verdict.OK


@pytest.mark.parametrize(("host", "chain_id"), [("127.0.0.1", 1), ("0.0.0.0", 1), ("0.0.0.0", 31337)])
async def test_a_socket_that_nobody_can_dial_is_a_fault(
    network: FakeNetwork, tmp_path: Path, host: str, chain_id: int
) -> None:
    """Worse than a private one: it leads to whoever dials it."""
    case = case_of(make_config(network, 0, tmp_path, chain_id=chain_id, policy="closed"))
    found = onchain.judge_address(case, parse_address(SOCKET.replace("9.9.9.9", host)), "update")
    assert found.verdict is Verdict.FAILED
    assert f"nobody can dial the socket on chain, /ip4/{host}/tcp/" in found.sentence


async def test_issuers_that_cannot_be_reached_are_named(
    case: CheckContext, network: FakeNetwork, tmp_path: Path
) -> None:
    """With the policy attested; no other needs them."""
    from eigenkms.attestation.jwks import KeysUnavailableError

    assert (await configuration.issuers(case)).verdict is Verdict.SKIPPED
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"https://127.0.0.1:{listener.socket.getsockname()[1]}/keys"
    await listener.aclose()
    case = case_of(
        make_config(
            network,
            0,
            tmp_path,
            policy="attested",
            attestation_methods=("gcp",),
            attestation_project="my-project",
            attestation_gcp_keys=url,
        )
    )
    with pytest.raises(KeysUnavailableError, match="fetch the issuer's keys"):
        await configuration.issuers(case)


async def test_issuers_that_serve_their_keys_are_told_with_the_images_that_are_accepted(
    network: FakeNetwork, tmp_path: Path, issuer: Endpoint, authority: Authority
) -> None:
    """Each enabled service, with the support attributes of which an image must have one."""
    case = case_of(
        make_config(
            network,
            0,
            tmp_path,
            policy="attested",
            attestation_methods=("gcp", "intel"),
            attestation_project="my-project",
            attestation_gcp_keys=issuer.url,
            attestation_intel_keys=issuer.url,
            attestation_ca=authority.ca,
        )
    )
    finding = await configuration.issuers(case)
    assert finding.verdict is Verdict.OK
    assert finding.sentence == (
        "gcp serves 1 keys, images must be STABLE; intel serves 1 keys, images must be STABLE or EXPERIMENTAL"
    )
