"""The methods ``gcp`` and ``intel``: tokens of Google Confidential Space.

A token states which container runs in a VM. It is a JWT of the attestation service: Google's, or Intel Trust Authority. Nothing in
it is trusted until its signature has verified. It has three parts and a header of known names. The algorithm must be in the
service's own list, and the key in the service's own set. So ``none`` and the HMACs cannot be asked for, and no key comes from the
token. Intel writes ``jku`` into every header. It is tolerated if it is the very URL that is configured, and is not followed either.

The claims are then read from the outside in: issuer, times, audience, machine, software, project, and at last application and
image. Only claims that are compared are read, and those are read strictly.

A token is used once. It is named by its ``jti``, if it has one. Google documents none, and the tokens that users of Google and
Intel published have none. A token without it is named by its signed part, header and payload, of which no second spelling verifies.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import trio
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key
from joserfc.util import urlsafe_b64decode

from eigenkms import bounded_json
from eigenkms.attestation.interface import (
    CLOCK_SKEW_SECONDS,
    AttestationRefusedError,
    Claims,
    Container,
    Context,
    Image,
)
from eigenkms.attestation.jwks import IssuerKeys
from eigenkms.crypto.hashing import be32, keccak256
from eigenkms.types import AppId
from eigenkms.wire.authorisation import Refusal

MAX_TOKEN_BYTES: Final = 48 * 1024
LARGE_TOKEN_BYTES: Final = 8 * 1024
"""Beyond, reading a token takes milliseconds; those of workloads have two to four kilobytes."""
MAX_HEADER_BYTES: Final = 512
MAX_LIFETIME_SECONDS: Final = 24 * 3600
"""A token that lives longer is refused, as its id would have to be remembered for as long."""
MAX_NONCES: Final = 6
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_FRESH: Final = "use a fresh token of this service"
_PRODUCTION: Final = "run the workload on a current production image of Confidential Space"

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """The fixed properties of an attestation service.

    ``exact`` are claims that must have one value, by their path.
    """

    name: str
    algorithms: tuple[str, ...]
    exact: Mapping[tuple[str, ...], object]


_GOOGLE: Final = 11129
"""Google's private enterprise number at IANA: the maker of the VM."""
_ANY_CONFIDENTIAL_SPACE: Final[Mapping[tuple[str, ...], object]] = {
    ("swname",): "CONFIDENTIAL_SPACE",
    ("secboot",): True,
    ("oemid",): _GOOGLE,
}

