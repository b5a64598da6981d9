"""Errors between two peers, as a caller sees them."""

from eigenkms.errors import NetworkError, RefusedError, RemoteProtocolError


class PeerUnreachable(NetworkError):  # noqa: N818 - the sentence a caller reads
    """No connection to the peer, or it broke before the answer came.

    The request may or may not have been carried out.
    """


class CallTimeout(NetworkError):  # noqa: N818
    """The peer did not answer in time.

    The request may or may not have been carried out.
    """


class CallRefusedError(RefusedError):
    """The peer answered with a refusal.

    ``code`` is for programs, ``message`` for people; both come from the peer.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class RpcRefusal(Exception):  # noqa: N818 - raised by handlers to answer, not to fail
    """Raised by a handler: answer this request with a refusal.

    ``code`` has 1 to 64 characters of ``[a-z0-9-]``.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class FrameError(RemoteProtocolError):
    """A peer sent bytes that are no frame of the session layer. Its stream is reset."""


class HostStoppedError(NetworkError):
    """The peer-to-peer host died.

    Nothing of it can be used; let the process manager start the node again.
    """

    default_hint = "see the log for the cause, then start the node again"
