"""The table of settings: every key of the configuration file, the groups that verbs read and pages explain, and the presets.

The same table serves every verb of the command line, so a key has one name, one meaning and one environment
variable. A preset names contracts and intervals of a public network. It never names an RPC URL: whom to
believe about the chain is the operator's choice. The preset ``devnet`` names no contracts, as each devnet
deploys its own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from eigenkms.config import settings as s
from eigenkms.config.settings import Setting
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.chain.config import Finality

DEVNET_CHAIN_ID = 31337
MIN_CANARY_SECONDS = 10
"""Operators refuse whoever asks more often (node/monitor/canary), and a healthy quorum would seem to fail."""
TOKEN_METHODS = ("gcp", "intel")
"""Those whose evidence is a token of an attestation service."""
METHODS = (*TOKEN_METHODS, "ecdsa")
SUPPORT_ATTRIBUTES = ("LATEST", "STABLE", "USABLE", "EXPERIMENTAL")
"""What attestation services say of an image of Confidential Space: LATEST and STABLE ones are supported by Google, USABLE alone are
not any more, EXPERIMENTAL ones not yet.
"""
GCP_SUPPORT = ("STABLE",)
INTEL_SUPPORT = ("STABLE", "EXPERIMENTAL")
"""Intel's tokens say EXPERIMENTAL of the production image of which Google's say STABLE."""


@s.described("finalized, safe, latest or latest-K", "finalized")
def parse_finality(value: str) -> "Finality":
    from eigenkms.chain.config import Finality

    try:
        return Finality.parse(value)
    except InputError as error:
        raise ValueError(f"{value[:40]!r} is not one of {Finality.FORMS}") from error


_ADDRESS_HELP = "0x and 40 hex digits"

_CHAIN = (
    Setting(
        "environment",
        s.text,
        "Preset of contracts and intervals: sepolia, mainnet or devnet.",
        example="sepolia",
    ),
    Setting(
        "rpc_url",
        s.rpc_url,
        "JSON-RPC endpoint of the L1 chain, the preferred one first; may be repeated.",
        many=True,
        scalar_allowed=True,
    ),
    Setting("chain_id", s.integer(1, 2**63 - 1), "Id that the L1 chain must have.", int),
    Setting("avs", s.address, f"Address of the AVS ({_ADDRESS_HELP})."),
    Setting("operator_set_id", s.integer(0, 2**32 - 1), "Operator set of the AVS.", int, default=0),
    Setting("allocation_manager", s.address, "EigenLayer's AllocationManager contract."),
    Setting("key_registrar", s.address, "EigenLayer's KeyRegistrar contract."),
    Setting(
        "app_controller",
        s.address,
        "Contract of applications and releases, for policy attested and for secrets.",
    ),
    Setting("finality", parse_finality, "Blocks that count: finalized, safe, latest or latest-K."),
)

_CLIENT = (
    Setting("known_clusters", s.path, "File that pins the master public keys of clusters.", is_path=True),
    Setting("timeout", s.seconds(0.1, 3600), "Seconds until a request fails.", float, default=30.0),
    Setting("app_id", s.text, "Id of the application, at least 5 bytes.", example="my-app"),
    Setting(
        "attest",
        s.choice(*METHODS),
        "Proof of the right to a key: ecdsa, by the application's creator; gcp or intel, by its container.",
    ),
    Setting(
        "ecdsa_key_file",
        s.path,
        "Key of the application's creator: a keystore of eigenkms or geth, or 64 hex digits.",
        is_path=True,
        example="creator.key",
    ),
    Setting(
        "launcher_socket",
        s.path,
        "Socket of the launcher of a Confidential Space VM.",
        is_path=True,
        default=Path("/run/container_launcher/teeserver.sock"),
    ),
    Setting(
        "attest_audience",
        s.text,
        "Audience of the requested tokens; the operators must accept it.",
        default="EigenX KMS",
    ),
    Setting("mpk", s.g2_point, "Master public key in hex, or @FILE; encrypt then works offline."),
)

_ANCHOR = (
    Setting(
        "anchor_rpc_url",
        s.rpc_url,
        "JSON-RPC endpoint of the chain with the commitment registry, if there is one.",
    ),
    Setting("anchor_chain_id", s.integer(1, 2**63 - 1), "Id that the anchor's chain must have.", int),
    Setting("anchor_registry", s.address, "Commitment registry of the cluster, on the anchor's chain."),
    Setting(
        "anchor_finality",
        parse_finality,
        "Blocks of the anchor's chain that count for clients: finalized, safe, latest or latest-K.",
        example="latest",
    ),
    Setting(
        "anchor_account_keystore",
        s.path,
        "Encrypted keystore of the operator's account, which writes to the anchor; without it the node only reads.",
        is_path=True,
        example="account.json",
    ),
    Setting(
        "anchor_password_file",
        s.path,
        "File whose first line is the password of anchor_account_keystore; default: the node's own password.",
        is_path=True,
        example="account-password",
    ),
)

_DEVNET = (
    Setting(
        "devnet_operators", s.integer(1, 64), "Operators to run.", int, default=4, flag_name="--operators"
    ),
    Setting(
        "devnet_engine",
        s.choice("embedded", "anvil"),
        "Chain to run on.",
        default="embedded",
        flag_name="--engine",
    ),
    Setting(
        "devnet_dir",
        s.path,
        "Folder for keys, logs and data.",
        is_path=True,
        flag_name="--dir",
        example="devnet",
    ),
    Setting(
        "devnet_policy",
        s.choice("open", "attested"),
        "Policy for partial signatures: open to everybody, or attested, by ecdsa if no other method is given.",
        default="open",
        flag_name="--policy",
    ),
    Setting(
        "devnet_anchor",
        s.boolean,
        "Run a second chain with a commitment registry, and anchor versions there.",
        bool,
        default=False,
        flag_name="--anchor",
    ),
    Setting(
        "devnet_scenario",
        s.choice("genesis", "rotation"),
        "Scenario that devnet run performs.",
        default="genesis",
        flag_name="--scenario",
    ),
    Setting(
        "devnet_rotations",
        s.integer(1, 1000),
        "Consecutive rotations in the scenario rotation.",
        int,
        default=20,
        flag_name="--rotations",
    ),
    Setting(
        "devnet_dead",
        s.integer(0, 100),
        "Operators that are down from genesis on in the scenario rotation; no other event happens then.",
        int,
        default=0,
        flag_name="--dead",
    ),
    Setting(
        "devnet_interval_blocks",
        s.integer(2, 1000),
        "Blocks between boundaries.",
        int,
        flag_name="--interval-blocks",
        example="10",
    ),
    Setting(
        "devnet_block_seconds",
        s.seconds(0.1, 60),
        "Seconds between blocks.",
        float,
        flag_name="--block-seconds",
        example="1",
    ),
    Setting(
        "devnet_window_seconds",
        s.seconds(0.05, 60),
        "Length of a protocol window.",
        float,
        flag_name="--window-seconds",
        example="1",
    ),
)

_ATTESTATION = (
    Setting(
        "attestation_methods",
        s.choice(*METHODS),
        "Ways to prove the right to a key, with policy attested: gcp, intel, ecdsa; may be repeated.",
        many=True,
        default=(),
        flag_name="--attestation-method",
    ),
    Setting(
        "attestation_project",
        s.text,
        "Google Cloud project that workloads run in, for gcp and intel.",
        example="my-project",
    ),
    Setting(
        "attestation_audiences",
        s.text,
        "Accepted audience of tokens; may be repeated. A token has exactly one.",
        many=True,
        default=("https://sts.googleapis.com", "EigenX KMS"),
        flag_name="--attestation-audience",
    ),
    Setting(
        "attestation_min_swversion",
        s.integer(0, 10**9),
        "Oldest accepted image of Confidential Space.",
        int,
        default=250300,
    ),
    Setting(
        "attestation_gcp_issuer",
        s.text,
        "Issuer of gcp's tokens.",
        default="https://confidentialcomputing.googleapis.com",
    ),
    Setting(
        "attestation_gcp_keys",
        s.https_url,
        "URL of the keys (JWK set) that sign gcp's tokens.",
        default="https://www.googleapis.com/service_accounts/v1/metadata/jwk/"
        "signer@confidentialspace-sign.iam.gserviceaccount.com",
    ),
    Setting(
        "attestation_gcp_support",
        s.choice(*SUPPORT_ATTRIBUTES),
        "Support attributes of which the image in gcp's tokens must have one; may be repeated.",
        many=True,
        default=GCP_SUPPORT,
    ),
    Setting(
        "attestation_intel_issuer",
        s.text,
        "Issuer of intel's tokens.",
        default="https://portal.trustauthority.intel.com",
    ),
    Setting(
        "attestation_intel_keys",
        s.https_url,
        "URL of the keys (JWK set) that sign intel's tokens.",
        default="https://portal.trustauthority.intel.com/certs",
    ),
    Setting(
        "attestation_intel_support",
        s.choice(*SUPPORT_ATTRIBUTES),
        "Support attributes of which the image in intel's tokens must have one; may be repeated.",
        many=True,
        default=INTEL_SUPPORT,
    ),
    Setting(
        "attestation_ca",
        s.path,
        "PEM file of the certificate authorities accepted for these URLs; default: the system's.",
        is_path=True,
        example="authorities.pem",
    ),
    Setting(
        "attestation_app_rate",
        s.integer(1, 10**6),
        "Keys a second for one application, with a burst of 50 times as many.",
        int,
        default=20,
    ),
    Setting(
        "attestation_ecdsa_reference",
        s.boolean,
        "Also accept the reference's signed text, which an observer can replay at other operators.",
        bool,
        default=False,
    ),
)

_NODE = (
    Setting("data_dir", s.path, "Folder for the node's database and lock.", is_path=True),
    Setting("operator", s.address, f"Address of this operator ({_ADDRESS_HELP})."),
    Setting(
        "bn254_keystore",
        s.path,
        "Encrypted keystore of the operator's BN254 key.",
        is_path=True,
        example="bn254.json",
    ),
    Setting(
        "p2p_keystore",
        s.path,
        "Encrypted keystore of the node's p2p identity.",
        is_path=True,
        example="p2p.json",
    ),
    Setting(
        "password_file",
        s.path,
        "File whose first line is the password of keystores and store.",
        is_path=True,
        example="password",
    ),
    Setting("listen", s.listen_address, "Multiaddr to listen on; may be repeated.", many=True),
    Setting(
        "announce",
        s.public_address,
        "Multiaddr that other nodes dial; may be repeated.",
        many=True,
        default=(),
    ),
    Setting(
        "interval_blocks",
        s.integer(1, 10**6),
        "Blocks between boundaries; the same at all operators.",
        int,
        default=50,
    ),
    Setting("block_seconds", s.seconds(0.05, 600), "Expected seconds between blocks.", float, default=12.0),
    Setting(
        "poll_seconds",
        s.seconds(0.05, 60),
        "Seconds between two reads of the chain's head.",
        float,
        default=0.5,
    ),
    Setting(
        "window_seconds",
        s.seconds(0.05, 3600),
        "Seconds in a protocol window; the same at all operators. Default: a twentieth of the interval.",
        float,
        example="30",
    ),
    Setting(
        "genesis",
        s.boolean,
        "Take part in genesis with a new data folder, or after members left. Confirms that this operator holds no other share.",
        bool,
        default=False,
    ),
    Setting(
        "genesis_quorum",
        s.integer(0, 2**16),
        "Operators that genesis needs; 0 for all. With fewer, an operator that knows a key does not prevent a second key.",
        int,
        default=0,
    ),
    Setting(
        "canary_seconds",
        s.seconds_or_never(MIN_CANARY_SECONDS, 86400),
        "Seconds between trial decryptions through the quorum, at least 10; 0 disables them.",
        float,
        default=60.0,
    ),
    Setting("min_operators", s.integer(1, 2**16), "Smallest operator set that gets shares.", int, default=1),
    Setting(
        "policy",
        s.choice("open", "attested", "closed"),
        "Policy for partial signatures: closed refuses all, attested requires proof, open grants all (devnet only).",
        default="closed",
    ),
    Setting("force_open_policy", s.boolean, "Allow the open policy outside a devnet.", bool, default=False),
    Setting(
        "log_level",
        s.choice("debug", "info", "warning", "error"),
        "Lowest level that is logged.",
        default="info",
    ),
    Setting(
        "log_format",
        s.choice("auto", "text", "json"),
        "Format of log lines; auto: text at a terminal, else json.",
        default="auto",
    ),
)

_ACCOUNT = (
    Setting("delegation_manager", s.address, "EigenLayer's DelegationManager contract."),
    Setting(
        "account_keystore",
        s.path,
        "Encrypted keystore (of eigenkms or geth) of the account that sends transactions.",
        is_path=True,
        example="account.json",
    ),
    Setting(
        "account_password_file",
        s.path,
        "File whose first line is the password of account_keystore.",
        is_path=True,
        example="account-password",
    ),
    Setting(
        "web3signer_url",
        s.signer_url,
        "URL of a web3signer that holds the account's key, instead of a keystore.",
    ),
    Setting("account", s.address, "Address of the account that web3signer signs for."),
    Setting(
        "max_gas_price_gwei",
        s.integer(1, 10**6),
        "Highest price of a unit of gas, in gwei.",
        int,
        default=100,
    ),
    Setting(
        "confirmations",
        s.integer(1, 1000),
        "Confirmations of a transaction, its own block included.",
        int,
        default=1,
    ),
)

_HTTP = (
    Setting("http_listen", s.http_address, "IP address and port of the HTTP API; if not set, there is none."),
    Setting(
        "http_certificate",
        s.path,
        "PEM file: certificate of the HTTP API with its chain.",
        is_path=True,
        example="tls.pem",
    ),
    Setting(
        "http_key", s.path, "PEM file: the certificate's key, not encrypted.", is_path=True, example="tls.key"
    ),
    Setting(
        "http_plain",
        s.boolean,
        "Listen beyond this machine without a certificate, behind a TLS proxy.",
        bool,
        default=False,
    ),
    Setting(
        "http_rate",
        s.integer(1, 10**6),
        "Requests a second for one client address, with a burst of twice as many.",
        int,
        default=20,
    ),
    Setting(
        "http_connections",
        s.integer(1, 4096),
        "Connections at once; at most a quarter of them for one client address.",
        int,
        default=512,
    ),
    Setting(
        "http_app_sign",
        s.boolean,
        "Development only: serve partial signatures in the clear at /app/sign; needs policy open.",
        bool,
        default=False,
    ),
)

_MONITOR = (
    Setting(
        "monitor_listen",
        s.monitor_address,
        "Port of this machine, or IP address and port, of the status page and metrics; if not set, there is none.",
    ),
    Setting(
        "monitor_names",
        s.text,
        "Host name that the monitoring listener accepts in addition to IP addresses; may be repeated.",
        many=True,
        default=(),
        flag_name="--monitor-name",
        example="node.example.org",
    ),
)

_BACKUP = (
    Setting(
        "backup_password_file",
        s.path,
        "File whose first line is the password of backups; it must differ from the node's.",
        is_path=True,
    ),
)

SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        *_CHAIN,
        *_CLIENT,
        *_NODE,
        *_ACCOUNT,
        *_ATTESTATION,
        *_HTTP,
        *_MONITOR,
        *_BACKUP,
        *_ANCHOR,
        *_DEVNET,
    )
}
"""Every key of the configuration file, for all verbs."""

CHAIN_SETTINGS = tuple(setting.name for setting in _CHAIN)
CLIENT_ONLY_SETTINGS = tuple(setting.name for setting in _CLIENT)
ACCOUNT_SETTINGS = tuple(setting.name for setting in _ACCOUNT)
ATTESTATION_SETTINGS = tuple(setting.name for setting in _ATTESTATION)
MONITOR_SETTINGS = tuple(setting.name for setting in _MONITOR)
HTTP_SETTINGS = tuple(setting.name for setting in _HTTP)
BACKUP_SETTINGS = tuple(setting.name for setting in _BACKUP)
ANCHOR_SETTINGS = tuple(setting.name for setting in _ANCHOR)
READER_SETTINGS = ("anchor_rpc_url", "anchor_chain_id", "anchor_registry", "anchor_finality")
"""What a client needs of the anchor."""
CLIENT_SETTINGS = (*CHAIN_SETTINGS, "known_clusters", "timeout", *READER_SETTINGS)
NODE_SETTINGS = (
    *(setting.name for setting in (*_CHAIN, *_NODE, *_ATTESTATION, *_HTTP, *_MONITOR, *_ANCHOR)),
    "max_gas_price_gwei",
)
DEVNET_SETTINGS = tuple(setting.name for setting in _DEVNET)

REQUIRED = ("rpc_url", "chain_id", "avs", "allocation_manager", "key_registrar")
"""Without a default, and needed by nodes and clients."""
NODE_REQUIRED = (*REQUIRED, "operator", "bn254_keystore")
ALIKE = ("finality", "interval_blocks", "window_seconds", "genesis_quorum", "min_operators")
"""What enters the id of every session: the same at all operators, or they talk past each other."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "The chain (node and clients)": CHAIN_SETTINGS,
    "Clients": CLIENT_ONLY_SETTINGS,
    "A node": tuple(setting.name for setting in _NODE),
    "An operator's account": ACCOUNT_SETTINGS,
    "Attestation": ATTESTATION_SETTINGS,
    "HTTP API": HTTP_SETTINGS,
    "Monitoring": MONITOR_SETTINGS,
    "Backups": BACKUP_SETTINGS,
    "The anchor": ANCHOR_SETTINGS,
    "A devnet": DEVNET_SETTINGS,
}
"""Every key, by the headings under which it is explained."""

