"""A large file through the command line: ``python -m benchmarks.streaming``.

    python -m benchmarks.streaming [--mib 1024] [--runs 3] [--dir FOLDER]

Four node processes on this machine, and ``eigenkms encrypt`` and ``decrypt`` as anybody runs them, in processes of their own that
read a file and write to /dev/null, or to a file where ``-o`` is named, which is on the disk when the command ends. Of several runs
the median.

*whole*: MB/s from the start of the process to its end. *after start*: the same without what the command takes for an empty input,
which is Python, imports and, for ``decrypt``, the network. *resident* is the largest peak of any process of the row, as the kernel
counts it. The rows *library* are ``client.ciphertexts`` from file to /dev/null, in one process that does nothing else.
"""

import argparse
import hashlib
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio
from rich.console import Console
from rich.table import Table

from benchmarks.network import GENESIS_SECONDS
from eigenkms.devnet.network import Devnet
from eigenkms.devnet.node_config import Timing
from eigenkms.devnet.provisioning import open_network

APP = "benchmark-app"
_BLOCK = 1 << 20
_EIGENKMS = f"{shlex.quote(sys.executable)} -m eigenkms.cli.main"
_RUNNER = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(["bash", "-c", "set -eo pipefail; " + sys.argv[1]], check=True)
took = time.perf_counter() - begun
print(json.dumps([took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
"""A small process between us and what is measured: the peak of a child counts what its parent had when it was started."""
_LIBRARY = """
import sys
from eigenkms.crypto.ibe_identities import identity_v2
from eigenkms.client.ciphertexts import decrypt_stream, encrypt_stream
from eigenkms.crypto.bls import partial_sign
from eigenkms.crypto.feldman import public_share_of
from eigenkms.crypto.ibe_v2 import ApplicationKey, Recipient
from eigenkms.crypto.scalars import SecretScalar
master = SecretScalar(2**200 + 1)
owner = Recipient("benchmark-app", bytes(32), public_share_of(master))
with open(sys.argv[2], "rb") as source, open(sys.argv[3], "wb") as sink:
    if sys.argv[1] == "encrypt":
        encrypt_stream(owner, source, sink)
    else:
        secret = partial_sign(master, identity_v2(owner.cluster, owner.app_id))
        decrypt_stream(ApplicationKey(owner, secret), source, sink)
"""


@dataclass(frozen=True)
class Row:
    """A command for bash, which runs in a folder with the large files.

    ``empty`` is the same command with empty inputs.
    """

    name: str
    command: str
    empty: str


def rows(config: Path) -> Iterator[Row]:
    encrypt = f"{_EIGENKMS} encrypt --config {shlex.quote(str(config))} --app-id {APP}"
    decrypt = encrypt.replace(" encrypt ", " decrypt ")
    library = f"{shlex.quote(sys.executable)} -c {shlex.quote(_LIBRARY)}"
    yield Row("encrypt", f"{encrypt} plain >/dev/null", f"{encrypt} /dev/null >/dev/null")
    yield Row("decrypt", f"{decrypt} sealed >/dev/null", f"{decrypt} sealed-empty >/dev/null")
    yield Row(
        "encrypt, a pipe, decrypt",
        f"{encrypt} < plain | {decrypt} >/dev/null",
        f"{encrypt} < /dev/null | {decrypt} >/dev/null",
    )
    yield Row("encrypt -o", f"{encrypt} -o out plain", f"{encrypt} -o out /dev/null")
    yield Row("decrypt -o", f"{decrypt} -o out sealed", f"{decrypt} -o out sealed-empty")
    yield Row("encrypt -a", f"{encrypt} -a plain >/dev/null", f"{encrypt} -a /dev/null >/dev/null")
    yield Row("decrypt of armor", f"{decrypt} text >/dev/null", f"{decrypt} text-empty >/dev/null")
    for verb, source in (("encrypt", "plain"), ("decrypt", "library")):
        yield Row(
            f"library, {verb}",
            f"{library} {verb} {source} /dev/null",
            f"{library} {verb} {source}-empty /dev/null",
        )


def prepare(folder: Path, config: Path, size: int) -> None:
    """Write the file ``plain`` and an empty one, and encrypt both in all forms."""
    with (folder / "plain").open("wb") as file:
        for number in range(size // _BLOCK):
            file.write(hashlib.shake_128(number.to_bytes(8, "big")).digest(_BLOCK))
    (folder / "plain-empty").touch()
    encrypt, *_, library, _ = rows(config)
    command = encrypt.command.removesuffix(" plain >/dev/null")
    for ending in ("", "-empty"):
        run(folder, f"{command} plain{ending} > sealed{ending}")
        run(folder, f"{command} -a plain{ending} > text{ending}")
        run(folder, library.command.replace(" plain /dev/null", f" plain{ending} library{ending}"))


def run(folder: Path, command: str) -> tuple[float, float]:
    """Run a command, and return its seconds and the peak MB of its largest process."""
    said = subprocess.run(
        [sys.executable, "-S", "-c", _RUNNER, command],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    took, kilobytes = json.loads(said.stdout)
    return took, kilobytes * 1024 / 1e6


def check_exact(folder: Path, pipeline: Row) -> None:
    """Check that the output of the pipe is its input."""
    run(folder, pipeline.command.replace(">/dev/null", "> out"))
    digests = []
    for name in ("plain", "out"):
        with (folder / name).open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").digest())
    if digests[0] != digests[1]:
        raise RuntimeError("encrypt | decrypt: what came out is not what went in")


def measure(folder: Path, row: Row, size: int, runs: int) -> list[str]:
    empty = statistics.median(run(folder, row.empty)[0] for _ in range(runs))
    measured = [run(folder, row.command) for _ in range(runs)]
    took = statistics.median(seconds for seconds, _ in measured)
    speeds = (size / 1e6 / took, size / 1e6 / max(took - empty, 1e-9))
    peak = max(megabytes for _, megabytes in measured)
    return [row.name, f"{took:.2f}", *(f"{speed:,.0f}" for speed in speeds), f"{peak:.0f}"]


async def start(network: Devnet) -> None:
    await network.start_all()
    await network.genesis(GENESIS_SECONDS)


async def measure_all(folder: Path, size: int, runs: int) -> list[list[str]]:
    async with open_network(None, operators=4, engine="embedded", timing=Timing(30, 1.0, 1.0)) as network:
        await start(network)
        config = network.client_config

        def work() -> list[list[str]]:
            prepare(folder, config, size)
            found = list(rows(config))
            check_exact(folder, found[2])
            return [measure(folder, row, size, runs) for row in found]

        return await trio.to_thread.run_sync(work)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=1024, help="size of the file in MiB")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--dir", help="where the files are made, five times the size; default: the temporary folder"
    )
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=chosen.dir) as folder:
        found = trio.run(measure_all, Path(folder), chosen.mib * _BLOCK, chosen.runs)
    table = Table(title=f"{chosen.mib} MiB through the command line")
    for name in ("what", "s", "whole, MB/s", "after start, MB/s", "resident, MB"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in found:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
