"""A running node with the API, and what its configuration may say of it."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from eigenkms.authorisation.policy import Policy
from eigenkms.config.addresses import HttpAddress
from eigenkms.errors import InputError
from eigenkms.node.monitor.status import CHAIN_FAILURES
from tests.node.http.support import client_at
from tests.node.monitor.test_metrics import value
from tests.node.test_app import running
from tests.support.fake_network import FakeNetwork
from tests.support.nodes import a_node, keep_version, make_config
from tests.support.token_issuer import Authority, make_authority
from tests.support.waiting import eventually

ANY_PORT = HttpAddress.parse("127.0.0.1:0")


def url_in(caplog: pytest.LogCaptureFixture) -> str:
    """Where the node says that it listens."""
    (found,) = [r.fields["url"] for r in caplog.records if getattr(r, "fields", {}).get("event") == "http"]  # type: ignore[attr-defined]
    return str(found)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["attested", "open"])
async def test_a_running_node_is_ready_while_it_can_give_keys(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    """While the chain is away it is not ready if keys depend on what the chain says of applications, and stays ready if not."""
    caplog.set_level("INFO")
    keep_version(network, 0, tmp_path)
    how: dict[str, Any] = {"policy": policy, "attestation_methods": ("ecdsa",), "deciding": Policy("open")}
    with a_node(network, 0, tmp_path, http_listen=ANY_PORT, **how) as node:
        async with running(network, node), client_at(url_in(caplog)) as client:

            async def ready() -> bool:
                answer = await client.get("/ready")
                assert answer.json()["ready"] == (answer.status_code == 200)
                return answer.status_code == 200

            await eventually(ready)
            network.chain.down = True
            await eventually(lambda: node.ceremonies.follower.statistics().failures_in_row >= CHAIN_FAILURES)
            reasons = ["the chain cannot be read"] if policy == "attested" else []
            assert (await client.get("/ready")).json()["reasons"] == reasons
            assert node.status()["chain_error"]
            network.chain.down = False
            assert (await client.get("/pubkey")).status_code == 200


async def test_a_node_that_cannot_listen_does_not_start(network: FakeNetwork, tmp_path: Path) -> None:
    """It says which address, and that it is taken."""
    (taken,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = taken.socket.getsockname()[1]
    with (
        a_node(network, 0, tmp_path, http_listen=replace(ANY_PORT, port=port)) as node,
        pytest.RaisesGroup(
            pytest.RaisesExc(InputError, match=f"listen for HTTP on 127.0.0.1:{port}"), flatten_subgroups=True
        ),
    ):
        async with running(network, node):
            pass
    await taken.aclose()


@pytest.mark.slow
async def test_without_the_setting_nothing_listens(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As by default."""
    caplog.set_level("INFO")
    with a_node(network, 0, tmp_path) as node:
        async with running(network, node):
            assert "HTTP API" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("days", [-1, 5])
async def test_a_node_tells_until_when_its_certificate_is_valid(
    network: FakeNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture, days: int
) -> None:
    """To Prometheus; one that has expired is warned of at the start, and served: clients are to judge."""
    server = make_authority(tmp_path, days=days).server
    files = {"http_certificate": server, "http_key": server}
    with a_node(network, 0, tmp_path / "data", http_listen=ANY_PORT, **files) as node:
        async with running(network, node):
            told = value(
                node.services.metrics.exposition(), "eigenkms_http_certificate_end_timestamp_seconds"
            )
    assert told == pytest.approx(time.time() + days * 86400, abs=3600)
    assert (f"certificate {server} expired on" in caplog.text) == (days < 0)


# -- settings


def configured(network: FakeNetwork, folder: Path, **changes: Any) -> Any:
    return make_config(network, 0, folder, **changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"http_app_sign": True, "policy": "closed"}, "enable http_app_sign: the policy is closed"),
        ({"http_certificate": Path("a.pem")}, "use http_certificate without http_key"),
        ({"http_key": Path("a.pem")}, "use http_key without http_certificate"),
        ({"http_listen": HttpAddress.parse("0.0.0.0:80")}, "without a certificate anybody"),
        ({"http_listen": HttpAddress.parse("[::]:80")}, "listen for HTTP on"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    network: FakeNetwork, tmp_path: Path, changes: Mapping[str, Any], says: str
) -> None:
    """Each with the next step."""
    with pytest.raises(InputError, match=says) as error:
        configured(network, tmp_path, **changes)
    assert error.value.hint


def test_settings_that_fit_are_taken(network: FakeNetwork, tmp_path: Path, authority: Authority) -> None:
    """Plain on this machine; beyond it with a certificate, or if that is asked for; the dangerous one is warned of."""
    everywhere = HttpAddress.parse("0.0.0.0:80")
    configured(network, tmp_path, http_listen=HttpAddress.parse("[::1]:80"))
    configured(network, tmp_path, http_listen=everywhere, http_plain=True)
    files = {"http_certificate": authority.server, "http_key": authority.server}
    configured(network, tmp_path, http_listen=everywhere, **files)
    told = configured(network, tmp_path, http_app_sign=True).warnings
    assert any("/app/sign gives partial signatures" in each for each in told)


@pytest.mark.parametrize("text", ["127.0.0.1:8000", "[::1]:0", "0.0.0.0:65535"])
def test_addresses_are_read_and_written_alike(text: str) -> None:
    """Port 0 is any."""
    assert str(HttpAddress.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "8000", ":8000", "localhost:8000", "127.0.0.1", "::1:8000", "[127.0.0.1]:8000", "127.0.0.1:65536",
     "127.0.0.1:99999999999", "127.0.0.1:-1", "127.0.0.1:8x", "[::1]", "127.0.0.1:٣"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    """Names too: what they resolve to is not for a node to guess."""
    with pytest.raises(ValueError, match=r"is not an IP address and a port|is not in 0\.\.65535"):
        HttpAddress.parse(text)
