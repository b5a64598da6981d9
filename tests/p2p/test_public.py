"""Which addresses are of the public network, and which only look so."""

import pytest

from eigenkms.p2p.identity import is_public


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "2002:101:101::", "::ffff:1.1.1.1"])
def test_public_ones(address: str) -> None:
    """Also in forms of IPv6 that hold a public IPv4 address."""
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.1.1", "0.0.0.0", "224.0.0.1", "255.255.255.255"),
        *(
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "::127.0.0.1",
            "::ffff:10.0.0.1",
        ),
        *("64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::", "2001:0:0:0:0:0:80ff:fffe"),
    ],
)
def test_others(address: str) -> None:
    """Private, local, multicast, reserved; and what a translator or a tunnel would make one of these of."""
    assert not is_public(address)
