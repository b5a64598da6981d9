"""What the node tells Prometheus: every metric of the table, in its format, and nothing that grows with what strangers send."""

import json
import re
from pathlib import Path

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from eigenkms.node.monitor.metric_tables import COUNTERS, EVENTS, GAUGES, STATES
from eigenkms.node.monitor.metrics import CODES, documented
from eigenkms.p2p.errors import RpcRefusal
from eigenkms.p2p.identity import PeerKey
from eigenkms.p2p.types import Request
from eigenkms.protocols.ceremony.holdings import NOT_OPENED
from eigenkms.protocols.ceremony.session_observer import FAILED
from eigenkms.wire import rpc_methods
from tests.support.doc_pages import ROOT
from tests.support.fake_network import FakeNetwork
from tests.support.nodes import a_node, keep_version

STRANGER = PeerKey.generate().peer_id


def samples(text: bytes) -> dict[str, list[tuple[dict[str, str], float]]]:
    """By name, what a scraper reads."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def value(text: bytes, name: str, **labels: str) -> float:
    (found,) = [v for had, v in samples(text).get(name, []) if labels.items() <= had.items()]
    return found


async def test_a_node_tells_what_it_is(network: FakeNetwork, tmp_path: Path) -> None:
    """Before it runs, too: what is unknown is left out rather than 0."""
    keep_version(network, 0, tmp_path)
    with a_node(network, 0, tmp_path) as node:
        text = node.services.metrics.exposition()
    assert value(text, "eigenkms_share_held") == 1
    assert value(text, "eigenkms_version_seconds") == network.epoch.transcript.version
    assert value(text, "eigenkms_ready") == 0
    assert value(text, "eigenkms_info") == 1
    assert value(text, "eigenkms_data_dir_free_bytes") > 0
    assert value(text, "eigenkms_database_bytes", file="eigenkms.db") > 0
    assert "eigenkms_head_block" not in samples(text)
    assert value(text, "process_resident_memory_bytes") > 0


async def test_requests_are_counted_by_method_and_outcome(network: FakeNetwork, tmp_path: Path) -> None:
    """A refusal with its code; a method or a code that nobody knows is "other", however many there are of them."""
    with a_node(network, 0, tmp_path) as node:
        handler = node.services.metrics.metered(node.services.client_handlers.answer)
        await handler(Request(STRANGER, rpc_methods.STATUS, b""))
        for method in (rpc_methods.INFO, "method-1", "method-2"):
            with pytest.raises(RpcRefusal):
                await handler(Request(STRANGER, method, b"\xc0"))
        text = node.services.metrics.exposition()
    total = "eigenkms_requests_total"
    assert value(text, total, method="status", outcome="ok") == 1
    assert value(text, total, method="info", outcome="bad-request") == 1
    assert value(text, total, method="other", outcome="unknown-method") == 2
    assert value(text, "eigenkms_request_seconds_count", method="status") == 1
    node.services.metrics.request("status", "a-new-code", 0.1)
    assert value(node.services.metrics.exposition(), total, method="status", outcome="other") == 1


async def test_http_answers_are_counted(network: FakeNetwork, tmp_path: Path) -> None:
    """By path and status; paths that there are not are one."""

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 404})  # type: ignore[operator]

    async def nothing(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    with a_node(network, 0, tmp_path) as node:
        metrics = node.services.metrics
        for path in ("/secrets", "/a", "/b"):
            await metrics.counted(app)({"path": path}, nothing, nothing)  # type: ignore[arg-type]
        text = metrics.exposition()
    assert value(text, "eigenkms_http_requests_total", path="/secrets", status="404") == 1
    assert value(text, "eigenkms_http_requests_total", path="other", status="404") == 2
    assert value(text, "eigenkms_http_request_seconds_count", path="/secrets") == 1
    assert value(text, "eigenkms_http_request_seconds_count", path="other") == 2


def test_names_and_words_are_those_of_the_field() -> None:
    """Counters end in _total, units are seconds and bytes; every one has a sentence, and none is there twice."""
    names = [name for name, *_ in documented()]
    assert len(set(names)) == len(names) > 50
    for name, kind, _, text in documented():
        assert name.startswith("eigenkms_")
        assert name.endswith("_total") == (kind == "counter"), name
        assert text.endswith("."), name
        assert not any(unit in name for unit in ("_ms", "_millis", "_minutes", "_mb")), name
    assert {row.name for row in GAUGES}.isdisjoint(row.name for row in COUNTERS)


def test_states_and_events_are_those_of_the_code() -> None:
    """A word that the code gets later would be missing in the metrics."""
    from eigenkms.chain.provider import ProviderState

    assert set(STATES) == set(ProviderState)
    code = "".join(path.read_text() for path in (ROOT / "eigenkms/protocols").rglob("*.py"))
    noted = set(re.findall(r'LogEvent\(\s*"([^"]+)"', code)) - {
        "another copy of this operator speaks: silent from now on"
    }
    assert set(EVENTS) == noted | {FAILED, NOT_OPENED}


def test_refusals_are_those_of_the_code() -> None:
    """Each code that a handler refuses with is told apart."""
    code = "".join(path.read_text() for path in (ROOT / "eigenkms/node").rglob("*.py"))
    given = set(re.findall(r'RpcRefusal\(\s*"([a-z-]+)"', code))
    assert len(given) > 10
    assert given <= CODES


def test_every_alert_leads_to_a_section_and_has_a_case() -> None:
    """Who is woken by it finds what to do."""
    from tests.support.doc_pages import page

    rules = json.loads((ROOT / "packaging/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    cases = json.loads((ROOT / "tests/packaging/alert_cases.json").read_text())
    assert {rule["alert"] for rule in rules} == set(cases)
    for rule in rules:
        name, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert anchor in page(name).anchors, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
