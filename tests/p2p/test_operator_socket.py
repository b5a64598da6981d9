"""Sockets on chain: a multiaddr alone, or the URL of an HTTP API whose path is the multiaddr."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.errors import InputError
from eigenkms.p2p.identity import PeerKey
from eigenkms.p2p.operator_socket import MAX_SOCKET_TEXT, parse_origin, parse_socket

PEER = PeerKey(bytes(31) + b"!").peer_id
ADDRESS = f"/ip4/192.0.2.7/tcp/9400/p2p/{PEER}"
LONG_NAME = ".".join(["a" * 60] * 4)


@pytest.mark.parametrize(
    "origin",
    [
        "https://kms.example.org",
        "https://kms.example.org:8443",
        "http://kms.example.org:443",
        "https://192.0.2.7",
        "https://192.0.2.7:80",
        "http://[2001:db8::7]:8080",
        "https://[::1]",
        "https://localhost:1",
        "https://xn--bcher-kva.example:65535",
        f"https://{LONG_NAME}:8443",
    ],
)
def test_a_socket_with_a_url_has_both_parts(origin: str) -> None:
    """The text is the one that was read, so that the reference's clients and ours use the same."""
    socket = parse_socket(origin + ADDRESS)
    assert (str(socket.http), str(socket.address), str(socket)) == (origin, ADDRESS, origin + ADDRESS)
    assert str(parse_origin(origin)) == origin


def test_a_multiaddr_alone_has_no_http_api() -> None:
    """As operators without one publish it."""
    socket = parse_socket(ADDRESS)
    assert (socket.http, str(socket)) == (None, ADDRESS)


def test_the_two_parts_may_be_of_different_hosts() -> None:
    """An API behind a proxy, a peer at a name and another port."""
    text = f"https://api.example.org/dns4/node.example.org/tcp/9400/p2p/{PEER}"
    socket = parse_socket(text)
    assert socket.http is not None
    assert (socket.http.transport.host, socket.http.transport.port) == ("api.example.org", 443)
    assert socket.address.multiaddr == "/dns4/node.example.org/tcp/9400"


@pytest.mark.parametrize(
    "origin",
    [
        "https://KMS.example.org",  # a second spelling of a name
        "https://kms.example.org:443",  # the default port
        "http://kms.example.org:80",
        "https://kms.example.org:08443",
        "https://kms.example.org:0",
        "https://kms.example.org:65536",
        "https://kms.example.org:",
        "https://",
        "https:///",
        "https://:8443",
        "https://user@kms.example.org",
        f"http://{PEER}:9400@192.0.2.7:8000",
        "https://kms.example.org?x=1",
        "https://kms.example.org#x",
        "https://kms.example.org\\@evil.example",
        "https://kms..example.org",
        "https://-kms.example.org",
        "https://kms_1.example.org",
        "https://bücher.example",
        "https://kms.example.org.",
        "https://127.1",  # forms of inet_aton, which HTTP clients read as addresses
        "https://0x7f.1",
        "https://2130706433",
        "https://192.0.2.007",
        "https://256.0.0.1",
        "https://[192.0.2.7]",
        "https://2001:db8::7",
        "https://[2001:DB8::7]",
        "https://[2001:db8:0::7]",
        "https://[fe80::1%25eth0]",
        "ftp://kms.example.org",
        "HTTPS://kms.example.org",
        "https:/kms.example.org",
        "https://kms.example.org\n",
        " https://kms.example.org",
        "https://kms.example.org\0",
        "https://%6bms.example.org",
    ],
)
def test_a_url_in_another_spelling_is_refused(origin: str) -> None:
    """Two readers must not take two hosts out of one text."""
    with pytest.raises(InputError):
        parse_origin(origin)
    with pytest.raises(InputError):
        parse_socket(origin + ADDRESS)


@pytest.mark.parametrize(
    "socket",
    [
        "",
        "/",
        "http://localhost:7501",  # what operators of the reference publish
        "https://kms.example.org",
        "https://kms.example.org/",
        "https://kms.example.org//ip4/192.0.2.7/tcp/9400",
        f"https://kms.example.org/{ADDRESS}",
        f"https://kms.example.org/kms{ADDRESS}",
        f"https://kms.example.org{ADDRESS}/",
        f"https://kms.example.org{ADDRESS}?x",
        f"https://kms.example.org{ADDRESS}/pubkey",
        f"https://kms.example.org{ADDRESS.replace('/tcp', '/udp')}",
        f"https://kms.example.org{ADDRESS.replace('9400', '09400')}",
        f"https://kms.example.org/ip4/192.0.2.7/tcp/9400/p2p/{'1' * 50}",
        "https://kms.example.org/ip4/192.0.2.7/tcp/9400",
        f"https://kms.example.org{ADDRESS}{'x' * MAX_SOCKET_TEXT}",
        f"https://{'a.' * MAX_SOCKET_TEXT}org{ADDRESS}",
        f"https://kms.example.orghttps://kms.example.org{ADDRESS}",
    ],
)
def test_a_socket_that_is_none_is_refused(socket: str) -> None:
    """With an error whose text is bounded, as it is shown."""
    with pytest.raises(InputError) as refused:
        parse_socket(socket)
    assert len(str(refused.value)) < 700


def test_an_error_names_the_canonical_spelling() -> None:
    """If that is all that was wrong."""
    with pytest.raises(InputError, match=r"its canonical spelling is https://kms\.example\.org$"):
        parse_origin("https://kms.example.org:443")


@given(st.sampled_from(["https://", "http://", ""]), st.text(max_size=80))
def test_no_text_makes_the_parser_fail_otherwise(scheme: str, text: str) -> None:
    """The outcome is the same text again, or an input error."""
    try:
        socket = parse_socket(scheme + text)
    except InputError:
        return
    assert str(socket) == scheme + text


@given(st.text(alphabet="ahtps0123456789.:[]x-/", max_size=40))
def test_no_host_has_two_spellings(host: str) -> None:
    """Letters of hosts and ports in any order."""
    try:
        origin = parse_origin(f"https://{host}")
    except InputError:
        return
    assert str(origin) == f"https://{host}"
