"""An issuer's keys: fetched over verified HTTPS, kept while they are fresh, and never trusted for what they are not."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from eigenkms.attestation import jwks
from eigenkms.attestation.interface import AttestationRefusedError
from eigenkms.attestation.jwks import KeySource, parse_key_set
from eigenkms.errors import InputError
from eigenkms.wire.authorisation import Refusal
from tests.support.token_issuer import Authority, Endpoint, jwk, jwk_set, make_authority, rsa_key, serve
from tests.support.waiting import PATIENCE, pass_time

pytestmark = pytest.mark.usefixtures("virtual_clock")


async def found(source: KeySource, kid: str, alg: str = "RS256") -> bool | Refusal:
    """Whether there is a key, or why not."""
    with trio.fail_after(PATIENCE):
        try:
            await source.find(kid, alg)
        except AttestationRefusedError as error:
            return error.code
    return True


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once, and give up soon."""
    monkeypatch.setattr(jwks, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 1.0)


async def test_a_key_is_found_by_its_id_and_algorithm(authority: Authority) -> None:
    """One id for two algorithms, as Intel has it, gives the right one of two keys."""
    body = jwk_set(jwk("k1", kid="same", alg="PS384"), jwk("k2", kid="same", alg="RS256"))
    async with serve(authority, Endpoint(body=body)) as endpoint:
        source = KeySource(endpoint.url, ca_file=authority.ca)
        key = await source.find("same", "RS256")
        assert key.as_dict(private=False)["n"] == rsa_key("k2").as_dict()["n"]
        key = await source.find("same", "PS384")
        assert key.as_dict(private=False)["n"] == rsa_key("k1").as_dict()["n"]
        assert await found(source, "same", "RS512") == Refusal.UNKNOWN_KEY
        assert endpoint.asked == 1


async def test_a_rotated_key_is_fetched_when_a_token_names_it(authority: Authority, impatient: None) -> None:
    """And the old one is not accepted any more."""
    async with serve(authority, Endpoint(body=jwk_set(jwk("k1")))) as endpoint:
        source = KeySource(endpoint.url, ca_file=authority.ca)
        assert await found(source, "k1") is True
        endpoint.body = jwk_set(jwk("k2"))
        assert await found(source, "k2") is True
        assert await found(source, "k1") == Refusal.UNKNOWN_KEY


async def test_unknown_keys_do_not_make_us_ask_without_end(authority: Authority) -> None:
    """A hundred made-up ids cost the issuer one request."""
    async with serve(authority, Endpoint(body=jwk_set(jwk("k1")))) as endpoint:
        source = KeySource(endpoint.url, ca_file=authority.ca)
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(found, source, f"made-up-{number}")
        assert await found(source, "another") == Refusal.UNKNOWN_KEY
        assert await found(source, "k1") is True
        assert endpoint.asked == 1


async def test_known_keys_do_not_wait_for_a_slow_issuer(authority: Authority, impatient: None) -> None:
    """While others wait for an answer about an unknown one."""
    async with serve(authority, Endpoint(body=jwk_set(jwk("k1")))) as endpoint:
        source = KeySource(endpoint.url, ca_file=authority.ca)
        assert await found(source, "k1") is True
        asked = trio.Event()

        async def asking() -> None:
            asked.set()

        endpoint.hang, endpoint.on_request = True, asking
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found, source, "unknown")
            await asked.wait()
            begun = trio.current_time()
            await source.find("k1", "RS256")
            assert trio.current_time() == begun


NOT_KEYS: list[tuple[str, dict[str, Any], str]] = [
    ("down", {"status": 503}, "HTTP status 503"),
    ("moved elsewhere", {"status": 302, "headers": ("location: https://127.0.0.1/",)}, "HTTP status 302"),
    ("rubbish", {"body": b"<html>"}, "Expecting value"),
    ("not UTF-8", {"body": b"\xff\xfe"}, "can't decode"),
    ("deep", {"body": b'{"keys":' + b"[" * 100_000}, "nested deeper"),
    ("a list", {"body": b"[]"}, "it is not a JWK set"),
    ("no keys", {"body": b'{"keys": []}'}, "it has no key"),
    ("too many keys", {"body": json.dumps({"keys": [{}] * 65}).encode()}, "of at most 64 keys"),
    ("only keys to encrypt with", {"body": jwk_set(jwk("k1", use="enc"))}, "it has no key"),
    (
        "only a shared secret",
        {"body": jwk_set({"kty": "oct", "kid": "k1", "k": "c2VjcmV0"})},
        "it has no key",
    ),
    ("compressed", {"body": b"\x1f\x8b\x08" * 9, "headers": ("content-encoding: gzip",)}, "can't decode"),
    ("huge", {"endless": True}, "larger than"),
    ("slow", {"hang": True}, "no answer within"),
]


