"""``eigenkms pubkey``: the master public key and what proves it."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from eigenkms.cli.support import client_runner
from eigenkms.cli.support.options import json_option, print_result_fields, settings_options, verb
from eigenkms.cli.support.output import print_note, print_result
from eigenkms.cli.support.progress import Progress
from eigenkms.config.schema import READER_SETTINGS
from eigenkms.errors import InputError
from eigenkms.plain_text import NotUtf8Error, decode_text
from eigenkms.types import to_hex

if TYPE_CHECKING:
    from eigenkms.client.anchor_check import AnchorWitnesses
    from eigenkms.config.settings import Settings
    from eigenkms.types import ClusterId
    from eigenkms.wire.certified_transcript import CertifiedTranscript


@verb("pubkey", "eigenkms pubkey --config cluster.toml --json > proof.json")
@settings_options(*client_runner.NETWORK_SETTINGS, *READER_SETTINGS)
@click.option(
    "--verify", "proof", metavar="FILE", help="Verify a proof from --json, offline; needs --operators."
)
@click.option(
    "--operators",
    metavar="FILE",
    help="Operator set at the proof's block: one line 'ADDRESS BN254-G2-KEY' for each.",
)
@click.option(
    "--anchor/--no-anchor",
    "anchored",
    default=None,
    help="Require that a threshold of operators anchored the key, or skip the anchor. Default: compare, if one is configured.",
)
@json_option
def command(
    *, settings: "Settings", proof: str | None, operators: str | None, anchored: bool | None, as_json: bool
) -> None:
    """Print the master public key, verified against the chain.

    The key is 96 bytes in hex, and is pinned after verification. --json adds the proof, which --verify checks again. If an anchor
    is configured, it is queried as well; this makes --verify use the network. Exit code 4 if a proof does not hold, or if an
    operator anchored another transcript.
    """
    if (proof is None) != (operators is None):
        raise InputError("verify a proof: --verify and --operators go together")
    anchor = None if anchored is False else client_runner.anchor(settings)
    if anchored and anchor is None:
        raise InputError(
            "ask the anchor: none is configured",
            hint="set anchor_rpc_url, anchor_chain_id and anchor_registry",
        )
    if proof is not None and operators is not None:
        cluster, epoch = _verified(proof, operators)
        witnesses = None if anchor is None else client_runner.check_anchor(anchor, cluster, epoch)
    else:
        with Progress("asking the operators") as progress:
            info, witnesses = client_runner.fetch_witnessed(settings, anchor, progress)
        cluster, epoch = info.cluster_id, info.epoch
    if witnesses is not None:
        _print_witnesses(witnesses, demanded=anchored is True)
    if as_json:
        print_result_fields(_facts(cluster, epoch, witnesses), as_json=True)
    else:
        print_result(epoch.transcript.mpk.hex())


def _print_witnesses(witnesses: "AnchorWitnesses", *, demanded: bool) -> None:
    """Print how many recipients agree, on stderr.

    Raises NetworkError if enough are ``demanded`` and they are too few.
    """
    from eigenkms.client.anchor_check import require_enough

    if demanded:
        require_enough(witnesses)
    agreeing, total = len(witnesses.agreeing), len(witnesses.agreeing) + len(witnesses.silent)
    print_note(f"anchored by {agreeing} of {total} operators, and by none of them otherwise")


def _verified(proof: str, operators: str) -> "tuple[ClusterId, CertifiedTranscript]":
    from eigenkms.client.proof import read_operators, read_proof, verify_proof

    cluster, epoch = read_proof(_read(proof))
    verify_proof(cluster, epoch, read_operators(_read(operators)))
    return cluster, epoch


def _read(path: str) -> str:
    try:
        return decode_text(Path(path).read_bytes())
    except (OSError, NotUtf8Error) as error:
        raise InputError(f"read {path}: {error}") from error


def _facts(
    cluster: bytes, epoch: "CertifiedTranscript", witnesses: "AnchorWitnesses | None"
) -> dict[str, object]:
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
        "operators": [f"{to_hex(m.address)} {to_hex(m.key)}" for m in transcript.recipients],
        "signers": [to_hex(signer) for signer in certificate.signers(transcript.recipients)],
        "anchored_by": None if witnesses is None else [to_hex(each) for each in witnesses.agreeing],
    }
