"""What a node is told: settings gathered from flags, environment, file and preset, and the checked result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eigenkms.chain.endpoints import check_distinct
from eigenkms.config.paths import data_dir
from eigenkms.config.schema import (
    DEVNET_CHAIN_ID,
    GCP_SUPPORT,
    INTEL_SUPPORT,
    METHODS,
    NODE_REQUIRED,
    NODE_SETTINGS,
    PRESETS,
    SETTINGS,
    TOKEN_METHODS,
    parse_finality,
)
from eigenkms.config.settings import Settings
from eigenkms.errors import InputError
from eigenkms.types import OperatorAddress

if TYPE_CHECKING:
    from eigenkms.chain.anchor import AnchorConfig
    from eigenkms.chain.config import ChainConfig, Finality
    from eigenkms.config.addresses import HttpAddress

WINDOWS_PER_INTERVAL = 20

STALE_BLOCKS, MIN_STALE_SECONDS = 25, 30.0
"""How many expected blocks old the newest one may be before the chain, or an RPC, counts as stale; and at least in seconds."""


def gather(
    flags: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    file: Path | None = None,
    text: str | None = None,
) -> Settings:
    """All settings as given by flags, environment, ``file`` (or ``text`` in its place) and preset. Raises InputError as
    ``Settings.gather``.
    """
    return Settings.gather(SETTINGS, flags=flags, environ=environ, file=file, presets=PRESETS, text=text)


def check_attestation(methods: Sequence[str], project: str | None) -> None:
    """What the policy attested needs. Raises InputError."""
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


def check_announced(addresses: Sequence[str], chain_id: int) -> None:
    """What others are told to dial can be dialled by them. Raises InputError; a devnet is on one machine."""
    from eigenkms.p2p.identity import check_dialable, parse_transport

    for address in addresses:
        check_dialable(parse_transport(address), "set announce", local=chain_id == DEVNET_CHAIN_ID)


def anchor_config(
    rpc_url: str | None, chain_id: int | None, registry: bytes | None, finality: "Finality | None"
) -> "AnchorConfig | None":
    """The anchor, None if there is none. Raises InputError for half of one."""
    given = {"anchor_rpc_url": rpc_url, "anchor_chain_id": chain_id, "anchor_registry": registry}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if rpc_url is None or chain_id is None or registry is None:
        raise InputError(
            f"use the anchor: {missing[0]} is not set",
            hint=f"set {', '.join(given)}, or none of them",
        )
    from eigenkms.chain.anchor import AnchorConfig

    return AnchorConfig(rpc_url, chain_id, registry, finality or parse_finality("latest"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """What a node runs with; made by :meth:`load`. Times in seconds, addresses 20 bytes, URL not in the
    repr.
    """

    data_dir: Path
    rpc_url: str | tuple[str, ...] = field(repr=False)
    chain_id: int
    avs: bytes
    operator_set_id: int
    allocation_manager: bytes
    key_registrar: bytes
    finality: "Finality"
    app_controller: bytes | None = None
    operator: OperatorAddress
    bn254_keystore: Path
    p2p_keystore: Path | None = None
    password_file: Path | None = None
    listen: tuple[str, ...]
    announce: tuple[str, ...] = ()
    interval_blocks: int = 50
    block_seconds: float = 12.0
    poll_seconds: float = 0.5
    window_seconds: float
    genesis: bool = False
    genesis_quorum: int = 0
    canary_seconds: float = 60.0
    min_operators: int = 1
    policy: Literal["open", "attested", "closed"] = "closed"
    force_open_policy: bool = False
    attestation_methods: tuple[str, ...] = ()
    attestation_project: str | None = None
    attestation_audiences: tuple[str, ...] = ()
    attestation_min_swversion: int = 250300
    attestation_gcp_issuer: str = ""
    attestation_gcp_keys: str = ""
    attestation_gcp_support: tuple[str, ...] = GCP_SUPPORT
    attestation_intel_issuer: str = ""
    attestation_intel_keys: str = ""
    attestation_intel_support: tuple[str, ...] = INTEL_SUPPORT
    attestation_ca: Path | None = None
    attestation_app_rate: int = 20
    attestation_ecdsa_reference: bool = False
    http_listen: "HttpAddress | None" = None
    http_certificate: Path | None = None
    http_key: Path | None = None
    http_plain: bool = False
    http_rate: int = 20
    http_connections: int = 512
    http_app_sign: bool = False
    monitor_listen: "HttpAddress | None" = None
    monitor_names: tuple[str, ...] = ()
    anchor_rpc_url: str | None = field(default=None, repr=False)
    anchor_chain_id: int | None = None
    anchor_registry: bytes | None = None
    anchor_finality: "Finality | None" = None
    anchor_account_keystore: Path | None = None
    anchor_password_file: Path | None = None
    max_gas_price_gwei: int = 100
    log_level: str = "info"
    log_format: str = "auto"

    def __post_init__(self) -> None:
        if self.policy == "open" and self.chain_id != DEVNET_CHAIN_ID and not self.force_open_policy:
            raise InputError(
                f"set policy open on chain {self.chain_id}: everybody could decrypt everything",
                hint="use policy closed; the open policy is for a devnet (chain 31337)",
            )
        if self.policy == "attested":
            check_attestation(self.attestation_methods, self.attestation_project)
            self._check_support()
        if self.http_app_sign and self.policy != "open":
            raise InputError(
                f"enable http_app_sign: the policy is {self.policy}, and it gives keys to whoever asks",
                hint="leave it out; applications ask /secrets with an attestation",
            )
        self._check_http()
        check_announced(self.announce, self.chain_id)
        check_distinct((self.rpc_url,) if isinstance(self.rpc_url, str) else self.rpc_url)
        if self.anchor is None and self.anchor_account_keystore is not None:
            raise InputError(
                "use anchor_account_keystore: there is no anchor to write to",
                hint="set anchor_rpc_url, anchor_chain_id and anchor_registry too",
            )

    @property
    def chain(self) -> "ChainConfig":
        """The chain as a node reads it."""
        from eigenkms.chain.config import ChainConfig

        return ChainConfig(
            rpc_url=self.rpc_url,
            chain_id=self.chain_id,
            avs=self.avs,
            operator_set_id=self.operator_set_id,
            allocation_manager=self.allocation_manager,
            key_registrar=self.key_registrar,
            finality=self.finality,
            app_controller=self.app_controller,
            stale_seconds=max(MIN_STALE_SECONDS, STALE_BLOCKS * self.block_seconds),
        )

    @property
    def anchor(self) -> "AnchorConfig | None":
        """The anchor as a node reads it: at the newest block, since what is there once must not be written again."""
        return anchor_config(
            self.anchor_rpc_url, self.anchor_chain_id, self.anchor_registry, parse_finality("latest")
        )

    @property
    def attestation_support(self) -> dict[str, tuple[str, ...]]:
        """Of each enabled method with tokens: the support attributes of which an image must have one."""
        support = {"gcp": self.attestation_gcp_support, "intel": self.attestation_intel_support}
        return {name: support[name] for name in TOKEN_METHODS if name in self.attestation_methods}

    def _check_support(self) -> None:
        for name, attributes in self.attestation_support.items():
            if not attributes:
                raise InputError(
                    f"use attestation_{name}_support: the list is empty, so no image would be good enough",
                    hint="name the attributes that you accept, or leave the setting out",
                )

    def _check_http(self) -> None:
        if (self.http_certificate is None) != (self.http_key is None):
            given, missing = "http_certificate", "http_key"
            if self.http_certificate is None:
                given, missing = missing, given
            raise InputError(f"use {given} without {missing}", hint="give both, or none of them")
        listen, plain = self.http_listen, self.http_certificate is None
        if listen is not None and plain and not listen.host.is_loopback and not self.http_plain:
            raise InputError(
                f"listen for HTTP on {listen}: without a certificate anybody on the way can change what is said",
                hint="give --http-certificate and --http-key, or --http-plain if something before it speaks TLS",
            )

    @classmethod
    def load(
        cls, flags: Mapping[str, object], *, environ: Mapping[str, str], file: Path | None = None
    ) -> "NodeConfig":
        """Gather, parse and check. Raises InputError that names the key, its place, and what to write
        instead.
        """
        return cls.from_settings(gather(flags, environ=environ, file=file))

    @classmethod
    def from_settings(cls, settings: Settings) -> "NodeConfig":
        values: dict[str, Any] = {name: settings.get(name) for name in NODE_SETTINGS if name != "environment"}
        for name in NODE_REQUIRED:
            values[name] = settings.require(name)
        values["data_dir"] = data_dir(settings)
        values["finality"] = settings.get("finality") or parse_finality("finalized")
        values["listen"] = settings.get("listen") or ("/ip4/0.0.0.0/tcp/9400",)
        values["window_seconds"] = settings.get("window_seconds") or (
            values["interval_blocks"] * values["block_seconds"] / WINDOWS_PER_INTERVAL
        )
        return cls(**values)

    @property
    def window_ms(self) -> int:
        """Length p of a protocol window in whole milliseconds, as the session's parameters hold it."""
        return max(1, round(self.window_seconds * 1000))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should know before the node starts, one sentence each."""
        found = []
        if self.policy == "open":
            found.append("policy is open: every client gets partial signatures for every application")
        if self.policy == "attested" and self.attestation_ecdsa_reference:
            found.append(
                "the reference's signed text is accepted: any operator that sees one can get that application's key"
            )
        if self.policy == "attested":
            found += self._support_warnings
        if self.http_app_sign:
            found.append("/app/sign gives partial signatures for every application to whoever asks")
        if self.genesis_quorum:
            found.append(
                f"genesis needs only {self.genesis_quorum} operators: one that knows a key does not prevent a second one"
            )
        if self.anchor is not None and self.anchor_account_keystore is None:
            found.append("versions are not anchored: there is no anchor_account_keystore")
        return tuple(found)

    @property
    def _support_warnings(self) -> list[str]:
        usual = {"gcp": GCP_SUPPORT, "intel": INTEL_SUPPORT}
        return [
            f"attestation_{name}_support has {attribute}: {name} accepts images that Google does not support"
            for name, attributes in self.attestation_support.items()
            for attribute in attributes
            if attribute in ("USABLE", "EXPERIMENTAL") and attribute not in usual[name]
        ]


def parameters_of(config: NodeConfig) -> dict[str, object]:
    """The settings that enter every session's id, and must therefore be the same at all operators."""
    return {
        "interval_blocks": config.interval_blocks,
        "finality": str(config.finality),
        "window_ms": config.window_ms,
        "genesis_quorum": config.genesis_quorum,
        "min_operators": config.min_operators,
    }
