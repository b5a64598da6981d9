"""The lock of one operator in one session: what it committed to last, which binds its later prepare votes."""

from eigenkms.wire.votes import Certificate


class VoteLock:
    """``certificate`` is the prepare certificate on which this operator committed last, ``None`` if it never did."""

    def __init__(self) -> None:
        self.certificate: Certificate | None = None

    @property
    def view(self) -> int:
        """The view in which this operator committed last, -1 if it never did."""
        return -1 if self.certificate is None else self.certificate.view

    def allows(self, transcript_hash: bytes, justified: int | None) -> bool:
        """Return whether this hash may be prepared, which a prepare certificate of view ``justified`` justifies."""
        lock = self.certificate
        return (
            lock is None or lock.hash == transcript_hash or (justified is not None and lock.view < justified)
        )
