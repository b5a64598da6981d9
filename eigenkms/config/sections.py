"""The sections of a node's configuration, each with its own checks.

The configuration file is flat: a field has the name of its setting, without the prefix that the settings of its section share. No
field has a default here, since the table of settings has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from eigenkms.config.chain import anchor_config
from eigenkms.config.parsers import finality
from eigenkms.config.schema.attestation import GCP_SUPPORT, INTEL_SUPPORT, METHODS, TOKEN_METHODS
from eigenkms.config.tls import TlsFiles
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.chain.anchor import AnchorConfig
    from eigenkms.config.addresses import HttpAddress

Values = Mapping[str, Any]
"""Parsed values by the names of their settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of the configuration.

    ``PREFIX`` and a field's name are the name of its setting.
    """

    PREFIX: ClassVar[str] = ""

    @classmethod
    def of(cls, values: Values, **other: object) -> Self:
        """Build the section from all settings.

        ``other`` has the fields that are no setting themselves.
        """
        names = [each.name for each in fields(cls) if each.name not in other]
        found: dict[str, Any] = {name: values[cls.PREFIX + name] for name in names}
        return cls(**found, **other)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what the operator should read before the node starts, one sentence each."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles(Section):
    """The node's keystores, and the file of their password."""

    bn254_keystore: Path
    p2p_keystore: Path | None
    """None: the node makes one in its data folder."""
    password_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenConfig(Section):
    """Multiaddrs of the libp2p host.

    ``listen`` to bind, ``announce`` for others to dial.
    """

    listen: tuple[str, ...]
    announce: tuple[str, ...]

    def check_announced(self, *, local: bool) -> None:
        """Raise ``InputError`` for an announced address that nobody can dial.

        ``local``: on this machine alone.
        """
        from eigenkms.p2p.identity import check_dialable, parse_transport

        for address in self.announce:
            check_dialable(parse_transport(address), "set announce", local=local)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig(Section):
    """Boundaries of the chain and the sessions at them. Times are in seconds."""

    interval_blocks: int
    block_seconds: float
    poll_seconds: float
    window_seconds: float
    genesis: bool
    genesis_quorum: int
    min_operators: int

    @property
    def window_ms(self) -> int:
        """Return the length p of a protocol window in whole milliseconds."""
        return max(1, round(self.window_seconds * 1000))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of this section, one sentence each."""
        if not self.genesis_quorum:
            return ()
        return (
            f"genesis needs only {self.genesis_quorum} operators: one that knows a key does not prevent a second one",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenServiceConfig:
    """An attestation service.

    Issuer of its tokens, URL of its keys, and support attributes that an image must have.
    """

    issuer: str
    keys: str
    support: tuple[str, ...]

    @classmethod
    def of_service(cls, name: str, values: Values) -> Self:
        """Build the part of one service from all settings."""
        prefix = f"attestation_{name}_"
        return cls(
            issuer=values[prefix + "issuer"], keys=values[prefix + "keys"], support=values[prefix + "support"]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationConfig(Section):
    """The evidence of a right to a key that the policy attested accepts."""

    PREFIX: ClassVar[str] = "attestation_"

    methods: tuple[str, ...]
    project: str | None
    audiences: tuple[str, ...]
    min_swversion: int
    gcp: TokenServiceConfig
    intel: TokenServiceConfig
    ca: Path | None
    app_rate: int
    ecdsa_reference: bool

    @classmethod
    def of(cls, values: Values, **other: object) -> Self:
        """Build the section from all settings, a part of it for each attestation service."""
        services = {name: TokenServiceConfig.of_service(name, values) for name in TOKEN_METHODS}
        return super(AttestationConfig, cls).of(values, **services, **other)

    @property
    def services(self) -> dict[str, TokenServiceConfig]:
        """Return the services of the enabled methods, by the method's name."""
        named = {"gcp": self.gcp, "intel": self.intel}
        return {name: named[name] for name in TOKEN_METHODS if name in self.methods}

    def check(self) -> None:
        """Raise ``InputError`` unless the policy attested can run with this."""
        check_attestation(self.methods, self.project)
        for name, service in self.services.items():
            if not service.support:
                raise InputError(
                    f"use attestation_{name}_support: the list is empty, so no image would be good enough",
                    hint="name the attributes that you accept, or leave the setting out",
                )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of this section, one sentence each."""
        found = []
        if self.ecdsa_reference:
            found.append(
                "the reference's signed text is accepted: any operator that sees one can get that application's key"
            )
        usual = {"gcp": GCP_SUPPORT, "intel": INTEL_SUPPORT}
        found += [
            f"attestation_{name}_support has {attribute}: {name} accepts images that Google does not support"
            for name, service in self.services.items()
            for attribute in service.support
            if attribute in ("USABLE", "EXPERIMENTAL") and attribute not in usual[name]
        ]
        return tuple(found)


def check_attestation(methods: Sequence[str], project: str | None) -> None:
    """Raise ``InputError`` if the policy attested lacks a method or the project."""
    if not methods:
        raise InputError(
            "set policy attested: no method is enabled",
            hint=f"give --attestation-method, one or more of {', '.join(METHODS)}",
        )
    tokens = [name for name in methods if name in TOKEN_METHODS]
    if tokens and not project:
        raise InputError(
            f"enable the method {tokens[0]}: the Google Cloud project of workloads is not set",
            hint="give --attestation-project; without it, anybody's workload would pass",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig(Section):
    """The rule that decides which requester gets a partial signature."""

    mode: Literal["open", "attested", "closed"]
    force_open: bool
    attestation: AttestationConfig

    @classmethod
    def of(cls, values: Values, **_: object) -> Self:
        """Build the section from all settings."""
        return cls(
            mode=values["policy"],
            force_open=values["force_open_policy"],
            attestation=AttestationConfig.of(values),
        )

    def check(self, chain_id: int, *, is_devnet: bool) -> None:
        """Raise ``InputError`` for open outside a devnet, or for attested with a gap."""
        if self.mode == "open" and not is_devnet and not self.force_open:
            raise InputError(
                f"set policy open on chain {chain_id}: everybody could decrypt everything",
                hint="use policy closed; the open policy is for a devnet (chain 31337)",
            )
        if self.mode == "attested":
            self.attestation.check()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of this section, one sentence each."""
        if self.mode == "open":
            return ("policy is open: every client gets partial signatures for every application",)
        return self.attestation.warnings if self.mode == "attested" else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig(Section):
    """The HTTP API; ``listen`` is None if there is none."""

    PREFIX: ClassVar[str] = "http_"

    listen: "HttpAddress | None"
    url: str | None
    """The URL in the operator's socket on chain, without the path."""
    certificate: Path | None
    key: Path | None
    plain: bool
    rate: int
    connections: int
    app_sign: bool

    @property
    def tls(self) -> TlsFiles | None:
        """Return the files of the certificate, or None if the API speaks no TLS."""
        if self.certificate is None or self.key is None:
            return None
        return TlsFiles(self.certificate, self.key)

    def check(self, policy: PolicyConfig) -> None:
        """Raise ``InputError`` for settings that would expose keys or requests."""
        if self.app_sign and policy.mode != "open":
            raise InputError(
                f"enable http_app_sign: the policy is {policy.mode}, and it gives keys to whoever asks",
                hint="leave it out; applications ask /secrets with an attestation",
            )
        if (self.certificate is None) != (self.key is None):
            given, missing = "http_certificate", "http_key"
            if self.certificate is None:
                given, missing = missing, given
            raise InputError(f"use {given} without {missing}", hint="give both, or none of them")
        exposed = self.listen is not None and not self.listen.host.is_loopback
        if exposed and self.certificate is None and not self.plain:
            raise InputError(
                f"listen for HTTP on {self.listen}: without a certificate anybody on the way can change what is said",
                hint="give --http-certificate and --http-key, or --http-plain if something before it speaks TLS",
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of this section, one sentence each."""
        found = []
        if self.app_sign:
            found.append("/app/sign gives partial signatures for every application to whoever asks")
        if self.url is not None and self.listen is None:
            found.append(f"http_url is {self.url}, and no HTTP API listens there: http_listen is not set")
        return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorConfig(Section):
    """Self-observation of the node: the monitoring listener, and trial decryptions."""

    PREFIX: ClassVar[str] = "monitor_"

    listen: "HttpAddress | None"
    names: tuple[str, ...]
    canary_seconds: float
    """Seconds between trial decryptions; 0: none are made."""

    @classmethod
    def of(cls, values: Values, **other: object) -> Self:
        """Build the section from all settings."""
        canary = {"canary_seconds": values["canary_seconds"]}
        return super(MonitorConfig, cls).of(values, **canary, **other)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchoringConfig(Section):
    """The commitment registry, None if there is none, and its writing account."""

    registry: "AnchorConfig | None"
    account_keystore: Path | None
    password_file: Path | None
    max_gas_price_gwei: int

    @classmethod
    def of(cls, values: Values, **_: object) -> Self:
        """Build the section from all settings.

        Raises ``InputError`` if one part of the anchor is missing.

        A node reads at the newest block: it must not write again what is in there once.
        """
        return cls(
            registry=anchor_config(
                values["anchor_rpc_url"],
                values["anchor_chain_id"],
                values["anchor_registry"],
                finality("latest"),
            ),
            account_keystore=values["anchor_account_keystore"],
            password_file=values["anchor_password_file"],
            max_gas_price_gwei=values["max_gas_price_gwei"],
        )

    def check(self) -> None:
        """Raise ``InputError`` for an account without an anchor."""
        if self.registry is None and self.account_keystore is not None:
            raise InputError(
                "use anchor_account_keystore: there is no anchor to write to",
                hint="set anchor_rpc_url, anchor_chain_id and anchor_registry too",
            )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of this section, one sentence each."""
        if self.registry is None or self.account_keystore is not None:
            return ()
        return ("versions are not anchored: there is no anchor_account_keystore",)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig(Section):
    """Level and format of log lines."""

    PREFIX: ClassVar[str] = "log_"

    level: str
    format: str
