"""Whether a backup is stale, and whether the share in it may be restored.

Each reason is a clause of a message. A share of a superseded version is of no use, and is as secret as ever.
"""

from eigenkms.chain.operator_set import ChainOperator
from eigenkms.client.network_snapshot import NetworkSnapshot
from eigenkms.errors import InputError
from eigenkms.keys.keystores import claims_bn254
from eigenkms.maintenance.backup import public_values
from eigenkms.maintenance.backup_file import Backup
from eigenkms.p2p.operator_socket import parse_socket
from eigenkms.types import Version


def staleness_reason(backup: Backup, snapshot: NetworkSnapshot) -> str | None:
    """Return why the backup is stale: another key on chain, or a newer version.

    None if it is not stale.
    """
    own = _own_registration(backup, snapshot)
    if own is not None and not claims_bn254(public_values(backup)["bn254_keystore"], own.key_g1, own.key):
        return "the chain has another BN254 key for this operator"
    newest = snapshot.newest
    if backup.share is None or newest is None:
        return None
    if newest.transcript.version > backup.share.row.version:
        return f"it has the share of version {backup.share.row.version}, and the newest is {newest.transcript.version}"
    return None


def peer_id_mismatch(backup: Backup, snapshot: NetworkSnapshot) -> str | None:
    """Return how the peer id on chain differs from the backup's p2p keystore.

    None if it does not differ, or if the chain names none.
    """
    own = _own_registration(backup, snapshot)
    saved = public_values(backup)["p2p_keystore"].get("peer_id")
    try:
        on_chain = None if own is None else str(parse_socket(own.socket).address.peer_id)
    except InputError:
        return None
    if on_chain in (None, saved):
        return None
    return f"the chain has peer id {on_chain} for this operator, and the p2p keystore in it is of {saved}"


def share_doubt(backup: Backup, version: Version, snapshot: NetworkSnapshot) -> str | None:
    """Return why the network may deal from another version than ``version``.

    None if that is out of the question. Enough other operators must show that very version, so that one of them is honest: an
    operator that knows no version may be new itself. Or all others must answer and none show a newer version, as after all of them
    lost their disks.
    """
    stale = staleness_reason(backup, snapshot)
    if stale is not None:
        return stale
    me = backup.identity.operator
    others = [operator for operator in snapshot.operators if operator.address != me]
    showing = snapshot.showing(me, version)
    if showing >= snapshot.needed or snapshot.others(me) == len(others):
        return None
    return (
        f"{showing} other operators show version {version} as the newest one, {snapshot.needed} must "
        "(or all must answer, and none show a newer one)"
    )


def _own_registration(backup: Backup, snapshot: NetworkSnapshot) -> ChainOperator | None:
    return next((o for o in snapshot.operators if o.address == backup.identity.operator), None)
