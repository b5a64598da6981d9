"""``eigenkms pubkey``: the master public key and what proves it."""

from typing import TYPE_CHECKING

from eigenkms.cli import network
from eigenkms.cli.options import json_option, print_facts, verb, with_settings

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings


@verb("pubkey", "eigenkms pubkey --environment sepolia --rpc-url https://rpc.example.org --json")
@with_settings(*network.NETWORK_SETTINGS)
@json_option
def command(*, settings: "Settings", as_json: bool) -> None:
    """Print the master public key (96 bytes in hex), verified against the chain's operator set and pinned.

    With --json also what proves it: cluster, version, transcript_hash, threshold, certificate (hex).
    """
    info = network.fetch_cluster(settings)
    facts = {
        "mpk": info.mpk.hex(),
        "cluster": info.cluster_id.hex(),
        "version": info.version,
        "transcript_hash": info.transcript_hash.hex(),
        "threshold": info.threshold,
        "certificate": info.certificate.hex(),
    }
    print_facts(facts if as_json else {"mpk": facts["mpk"]}, as_json=as_json)
