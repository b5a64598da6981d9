"""Settings of a node, of its listeners for HTTP and monitoring, and of backups."""

from eigenkms.config import parsers as p
from eigenkms.config.settings import Setting

MIN_CANARY_SECONDS = 10
"""Operators refuse more frequent probes (node/monitor/canary), so a healthy quorum would seem to fail."""
DEFAULT_LISTEN = "/ip4/0.0.0.0/tcp/9400"
WINDOWS_PER_INTERVAL = 20
"""By default a protocol window is this part of the interval."""

NODE = (
    Setting("data_dir", p.path, "Folder for the node's database and lock.", is_path=True),
    Setting("operator", p.address, f"Address of this operator ({p.ADDRESS_FORM})."),
    Setting(
        "bn254_keystore",
        p.path,
        "Encrypted keystore of the operator's BN254 key.",
        is_path=True,
        example="bn254.json",
    ),
    Setting(
        "p2p_keystore",
        p.path,
        "Encrypted keystore of the node's p2p identity.",
        is_path=True,
        example="p2p.json",
    ),
    Setting(
        "password_file",
        p.path,
        "File whose first line is the password of keystores and store.",
        is_path=True,
        example="password",
    ),
    Setting("listen", p.listen_address, "Multiaddr to listen on; may be repeated.", many=True),
    Setting(
        "announce",
        p.public_address,
        "Multiaddr that other nodes dial; may be repeated.",
        many=True,
        default=(),
    ),
    Setting(
        "interval_blocks",
        p.integer(1, 10**6),
        "Blocks between boundaries; the same at all operators.",
        int,
        default=50,
    ),
    Setting("block_seconds", p.seconds(0.05, 600), "Expected seconds between blocks.", float, default=12.0),
    Setting(
        "poll_seconds",
        p.seconds(0.05, 60),
        "Seconds between two reads of the chain's head.",
        float,
        default=0.5,
    ),
    Setting(
        "window_seconds",
        p.seconds(0.05, 3600),
        "Seconds in a protocol window; the same at all operators. Default: a twentieth of the interval.",
        float,
        example="30",
    ),
    Setting(
        "genesis",
        p.boolean,
        "Take part in genesis with a new data folder, or after members left. Confirms that this operator holds no other share.",
        bool,
        default=False,
    ),
    Setting(
        "genesis_quorum",
        p.integer(0, 2**16),
        "Operators that genesis needs; 0 for all. With fewer, an operator that knows a key does not prevent a second key.",
        int,
        default=0,
    ),
    Setting(
        "canary_seconds",
        p.seconds_or_never(MIN_CANARY_SECONDS, 86400),
        "Seconds between trial decryptions through the quorum, at least 10; 0 disables them.",
        float,
        default=60.0,
    ),
    Setting("min_operators", p.integer(1, 2**16), "Smallest operator set that gets shares.", int, default=1),
    Setting(
        "policy",
        p.choice("open", "attested", "closed"),
        "Policy for partial signatures: closed refuses all, attested requires proof, open grants all (devnet only).",
        default="closed",
    ),
    Setting("force_open_policy", p.boolean, "Allow the open policy outside a devnet.", bool, default=False),
    Setting(
        "log_level",
        p.choice("debug", "info", "warning", "error"),
        "Lowest level that is logged.",
        default="info",
    ),
    Setting(
        "log_format",
        p.choice("auto", "text", "json"),
        "Format of log lines; auto: text at a terminal, else json.",
        default="auto",
    ),
)

HTTP = (
    Setting("http_listen", p.http_address, "IP address and port of the HTTP API; if not set, there is none."),
    Setting(
        "http_url", p.http_origin, "URL at which clients reach the HTTP API; part of the socket on chain."
    ),
    Setting(
        "http_certificate",
        p.path,
        "PEM file: certificate of the HTTP API with its chain.",
        is_path=True,
        example="tls.pem",
    ),
    Setting(
        "http_key", p.path, "PEM file: the certificate's key, not encrypted.", is_path=True, example="tls.key"
    ),
    Setting(
        "http_plain",
        p.boolean,
        "Listen beyond this machine without a certificate, behind a TLS proxy.",
        bool,
        default=False,
    ),
    Setting(
        "http_rate",
        p.integer(1, 10**6),
        "Requests a second for one client address, with a burst of twice as many.",
        int,
        default=20,
    ),
    Setting(
        "http_connections",
        p.integer(1, 4096),
        "Connections at once; at most a quarter of them for one client address.",
        int,
        default=512,
    ),
    Setting(
        "http_app_sign",
        p.boolean,
        "Development only: serve partial signatures in the clear at /app/sign; needs policy open.",
        bool,
        default=False,
    ),
)

MONITOR = (
    Setting(
        "monitor_listen",
        p.monitor_address,
        "Port of this machine, or IP address and port, of the status page and metrics; if not set, there is none.",
    ),
    Setting(
        "monitor_names",
        p.text,
        "Host name that the monitoring listener accepts in addition to IP addresses; may be repeated.",
        many=True,
        default=(),
        flag_name="--monitor-name",
        example="node.example.org",
    ),
)

BACKUP = (
    Setting(
        "backup_password_file",
        p.path,
        "File whose first line is the password of backups; it must differ from the node's.",
        is_path=True,
    ),
)
