"""Checks of keystores and password."""

from pathlib import Path

import trio

from eigenkms.keys.keystores import PrivateKey, open_key, read_metadata
from eigenkms.maintenance.doctor.checks import OTHERS_PERMISSIONS, Finding, failed, ok, skipped, warning
from eigenkms.maintenance.doctor.context import CheckContext


async def files(case: CheckContext) -> Finding:
    """Check that keystores and password exist, readable by the node's user alone."""
    keys, anchor = case.config.keys, case.config.anchor
    wanted = {"bn254": keys.bn254_keystore, "p2p": keys.p2p_keystore}
    for kind, path in wanted.items():
        if path is not None and not path.exists():
            return failed(
                f"there is no keystore {path}",
                f"give the right path as {kind}_keystore; a new operator makes one with "
                f"eigenkms keys new --kind {kind} -o {path} --password-file FILE",
            )
    if keys.password_file is not None and not keys.password_file.exists():
        return failed(
            f"there is no password file {keys.password_file}", "give the right path as password_file"
        )
    named = [p for p in (*wanted.values(), keys.password_file) if p is not None]
    named += [p for p in (anchor.account_keystore, anchor.password_file) if p and p.exists()]
    exposed = [str(path) for path in named if path.stat().st_mode & OTHERS_PERMISSIONS]
    if exposed:
        return warning(
            f"others on this machine can read {', '.join(exposed)}", f"chmod 600 {' '.join(exposed)}"
        )
    return ok("only their owner can read keystores and password")


async def keystores(case: CheckContext) -> Finding:
    """Check the kind of the keystores, and note their public values."""
    wanted = {"bn254": case.config.keys.bn254_keystore}
    if case.p2p_path.exists():
        wanted["p2p"] = case.p2p_path
    for kind, path in wanted.items():
        found, public = read_metadata(path)
        if found != kind:
            return failed(
                f"keystore {path} holds a {found} key, not a {kind} key",
                f"give another file as {kind}_keystore",
            )
        case.public[kind] = public
    if "p2p" not in wanted:
        return ok("BN254 keystore found; the node makes a p2p keystore at its first start")
    return ok(f"BN254 keystore, and p2p keystore of peer {case.public_value('p2p', 'peer_id')}")


async def password(case: CheckContext) -> Finding:
    """Check that the password opens the keystores, and that their metadata is true."""
    case.password = case.read_password(case.config)
    if case.password is None:
        return skipped(
            "no password was given", "give --password-file, set EIGENKMS_PASSWORD, or add --verify-keys"
        )
    paths = {"bn254": case.config.keys.bn254_keystore}
    if "p2p" in case.public:
        paths["p2p"] = case.p2p_path
    for kind, path in paths.items():
        case.keys[kind] = await trio.to_thread.run_sync(_open, path, kind, case.password)
    return ok(f"the password opens {' and '.join(str(path) for path in paths.values())}")


def _open(path: Path, kind: str, password: str) -> PrivateKey:
    return open_key(path, kind, password)
