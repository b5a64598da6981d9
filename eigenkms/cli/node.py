"""``eigenkms node``: read settings and keys, and run a node until a signal."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.logs import start_logging
from eigenkms.cli.support.options import settings_options, verb
from eigenkms.cli.support.passwords import Ways, read_password
from eigenkms.config.node import NodeConfig
from eigenkms.config.schema import NODE_SETTINGS
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.config.settings import Settings
    from eigenkms.keys.keystores import PrivateKey
    from eigenkms.node.app import NodeKeys

log = logging.getLogger(__name__)


@verb("node", "eigenkms node --config node.toml --password-file password.txt")
@settings_options(*NODE_SETTINGS)
def command(*, settings: "Settings") -> None:
    """Run an operator node.

    The node reads the operator set from the chain; it needs no list of peers. One password opens the keystores and the database.
    Without --p2p-keystore the node creates one in its data folder. SIGTERM and Ctrl-C stop it cleanly.
    """
    config = NodeConfig.from_settings(settings)
    password = read_password("the node's keystores", file=config.keys.password_file, environ=os.environ)
    keys = _load_keys(config, password)
    start_logging(config.log.level, config.log.format)
    for warning in config.warnings:
        log.warning("%s", warning)
    from eigenkms.node.app import run_until_signalled

    client_runner.run(run_until_signalled, config, keys)


def _load_keys(config: NodeConfig, password: str) -> "NodeKeys":
    from eigenkms.crypto.bn254 import KeyPair
    from eigenkms.keys.keystores import open_key
    from eigenkms.p2p.identity import PeerKey

    bn254 = open_key(config.keys.bn254_keystore, "bn254", password)
    p2p = _p2p_key(config, password)
    from eigenkms.node.app import NodeKeys

    return NodeKeys(
        KeyPair.from_secret(bn254.secret), PeerKey(p2p.secret), password, _account_key(config, password)
    )


def _account_key(config: NodeConfig, password: str) -> bytes | None:
    """Return the secret key of the operator's account, 32 bytes, if it anchors.

    Raises InputError if the keystore has the key of another account.
    """
    path = config.anchor.account_keystore
    if path is None:
        return None
    from eigenkms.crypto.app_ids import checksummed
    from eigenkms.keys.keystores import open_key

    if config.anchor.password_file is not None:
        ways = Ways("--anchor-password-file")
        password = read_password(
            f"keystore {path}", file=config.anchor.password_file, environ=os.environ, ways=ways
        )
    key = open_key(path, "secp256k1", password)
    if key.public["address"] != checksummed(config.operator):
        raise InputError(
            f"use keystore {path} to anchor: it is that of account {key.public['address']}, "
            f"and the operator is {checksummed(config.operator)}",
            hint="an entry is the operator's own word: give the keystore of the account that was registered as operator",
        )
    return key.secret


def _p2p_key(config: NodeConfig, password: str) -> "PrivateKey":
    from eigenkms.keys.keystores import open_key

    path = config.keys.p2p_keystore or _make_peer_keystore(config.p2p_keystore, password)
    return open_key(path, "p2p", password)


def _make_peer_keystore(path: Path, password: str) -> Path:
    """Make a p2p keystore at ``path`` if there is none, and return ``path``."""
    import secrets

    from eigenkms.cli.support.output_file import OutputFile
    from eigenkms.keys.keystores import new_key
    from eigenkms.storage.data_dir import make_folder

    if not path.exists():
        make_folder(path.parent)
        OutputFile(str(path), secret=True).write(
            new_key("p2p", secrets.token_bytes).seal(password, secrets.token_bytes)
        )
    return path
