"""``eigenkms pubkey``: the master public key and what proves it."""

from typing import TYPE_CHECKING

from eigenkms.cli import network
from eigenkms.cli.options import json_option, print_facts, verb, with_settings
from eigenkms.cli.progress import Progress
from eigenkms.cli.report import print_result

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings


@verb("pubkey", "eigenkms pubkey --environment sepolia --rpc-url https://rpc.example.org --json")
@with_settings(*network.NETWORK_SETTINGS)
@json_option
def command(*, settings: "Settings", as_json: bool) -> None:
    """Print the master public key (96 bytes in hex), verified against the chain's operator set and pinned.

    With --json also what proves it: cluster, version, transcript_hash, threshold, transcript, certificate
    (hex), signers.
    """
    with Progress("asking the operators") as progress:
        info = network.fetch_cluster(settings, progress)
    facts = {
        "mpk": info.mpk.hex(),
        "cluster": info.cluster_id.hex(),
        "version": int(info.version),
        "transcript_hash": info.transcript_hash.hex(),
        "threshold": info.threshold,
        "transcript": info.transcript.hex(),
        "certificate": info.certificate.hex(),
        "signers": ["0x" + signer.hex() for signer in info.signers],
    }
    if as_json:
        print_facts(facts, as_json=True)
    else:
        print_result(info.mpk.hex())
