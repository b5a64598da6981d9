"""A real node watched by the real Prometheus, with the rules and the dashboard that are shipped."""

import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from eigenkms.devnet.anchor import open_devnet_anchor
from eigenkms.node.monitor.metrics import documented
from tests.packaging.test_prometheus import CASES, RULES, rules
from tests.support.doc_pages import ROOT
from tests.support.live_network import ENGINE, LiveNetwork, free_port
from tests.support.token_issuer import make_authority
from tests.support.tools import require
from tests.support.waiting import PATIENCE, wait_until

DASHBOARD = ROOT / "packaging/grafana/eigenkms.json"
OF_THE_PROCESS = {
    "process_open_fds",
    "process_max_fds",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
}
pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def expressions() -> Iterator[tuple[str, str]]:
    """(where, expression) of every alert and panel."""
    yield from ((rule["alert"], rule["expr"]) for rule in rules())
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$instance", ".*")


def names_in(expression: str) -> set[str]:
    """The metrics that an expression reads, without what Prometheus adds to histograms."""
    found = re.findall(r"\b((?:eigenkms|process)_\w+)", expression)
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in found}


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[str]:
    """The real one, scraping ``target`` every second; its URL, once it answers."""
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "eigenkms", "static_configs": [{"targets": [target]}]}],
        "rule_files": [str(RULES)],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    process = subprocess.Popen(
        [
            require("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        with suppress(
            httpx.TransportError
        ):  # it does not listen yet, and refuses all requests for a moment when it does
            return httpx.get(f"{url}/-/ready", trust_env=False, timeout=PATIENCE).is_success
        return False

    try:
        wait_until(is_ready, "Prometheus is ready")
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE)


def get(url: str, **params: str) -> Any:
    answer = httpx.get(url, params=params, trust_env=False, timeout=PATIENCE).json()
    assert answer["status"] == "success", (params, answer)
    return answer["data"]


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    return get(f"{url}/api/v1/query", query=expression)["result"]  # type: ignore[no-any-return]


def told(url: str) -> set[str]:
    """Names of the metrics that it has heard, histograms by their own name."""
    names = get(f"{url}/api/v1/label/__name__/values")
    return {re.sub(r"_(bucket|count|sum)$", "", name) for name in names} | set(names)


def wait_told(url: str, wanted: set[str]) -> None:
    """Until all of them have been heard."""
    missing = wanted

    def all_told() -> bool:
        nonlocal missing
        missing = wanted - told(url)
        return not missing

    wait_until(all_told, lambda: f"metrics {sorted(missing)}")


def anchored(net: LiveNetwork, index: int) -> tuple[str, ...]:
    """Flags by which an operator of this network writes to a registry, on a chain that runs until the network ends."""
    network, member = net.network, net.members[index]
    opening = open_devnet_anchor(ENGINE, network.contracts, net.folder / "anchor.log")
    anchor = net.loop.enter(net.loop.stack.enter_async_context, opening)
    net.loop.run(anchor.admit, member.address)
    flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in anchor.settings.items()]
    return (
        *(word for flag in flags for word in flag),
        "--anchor-account-keystore",
        str(member.folder / "account.json"),
    )


def test_every_metric_and_every_expression_is_a_live_node_s(net: LiveNetwork, tmp_path: Path) -> None:
    """The node tells every documented metric; every alert and panel is evaluated without an error, and reads only what it tells."""
    require("prometheus")
    monitor, api = free_port(), f"127.0.0.1:{free_port()}"
    authority = make_authority(tmp_path)
    tls = ("--http-certificate", str(authority.server), "--http-key", str(authority.server))
    net.stop(3)
    listeners = ("--monitor-listen", str(monitor), "--http-listen", api, *tls)
    net.start(3, *listeners, "--canary-seconds", "10", *anchored(net, 3))
    with prometheus(f"127.0.0.1:{monitor}", tmp_path) as url, net.turning():
        trusted = ssl.create_default_context(cafile=authority.ca)
        assert (
            httpx.get(f"https://{api}/pubkey", trust_env=False, verify=trusted, timeout=PATIENCE).status_code
            == 200
        )
        documented_names = {name for name, *_ in documented()}
        wait_told(url, documented_names)
        known = documented_names | OF_THE_PROCESS
        count = 0
        for where, expression in expressions():
            ask(url, expression)
            assert names_in(expression) <= known, where
            count += 1
        assert count > 40
        (group,) = get(f"{url}/api/v1/rules")["groups"]
        assert {rule["name"] for rule in group["rules"]} == set(CASES) == {rule["alert"] for rule in rules()}
        assert not [rule["lastError"] for rule in group["rules"] if rule.get("lastError")]
        works = "max_over_time(eigenkms_canary_ok[1m])"
        wait_until(lambda: ask(url, works)[0]["value"][1] == "1", "the canary decrypted")
        (version,) = ask(url, "eigenkms_version_seconds")
        assert float(version["value"][1]) > 1_700_000_000


def test_what_is_used_is_read_from_expressions() -> None:
    """Names with the endings of histograms are the histogram's; labels and functions are none."""
    expression = 'sum by (le) (rate(eigenkms_request_seconds_bucket{method="partial"}[5m])) / process_max_fds'
    assert names_in(expression) == {"eigenkms_request_seconds", "process_max_fds"}
