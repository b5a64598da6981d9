"""Evidence is believed of no operator: it must prove itself, and name the operators that the chain had."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from eigenkms.client.evidence import MAX_REJECTED, EvidenceReport
from eigenkms.errors import ChainError, InputError
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.host import Request
from eigenkms.storage.evidence_table import EVIDENCE_LIMIT
from eigenkms.types import BlockRef, ClusterId, OperatorAddress, OperatorSet
from eigenkms.wire import rpc_methods
from eigenkms.wire.client_rpc import EvidencePage
from eigenkms.wire.transcript import Transcript
from tests.client.test_api import Keyless, pins
from tests.support.evidence_cases import EvidenceServer, bad_dealing, equivocation, equivocation_in
from tests.support.fake_network import (
    FakeChain,
    FakeNetwork,
    Honest,
    Operator,
    block_at,
    make_network,
    network_client,
    operator_hosts,
)
from tests.support.waiting import PATIENCE


def _of_others(network: FakeNetwork, strangers: FakeNetwork) -> Transcript:
    """The network's version, as if one of its operators had had the key of a stranger."""
    transcript = network.epoch.transcript
    first, *others = transcript.recipients
    made_up = replace(first, key=strangers.operators[0].key.g2)
    return replace(transcript, recipients=OperatorSet((made_up, *others)))


class Endless(EvidenceServer):
    """Always says that there is more, and shows it."""

    def page(self, after: int) -> EvidencePage:
        return EvidencePage(((after + 1, self.pages[after % len(self.pages)]),), more=True)


class Standing(EvidenceServer):
    """Never gets any further."""

    def page(self, after: int) -> EvidencePage:
        return EvidencePage(((1, self.pages[0]),), more=True)


@asynccontextmanager
async def found(
    network: FakeNetwork, ways: Sequence[Honest | None], known: Path, *asked: OperatorAddress
) -> AsyncIterator[EvidenceReport]:
    """What a client finds where operators answer in these ways."""
    async with operator_hosts(network, ways), network_client(network, known) as client:
        yield await client.fetch_evidence(asked)


def names(network: FakeNetwork, *indices: int) -> tuple[OperatorAddress, ...]:
    return tuple(network.operators[index].address for index in indices)


async def test_the_same_proof_of_several_operators_is_one_piece(network: FakeNetwork, known: Path) -> None:
    """With all who hold it, also where they heard the two frames in another order; in the order of blocks."""
    first, second = equivocation(network, 1), equivocation(network, 2, accused=2)
    a, b = first.evidence.frames
    swapped = replace(first, evidence=replace(first.evidence, frames=(b, a)))
    ways = [
        EvidenceServer(network, first),
        EvidenceServer(network, second, swapped),
        EvidenceServer(network, first, first),
        EvidenceServer(network),
    ]
    async with found(network, ways, known) as findings:
        assert (findings.asked, findings.rejected, findings.failures) == (4, (), {})
        shown = {piece.bundle.name: piece.holders for piece in findings.pieces}
        assert shown == {first.name: names(network, 0, 1, 2), second.name: names(network, 1)}
        assert [p.bundle.evidence.accused for p in findings.pieces] == sorted(names(network, 2, 3))


async def test_evidence_is_found_before_there_is_a_key(network: FakeNetwork, known: Path) -> None:
    """A dealer that keeps a genesis from its end is then named; nothing is pinned."""

    class Early(EvidenceServer, Keyless):
        """Has evidence and no key."""

    ways = [Early(network, equivocation(network)), Early(network), Early(network), None]
    async with found(network, ways, known) as findings:
        assert [piece.holders for piece in findings.pieces] == [names(network, 0)]
        assert set(findings.failures) == set(names(network, 3))
    assert pins(known) == {}


async def test_false_evidence_is_rejected_with_the_name_of_who_showed_it(
    network: FakeNetwork, known: Path
) -> None:
    """Whatever is false about it, and the rest of what that operator shows is still taken."""
    good = equivocation(network)
    strangers = make_network(seed="strangers")
    fork = replace(network.session, boundary=block_at(100, "fork"))
    unborn = replace(network.session, boundary=block_at(106))
    elsewhere = replace(network.session, cluster=ClusterId(bytes(32)))
    one = good.evidence.frames[0]
    lies = {
        "decode evidence bundle": b"nonsense",
        "the frames do not prove it": replace(good, evidence=replace(good.evidence, frames=(one, one))),
        "verify evidence: its 4 operators are not the 4 that the chain had": equivocation(strangers),
        "is not on this chain": equivocation_in(fork, network.operators[3]),
        "is not final yet": equivocation_in(unborn, network.operators[3]),
        "it is of another cluster": equivocation_in(elsewhere, network.operators[3]),
        "verify source of evidence: its 4 operators are not": bad_dealing(
            network, _of_others(network, strangers)
        ),
    }
    assert len(lies) < MAX_REJECTED
    ways = [
        EvidenceServer(network, *lies.values(), good),
        EvidenceServer(network),
        EvidenceServer(network),
        EvidenceServer(network),
    ]
    async with found(network, ways, known) as findings:
        assert [piece.holders for piece in findings.pieces] == [names(network, 0)]
        assert {operator for operator, _ in findings.rejected} == set(names(network, 0))
        reasons = [reason for _, reason in findings.rejected]
        assert len(reasons) == len(lies)
        for words in lies:
            assert sum(words in reason for reason in reasons) == 1, words


