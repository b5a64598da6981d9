"""``eigenkms pubkey``: the master public key and what proves it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from eigenkms.cli import network
from eigenkms.cli.options import json_option, print_facts, verb, with_settings
from eigenkms.cli.progress import Progress
from eigenkms.cli.report import print_result
from eigenkms.errors import InputError

if TYPE_CHECKING:
    from eigenkms.node.settings import Settings
    from eigenkms.protocols.requests import Epoch
    from eigenkms.types import ClusterId


@verb(
    "pubkey",
    "eigenkms pubkey --environment sepolia --rpc-url https://rpc.example.org --json > proof.json\n"
    "eigenkms pubkey --verify proof.json --operators operators.txt",
)
@with_settings(*network.NETWORK_SETTINGS)
@click.option(
    "--verify", "proof", metavar="FILE", help="Verify a proof from --json, offline; needs --operators."
)
@click.option(
    "--operators",
    metavar="FILE",
    help="The operator set at the proof's block: a line 'ADDRESS BN254-G2-KEY' each.",
)
@json_option
def command(*, settings: "Settings", proof: str | None, operators: str | None, as_json: bool) -> None:
    """Print the master public key (96 bytes in hex), verified against the chain's operator set and pinned.

    With --json also what proves it: cluster, version, block, transcript_hash, threshold, transcript,
    certificate (hex), operators (the set at that block, as --operators wants it), signers. --verify checks such
    a proof again without any network; exit code 4 if it does not hold.
    """
    if (proof is None) != (operators is None):
        raise InputError("verify a proof: --verify and --operators go together")
    if proof is not None and operators is not None:
        cluster, epoch = _verified(proof, operators)
    else:
        with Progress("asking the operators") as progress:
            info = network.fetch_cluster(settings, progress)
        cluster, epoch = info.cluster_id, info.epoch
    if as_json:
        print_facts(_facts(cluster, epoch), as_json=True)
    else:
        print_result(epoch.transcript.mpk.hex())


def _verified(proof: str, operators: str) -> "tuple[ClusterId, Epoch]":
    from eigenkms.client.offline import read_operators, read_proof, verify_proof

    cluster, epoch = read_proof(_read(proof))
    verify_proof(cluster, epoch, read_operators(_read(operators)))
    return cluster, epoch


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"read {path}: {error}") from error


def _facts(cluster: bytes, epoch: "Epoch") -> dict[str, object]:
    transcript, certificate = epoch.transcript, epoch.certificate
    return {
        "mpk": transcript.mpk.hex(),
        "cluster": cluster.hex(),
        "version": int(transcript.version),
        "block": transcript.boundary.number,
        "transcript_hash": transcript.hash.hex(),
        "threshold": transcript.threshold,
        "transcript": transcript.encoded.hex(),
        "certificate": certificate.encoded.hex(),
        "operators": [f"0x{m.address.hex()} 0x{m.key.hex()}" for m in transcript.recipients],
        "signers": ["0x" + signer.hex() for signer in certificate.signers(transcript.recipients)],
    }
