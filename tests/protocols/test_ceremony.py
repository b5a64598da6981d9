"""Genesis from boundary to certificate, in a world of virtual time (tests/sim/world.py)."""

import pytest

from eigenkms.crypto.feldman import public_share_of
from eigenkms.crypto.scalars import SecretScalar
from eigenkms.protocols.effects import Certified, Closed
from eigenkms.protocols.frames import Kind, WrongScopeError
from eigenkms.protocols.messages import opening_body, share_body
from eigenkms.types import OperatorAddress
from tests.protocols.support import Table, broadcasts, cast, journal
from tests.sim.world import Faults, World


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 13])
def test_all_operators_agree_on_one_key(n: int) -> None:
    """With everybody there, one boundary is enough for a certificate at every operator, each with its share."""
    world = World(n, seed=n)
    world.next_boundary()
    assert world.run(8, until=world.all_certified), world.story("no certificate")
    assert world.all_hold_shares()


@pytest.mark.parametrize("seed", range(20))
def test_loss_duplication_and_delay_cost_time_and_nothing_else(seed: int) -> None:
    """A third of all messages lost, some twice: what gossip loses is pulled."""
    world = World(4, seed, faults=Faults(loss=0.33, duplicate=0.2, max_delay=0.3))
    for _ in range(12):
        world.next_boundary()
        if world.run(20, until=world.all_certified):
            break
    assert world.all_certified(), world.story("no certificate")


def test_the_same_seed_tells_the_same_story() -> None:
    """Two runs of one seed send the same bytes at the same times: a failure can be replayed."""
    hashes = []
    for _ in range(2):
        world = World(4, 7, faults=Faults(loss=0.2, duplicate=0.2))
        world.next_boundary()
        world.run(20)
        hashes.append(world.trace_hash)
    assert hashes[0] == hashes[1]


def test_an_absent_operator_means_a_void_session_and_a_new_try() -> None:
    """All n must deal: without one nothing is certified; when it is there at the next boundary, genesis succeeds."""
    world = World(4, 3)
    absent = list(world.nodes.values())[2]
    absent.crash()
    world.next_boundary()
    world.run(10)
    assert not world.certified()
    ceremony = next(iter(world.nodes.values())).operator.ceremony(world.sessions[0].id)
    assert ceremony.status().missing == (absent.address,)
    absent.up()
    world.next_boundary()
    assert world.run(10, until=world.all_certified)


def test_genesis_quorum_lets_a_threshold_deal() -> None:
    """With a genesis quorum of 3 of 4, three operators make a key without the fourth."""
    world = World(4, 5, quorum=3)
    absent = next(iter(world.nodes.values()))
    absent.crash()
    world.next_boundary()
    present = [n for n in world.nodes.values() if n is not absent]
    assert world.run(12, until=lambda: all(n.disk.versions for n in present))
    transcript = present[0].disk.held[0].transcript
    assert len(transcript.dealers) == 3
    absent.up()
    absent.boundary(world.sessions[0])
    assert world.run(20, until=world.all_certified), (
        "a late operator pulls dealings, its shares and the certificate"
    )


@pytest.mark.parametrize("point", range(1, 16))
@pytest.mark.parametrize("seed", [1, 2])
def test_a_crash_at_any_persistence_point_loses_nothing(point: int, seed: int) -> None:
    """Killed after its k-th durable record and before anything of that step is sent, then restarted: the operator completes
    that session or the next one, and never says two things in one slot (checked by the world).
    """
    world = World(4, 100 * seed + point)
    victim = world.random.choice(list(world.nodes.values()))
    victim.crash_after = point
    world.next_boundary()
    world.run(3)
    if victim.operator is None:
        world.restart(victim)
    for _ in range(4):
        if world.run(10, until=world.all_certified):
            break
        world.next_boundary()
    assert world.all_certified(), world.story("no certificate after the crash")
    assert len({h for n in world.nodes.values() for h in n.disk.versions}) == 1


