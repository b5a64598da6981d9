"""Settings of clients."""

from pathlib import Path

from eigenkms.config import parsers as p
from eigenkms.config.schema.attestation import METHODS
from eigenkms.config.settings import Setting

CLIENT = (
    Setting("known_clusters", p.path, "File that pins the master public keys of clusters.", is_path=True),
    Setting("timeout", p.seconds(0.1, 3600), "Seconds until a request fails.", float, default=30.0),
    Setting("app_id", p.text, "Id of the application, at least 5 bytes.", example="my-app"),
    Setting(
        "attest",
        p.choice(*METHODS),
        "Proof of the right to a key: ecdsa, by the application's creator; gcp or intel, by its container.",
    ),
    Setting(
        "ecdsa_key_file",
        p.path,
        "Key of the application's creator: a keystore of eigenkms or geth, or 64 hex digits.",
        is_path=True,
        example="creator.key",
    ),
    Setting(
        "launcher_socket",
        p.path,
        "Socket of the launcher of a Confidential Space VM.",
        is_path=True,
        default=Path("/run/container_launcher/teeserver.sock"),
    ),
    Setting(
        "attest_audience",
        p.text,
        "Audience of the requested tokens; the operators must accept it.",
        default="EigenX KMS",
    ),
    Setting("mpk", p.g2_point, "Master public key in hex, or @FILE; encrypt then works offline."),
)
