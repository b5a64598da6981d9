"""The check of the HTTP API at the URL on chain: what each fault is, and its next step."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio

from eigenkms.config.addresses import HttpAddress
from eigenkms.config.tls import TlsFiles
from eigenkms.maintenance.doctor import http_api
from eigenkms.maintenance.doctor.checks import Finding, Verdict
from eigenkms.maintenance.doctor.context import CheckContext
from eigenkms.node.http.connection import App
from eigenkms.p2p.identity import PeerKey
from eigenkms.p2p.operator_socket import parse_socket
from tests.node.http.support import PATIENT, served
from tests.support.fake_network import FakeNetwork
from tests.support.nodes import a_node, keep_version, make_config
from tests.support.token_issuer import Authority
from tests.support.waiting import PATIENCE

ADDRESS = f"/ip4/9.9.9.9/tcp/9400/p2p/{PeerKey(bytes(31) + b'!').peer_id}"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer counts however slow the machine is."""
    monkeypatch.setattr(http_api, "ANSWER_SECONDS", PATIENCE)


def running(network: FakeNetwork, folder: Path, url: str | None, **settings: object) -> CheckContext:
    """An operator whose node runs, with this URL in its socket on chain."""
    config = make_config(network, 0, folder, announce=("/ip4/9.9.9.9/tcp/9400",), **settings)
    found = CheckContext(lambda: config, lambda _config: None, None, file="node.toml")  # type: ignore[arg-type]
    found.socket = parse_socket(f"{url or ''}{ADDRESS}")
    found.lock_holder = "1"
    return found


Check = Callable[[str | None], Awaitable[Finding]]


@pytest.fixture
def check(network: FakeNetwork, tmp_path: Path) -> Check:
    """The finding for a URL, of the first operator."""

    async def run(url: str | None) -> Finding:
        return await http_api.http_api(running(network, tmp_path, url))

    return run


@pytest.fixture
async def api(network: FakeNetwork, tmp_path: Path) -> AsyncIterator[App]:
    """The API of the first operator."""
    keep_version(network, 0, tmp_path / "node")
    with a_node(network, 0, tmp_path / "node") as node:
        yield node.services.key_api.app


async def test_an_api_that_is_reached_is_well(api: App, check: Check) -> None:
    """Under the path of the socket."""
    async with served(api, PATIENT) as url:
        found = await check(url)
    assert (found.verdict, found.sentence) == (Verdict.OK, f"clients reach the HTTP API at {url}")


async def test_a_certificate_that_clients_refuse_is_a_fault(
    api: App, check: Check, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an authority that this machine does not know; with one that it knows all is well."""
    files = TlsFiles(authority.server, authority.server)
    async with served(api, PATIENT, tls=files) as url:
        refused = await check(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
        accepted = await check(url)
    assert refused.verdict is Verdict.FAILED
    assert f"clients refuse the certificate of {url}: " in refused.sentence
    assert "http_certificate" in str(refused.hint)
    assert accepted.verdict is Verdict.OK


async def test_nothing_that_listens_is_told_from_nothing_that_answers(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused connection, and silence."""
    async with served(_never, PATIENT) as url:
        with monkeypatch.context() as patched:
            patched.setattr(http_api, "ANSWER_SECONDS", 0.1)
            silent = await check(url)
    refused = await check(url)
    assert (silent.verdict, refused.verdict) == (Verdict.WARNING, Verdict.WARNING)
    assert silent.sentence.startswith(f"nothing comes back from {url}")
    assert refused.sentence == f"connection refused: nothing listens at {url}"


async def _never(_scope: object, _receive: object, _send: object) -> None:
    await trio.sleep_forever()


async def test_another_operator_at_the_url_is_a_fault(
    network: FakeNetwork, tmp_path: Path, check: Check
) -> None:
    """As behind a proxy that confuses paths."""
    keep_version(network, 1, tmp_path / "other")
    with a_node(network, 1, tmp_path / "other") as node:
        async with served(node.services.key_api.app, PATIENT) as url:
            found = await check(url)
    assert found.verdict is Verdict.FAILED
    assert "0x" + network.operators[1].address.hex() in found.sentence
    assert "to this operator's node" in str(found.hint)


@pytest.mark.parametrize(
    ("status", "body"),
    [(404, b"not found"), (200, b"<html>"), (200, b"[]"), (200, b"x" * 2**19), (302, b""), (200, b"{}")],
)
async def test_something_else_at_the_url_is_a_fault(check: Check, status: int, body: bytes) -> None:
    """A proxy without the path, a web server, or an endless answer."""

    async def other(_scope: object, _receive: object, send: Callable[..., Awaitable[None]]) -> None:
        headers = [(b"location", b"http://127.0.0.1:1/")] if status == 302 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async with served(other, PATIENT) as url:
        found = await check(url)
    assert found.verdict is Verdict.FAILED
    assert found.sentence == f"no HTTP API of an operator answers at {url}{ADDRESS}: status {status}"


async def test_before_the_first_key_the_api_is_reached(
    network: FakeNetwork, tmp_path: Path, check: Check
) -> None:
    """It answers that there is none."""
    with a_node(network, 0, tmp_path / "new") as node:
        async with served(node.services.key_api.app, PATIENT) as url:
            found = await check(url)
    assert found.verdict is Verdict.OK
    assert "there is no master key yet" in found.sentence


async def test_an_api_that_is_not_published_is_told(network: FakeNetwork, tmp_path: Path) -> None:
    """Or under another URL than the configured one. It need not be published, and without an API there is nothing to check."""
    api = {"http_listen": HttpAddress.parse("127.0.0.1:0")}
    assert (await http_api.http_api(running(network, tmp_path, None))).verdict is Verdict.SKIPPED
    found = await http_api.http_api(running(network, tmp_path, None, **api))
    assert found.verdict is Verdict.SKIPPED
    assert "set http_url, and run eigenkms operator update-socket" in str(found.hint)
    case = running(network, tmp_path, "https://a.example", http_url="https://b.example", **api)
    found = await http_api.http_api(case)
    assert "names the HTTP API https://a.example, and http_url is https://b.example" in found.sentence
    case = running(network, tmp_path, "https://a.example", **api)
    case.lock_holder = None
    assert "no node runs here" in (await http_api.http_api(case)).sentence