@pytest.mark.parametrize(
    ("fault", "reason"), [row[1:] for row in NOT_KEYS], ids=[name for name, _, _ in NOT_KEYS]
)
async def test_an_endpoint_that_fails_keeps_the_last_good_keys(
    authority: Authority,
    impatient: None,
    fault: dict[str, Any],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Before the first good answer the method is unavailable; after it, the keys of that answer stay, and it is said once."""
    async with serve(authority, Endpoint(**fault)) as endpoint:
        source = KeySource(endpoint.url, ca_file=authority.ca)
        assert await found(source, "k1") == Refusal.KEYS_UNAVAILABLE
        assert await found(source, "k1") == Refusal.KEYS_UNAVAILABLE
        assert len(caplog.records) == 1
        assert caplog.records[0].getMessage().startswith("fetch the issuer's keys from https://127.0.0.1")
        assert reason in caplog.records[0].getMessage()
        good = Endpoint(port=endpoint.port, body=jwk_set(jwk("k1")))
        for name in ("body", "status", "headers", "hang", "endless"):
            setattr(endpoint, name, getattr(good, name))
        assert await found(source, "k1") is True
        for name, value in fault.items():
            setattr(endpoint, name, value)
        await pass_time(1)
        assert await found(source, "unknown") == Refusal.KEYS_UNAVAILABLE, "it may be a new one"
        assert await found(source, "k1") is True


async def test_nobody_listens(authority: Authority) -> None:
    """A node that starts offline says so, and answers as soon as the issuer is there."""
    async with serve(authority) as endpoint:
        url = endpoint.url
    source = KeySource(url, ca_file=authority.ca)
    assert await found(source, "k1") == Refusal.KEYS_UNAVAILABLE


async def test_another_authority_is_not_believed(authority: Authority, tmp_path: Path) -> None:
    """TLS is verified, against the configured file or against the system's authorities."""
    other = make_authority(tmp_path, "other")
    async with serve(authority, Endpoint(body=jwk_set(jwk("k1")))) as endpoint:
        assert await found(KeySource(endpoint.url, ca_file=other.ca), "k1") == Refusal.KEYS_UNAVAILABLE
        assert await found(KeySource(endpoint.url), "k1") == Refusal.KEYS_UNAVAILABLE
        assert endpoint.asked == 0


async def test_keys_that_are_too_old_are_not_used(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key may have been withdrawn while the issuer could not be reached."""
    async with serve(authority, Endpoint(body=jwk_set(jwk("k1")))) as endpoint:
        source = KeySource(endpoint.url, ca_file=authority.ca)
        assert await found(source, "k1") is True
        monkeypatch.setattr(jwks, "MAX_STALE_SECONDS", 0.0)
        assert await found(source, "k1") == Refusal.KEYS_UNAVAILABLE


async def test_run_fetches_and_fetches_again(authority: Authority) -> None:
    """At once, half a minute after a failure, and an hour after an answer."""
    async with serve(authority, Endpoint(status=500, body=jwk_set(jwk("k1")))) as endpoint:
        source = KeySource(endpoint.url, ca_file=authority.ca)
        async with trio.open_nursery() as nursery:
            thrice, times = trio.Event(), []

            async def count() -> None:
                times.append(trio.current_time())
                if len(times) == 2:
                    endpoint.status = 200
                if len(times) == 3:
                    thrice.set()

            endpoint.on_request = count
            nursery.start_soon(source.run)
            await thrice.wait()
            assert times == pytest.approx([times[0], times[0] + 30, times[0] + 3630])
            nursery.cancel_scope.cancel()
        assert await found(source, "k1") is True


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": "k", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": "k"},
        {"kty": "EC", "kid": "k", "crv": "P-256", "x": "AQ", "y": "AQ"},
        {"kty": "RSA", "n": jwk("k1")["n"], "e": "AQAB"},
        jwk("k1", alg=5),
        jwk("k1", d="AQAB"),
        {**jwk("k1"), "kid": 7},
        "a text",
        None,
    ],
)
def test_a_key_that_cannot_verify_is_left_out(key: object) -> None:
    """Too small, malformed, off the curve, without an id, or a secret one; the others of the set are used."""
    with pytest.raises(ValueError, match="no key that can verify"):
        parse_key_set(json.dumps({"keys": [key]}).encode())
    assert parse_key_set(json.dumps({"keys": [key, jwk("k1")]}).encode()).find("k1", "RS256") is not None


@pytest.mark.parametrize("url", ["http://example.org/keys", "https://", "ftp://x", "https://x:0/", "keys"])
def test_only_https_is_asked(url: str) -> None:
    """Keys that come in the clear could be anybody's."""
    with pytest.raises(InputError, match="it is not https://"):
        KeySource(url)


def test_a_file_that_holds_no_authorities_is_named(tmp_path: Path) -> None:
    """Missing, or not PEM."""
    (tmp_path / "not.pem").write_text("hello")
    for name in ("missing.pem", "not.pem"):
        with pytest.raises(InputError, match=f"read certificate authorities from .*{name}"):
            KeySource("https://example.org", ca_file=tmp_path / name)
