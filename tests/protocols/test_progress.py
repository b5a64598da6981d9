"""How far a session is, as one operator sees it."""

from eigenkms.protocols.progress import Step
from tests.sim.world import Node, World


def steps(node: Node, world: World) -> dict[str, Step]:
    ceremony = node.operator.ceremony(world.sessions[-1].id)
    assert ceremony is not None
    return {step.name: step for step in ceremony.progress()}


def counts(node: Node, world: World) -> dict[str, tuple[int, int, int]]:
    """Done, expected, needed."""
    return {n: (len(s.done), len(s.expected), s.needed) for n, s in steps(node, world).items()}


def test_a_genesis_that_waits_for_one_names_it() -> None:
    """Its hash is the first thing that is missing; everything after that has nobody yet."""
    world = World(4, 3)
    seer, _, absent, _ = world.nodes.values()
    absent.crash()
    world.next_boundary()
    world.run(10)
    found = steps(seer, world)
    assert found["announced"].missing == (absent.address,)
    assert counts(seer, world) == {
        "announced": (3, 4, 4),
        "dealt": (0, 4, 4),
        "reported": (0, 4, 4),
        "prepared": (0, 4, 4),
        "committed": (0, 4, 3),
        "certified": (0, 4, 3),
    }


def test_a_genesis_and_a_rotation_end_with_all_steps_done() -> None:
    """Each has at least whom it needs; a certificate counts as its signers' commits, of which some may not have come."""
    world = World(4, 5)
    seer = next(iter(world.nodes.values()))
    world.next_boundary()
    assert world.run(8, until=world.all_certified), world.story("no certificate")
    genesis = counts(seer, world)
    assert list(genesis) == ["announced", "dealt", "reported", "prepared", "committed", "certified"]
    assert all(done >= needed for done, _, needed in genesis.values())
    rotation = world.next_boundary()
    assert world.run(12, until=lambda: world.is_settled(rotation)), world.story("not settled")
    renewed = counts(seer, world)
    assert list(renewed) == ["dealt", "reported", "prepared", "committed", "certified", "confirmed"]
    assert all(done >= needed for done, _, needed in renewed.values())
    assert {name: needed for name, (_, _, needed) in renewed.items()} == {
        "dealt": 3,
        "reported": 4,
        "prepared": 3,
        "committed": 3,
        "certified": 3,
        "confirmed": 4,
    }


def test_a_session_whose_dealings_are_lost_stops_there() -> None:
    """Dealings that are lost leave only mine."""
    world = World(4, 11)
    world.holds_back = lambda frame, _to: frame.kind.name in ("SHARE", "ANSWER", "DEALING")
    world.next_boundary()
    world.run(10)
    world.holds_back = lambda _frame, _to: False
    seer = next(iter(world.nodes.values()))
    assert steps(seer, world)["certified"].done == ()
    assert steps(seer, world)["dealt"].done == (seer.address,)
