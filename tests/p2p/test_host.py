"""Two and more real hosts on loopback: calls, refusals, gossip, addresses, start and stop."""

from eigenkms.p2p.host import Request, open_host
from tests.p2p.support import ANYWHERE, ECHO, LATER, introduce, keys


async def test_a_call_is_answered() -> None:
    """A client that knows an address gets the answer of the peer's handler, which sees who asks."""
    server_key, client_key = keys(2)
    seen: list[Request] = []

    async def handler(request: Request) -> bytes:
        seen.append(request)
        return request.body[::-1]

    async with open_host(server_key, listen=[ANYWHERE]) as server, open_host(client_key) as client:
        server.serve(ECHO, handler)
        introduce(client, server)

        assert await client.call(server.peer_id, ECHO, "reverse", b"abc", timeout=LATER) == b"cba"

    assert [(each.peer, each.method, each.body) for each in seen] == [(client_key.peer_id, "reverse", b"abc")]
