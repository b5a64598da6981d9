"""Real operators whose RPCs die, one and all, come back, and lie. The chain goes on, and a client with its own RPC decrypts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.tcp_gate import TcpGate
from tests.support.live_network import LiveNetwork, free_port, live_network
from tests.support.node_observation import events
from tests.support.rpc_servers import Call, tampering
from tests.support.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
EVERYBODY = (0, 1, 2, 3)


@dataclass
class Rpcs:
    """Two ways to the chain for every operator, each of which can be shut. The last operator has one besides that is dead."""

    net: LiveNetwork
    first: TcpGate
    second: TcpGate
    monitors: dict[int, int] = field(default_factory=dict)

    def start(self, urls: dict[int, Sequence[str]]) -> None:
        """Start operators with these RPCs, all at once; they are up when this returns."""
        network = self.net.network
        for index, each in urls.items():
            port = self.monitors[index] = free_port()
            flags = [flag for url in each for flag in ("--rpc-url", url)]
            arguments = (*flags, "--monitor-listen", str(port))
            self.net.loop.run(lambda i=index, a=arguments: network.start(i, arguments=a))  # type: ignore[misc]
        for index in urls:
            self.net.wait_event(index, "up")

    def ask(self, index: int, path: str) -> Any:
        """What the operator's own listener says."""
        answer = httpx.get(
            f"http://127.0.0.1:{self.monitors[index]}{path}", trust_env=False, timeout=PATIENCE
        )
        return answer.json()

    def states(self, index: int) -> list[str]:
        return [each["state"] for each in self.ask(index, "/status.json")["rpc"]]

    def wait_states(self, index: int, *states: str) -> None:
        """Until it says this of its RPCs, in their order."""
        wait_until(lambda: self.states(index) == list(states), lambda: self.ask(index, "/status.json")["rpc"])

    def wait_rotation(self, *indexes: int) -> None:
        """Until these operators have a version that is newer than what they have now."""
        before = {index: self.net.status(index)["version"] for index in indexes}
        for index in indexes:
            self.net.wait_status(index, lambda s, i=index: s["version"] > before[i])  # type: ignore[misc]


@pytest.fixture(scope="module")
def rpcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rpcs]:
    with live_network(tmp_path_factory.mktemp("rpcs") / "net") as net:
        url = net.network.engine.url
        with TcpGate.before(url) as first, TcpGate.before(url) as second:
            these = Rpcs(net, first, second)
            dead = f"http://127.0.0.1:{free_port()}/v3/s3cret"
            both = (first.url, second.url)
            these.start({0: both, 1: both, 2: both, 3: (dead, *both)})
            net.genesis()
            yield these