@pytest.mark.slow
def test_all_crash_and_restart_again_and_again() -> None:
    """Every operator is killed at random persistence points for a while; in the end there is one key and everybody has it."""
    for seed in range(5):
        world = World(4, 1000 + seed, faults=Faults(loss=0.1))
        for _ in range(8):
            for node in world.nodes.values():
                if node.operator is not None and node.crash_after is None:
                    node.crash_after = node.persisted + world.random.randint(1, 12)
            world.next_boundary()
            for _ in range(10):
                world.run(1)
                for node in world.nodes.values():
                    if node.operator is None and world.random.random() < 0.6:
                        world.restart(node)
        for node in world.nodes.values():
            node.crash_after = None
            if node.operator is None:
                world.restart(node)
        for _ in range(6):
            if world.run(15, until=world.all_certified):
                break
            world.next_boundary()
        assert world.all_certified(), world.story("no certificate")


def test_a_bound_operator_brings_the_others_back_to_close_its_session() -> None:
    """One cast a prepare vote and the others never saw enough: at later boundaries they void that session, by votes, and then make
    a key in a new one; nobody joins a second genesis while bound.
    """
    world = World(4, 11)
    nodes = list(world.nodes.values())
    world.next_boundary()
    world.run(8, until=lambda: any(n.operator.binding for n in nodes))
    cut = next(n for n in nodes if n.operator.binding)
    world.partition = lambda a, b: cut.address in (a, b) or True
    world.run(1)
    world.partition = lambda a, b: False
    nodes[0].crash() if nodes[0] is not cut else nodes[1].crash()
    down = next(n for n in nodes if n.operator is None)
    world.next_boundary()
    world.run(12)
    assert not world.certified() or all(n.disk.versions for n in nodes if n.operator)
    world.restart(down)
    for _ in range(4):
        if world.run(15, until=world.all_certified):
            break
        world.next_boundary()
    assert world.all_certified(), world.story("no certificate")


def test_a_late_share_completes_a_certified_version() -> None:
    """With a lowered quorum an operator may know the certificate before its shares: it goes on collecting, journals the share and
    hands the version over once more; after a restart it still has it.
    """
    who = cast(4, quorum=3)
    late = who.addresses[3]
    table = Table(who)
    table.start(without=[late])
    for now in (0.5, 1.5, 4.0):
        table.at(now)
    assert len(table.decided()) == 3
    ceremony = who.ceremony(late, opened_at=4.0)
    effects = ceremony.start(4.0)
    request = ceremony.sync_request()
    replies = [f for a in table.seats for f in table.seats[a].sync_reply(request)]
    shares = [f for f in replies if f.kind is Kind.SHARE]
    certificate = [f for f in replies if f.kind is Kind.CERTIFICATE]
    first = ceremony.receive(certificate, 4.1)
    assert [e.share for e in first if isinstance(e, Certified)] == [None]
    assert ceremony.pulls
    assert not [e for e in ceremony.receive(shares, 4.2) if isinstance(e, Certified)]
    rest = {f.key: f for f in replies if f.kind in (Kind.HASH, Kind.DEALING)}
    second = ceremony.receive(list(rest.values()), 4.3)
    (certified,) = [e for e in second if isinstance(e, Certified)]
    assert certified.share is not None
    assert public_share_of(certified.share) == certified.transcript.public_share(late)
    assert not ceremony.pulls
    assert ceremony.tick(5.0) == []
    again = who.ceremony(late, records=journal([*effects, *first, *second]))
    (found,) = [e for e in again.start(9.0) if isinstance(e, Certified)]
    assert found.share == certified.share


def test_a_decision_is_journaled_once_and_announced_in_every_life() -> None:
    """Restarts hand the version over again, with its share, and write nothing."""
    who = cast(4)
    me = who.addresses[0]
    table = Table(who)
    table.start()
    records = journal(table.effects[me])
    assert [r.kind for r in records].count("certificate") == 1
    again = who.ceremony(me, records=records)
    effects = again.start(9.0)
    (certified,) = [e for e in effects if isinstance(e, Certified)]
    assert certified.share is not None
    assert not journal(effects)
    assert not again.binding
    peer = who.ceremony(who.addresses[1], opened_at=9.0)
    peer.start(9.0)
    assert Kind.CERTIFICATE in {f.kind for f in again.sync_reply(peer.sync_request())}


