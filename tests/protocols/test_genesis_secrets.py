"""What a genesis dealing is made from does not outlive it."""

from eigenkms.crypto import bn254, pvss
from eigenkms.crypto.hashing import keccak256
from eigenkms.protocols.ceremony.effects import Effect, EraseJournalSecrets, Persist, Publish, RunJob
from eigenkms.protocols.ceremony.jobs import run_job
from eigenkms.protocols.ceremony.participant import Participant
from eigenkms.types import BlockRef, Cluster, Member, OperatorAddress, OperatorSet
from eigenkms.wire.session import Parameters, Session, cluster_id
from tests.support.randomness import counter_rng


def test_polynomial_is_destroyed_once_its_dealing_is_durable() -> None:
    """The polynomials of all dealers together are the master key, so none stays in a journal."""
    rng = counter_rng("genesis secrets")
    me, key = OperatorAddress(rng(20)), bn254.KeyPair.generate(rng)
    block = BlockRef(10, keccak256(b"block"), 1_700_000_010)
    session = Session(
        cluster_id(Cluster(31337, bytes(range(20)), 0)),
        block,
        OperatorSet((Member(me, key.g2),)),
        Parameters(10, "latest", 1000),
    )
    operator = Participant(me, key, rng, lambda: 0.1)
    steps = [operator.boundary(session, 0.0)]
    secrets = [e.effect for e in steps[0] if isinstance(e.effect, Persist) and e.effect.record.secret]
    assert len(secrets) == 1
    table = pvss.LogarithmTable(width=2)
    (job,) = [e.effect.job for e in steps[0] if isinstance(e.effect, RunJob)]
    dealt: list[Effect] = [e.effect for e in operator.take_result(run_job(job, rng, table), 0.0)]
    assert any(isinstance(effect, Publish) for effect in dealt)
    assert dealt.count(EraseJournalSecrets(session.id)) == 1