GCP: Final = Service(
    name="gcp",
    algorithms=("RS256",),
    exact={
        **_ANY_CONFIDENTIAL_SPACE,
        ("hwmodel",): "GCP_INTEL_TDX",
        ("attester_tcb",): ["INTEL"],
    },
)
INTEL: Final = Service(
    name="intel",
    algorithms=("PS384", "RS256"),
    exact={
        **_ANY_CONFIDENTIAL_SPACE,
        ("hwmodel",): "INTEL_TDX",
        ("tdx", "gcp_attester_tcb_status"): "UpToDate",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """The operator's demands on tokens, in addition to those of the service.

    ``project_id`` is the Google Cloud project; of ``support`` the image must have one attribute.
    """

    issuer: str
    project_id: str
    audiences: tuple[str, ...]
    min_swversion: int
    support: tuple[str, ...]


class ConfidentialSpace:
    """Tokens of one service, verified with the keys of ``keys``."""

    def __init__(self, service: Service, expected: Expectations, keys: IssuerKeys) -> None:
        self._service = service
        self._expected = expected
        self._keys = keys
        self._reading = trio.CapacityLimiter(1)

    @property
    def name(self) -> str:
        return self._service.name

    async def run(self) -> None:
        """Keep the service's keys fresh."""
        await self._keys.run()

    async def verify(self, evidence: bytes, context: Context, now: float) -> Claims:
        """Return the claims of a token in compact form.

        Raises ``AttestationRefusedError``.
        """
        del context  # the token itself names its application and nonces
        header = _read_header(evidence, self._service.algorithms, self._keys.url)
        key = await self._keys.find(header.kid, header.alg)
        if len(evidence) <= LARGE_TOKEN_BYTES:
            return self._read(evidence, key, header.alg, now)
        return await trio.to_thread.run_sync(
            self._read, evidence, key, header.alg, now, limiter=self._reading
        )

    def _read(self, evidence: bytes, key: Key, alg: str, now: float) -> Claims:
        try:
            verified = jws.deserialize_compact(evidence, key, algorithms=[alg])
        except (JoseError, ValueError):
            _refuse(Refusal.BAD_SIGNATURE, "the token's signature does not verify", _FRESH)
        return self._claims(_object(verified.payload, "claims"), evidence, now)

    def _name(self, claims: Json, evidence: bytes) -> bytes:
        """Return the 32 bytes by which a used token is remembered."""
        issuer = self._expected.issuer
        if "jti" in claims:
            return _use_id(1, self.name, issuer, _text(claims, "jti").encode())
        header, payload = (urlsafe_b64decode(part) for part in evidence.split(b".")[:2])
        return _use_id(2, self.name, issuer, header, payload)

    def _claims(self, claims: Json, evidence: bytes, now: float) -> Claims:
        self._check_issuer(claims)
        expires_at = _check_times(claims, now)
        self._check_audience(claims)
        self._check_platform(claims)
        instance = _mapping(claims, "submods", "gce")
        if instance.get("project_id") != self._expected.project_id:
            _refuse(
                Refusal.WRONG_PROJECT,
                "the workload runs in another project",
                "ask the operators which is theirs",
            )
        return Claims(
            app_id=_app_id(instance),
            method=self.name,
            image=_image(_mapping(claims, "submods", "container")),
            nonces=_nonces(claims),
            use_id=self._name(claims, evidence),
            expires_at=expires_at,
            evidence_digest=hashlib.sha256(evidence).digest(),
        )

    def _check_issuer(self, claims: Json) -> None:
        if claims.get("iss") != self._expected.issuer:
            _refuse(Refusal.WRONG_ISSUER, "the token is of another issuer", _FRESH)

    def _check_audience(self, claims: Json) -> None:
        audience = claims.get("aud")
        found = audience if isinstance(audience, list) else [audience]
        if len(found) != 1 or found[0] not in self._expected.audiences:
            _refuse(
                Refusal.WRONG_AUDIENCE,
                "the token is for another audience, or for several",
                "ask for a token with the one audience that docs/attestation.md names",
            )

    def _check_platform(self, claims: Json) -> None:
        for path, wanted in self._service.exact.items():
            found = _at(claims, path)
            if (
                type(found) is not type(wanted) or found != wanted
            ):  # 1 is not true, and 11129.0 no number of a maker
                _refuse(Refusal.WRONG_PLATFORM, f"the token's {'.'.join(path)} is not accepted", _PRODUCTION)
        if _swversion(claims) < self._expected.min_swversion:
            _refuse(Refusal.PLATFORM_OUTDATED, "the image of Confidential Space is too old", _PRODUCTION)
        support = _at(claims, ("submods", "confidential_space", "support_attributes"))
        supported = isinstance(support, list) and any(name in support for name in self._expected.support)
        if claims.get("dbgstat") != "disabled-since-boot" or not supported:
            _refuse(Refusal.DEBUG_ENABLED, "the workload runs on a debug or unsupported image", _PRODUCTION)


# -- the token, before it is believed


@dataclass(frozen=True, slots=True)
class _Header:
    alg: str
    kid: str


def _read_header(token: bytes, algorithms: tuple[str, ...], keys_url: str) -> _Header:
    if len(token) > MAX_TOKEN_BYTES or not _TOKEN.fullmatch(token):
        _malformed("it is not a JWT in compact form")
    encoded = token.partition(b".")[0]
    if len(encoded) > MAX_HEADER_BYTES * 4 // 3:
        _malformed("its header is too large")
    try:
        decoded = urlsafe_b64decode(encoded)
    except ValueError:
        _malformed("its header is not base64url")
    header = _object(decoded, "header")
    alg, kid = header.get("alg"), header.get("kid")
    if alg not in algorithms:
        _malformed("its algorithm is not one of the service's")
    if not set(header) <= {"alg", "kid", "typ", "jku"} or header.get("jku", keys_url) != keys_url:
        _malformed("its header names something that is not accepted")
    if not isinstance(kid, str) or not 1 <= len(kid) <= 256:
        _malformed("its header names no key")
    return _Header(str(alg), kid)


def _object(data: bytes, what: str) -> Json:
    try:
        value = bounded_json.loads_strict(data, max_depth=16)
    except ValueError:
        _malformed(f"its {what} is not JSON, or says something twice")
    if not isinstance(value, dict):
        _malformed(f"its {what} is not a JSON object")
    return value


# -- claims, once the signature has verified


def _check_times(claims: Json, now: float) -> int:
    """Return the time at which the token expires."""
    issued, expires = _integer(claims, "iat"), _integer(claims, "exp")
    begins = _integer(claims, "nbf") if "nbf" in claims else issued
    if max(issued, begins) > now + CLOCK_SKEW_SECONDS:
        _refuse(Refusal.EVIDENCE_FROM_FUTURE, "the token is not valid yet", "set your machine's clock")
    if expires <= now:
        _refuse(Refusal.EVIDENCE_EXPIRED, "the token has expired", _FRESH)
    if expires - issued > MAX_LIFETIME_SECONDS:
        _malformed("it is valid for more than a day")
    return expires


def _swversion(claims: Json) -> int:
    versions = claims.get("swversion")
    if not isinstance(versions, list) or not versions:
        _malformed("its swversion is not a list")
    first = versions[0]
    if not isinstance(first, str) or not re.fullmatch(r"[0-9]{1,12}", first, re.ASCII):
        _malformed("its swversion is not a number")
    return int(first)


def _nonces(claims: Json) -> frozenset[str]:
    nonce = claims.get("eat_nonce")
    found = [nonce] if isinstance(nonce, str) else nonce
    if (
        not isinstance(found, list)
        or not 1 <= len(found) <= MAX_NONCES
        or not all(isinstance(n, str) for n in found)
    ):
        _refuse(
            Refusal.NOT_BOUND,
            f"the token has no nonce, or more than {MAX_NONCES}",
            "ask for a token with the nonce of this request",
        )
    return frozenset(n.lower() for n in found)


def _app_id(instance: Json) -> AppId:
    """Return the part after the last dash of the VM's name."""
    _, dash, app_id = _text(instance, "instance_name").rpartition("-")
    if not dash or not app_id:
        _refuse(
            Refusal.WRONG_APPLICATION,
            "the name of the VM does not end with a dash and the application's id",
            "name the VM after the application",
        )
    return AppId(app_id)


def _image(container: Json) -> Image:
    digest = _DIGEST.fullmatch(_text(container, "image_digest"))
    if digest is None:
        _malformed("its image_digest is not sha256: and 64 hex digits")
    return Image(
        bytes.fromhex(digest[1]),
        _repository(_optional_text(container, "image_reference")),
        Container(
            args=_texts(container, "args"),
            cmd_override=_texts(container, "cmd_override"),
            env=_pairs(container, "env"),
            env_override=_pairs(container, "env_override"),
            restart_policy=_optional_text(container, "restart_policy"),
        ),
    )


def _repository(reference: str) -> str:
    """Return ``host:5000/name`` of ``host:5000/name:tag@sha256:…``."""
    name = reference.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name


def _use_id(form: int, method: str, issuer: str, *name: bytes) -> bytes:
    parts = (method.encode(), issuer.encode(), *name)
    return keccak256(b"eigenkms/use/token/%d" % form, *(be32(len(part)) + part for part in parts))


# -- reading JSON strictly


def _at(claims: object, path: tuple[str, ...]) -> object:
    for name in path:
        claims = claims.get(name) if isinstance(claims, dict) else None
    return claims


def _mapping(claims: Json, *path: str) -> Json:
    found = _at(claims, path)
    if not isinstance(found, dict):
        _malformed(f"it has no {'.'.join(path)}")
    return found


def _text(claims: Json, name: str) -> str:
    found = claims.get(name)
    if not isinstance(found, str) or not found:
        _malformed(f"it has no {name}")
    return found


def _optional_text(claims: Json, name: str) -> str:
    return _text(claims, name) if claims.get(name) else ""


def _integer(claims: Json, name: str) -> int:
    found = claims.get(name)
    if type(found) is not int or not 0 <= found < 2**53:
        _malformed(f"it has no {name} in whole seconds")
    return found


def _texts(claims: Json, name: str) -> tuple[str, ...]:
    found = claims.get(name) or []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        _malformed(f"its {name} is not a list of texts")
    return tuple(found)


def _pairs(claims: Json, name: str) -> tuple[tuple[str, str], ...]:
    found = claims.get(name) or {}
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        _malformed(f"its {name} is not an object of texts")
    return tuple(sorted(found.items()))


def _malformed(why: str) -> NoReturn:
    _refuse(Refusal.BAD_EVIDENCE, f"the token cannot be used: {why}", _FRESH)


def _refuse(code: Refusal, message: str, hint: str) -> NoReturn:
    raise AttestationRefusedError(code, message, hint=hint)
