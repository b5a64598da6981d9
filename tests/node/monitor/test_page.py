"""The status page in a real browser, against a running node that is well, loses its neighbours, dies, and comes back."""

import os
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from eigenkms.config.addresses import HttpAddress
from eigenkms.node.monitor.page import POLICY
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from tests.node.monitor.test_canary import Choir, sign
from tests.node.test_app import boundary_seen, neighbours_known, running
from tests.support.browser import Page, browser
from tests.support.fake_network import FakeNetwork, operator_host
from tests.support.local_node import LocalNode
from tests.support.nodes import a_node, keep_version
from tests.support.tools import require
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.browser

ANY_PORT = HttpAddress.parse("127.0.0.1:0")
HOSTILE = '<script>document.title="owned"</script><img src=x onerror="document.title=1">\u202e\x1b[31m'
BODY = "document.body.innerText"
HEALTH = "document.body?.dataset.health"
BLOCK_SECONDS = 600.0
"""Far: no boundary is due in the test, and no chain is stale."""


@pytest.fixture
def chromium() -> str:
    """Return the program's path."""
    return require("chromium")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """The folder of the screenshots."""
    folder = Path(os.environ.get("EIGENKMS_SCREENSHOTS") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def watched(
    network: FakeNetwork, folder: Path, caplog: pytest.LogCaptureFixture, address: HttpAddress = ANY_PORT
) -> AsyncIterator[tuple[LocalNode, str]]:
    """The first operator's node with its page, and the page's URL."""
    async with RecentWarnings.collect() as recent:
        with a_node(
            network,
            0,
            folder,
            recent=recent,
            monitor_listen=address,
            block_seconds=BLOCK_SECONDS,
            canary_seconds=1.0,
        ) as node:
            async with running(network, node):
                events = (getattr(r, "fields", {}) for r in caplog.records)
                url = [f["url"] for f in events if f.get("event") == "monitor"][-1]
                yield node, str(url)


def pixels(file: Path) -> tuple[int, int, bytes]:
    """Width, height and the filtered lines of a PNG file."""
    data, at, idat, size = file.read_bytes(), 8, b"", (0, 0)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            idat += body
        at += length + 12
    return *size, zlib.decompress(idat)


async def photograph(page: Page, folder: Path, name: str) -> None:
    """On a desk and on a phone, in light and in dark: something is to be seen, nothing is cut off, colours follow the reader."""
    for place, width in (("desktop", 1280), ("phone", 360)):
        taken = []
        for scheme in ("light", "dark"):
            file = folder / f"{name}-{place}-{scheme}.png"
            await page.look(width, dark=scheme == "dark", file=file)
            found, height, data = pixels(file)
            assert (found, height > 400) == (width, True)
            assert len(set(data)) > 40, f"{file} shows nothing"
            taken.append(data)
        assert taken[0] != taken[1]
        assert await page.read("document.documentElement.scrollWidth") <= width, f"{place} scrolls sideways"
        narrowest = (
            "Math.min(...[...document.querySelectorAll('#members tbody div')].map(e => e.clientWidth))"
        )
        assert await page.read(narrowest) > 60, f"{place} squeezes a table"
    await page.resize(1280)


async def test_an_operator_sees_how_its_node_does(
    network: FakeNetwork, tmp_path: Path, pictures: Path, chromium: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Well; a boundary at which operators are missing, and one of them calls itself by markup; too few; gone; back."""
    caplog.set_level("INFO")
    folder = tmp_path / "node"
    keep_version(network, 0, folder)
    network.place(0, f"/dns4/localhost/tcp/9400/p2p/{network.operators[0].peer.peer_id}")
    names = ["0x" + operator.address.hex() for operator in network.operators]
    async with browser(chromium, tmp_path / "profile") as page, trio.open_nursery() as nursery:
        lives = [await nursery.start(live, network, index) for index in (1, 2, 3)]
        async with watched(network, folder, caplog) as (node, url):
            await neighbours_known(node, 3)
            await page.go(url)
            await page.until(f"{HEALTH} === 'healthy'")
            await page.until("document.querySelectorAll('#members tbody tr').length === 4")
            await page.until(
                "[...document.querySelectorAll('#members tbody tr')].filter(r => / ms/.test(r.innerText)).length === 3"
            )
            await page.until("document.getElementById('tile-canary')?.innerText.includes('works')")
            await sees_a_healthy_node(page, network, names)
            await photograph(page, pictures, "healthy")
            assert page.said == []
            # at a boundary that a fifth operator joins, which never was there; one neighbour is gone
            network.change_set([*network.operators, *network.join(1)])
            network.place(4, HOSTILE * 200)
            lives[2].cancel()
            network.chain.number = 115
            await boundary_seen(caplog, 110)
            await page.until(f"{HEALTH} === 'degraded'")  # at its own pace
            await page.until("document.querySelectorAll('#members tbody tr').length === 5")
            await sees_what_is_wrong(page, network, names)
            await photograph(page, pictures, "degraded")
            assert page.said == []
            # fewer than three of those who hold the version
            lives[1].cancel()
            await until_seen(page, f"{HEALTH} === 'cannot serve'")
            assert "2 of the 3 operators that a key takes" in await page.read(BODY)
            await photograph(page, pictures, "cannot-serve")
        await until_seen(page, f"{HEALTH} === 'gone'")
        shown = await page.read(BODY)
        assert "No answer since" in shown
        assert names[1] in shown, "what it said last stays"
        await page.until("/data [0-9]+ s old/.test(document.getElementById('age').innerText)")
        await photograph(page, pictures, "gone")
        port = HttpAddress.parse(url.removeprefix("http://"))
        async with watched(network, folder, caplog, port):
            await until_seen(page, f"{HEALTH} === 'cannot serve'")
        nursery.cancel_scope.cancel()


async def until_seen(page: Page, expression: str) -> None:
    """Wait as somebody does who comes back to the tab again and again: it asks at once each time."""
    await page.until(f"document.dispatchEvent(new Event('visibilitychange')) && {expression}")


async def live(network: FakeNetwork, index: int, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """A neighbour, at home until its scope is cancelled."""
    with trio.CancelScope() as life:
        async with operator_host(network, index, Choir(network, {index: sign})):
            task_status.started(life)
            await trio.sleep_forever()


async def sees_a_healthy_node(page: Page, network: FakeNetwork, names: list[str]) -> None:
    """Who, which cluster, which version, everybody with a latency, and the time to the next boundary, which runs."""
    shown = await page.read(BODY)
    transcript = network.epoch.transcript
    for expected in (
        *names,
        network.session.cluster.hex(),
        transcript.mpk.hex(),
        transcript.hash.hex()[:16],
        str(int(transcript.version)),
        "4 of 4, 3 needed",
        "block 110, 5 to go",
        "No session since this node was started.",
    ):
        assert expected in shown, expected
    assert await page.read("document.querySelector('h1').innerText") == "Healthy"
    assert await page.read("document.querySelector('[role=status]').ariaLive") == "polite"
    assert await page.read("document.title") == "Healthy · eigenkms node"
    left = "document.querySelector('#tile-next .value').innerText"
    first = await page.read(left)
    await page.until(f"{left} !== '{first}'")
    before, after = (
        int(minutes) * 60 + int(seconds)
        for minutes, _, seconds in (text.partition(":") for text in (first, await page.read(left)))
    )
    assert 0 < after < before <= 5 * BLOCK_SECONDS


async def sees_what_is_wrong(page: Page, network: FakeNetwork, names: list[str]) -> None:
    """Who is missing is named, in the verdict and at the step that waits; markup of a stranger is text, and cut."""
    reasons = await page.read("document.querySelector('.verdict').innerText")
    assert reasons.startswith("Degraded: 2 of 5 operators not connected")
    assert names[3][:10] in reasons
    row = f"[...document.querySelectorAll('#members tbody tr')].find(r => r.innerText.includes('{names[3]}'))"
    await page.until(f"{row}.innerText.includes('not connected')")
    steps = "[...document.querySelectorAll('#steps li')].map(li => [li.dataset.step, li.dataset.state])"
    assert [tuple(step) for step in await page.read(steps)] == [
        ("dealt", "current"),
        ("prepared", "waiting"),
        ("committed", "waiting"),
        ("certified", "waiting"),
    ]
    assert names[3][:10] in await page.read("document.querySelector('[aria-current=step]').innerText")
    joined = "0x" + network.operators[4].address.hex()
    hostile = (
        f"[...document.querySelectorAll('#members tbody tr')].find(r => r.innerText.includes('{joined}'))"
    )
    text = await page.read(f"{hostile}.innerText")
    assert '<script>document.title="owned"</script>' in text
    assert len(text) < 600
    assert not {"\u202e", "\x1b"} & set(text)
    assert await page.read("document.title") == "Degraded · eigenkms node"
    assert await page.read("document.querySelectorAll('script').length") == 1
    assert await page.read("document.querySelectorAll('main img, main script').length") == 0
    warned = await page.read("document.getElementById('warnings').innerText")
    assert "its socket on chain cannot be dialled" in warned
    assert "\x1b" not in warned


async def test_the_page_is_all_there_and_lets_nothing_else_in(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each file under a policy that forbids what is not from here; read-only, by its own names, and not sent twice."""
    caplog.set_level("INFO")
    async with (
        watched(network, tmp_path, caplog) as (_, url),
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE) as client,
    ):
        for path, kind in (
            ("/", "text/html"),
            ("/page.css", "text/css"),
            ("/page.js", "text/javascript"),
            ("/icon.svg", "image/svg+xml"),
        ):
            got = await client.get(path)
            assert (got.status_code, got.headers["content-security-policy"]) == (200, POLICY)
            assert got.headers["content-type"].startswith(kind)
            assert got.headers["x-content-type-options"] == "nosniff"
            for remote in ("http:", "https:", "//"):
                assert kind == "image/svg+xml" or f'"{remote}' not in got.text, f"{path} names another host"
            again = await client.get(path, headers={"if-none-match": got.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
            assert (await client.head(path)).status_code == 200
            assert (await client.post(path)).status_code == 405
            assert (await client.get(path, headers={"host": "evil.example"})).status_code == 421
        assert "unsafe" not in POLICY
        html = (await client.get("/")).text
        assert " on" not in html.replace(" only", "").replace(" one", ""), "a handler inside the document"
        assert (await client.get("/static/page.js")).status_code == 404
