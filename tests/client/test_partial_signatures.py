"""Partial signatures combine as soon as t good ones are there; whoever lied is named, and trial by subsets never happens."""

from collections.abc import Callable
from itertools import permutations

import pytest

from eigenkms.client.partial_signatures import Outcome, SignatureCollector
from eigenkms.crypto import bls
from eigenkms.crypto.backends.interface import BLS_G1_INFINITY
from eigenkms.crypto.ibe_identities import identity_v2
from eigenkms.crypto.scalars import R, SecretScalar, coordinate, lagrange_at_zero
from eigenkms.errors import NetworkError
from eigenkms.wire.frames import BadSignatureError, Frame, FrameKind, build_frame
from tests.support.fake_network import CLUSTER, FakeNetwork, Operator, make_network

ID = identity_v2(CLUSTER, "my-app")


@pytest.fixture(scope="module")
def network() -> FakeNetwork:
    """Made once: nothing here changes it."""
    return make_network()


def signed(network: FakeNetwork, operator: Operator, signature: bytes) -> Frame:
    """The frame that carries a partial signature, by its operator."""
    return build_frame(
        operator.key,
        kind=FrameKind.PARTIAL,
        cluster=CLUSTER,
        sender=operator.address,
        session=network.session.id,
        body=[bytes(32), network.epoch.transcript.hash, signature],
    )


def add(
    collector: SignatureCollector, network: FakeNetwork, index: int, signature: bytes | None = None
) -> None:
    operator = network.operators[index]
    given = bls.partial_sign(operator.share, ID) if signature is None else signature
    collector.add(operator.address, signed(network, operator, given), given)


def app_key(network: FakeNetwork) -> bytes:
    return bls.partial_sign(network.secret, ID)


def test_any_threshold_of_them_gives_the_one_key(network: FakeNetwork) -> None:
    """Three of four, in every order; the fourth is not needed any more."""
    for order in permutations(range(4), 3):
        collector = SignatureCollector(ID, network.epoch.transcript)
        for seat, index in enumerate(order):
            assert collector.summary == f"{seat} of 3 partial signatures"
            add(collector, network, index)
            assert collector.count(Outcome.GOOD) == seat + 1
        assert collector.app_key == app_key(network)
        assert collector.invalid_signers == ()
        assert len(collector.unanswered()) == 1


LIES: dict[str, Callable[[FakeNetwork], bytes]] = {
    "another share": lambda v: bls.partial_sign(SecretScalar(4711), ID),
    "another application": lambda v: bls.partial_sign(v.operators[0].share, identity_v2(CLUSTER, "your-app")),
    "another operator's": lambda v: bls.partial_sign(v.operators[1].share, ID),
    "infinity": lambda v: BLS_G1_INFINITY,
    "no point": lambda v: b"\xff" * 48,
    "zeros": lambda v: bytes(48),
    "not canonical": lambda v: b"\xe0" + bytes(47),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_liar_is_named_and_the_key_found_with_the_next(network: FakeNetwork, lie: str) -> None:
    """Whatever it sends; and also where it comes last."""
    false = LIES[lie](network)
    collector = SignatureCollector(ID, network.epoch.transcript)
    add(collector, network, 0, false)
    for index in (1, 2):
        add(collector, network, index)
    assert not collector.app_key
    assert collector.invalid_signers == (network.operators[0].address,)
    add(collector, network, 3)
    assert collector.app_key == app_key(network)
    late = SignatureCollector(ID, network.epoch.transcript)
    for index in (1, 2):
        add(late, network, index)
    add(late, network, 0, false)
    assert late.invalid_signers == (network.operators[0].address,)
    add(late, network, 3)
    assert late.app_key == app_key(network)


def test_a_liar_that_corrects_itself_is_believed_once_its_signature_is_right(network: FakeNetwork) -> None:
    """The last word counts, and is checked like any other."""
    collector = SignatureCollector(ID, network.epoch.transcript)
    add(collector, network, 0, LIES["another share"](network))
    add(collector, network, 1)
    add(collector, network, 2)
    assert not collector.app_key
    add(collector, network, 0)
    assert collector.app_key == app_key(network)


def test_two_liars_of_seven_are_both_named() -> None:
    """With a threshold of five, the other five are enough."""
    seven = make_network(7)
    collector = SignatureCollector(ID, seven.epoch.transcript)
    for index in (0, 1):
        add(collector, seven, index, bls.partial_sign(SecretScalar(99 + index), ID))
    for index in range(2, 7):
        add(collector, seven, index)
    assert collector.app_key == app_key(seven)
    assert set(collector.invalid_signers) == {seven.operators[0].address, seven.operators[1].address}


def test_lies_that_cancel_each_other_out_harm_nothing(network: FakeNetwork) -> None:
    """Two liars who know the Lagrange coefficients may make a right sum of wrong parts: the key is the right one all the same."""
    first, second, third = network.operators[:3]
    factors = lagrange_at_zero([coordinate(o.address) for o in (first, second, third)])
    shift = 12345
    balance = -shift * factors[0] * pow(factors[1], -1, R) % R
    lies = [(0, first.share.value + shift), (1, second.share.value + balance)]
    collector = SignatureCollector(ID, network.epoch.transcript)
    for index, value in lies:
        add(collector, network, index, bls.partial_sign(SecretScalar(value % R), ID))
    add(collector, network, 2)
    assert collector.app_key == app_key(network)


def test_an_answer_that_its_operator_did_not_sign_is_refused(network: FakeNetwork) -> None:
    """It counts for nobody."""
    collector = SignatureCollector(ID, network.epoch.transcript)
    victim, liar = network.operators[:2]
    signature = bls.partial_sign(liar.share, ID)
    forged = build_frame(
        liar.key,
        kind=FrameKind.PARTIAL,
        cluster=CLUSTER,
        sender=victim.address,
        session=network.session.id,
        body=[bytes(32), network.epoch.transcript.hash, signature],
    )
    with pytest.raises(BadSignatureError):
        collector.add(victim.address, forged, signature)
    assert collector.count(Outcome.GOOD) == 0


def test_who_failed_and_who_was_silent_is_told(network: FakeNetwork) -> None:
    """Each operator is in one of the lists."""
    collector = SignatureCollector(ID, network.epoch.transcript)
    add(collector, network, 0)
    down = network.operators[1].address
    collector.record_failure(down, NetworkError("dial it: connection refused"))
    assert collector.summary == "1 of 3 partial signatures"
    assert set(collector.failures) == {down}
    assert collector.unanswered() == tuple(o.address for o in network.operators[2:])
    add(collector, network, 1)
    assert collector.failures == {}, "who answered after all did not fail"
