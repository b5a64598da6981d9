"""``/status.json``: names and types that programs may rely on (golden/status.json), as docs/monitoring.md has them.

A change that is meant is written by ``python -m tests.node.monitor.test_status``, with the schema raised if a field goes or changes
its meaning.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from eigenkms.config.addresses import HttpAddress
from eigenkms.node.monitor.operator_status import SCHEMA
from eigenkms.node.monitor.recent_warnings import RecentWarnings
from tests.node.test_app import neighbours_known, running
from tests.support.doc_pages import page
from tests.support.fake_network import FakeNetwork, make_network, operator_host
from tests.support.local_node import LocalNode
from tests.support.nodes import PASSWORD, Neighbour, a_node, keep_version
from tests.support.waiting import PATIENCE, eventually

GOLDEN = Path(__file__).with_name("golden") / "status.json"


def shape(value: object) -> object:
    """Types instead of values; of a list that of its elements, which are alike but for what is missing in some."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        shapes = [shape(inner) for inner in value]
        return [merged(shapes)] if shapes else []
    return "null" if value is None else type(value).__name__


def merged(shapes: list[Any]) -> object:
    if all(isinstance(each, dict) for each in shapes):
        return {name: merged([each[name] for each in shapes]) for name in shapes[0]}
    if all(isinstance(each, list) for each in shapes):
        return max(shapes, key=len)
    assert all(isinstance(each, str) for each in shapes), shapes
    return " or ".join(sorted({part for each in shapes for part in each.split(" or ")}))


FROZEN = (
    *("schema", "health", "reasons", "software", "uptime_seconds", "chain", "next_boundary"),
    *("versions", "ceremony", "members", "warnings"),
)
"""In this order in the file."""


async def told_by_a_node(network: FakeNetwork, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a node says of itself in the middle of a rotation of a version that another one led to: what it tells its operator
    alone, and what everybody.
    """
    keep_version(network, 0, folder)
    newer = network.reshare(network.first, 110)
    keep_version(network, 0, folder, version=newer)
    async with RecentWarnings.collect() as recent, operator_host(network, 1, Neighbour(network)):
        with a_node(network, 0, folder, recent=recent) as node:
            async with running(network, node):
                await neighbours_known(node, 1)
                network.chain.number = 125
                await eventually(lambda: is_telling(node))
                told, public = node.services.reporter.operator_status().to_json(), node.status()
    return {name: told[name] for name in told if name in FROZEN}, public


def is_telling(node: LocalNode) -> bool:
    told: Any = node.services.reporter.operator_status().to_json()
    beaten = any(m["latency_ms"] is not None for m in told["members"])
    return beaten and told["ceremony"] is not None and told["head"] == 125


@pytest.mark.slow
async def test_what_a_running_node_tells_has_the_shape_that_is_frozen(
    network: FakeNetwork, tmp_path: Path
) -> None:
    """Beside all that it tells everybody; plain values, the steps of the session among them, and nothing that is secret."""
    own, public = await told_by_a_node(network, tmp_path)
    assert json.loads(json.dumps(own)) == own, "plain values"
    assert shape(own) == json.loads(GOLDEN.read_text())
    assert own["schema"] == SCHEMA == 2
    assert not own.keys() & public.keys()
    text = json.dumps(own)
    for secret in (network.secret, *(o.share for o in network.operators)):
        assert secret.to_bytes().hex() not in text
    assert PASSWORD not in text
    ceremony = own["ceremony"]
    assert (ceremony["kind"], ceremony["block"], ceremony["phase"]) == ("rotation", 120, "dealing")
    first, *others = ceremony["steps"]
    assert (first["name"], first["state"], first["of"], first["needed"]) == ("dealt", "current", 4, 3)
    assert {"0x" + o.address.hex() for o in network.operators[1:]} <= set(first["missing"])
    assert [step["state"] for step in others] == ["waiting"] * 3
    (newest,) = own["versions"]
    assert (newest["signers"], newest["share"], newest["block"]) == (4, True, 110)
    assert (newest["source"], ceremony["source"]) == (network.epoch.transcript.version, newest["version"])
    assert own["next_boundary"]["block"] == 130
    assert 0 <= own["next_boundary"]["seconds"] <= 5


def test_every_field_is_explained() -> None:
    """docs/monitoring.md has a row for each, and none that is not there; those of lists by a dotted name."""
    rows = {row[0].strip("`") for row in page("docs/monitoring.md").rows("field")}
    fields: set[str] = set()

    def collect(value: object, prefix: str) -> None:
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict):
            for name, each in inner.items():
                fields.add(prefix + name)
                collect(each, f"{prefix}{name}.")

    collect(json.loads(GOLDEN.read_text()), "")
    assert fields == rows


async def test_a_node_that_has_just_begun_tells_what_it_can(network: FakeNetwork, tmp_path: Path) -> None:
    """No version, no session, nobody there: over HTTP, where all is read-only and no cache keeps it."""
    with a_node(network, 0, tmp_path, monitor_listen=HttpAddress.parse("127.0.0.1:0")) as node:
        async with running(network, node):
            told: Any = node.services.reporter.operator_status().to_json()
            frozen = json.loads(GOLDEN.read_text())
            assert frozen.keys() <= told.keys()
            assert (told["health"], told["ceremony"], told["versions"]) == ("cannot serve", None, [])
            assert "no share of the master key is held" in told["reasons"]
            assert [m["connected"] for m in told["members"]] == [False] * 4
            assert told["members"][0]["me"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_reading_is_all_that_can_be_done(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """By any other method nothing is done."""
    caplog.set_level("INFO")
    with a_node(network, 0, tmp_path, monitor_listen=HttpAddress.parse("127.0.0.1:0")) as node:
        async with running(network, node), httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            (url,) = [
                r.fields["url"]  # type: ignore[attr-defined]
                for r in caplog.records
                if getattr(r, "fields", {}).get("event") == "monitor"
            ]
            assert (await client.request(method, f"{url}/status.json")).status_code == 405
            head = await client.head(f"{url}/status.json")
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["cache-control"] == "no-store"


if __name__ == "__main__":

    async def write() -> None:
        with tempfile.TemporaryDirectory() as folder:
            own, _ = await told_by_a_node(make_network(), Path(folder))
        GOLDEN.write_text(json.dumps(shape(own), indent=2) + "\n")
        sys.stdout.write(f"wrote {GOLDEN}\n")

    trio.run(write)
