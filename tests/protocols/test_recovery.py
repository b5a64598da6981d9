"""A share from rows: whoever serves them, only those that the transcript names are taken."""

from dataclasses import replace

import pytest

from eigenkms.crypto.feldman import public_share_of
from eigenkms.errors import RemoteProtocolError
from eigenkms.protocols.ceremony.jobs import OpenJob, OpenResult
from eigenkms.protocols.ceremony.recovery import Recovery
from eigenkms.types import OperatorAddress
from eigenkms.wire.codec import MalformedError
from eigenkms.wire.dealing import BadDealingError, DealingRow, UnboundBytesError
from eigenkms.wire.transcript import Transcript
from tests.protocols.rooms import KeyVersion, Room, done, version_of
from tests.protocols.support import Cast, cast
from tests.support.toy_backend import toy_crypto


class Served:
    """A version that was made without ``late``, and the rows that the others serve to it."""

    def __init__(self, *, newcomer: bool = False) -> None:
        self.everybody = cast(5)
        members = self.everybody.addresses[:4] if newcomer else self.everybody.addresses
        self.version: KeyVersion = version_of(self.everybody.at(0, members))
        self.late: OperatorAddress = self.everybody.addresses[4]
        self.room = Room(self.everybody)
        self.room.enter(self.everybody.addresses[:4], self.version)
        self.cast: Cast = self.everybody.at(10)
        self.room.boundary(self.cast.session)
        self.room.run(3)
        self.made: Transcript = self.room.certified(self.everybody.addresses[0])
        self.names = tuple(name for _, name in self.made.dealers)

    def row(self, name: bytes) -> DealingRow:
        row = self.room.operators[self.everybody.addresses[0]].row(name, self.late)
        assert row is not None
        return row


@pytest.fixture(scope="module")
def served() -> Served:
    """Made once: nothing of it changes."""
    with toy_crypto():
        return Served()


def test_rows_from_anybody_make_the_share(served: Served) -> None:
    """Each is asked for until it is here; the work is asked for once, with the key that the headers name."""
    recovery = Recovery(served.made, served.late)
    assert recovery.wanted == served.names
    assert (recovery.key_number, recovery.is_hopeless) == (None, False)
    keys = {100: served.version.keys[served.late]}
    for count, name in enumerate(served.names, 1):
        assert recovery.job(keys) is None
        recovery.add_row(name, served.row(name))
        assert recovery.wanted == served.names[count:]
        assert recovery.key_number == 100
    assert recovery.job({}) is None, "without the key there is nothing to do"
    assert (recovery.is_possible({}), recovery.is_possible(keys)) == (False, True)
    assert recovery.job({110: served.version.keys[served.late]}) is None
    job = recovery.job(keys)
    assert isinstance(job, OpenJob)
    assert recovery.job(keys) is None
    result = done(served.cast, job)
    assert isinstance(result, OpenResult)
    assert result.share is not None
    assert public_share_of(result.share) == served.made.public_share(served.late)


def test_a_row_that_is_known_or_not_named_is_left_aside(served: Served) -> None:
    """It may have been asked for twice."""
    recovery = Recovery(served.made, served.late)
    name = served.names[0]
    recovery.add_row(name, served.row(name))
    recovery.add_row(name, DealingRow(b"nonsense", b""))
    recovery.add_row(bytes(32), DealingRow(b"nonsense", b""))
    assert recovery.wanted == served.names[1:]


def test_wrong_bytes_are_refused_and_asked_for_again(served: Served) -> None:
    """A header of another dealing or none; a row of somebody else, cut, or with a bit changed."""
    recovery = Recovery(served.made, served.late)
    name, other = served.names[:2]
    good = served.row(name)
    someone = served.room.operators[served.everybody.addresses[0]].row(name, served.everybody.addresses[0])
    assert someone is not None
    for wrong, error in (
        (DealingRow(b"nonsense", good.encoded), MalformedError),
        (served.row(other), BadDealingError),
        (replace(good, encoded=b""), UnboundBytesError),
        (replace(good, encoded=good.encoded[:-1]), UnboundBytesError),
        (replace(good, encoded=bytes([good.encoded[0] ^ 1]) + good.encoded[1:]), UnboundBytesError),
        (replace(good, encoded=good.encoded[:-1] + bytes([good.encoded[-1] ^ 1])), UnboundBytesError),
        (someone, UnboundBytesError),
    ):
        assert issubclass(error, RemoteProtocolError)
        with pytest.raises(error):
            recovery.add_row(name, wrong)
        assert recovery.wanted == served.names
        assert recovery.key_number is None
    recovery.add_row(name, good)
    assert recovery.wanted == served.names[1:]


def test_dealings_that_are_here_anyway_need_no_rows(served: Served) -> None:
    """Whole ones, of which the row is cut here."""
    recovery = Recovery(served.made, served.late)
    seat = served.room.ceremony(served.everybody.addresses[0], served.cast.session)
    for name in served.names:
        dealing = seat.dealing(name)
        assert dealing is not None
        assert dealing.encrypted is not None
        for _ in range(2):
            recovery.add_dealing(dealing.header, dealing.encrypted)
    assert recovery.wanted == ()
    assert recovery.job({100: served.version.keys[served.late]}) is not None
    foreign = Recovery(replace(served.made, dealers=()), served.late)
    foreign.add_dealing(dealing.header, dealing.encrypted)
    assert foreign.key_number is None


def test_one_that_a_dealing_leaves_out_has_no_share() -> None:
    """A newcomer whose key came too late: the headers say so, and nothing more is asked for."""
    left_out = Served(newcomer=True)
    for whole in (False, True):
        recovery = Recovery(left_out.made, left_out.late)
        name = left_out.names[0]
        if whole:
            dealing = left_out.room.ceremony(left_out.everybody.addresses[0], left_out.cast.session).dealing(
                name
            )
            assert dealing is not None
            assert dealing.encrypted is not None
            recovery.add_dealing(dealing.header, dealing.encrypted)
        else:
            assert left_out.row(name).encoded == b""
            recovery.add_row(name, left_out.row(name))
        assert recovery.is_hopeless
        assert (recovery.wanted, recovery.key_number) == ((), None)
        assert recovery.job({100: left_out.version.keys[left_out.everybody.addresses[0]]}) is None


def test_an_operator_refuses_rows_and_bodies_that_are_none(served: Served) -> None:
    """And takes the right ones from the next peer; what it did not ask for changes nothing."""
    room = Room(served.everybody)
    room.enter([served.late], served.version)
    operator = room.operators[served.late]
    certificate = served.room.operators[served.everybody.addresses[0]].certified
    assert certificate is not None
    room.tell(served.late, served.made, certificate.certificate)
    name = served.names[0]
    assert operator.wanted_rows == served.names
    with pytest.raises(UnboundBytesError):
        operator.take_row(name, replace(served.row(name), encoded=b""), 0.1)
    assert operator.wanted_rows == served.names
    assert operator.take_row(bytes(32), served.row(name), 0.1) == []
    assert operator.take_body(name, b"", 0.1) == []
    for wanted in served.names:
        room.take(served.late, operator.take_row(wanted, served.row(wanted), 0.1))
    assert served.late in room.shares(served.made)
    assert operator.wanted_rows == ()
