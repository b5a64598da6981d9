"""``eigenkms version``: what a report of a defect begins with."""

import platform

from eigenkms import __version__
from eigenkms.cli.support.options import json_option, print_result_fields, verb


@verb("version", "eigenkms version --json")
@json_option
def command(*, as_json: bool) -> None:
    """Print versions, crypto backends and formats."""
    from eigenkms.crypto import backends, ibe_v2, keystore
    from eigenkms.maintenance import backup_file
    from eigenkms.protocols.records.evidence_bundle import BUNDLE_VERSION
    from eigenkms.storage.schema import SCHEMA_VERSION
    from eigenkms.wire.frames import PROTOCOL

    facts = {
        "version": __version__,
        "python": platform.python_version(),
        "backends": backends.names(),
        "fallbacks": backends.fallbacks(),
        "protocol": PROTOCOL,
        "formats": {
            "backup": backup_file.VERSION,
            "ciphertext": ibe_v2.VERSION,
            "evidence": BUNDLE_VERSION,
            "keystore": keystore.VERSION,
            "store": SCHEMA_VERSION,
        },
    }
    if not as_json and not facts["fallbacks"]:
        del facts["fallbacks"]
    print_result_fields(facts, as_json=as_json)