def test_a_closed_session_stays_closed_in_every_life() -> None:
    """∅ needs no transcript: the certificate alone restores it."""
    who = cast(1)
    ceremony = who.ceremony(who.addresses[0])
    ceremony._exchanges.current.transcript = lambda: None  # type: ignore[method-assign]
    effects = ceremony.start(0.0)
    effects += ceremony.supersede(1.0)
    assert ceremony.supersede(1.1) == []
    assert [type(e) for e in effects if isinstance(e, Closed)] == [Closed]
    assert ceremony.status().phase == "void"
    again = who.ceremony(who.addresses[0], records=journal(effects))
    assert [type(e) for e in again.start(9.0) if isinstance(e, Closed)] == [Closed]
    assert again.decided


def test_a_frame_twice_in_one_batch_is_one_frame() -> None:
    """Gossip may bring it twice before the first was looked at; it is neither equivocation nor news."""
    who = cast(4)
    me, peer, *_ = who.addresses
    ceremony = who.ceremony(me)
    ceremony.start(0.0)
    frame = who.frame(peer, Kind.HASH, [bytes(32)])
    assert ceremony.receive([frame, frame], 0.1) == []
    assert ceremony.status().frames == 2
    assert not ceremony.wants(frame)


def test_a_ceremony_wants_only_what_is_its_own() -> None:
    """Neither its own words come back, nor frames with a wrong number of recipients, of other kinds, or naming strangers."""
    who = cast(4)
    me, peer, *_ = who.addresses
    ceremony = who.ceremony(me)
    (own,) = broadcasts(ceremony.start(0.0), Kind.HASH)
    stranger = OperatorAddress(bytes(20))
    for frame in (
        own,
        who.frame(me, Kind.HASH, [bytes(32)], recipient=me),
        who.frame(peer, Kind.HASH, [bytes(32)], recipient=me),
        who.frame(peer, Kind.SHARE, share_body(bytes(32), SecretScalar(5))),
        who.frame(peer, Kind.SYNC, [b""]),
        who.frame(peer, Kind.PEER_RECORD, []),
        who.frame(peer, Kind.OPENING, opening_body(stranger, bytes(32))),
        who.frame(peer, Kind.ANSWER, [0, stranger, bytes(32), b"", b""]),
    ):
        assert not ceremony.wants(frame)
    for frame in (
        who.frame(peer, Kind.HASH, [bytes(32)], session=who.later()),
        who.frame(peer, Kind.SHARE, share_body(bytes(32), SecretScalar(5)), recipient=who.addresses[2]),
    ):
        with pytest.raises(WrongScopeError):
            ceremony.wants(frame)


def test_a_sync_reply_has_a_size() -> None:
    """As many as fit, other ones each time; what the asker has is left out, the share is added."""
    who = cast(4)
    me, peer, *_ = who.addresses
    table = Table(who)
    table.start()
    ceremony = table.seats[me]
    everything = ceremony._log.missing(frozenset(), 1 << 20)
    answers = [ceremony._log.missing(frozenset(), 2000) for _ in range(40)]
    for some in answers:
        assert 0 < len(some) < len(everything)
        assert sum(len(frame.encoded) for frame in some) <= 2000
    assert {f.key for some in answers for f in some} == {f.key for f in everything if len(f.encoded) < 1990}
    request = table.seats[peer].sync_request()
    assert [f.kind for f in ceremony.sync_reply(request)] == [Kind.CERTIFICATE]
    nothing = who.frame(peer, Kind.SYNC, [b""])
    reply = ceremony.sync_reply(nothing)
    assert [f.recipient for f in reply if f.kind is Kind.SHARE] == [peer]
    assert {f.recipient for f in reply} == {None, peer}
