"""The monitoring listener: what it tells, and whom, over real sockets."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest
import trio

from eigenkms.config.addresses import HttpAddress
from eigenkms.config.parsers import monitor_address
from eigenkms.errors import InputError
from eigenkms.node.monitor.monitor_api import LIMITS, MonitorApi, serve_monitor
from tests.support.waiting import PATIENCE

STATUS = {"version": 7, "peers": 3}


@asynccontextmanager
async def served(*reasons: str) -> AsyncIterator[str]:
    """A listener that is there; its URL."""
    api = MonitorApi(
        status=lambda: SimpleNamespace(to_json=lambda: STATUS),
        not_ready=lambda: reasons,
        names=["Operator-1.internal"],
    )
    async with trio.open_nursery() as nursery:
        url = await nursery.start(serve_monitor, HttpAddress.parse("127.0.0.1:0"), api.app)
        assert url is not None
        yield url
        nursery.cancel_scope.cancel()


async def get(url: str, host: str | None = None, method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
        return await client.request(method, url, headers={} if host is None else {"host": host})


async def test_it_tells_health_readiness_and_status() -> None:
    """Programs go by the status code, people by the reasons."""
    async with served() as url:
        assert (await get(url + "/health")).json() == {"status": "ok"}
        assert (await get(url + "/ready")).json() == {"ready": True, "reasons": []}
        status = await get(url + "/status.json")
    assert status.json() == STATUS
    assert status.headers["cache-control"] == "no-store"
    async with served("no share of the master key is held") as url:
        ready = await get(url + "/ready")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["no share of the master key is held"])


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9464", "[::1]:1", "localhost", "LOCALHOST:80", "operator-1.internal:9464"]
)
async def test_it_answers_under_its_own_names(host: str) -> None:
    """An address, localhost, or a name that was given to it."""
    async with served() as url:
        assert (await get(url + "/health", host)).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9464", "127.0.0.1.evil.example", "[::1", "", "localhost.evil"]
)
async def test_a_name_of_a_stranger_gets_nothing(host: str) -> None:
    """A page in the operator's browser cannot read the node by a name that it controls."""
    async with served() as url:
        refused = await get(url + "/status.json", host)
    assert refused.status_code in {400, 421}
    assert "version" not in refused.text


async def test_idle_connections_keep_nobody_out() -> None:
    """Those of one address that holds all it may: the next one is served, and the one that was idle the longest ends."""
    async with served() as url, AsyncExitStack() as stack:
        port = int(url.rpartition(":")[2])
        idle = [
            await stack.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            for _ in range(LIMITS.connections_of_one)
        ]
        assert (await get(url + "/ready")).status_code == 200
        with trio.fail_after(PATIENCE):
            assert await idle[0].receive_some(1) == b""


async def test_nothing_can_be_changed_by_it() -> None:
    """It knows no method but reading."""
    async with served() as url:
        assert (await get(url + "/status.json", method="POST")).status_code == 405
        assert (await get(url + "/none")).status_code == 404


def test_a_port_alone_is_one_of_this_machine() -> None:
    """Whoever wants others to see it has to say so."""
    assert str(monitor_address("9464")) == "127.0.0.1:9464"
    assert str(monitor_address("[::]:9464")) == "[::]:9464"
    with pytest.raises(ValueError, match="65535"):
        monitor_address("99999")


async def test_a_port_that_is_taken_is_named() -> None:
    """With the setting to change."""
    async with served() as url:
        port = int(url.rpartition(":")[2])
        api = MonitorApi(status=dict, not_ready=list)
        with pytest.raises(InputError, match=str(port)) as error:
            await serve_monitor(HttpAddress.parse(f"127.0.0.1:{port}"), api.app)
    assert "--monitor-listen" in str(error.value.hint)