async def test_a_source_that_the_chain_confirms_is_good(network: FakeNetwork, known: Path) -> None:
    """Of the operators that the chain had at its block."""
    piece = bad_dealing(network, network.epoch.transcript)
    ways = [EvidenceServer(network, piece), *[EvidenceServer(network)] * 3]
    async with found(network, ways, known) as findings:
        assert [found.bundle for found in findings.pieces] == [piece]


async def test_nobody_can_keep_a_client_busy(network: FakeNetwork, known: Path) -> None:
    """More than an honest operator keeps is refused, nonsense without end too, and pages that go nowhere; others are heard."""
    valid = [equivocation(network, number) for number in range(EVIDENCE_LIMIT + 5)]
    nonsense = [b"nonsense %d" % number for number in range(50)]
    ways = [
        Endless(network, *valid),
        Endless(network, *nonsense),
        Standing(network, valid[0]),
        EvidenceServer(network, equivocation(network, 99, accused=0)),
    ]
    async with found(network, ways, known) as findings:
        reasons = {operator: str(error) for operator, error in findings.failures.items()}
        first, second, third, fourth = names(network, 0, 1, 2, 3)
        assert "more than 16 pieces of one kind against one operator" in reasons[first]
        assert f"more than {MAX_REJECTED} pieces do not verify" in reasons[second]
        assert "ids do not ascend" in reasons[third]
        assert fourth not in reasons
        assert sum(operator == second for operator, _ in findings.rejected) == MAX_REJECTED + 1
        assert fourth in {holder for piece in findings.pieces for holder in piece.holders}


async def test_only_those_that_were_chosen_are_asked(network: FakeNetwork, known: Path) -> None:
    """Who is no operator of today cannot be."""
    ways = [EvidenceServer(network, equivocation(network, number)) for number in range(4)]
    async with found(network, ways, known, network.operators[2].address) as findings:
        assert findings.asked == 1
        assert [piece.holders for piece in findings.pieces] == [names(network, 2)]
        assert [rpc_methods.EVIDENCE in way.asked for way in ways] == [False, False, True, False]
    async with operator_hosts(network, ways), network_client(network, known) as client:
        with pytest.raises(InputError, match="it is not an operator of this set today"):
            await client.fetch_evidence([OperatorAddress(bytes(20))])


async def test_who_does_not_answer_is_told(network: FakeNetwork, known: Path, clock: MockClock) -> None:
    """One is not there, one does not know the method, one takes too long; what came before is there."""

    class Old(Honest):
        """A node from before there was such a method."""

        async def answer(self, operator: Operator, request: Request) -> bytes:
            if request.method == rpc_methods.EVIDENCE:
                raise RpcRefusal("unknown-method", "this node does not know that method")
            return await super().answer(operator, request)

    class Silent(Honest):
        """Takes the call and never answers."""

        async def answer(self, operator: Operator, request: Request) -> bytes:
            if request.method == rpc_methods.EVIDENCE:
                await trio.sleep_forever()
            return await super().answer(operator, request)

    ways = [EvidenceServer(network, equivocation(network)), None, Old(network), Silent(network)]
    async with operator_hosts(network, ways), network_client(network, known) as client:

        def progress(line: str) -> None:
            if line.startswith("3 of 4 operators asked"):
                clock.jump(PATIENCE)

        findings = await client.fetch_evidence(progress=progress)
    assert len(findings.pieces) == 1
    reasons = [str(findings.failures[operator]) for operator in names(network, 1, 2, 3)]
    assert "connection refused" in reasons[0]
    assert "unknown-method" in reasons[1]
    assert reasons[2] == "no answer in time"
    assert len(findings.failures) == 3


class Forgetful(FakeChain):
    """Knows today's operators and no block by its number."""

    async def block(self, number_or_hash: int | bytes) -> BlockRef | None:
        raise ChainError("call the fake chain: it has forgotten")


async def test_a_chain_that_cannot_say_is_the_chains_fault(network: FakeNetwork, known: Path) -> None:
    """Not a fault of the evidence, nor of who showed it."""
    network.chain = Forgetful(network.chain.operators)
    ways = [EvidenceServer(network, equivocation(network))] * 4
    async with operator_hosts(network, ways), network_client(network, known) as client:
        with pytest.raises(ChainError, match="it has forgotten"):
            await client.fetch_evidence()