@pytest.fixture(scope="module")
def ciphertext(rpcs: Rpcs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rpcs.net.encrypt(tmp_path_factory.mktemp("ciphertext"), b"attack at dawn")


def decrypts(net: LiveNetwork, ciphertext: Path, *flags: str) -> bool:
    said, plain = net.decrypt(ciphertext, *flags)
    assert said.code == 0, said.err
    return plain.read_bytes() == b"attack at dawn"


def test_one_that_is_dead_at_the_start_is_passed_over(rpcs: Rpcs, ciphertext: Path) -> None:
    """The operator came up, says so without showing the URL's key, and uses the next one; so does a client."""
    rpcs.wait_states(3, "failing", "ok", "ok")
    told = rpcs.ask(3, "/status.json")["rpc"]
    assert [each["in_use"] for each in told] == [False, True, False]
    assert told[0]["endpoint"].startswith("rpc 1 (http://127.0.0.1:")
    assert "s3cret" not in str(told)
    assert "s3cret" not in rpcs.net.members[3].log.read_text()
    urls = (f"http://127.0.0.1:{free_port()}", rpcs.net.network.engine.url)
    assert decrypts(rpcs.net, ciphertext, *(flag for url in urls for flag in ("--rpc-url", url)))


def test_one_that_dies_in_the_middle_costs_nothing(rpcs: Rpcs, ciphertext: Path) -> None:
    """Operators rotate by the other one, and use the preferred one again when it is back."""
    rpcs.first.shut()
    rpcs.wait_rotation(*EVERYBODY)
    rpcs.wait_states(0, "failing", "ok")
    assert decrypts(rpcs.net, ciphertext)
    rpcs.first.reopen()
    rpcs.wait_states(0, "ok", "ok")


def test_all_rpcs_are_cut_for_two_intervals_and_come_back(rpcs: Rpcs, ciphertext: Path) -> None:
    """No operator restarts, no decryption fails, none of them rotates; then rotation goes on by itself, with the same key."""
    net = rpcs.net
    pids = [net.pid(index) for index in EVERYBODY]
    sizes = [net.log_size(index) for index in EVERYBODY]
    rpcs.first.shut()
    rpcs.second.shut()
    for index in EVERYBODY:
        net.wait_log(index, "keys are served and not rotated until then", after=sizes[index])
    mpk = net.status(0)["mpk"]
    heads = [net.status(index)["head"] for index in EVERYBODY]
    for _ in range(2):
        net.pass_boundary()
        assert decrypts(net, ciphertext)
    for index in EVERYBODY:
        status = net.wait_share(index)
        assert "none of" in status["chain_error"]
        assert (status["share"], status["head"]) == (True, heads[index])
        assert rpcs.ask(index, "/ready") == {"ready": True, "reasons": []}
    rpcs.wait_states(0, "failing", "failing")
    rpcs.first.reopen()
    rpcs.second.reopen()
    rpcs.wait_rotation(*EVERYBODY)
    assert decrypts(net, ciphertext)
    assert [net.pid(index) for index in EVERYBODY if net.is_running(index)] == pids
    for index in EVERYBODY:
        assert net.wait_status(index, lambda status: status["chain_error"] is None)["mpk"] == mpk


def test_who_is_told_two_things_about_a_boundary_takes_no_part_and_serves_on(
    rpcs: Rpcs, ciphertext: Path
) -> None:
    """It says both hashes; the others rotate; when the RPCs agree again it takes part again."""
    net, lies = rpcs.net, [True]

    def tamper(call: Call, answer: dict[str, Any]) -> dict[str, Any]:
        block = answer.get("result")
        asked = call["params"][0] if call["params"] else None
        if (
            lies[0]
            and call["method"] == "eth_getBlockByNumber"
            and asked != "latest"
            and isinstance(block, dict)
        ):
            answer["result"] = {**block, "hash": "0x" + "ee" * 32}
        return answer

    liar = net.loop.enter(net.loop.stack.enter_async_context, tampering(net.network.engine.url, tamper))
    net.wait_share(3, at_rest=True)
    net.stop(3)
    size = net.log_size(3)
    rpcs.start({3: (rpcs.first.url, liar.url)})
    line = net.wait_log(3, "opens no session: agree on block", after=size)
    assert "has 0x" + "ee" * 32 in line
    assert "with 4 operators" in line
    # an RPC that does not answer in time is no witness, and the other one is believed: such a boundary shows nothing
    status = net.wait_status(3, lambda status: stays_behind(net, status))
    assert status["share"]
    assert rpcs.ask(3, "/status.json")["rpc_disagreements"] >= 1
    assert decrypts(net, ciphertext)
    lies[0] = False
    rpcs.wait_rotation(3)
    net.wait_status(3, lambda status: status["chain_error"] is None)


def stays_behind(net: LiveNetwork, status: dict[str, Any]) -> bool:
    """Whether operator 4 holds an older version than the others, and says that its RPCs disagree about the boundary of theirs."""
    error = status["chain_error"] or ""
    ahead = [
        event
        for index in (0, 1, 2)
        for event in events(net.members[index].log, "certified")
        if event["version"] > status["version"]
    ]
    sessions = {event["session"] for event in ahead}
    blocks = [each["block"] for each in events(net.members[0].log, "boundary") if each["session"] in sessions]
    return any(f"agree on block {block}:" in error for block in blocks)
