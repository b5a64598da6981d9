"""Peer ids and addresses: one spelling each, everything else refused with a hint."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eigenkms.errors import InputError
from eigenkms.p2p.identity import (
    PeerId,
    PeerKey,
    TransportAddress,
    check_dialable,
    format_address,
    parse_address,
    parse_transport,
    why_undialable,
)

KEY = PeerKey(bytes(31) + b"\x01")


def test_the_peer_id_of_a_key_is_the_one_that_libp2p_gives_it() -> None:
    """Both derive the same id from the same secret."""
    from libp2p.crypto.secp256k1 import create_new_key_pair
    from libp2p.peer.id import ID

    pair = create_new_key_pair(KEY.secret)

    assert ID.from_pubkey(pair.public_key).to_bytes() == bytes(KEY.peer_id)
    assert ID.from_pubkey(pair.public_key).to_base58() == str(KEY.peer_id)


def test_a_peer_id_survives_its_text() -> None:
    """Text and id are each other's inverse, and the text of a secp256k1 id begins as documented."""
    assert PeerId.parse(str(KEY.peer_id)) == KEY.peer_id
    assert str(KEY.peer_id).startswith("16Uiu2HA")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "16Uiu2HA",
        "0" * 20,
        "Qm" + "a" * 44,
        "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp",
        str(KEY.peer_id) + "1",
        "1" + str(KEY.peer_id),
        str(KEY.peer_id)[:-1],
        str(KEY.peer_id).lower(),
        "z" * 4000,
    ],
)
def test_what_is_no_secp256k1_peer_id_is_refused(text: str) -> None:
    """Other key types, other spellings and noise are input errors."""
    with pytest.raises(InputError, match="read peer id"):
        PeerId.parse(text)


def test_a_point_off_the_curve_is_no_peer_id() -> None:
    """The prefix alone does not make an id."""
    with pytest.raises(InputError, match="not on secp256k1"):
        PeerId.parse(str(PeerId(KEY.peer_id.raw[:6] + b"\x02" + b"\xff" * 32)))


def test_the_secret_is_in_no_text() -> None:
    """A key prints as redacted; a bad one is refused without being shown."""
    assert KEY.secret.hex() not in repr(KEY)
    assert "redacted" in repr(KEY)
    with pytest.raises(InputError, match="not a secp256k1 secret") as caught:
        PeerKey(b"\xff" * 32)
    assert "ff" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, b"\x01" * 31, b""])
def test_a_secret_out_of_range_is_refused(secret: bytes) -> None:
    """0, the group order and above, and other lengths are no keys."""
    with pytest.raises(InputError):
        PeerKey(secret)


def test_fresh_keys_differ() -> None:
    """Two generated keys are two peers."""
    assert PeerKey.generate().peer_id != PeerKey.generate().peer_id


@pytest.mark.parametrize(
    "transport",
    [
        "/ip4/127.0.0.1/tcp/1",
        "/ip4/192.0.2.7/tcp/65535",
        "/ip6/::1/tcp/9000",
        "/ip6/2001:db8::7/tcp/9000",
        "/dns/node-1.example.org/tcp/9000",
        "/dns4/localhost/tcp/9000",
        "/dns6/a.b/tcp/9000",
    ],
)
def test_an_address_survives_its_text(transport: str) -> None:
    """Reading and writing are inverse for every kind of address."""
    text = f"{transport}/p2p/{KEY.peer_id}"

    address = parse_address(text)

    assert format_address(address) == text
    assert address.multiaddr == transport
    assert address.peer_id == KEY.peer_id


