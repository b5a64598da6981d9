"""What ``devnet run --scenario rotation`` prints: a line for each rotation and the sums, or all of it as JSON."""

import json
import re

import pytest

from eigenkms.cli.devnet_report import print_rotations
from eigenkms.devnet.rotation_result import RotationResult, RotationRow

MPK = "ab" * 96


@pytest.fixture
def result() -> RotationResult:
    """A genesis, a rotation without operator 2, and one that nobody certified."""
    rows = [
        RotationRow(0, 40, 5, 1.21, 1_700_000_040, MPK, 4, 5, [], 5, 0, [], 100),
        RotationRow(
            1, 48, 5, 3.02, 1_700_000_048, MPK, 4, 4, ["operator 2"], 5, 3, ["operator 3 killed"], 90, 1
        ),
        RotationRow(2, 56, 5, decrypts=80),
    ]
    return RotationResult(
        operators=5,
        engine="embedded",
        interval=8.0,
        window=0.5,
        rows=rows,
        decrypts=270,
        failed_decrypts=1,
        decrypt_p50=0.031,
        decrypt_p99=0.2,
        decrypt_max=1.5,
        versions={1_700_000_040: 170, 1_700_000_048: 100},
        faults=["1 of 271 decryptions failed", "1 of 2 rotations were certified"],
        total=42.0,
    )


def test_the_table_has_a_line_for_each_rotation(
    result: RotationResult, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is cut or wrapped, and there are no rules where stdout is no terminal."""
    print_rotations(result, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    words = [line.split() for line in lines]
    assert words[1][:5] == ["genesis", "40", "1700000040", "1.2", "5"]
    assert lines[2].split("  ")[-1].strip() == "operator 3 killed"
    assert "operator 2" in lines[2]
    assert re.search(r"4 of 5 +5 +3 +ab", lines[2]), "5 operators hold it, 3 erased the one before"
    assert "nobody of 5" in lines[3]
    assert "decrypt p50 / p99 / max  31 / 200 / 1500 ms" in lines
    assert "verdict                  1 of 271 decryptions failed; 1 of 2 rotations were certified" in lines
    assert "─" not in "".join(lines)


def test_a_result_without_faults_passed(result: RotationResult, capsys: pytest.CaptureFixture[str]) -> None:
    """The verdict is the last line."""
    result.faults = []
    print_rotations(result, as_json=False)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["verdict", "passed"]


def test_json_has_everything(result: RotationResult, capsys: pytest.CaptureFixture[str]) -> None:
    """What is unknown is null, as JSON has no NaN; versions are keys, hence strings."""
    result.decrypt_p99 = float("nan")
    print_rotations(result, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert said["rows"][1]["missing"] == ["operator 2"]
    assert said["rows"][2]["certified_by"] is None
    assert said["decrypt_p99"] is None
    assert said["versions"] == {"1700000040": 170, "1700000048": 100}
    assert said["faults"] == result.faults
