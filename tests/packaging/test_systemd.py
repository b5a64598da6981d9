"""The systemd unit: systemd itself finds no fault with it, and what it may reach is little."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from eigenkms.config.schema import SETTINGS
from eigenkms.node.http.limits import LARGE_BYTES, SMALL_BYTES, ServerLimits
from eigenkms.p2p.limits import Limits
from tests.support.doc_pages import ROOT, page
from tests.support.waiting import PATIENCE

UNIT = ROOT / "packaging" / "systemd" / "eigenkms.service"
INSTALLED = "/opt/eigenkms/bin/eigenkms"

AT_REST = 93 << 20
"""Private memory of a node of four to seven operators that has nothing to do."""
OF_A_CONNECTION = 192 << 10
"""What a stranger's connection takes that holds nothing, 64 KiB, and 128 KiB that noise may hold for it."""

pytestmark = pytest.mark.needs("systemd-analyze")


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def test_systemd_reads_the_unit_without_a_complaint(tmp_path: Path) -> None:
    """Every directive is one that it knows; the program is the one of these tests."""
    copy = tmp_path / UNIT.name
    text = UNIT.read_text()
    assert INSTALLED in text
    copy.write_text(text.replace(INSTALLED, str(Path(sys.executable).with_name("eigenkms"))))
    done = analyze("verify", "--man=no", str(copy))
    assert (done.returncode, done.stderr) == (0, "")
    copy.write_text(copy.read_text().replace("NoNewPrivileges", "NoNewPrivilege"))
    assert "NoNewPrivilege" in analyze("verify", "--man=no", str(copy)).stderr


def test_the_unit_is_hardened() -> None:
    """Systemd's own measure, from 0 (closed) to 10 (open), is below 2; a directive that is lost is noticed."""
    done = analyze("security", "--offline=true", "--threshold=20", str(UNIT))
    assert done.returncode == 0, done.stdout
    assert analyze("security", "--offline=true", "--threshold=1", str(UNIT)).returncode == 1
    checks = json.loads(analyze("security", "--offline=true", "--json=short", str(UNIT)).stdout)
    open_ = {check["name"] for check in checks if check["set"] is False}
    assert open_ <= OPEN


def test_the_unit_bounds_memory_above_what_strangers_may_fill() -> None:
    """A node whose places and budgets are all taken is not killed for it; nothing is swapped out, and threads are bounded."""
    unit = dict(re.findall(r"^(MemoryMax|MemorySwapMax|TasksMax)=(\w+)$", UNIT.read_text(), re.MULTILINE))
    assert unit == {"MemoryMax": "1536M", "MemorySwapMax": "0", "TasksMax": "256"}
    limits = Limits()
    http = 2 * (LARGE_BYTES + ServerLimits().connections * SMALL_BYTES)
    strangers = (
        limits.rpc.strangers
        + (limits.connections.clients + limits.handshakes.at_once) * OF_A_CONNECTION
        + http
    )
    assert AT_REST + strangers < 3 << 28, "half is left for members and rotations, at least"


def test_the_unit_hands_over_what_the_page_says() -> None:
    """The files that docs/install.md has in node.toml are the credentials, beside node.toml itself."""
    handed = set(re.findall(r"^LoadCredential=([\w.]+):/etc/eigenkms/\1$", UNIT.read_text(), re.MULTILINE))
    (block,) = [b for b in page("docs/install.md").blocks if b.language == "toml"]
    named = {v for k, v in tomllib.loads(block.text).items() if SETTINGS[k].is_path and k != "data_dir"}
    assert handed == {"node.toml"} | named
    assert tomllib.loads(block.text)["data_dir"] == "/var/lib/eigenkms/node"
    assert "StateDirectory=eigenkms\n" in UNIT.read_text()


OPEN = {
    "RootDirectory=/RootImage=",
    "PrivateNetwork=",
    "RestrictAddressFamilies=~AF_(INET|INET6)",
    "RestrictAddressFamilies=~AF_UNIX",
    "IPAddressDeny=",
    "DeviceAllow=",
}
"""What a node is left: the network, whose peers are anywhere, and the file system to read."""