@pytest.mark.parametrize(
    "transport",
    [
        "",
        "127.0.0.1:9000",
        "http://127.0.0.1:9000",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/9000",
        "/ip4/127.0.0.1/tcp/0",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/09000",
        "/ip4/127.0.0.1/tcp/9000/",
        "/ip4/127.0.0.1/tcp/9000/ws",
        "/ip4/127.1/tcp/9000",
        "/ip4/127.000.0.1/tcp/9000",
        "/ip4/localhost/tcp/9000",
        "/ip6/127.0.0.1/tcp/9000",
        "/ip6/0:0:0:0:0:0:0:1/tcp/9000",
        "/ip6/fe80::1%eth0/tcp/9000",
        "/dns4/-bad/tcp/9000",
        "/dns4/UPPER/tcp/9000",
        "/dns4/a..b/tcp/9000",
        "/dnsaddr/example.org/tcp/9000",
        "ip4/127.0.0.1/tcp/9000",
        "/ip4/127.0.0.1/tcp/٣",
        "/dns4/" + "a" * 600 + "/tcp/9000",
    ],
)
def test_what_is_no_address_is_refused_with_a_hint(transport: str) -> None:
    """A socket comes from a chain that anyone may write to; there is one spelling for each."""
    with pytest.raises(InputError) as caught:
        parse_address(f"{transport}/p2p/{KEY.peer_id}")
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("ip4/0.0.0.0", "it stands for all addresses of a machine"),
        ("ip4/0.1.2.3", "it stands for all addresses of a machine"),
        ("ip6/::", "it stands for all addresses of a machine"),
        ("ip6/::ffff:0.0.0.0", "it stands for all addresses of a machine"),
        ("ip4/224.0.0.1", "it is a multicast address"),
        ("ip6/ff02::1", "it is a multicast address"),
        ("ip6/::ffff:239.1.2.3", "it is a multicast address"),
        ("ip4/255.255.255.255", "it is a broadcast or reserved address"),
        ("ip4/240.0.0.1", "it is a broadcast or reserved address"),
        ("ip6/fe80::1", "it is a link-local address, which means nothing"),
        ("dns/0.0.0.0", "it stands for all addresses of a machine"),
        ("dns4/0", "it stands for all addresses of a machine"),
        ("dns/0xe0000001", "it is a multicast address"),
    ],
)
def test_what_nobody_can_dial_is_named(host: str, reason: str) -> None:
    """On one machine as little as on many."""
    address = TransportAddress(*host.split("/"), 9400)
    for local in (False, True):
        assert str(why_undialable(address, local=local)).startswith(reason)
        with pytest.raises(
            InputError, match=re.escape(f"publish: nobody can dial /{host}/tcp/9400: {reason}")
        ):
            check_dialable(address, "publish", local=local)


@pytest.mark.parametrize(
    "host",
    [
        "ip4/127.0.0.1",
        "ip4/127.9.9.9",
        "ip6/::1",
        "ip6/::ffff:127.0.0.1",
        "dns/localhost",
        "dns/127.0.0.1",
        "dns/0x7f.1",
        "dns4/node.localhost",
        "ip4/169.254.1.1",
    ],
)
def test_an_address_of_this_machine_is_for_those_on_it(host: str) -> None:
    """A devnet dials it, and nobody else."""
    address = TransportAddress(*host.split("/"), 9400)
    assert why_undialable(address, local=True) is None
    assert why_undialable(address) is not None


@pytest.mark.parametrize(
    "host",
    [
        "ip4/9.9.9.9",
        "ip4/10.0.0.1",
        "ip6/fd00::1",
        "ip6/2001:db8::7",
        "dns4/kms.example",
        "dns/9.9.9.9",
        "dns/1.kms.example",
        "dns/7f",
    ],
)
def test_an_address_that_somebody_may_dial_is_none_of_these(host: str) -> None:
    """Operators may be in one private network."""
    assert why_undialable(parse_transport(f"/{host}/tcp/9400")) is None


def test_an_address_without_a_peer_is_refused() -> None:
    """Without a peer id there is nothing to authenticate."""
    with pytest.raises(InputError, match="names no peer"):
        parse_address("/ip4/127.0.0.1/tcp/9000")


def test_only_listening_takes_port_zero_and_only_ips() -> None:
    """A free port can be asked for, a name cannot be bound."""
    assert parse_transport("/ip4/0.0.0.0/tcp/0", listening=True) == TransportAddress("ip4", "0.0.0.0", 0)
    with pytest.raises(InputError):
        parse_transport("/dns4/localhost/tcp/0", listening=True)


@given(st.text(max_size=80))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    """Whatever stands on the chain, the outcome is an address or an input error."""
    try:
        address = parse_address(text)
    except InputError:
        return
    assert format_address(address) == text
