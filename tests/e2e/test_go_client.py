"""The reference's client, written from its specification, against real nodes whose sockets on chain have a URL.

It finds the operators by itself and knows nothing but the chain: no URL is given to it.
"""

import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import coincurve
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from eigenkms.chain import registration
from eigenkms.devnet.node_config import Access
from tests.e2e.attested import Attested
from tests.e2e.test_http import SECRET, deploy, fresh_token
from tests.support.go_client import GoClient, GoClientError, ecdsa_request, token_request
from tests.support.live_network import LiveNetwork, Said, eigenkms, live_network
from tests.support.token_issuer import Authority, make_authority
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
APP = "my-application"


def client_of(net: LiveNetwork, authority: Authority) -> GoClient:
    contracts = net.network.contracts
    trust = ssl.create_default_context(cafile=authority.ca)
    return GoClient(
        net.network.engine.url,
        contracts.allocation_manager,
        contracts.avs,
        contracts.operator_set_id,
        trust,
    )


def publish(net: LiveNetwork, index: int) -> Said:
    """``operator update-socket`` with the URL that the operator's API has."""
    member, url = net.members[index], net.wait_event(index, "http")["url"]
    account, password = member.folder / "account.json", member.folder / "password"
    return eigenkms(
        *("operator", "update-socket", "--yes", "--config", member.config),
        *("--socket", member.multiaddr.partition("/p2p/")[0], "--http-url", url),
        *("--account-keystore", account, "--account-password-file", password),
    )


@contextmanager
def published(net: LiveNetwork) -> Iterator[None]:
    """The operators' sockets have their URLs, until the block ends."""
    for member in net.members:
        said = publish(net, member.index)
        assert said.code == 0, said.err
    yield
    for member, account in zip(net.members, net.network.accounts, strict=True):
        net.loop.run(registration.update_socket, account, net.network.contracts, member.socket)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def open_network(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[LiveNetwork]:
    """Three operators with the HTTP API over TLS, the policy of a devnet, and ``/app/sign``."""
    settings = {
        "http_listen": "127.0.0.1:0",
        "http_certificate": str(authority.server),
        "http_key": str(authority.server),
        "http_app_sign": True,
        "http_rate": 1000,
    }
    folder = tmp_path_factory.mktemp("open") / "net"
    with live_network(folder, operators=3, access=Access("open", settings)) as net:
        net.start_all([0, 1, 2])
        net.genesis()
        for index in range(3):
            net.wait_share(index)
        yield net


def test_it_encrypts_and_decrypts_with_sockets_of_this_network(
    open_network: LiveNetwork, authority: Authority, tmp_path: Path
) -> None:
    """Its files and ours are read by both; with a multiaddr alone it finds nobody; below t it fails; nodes dial as before."""
    net, client = open_network, client_of(open_network, authority)
    with pytest.raises(GoClientError, match="failed to collect commitments from any operator"):
        client.encrypt(APP, b"too early")
    assert 'unsupported protocol scheme ""' in client.warnings
    plaintext = secrets.token_bytes(100)
    with published(net):
        theirs = client.encrypt(APP, plaintext)
        assert (
            wait_until(lambda: decrypted(client, theirs), "the partial signatures fit together") == plaintext
        )
        (tmp_path / "go.hex").write_text(theirs)
        said, output = net.decrypt(tmp_path / "go.hex", app=APP)
        assert (said.code, output.read_bytes()) == (0, plaintext), said.err

        (tmp_path / "plain").write_bytes(plaintext)
        ours = tmp_path / "ours.hex"
        flags = ("--app-id", APP, "--format", "1", "--hex", "-o", ours)
        said = net.eigenkms("encrypt", *flags, tmp_path / "plain")
        assert said.code == 0, said.err
        assert wait_until(lambda: decrypted(client, ours.read_text()), "they fit together") == plaintext

        net.stop(0)
        net.start(0)
        net.wait_linked(0, 1, 2)
        assert publish(net, 0).code == 0, "it listens at another port now"
        net.stop(1, 2)
        with pytest.raises(GoClientError, match="computed master public key is zero"):
            client.encrypt(APP, plaintext)
        with pytest.raises(GoClientError, match="insufficient partial signatures: collected 1, needed 2"):
            client.decrypt(APP, theirs)
        net.start_all([1, 2])
        net.wait_linked(0, 1, 2)


def found(act: Callable[..., tuple[bytes, str]], *args: object) -> tuple[bytes, str] | None:
    """None while the operators have yet to see the application, or change versions."""
    try:
        return act(*args)
    except GoClientError:
        return None


def decrypted(client: GoClient, ciphertext: str) -> bytes | None:
    """None while operators change versions: no t of the answers fit together then."""
    try:
        return client.decrypt(APP, ciphertext)
    except GoClientError:
        return None


def test_it_gets_attested_secrets_with_sockets_of_this_network(attested: Attested) -> None:
    """By its creator's signature and by a token; a stranger's signature gets nothing."""
    net, client = attested.net, client_of(attested.net, attested.authority)
    opener = rsa.generate_private_key(65537, 2048)
    with published(net):
        mpk = client.master_public_key(client.operators()).to_compressed_bytes()
        assert mpk.hex() == net.status(0)["mpk"]
        app = deploy(net, mpk)
        creator, stranger = coincurve.PrivateKey(app.creator_key), coincurve.PrivateKey(b"\1" * 32)

        def by_signature(key: coincurve.PrivateKey) -> tuple[bytes, str]:
            request = ecdsa_request(app.app_id, key, opener, int(time.time()))
            return client.retrieve_secrets(app.app_id, request, opener)

        def by_token() -> tuple[bytes, str]:
            request = token_request(app.app_id, lambda nonce: fresh_token(app.app_id, nonce), opener, 0)
            return client.retrieve_secrets(app.app_id, request, opener)

        assert wait_until(lambda: found(by_signature, creator), "fits together") == (
            SECRET,
            '{"MODE":"prod"}',
        )
        assert wait_until(lambda: found(by_token), "fits together") == (SECRET, '{"MODE":"prod"}')
        with pytest.raises(GoClientError, match="not-creator"):
            by_signature(stranger)