# Addresses of public networks are those of EigenLayer's repositories. They are unverified on chain: no public RPC was at hand.
PRESETS: Mapping[str, Mapping[str, str]] = {
    "sepolia": {
        "chain_id": "11155111",
        "avs": "0x47c9806e7DC4e6fE9a0a2399831F32d06DaE5730",
        "operator_set_id": "0",
        "allocation_manager": "0x42583067658071247ec8CE0A516A58f682002d07",
        "delegation_manager": "0xD4A7E1Bd8015057293f0D0A557088c286942e84b",
        "key_registrar": "0xA4dB30D08d8bbcA00D40600bee9F029984dB162a",
        "app_controller": "0xa86DC1C47cb2518327fB4f9A1627F51966c83B92",
        "finality": "finalized",
        "interval_blocks": "10",
        "block_seconds": "12",
    },
    "mainnet": {
        "chain_id": "1",
        "allocation_manager": "0x948a420b8CC1d6BFd0B6087C2E7c344a2CD0bc39",
        "delegation_manager": "0x39053D51B77DC0d36036Fc1fCc8Cb819df8Ef37A",
        "key_registrar": "0x54f4bC6bDEbe479173a2bbDc31dD7178408A57A4",
        "app_controller": "0xc38d35Fc995e75342A21CBd6D770305b142Fbe67",
        "finality": "finalized",
        "interval_blocks": "50",
        "block_seconds": "12",
    },
    "devnet": {
        "chain_id": str(DEVNET_CHAIN_ID),
        "operator_set_id": "0",
        "finality": "latest",
        "interval_blocks": "10",
        "block_seconds": "1",
    },
}

_PASSED_ON = frozenset(each.variable for each in SETTINGS.values() if not each.is_secret) | {
    "EIGENKMS_CONFIG",
    "EIGENKMS_DEBUG",
}
"""The variables of eigenkms that are known to hold no secret."""


def without_own_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """What a program of somebody else's may have of our environment.

    Every variable of eigenkms is left out that is not known to hold no secret, so a new password needs no entry here.
    """
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("EIGENKMS_") or name in _PASSED_ON
    }
