"""Random stories (``tests/sim/story.py``), the same seeds in every run.

This command runs more of them, from another seed:

``EIGENKMS_SEEDS=5000 EIGENKMS_FIRST_SEED=100000 pytest tests/sim/test_stories.py``, or ``python -m tests.sim.run --help``.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim import replay, run
from tests.sim.run import Outcome, replay_command, tell_all, told
from tests.sim.story import SIZES, Ending

COUNT = int(os.environ.get("EIGENKMS_SEEDS", "150"))
FIRST = int(os.environ.get("EIGENKMS_FIRST_SEED", "0"))
REAL_CRYPTO = range(2)
PROCESSES = os.cpu_count() or 1
FAILED = Path(__file__).with_name("seeds_that_failed.txt")


def _failures(outcomes: list[Outcome], *, real_crypto: bool = False) -> list[str]:
    return [
        f"{o.complaint}; {replay_command(o, real_crypto=real_crypto)}" for o in outcomes if o.ending is None
    ]


@pytest.mark.slow
@pytest.mark.timeout(max(1800, 20 * COUNT))
def test_no_story_breaks_a_law_or_a_promise() -> None:
    """Whatever happens, no law is broken; once all is healed, what is promised of a healed network comes true. The stories are
    worth it: of all plots and sizes, with liars and crashes, with keys and without.
    """
    outcomes = list(tell_all(range(FIRST, FIRST + COUNT), processes=PROCESSES))
    assert not _failures(outcomes)
    assert len({o.seed for o in outcomes}) == COUNT
    endings = [o.ending for o in outcomes if o.ending is not None]
    if COUNT >= 2000:
        assert {ending.plot for ending in endings} == {"genesis", "rotation", "siege"}
        assert {ending.n for ending in endings} == set(SIZES)
        for what in set(endings[0].counts()) - {"lost"}:
            assert sum(ending.counts()[what] for ending in endings) > COUNT // 1000, f"hardly any {what}"


@pytest.mark.slow
def test_stories_with_real_crypto() -> None:
    """Some of the stories on the real curves: the toys hide nothing."""
    outcomes = list(tell_all(REAL_CRYPTO, processes=PROCESSES, real_crypto=True))
    assert not _failures(outcomes, real_crypto=True)


def _seeds_that_failed() -> list[int]:
    lines = FAILED.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


@pytest.mark.slow
def test_seeds_that_once_failed() -> None:
    """What went wrong once stays right."""
    assert not _failures([told(seed) for seed in _seeds_that_failed()])


@pytest.mark.slow
def test_one_seed_is_one_story_in_every_process() -> None:
    """The same seed gives the same trace, down to the bytes and times, whatever the process's hash seed is."""
    traces = []
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-m", "tests.sim.replay", "--quiet", "3", "5", "9"]
        told_elsewhere = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        traces.append(told_elsewhere.stdout)
    assert traces[0] == traces[1]
    assert len(set(re.findall(r"trace hash (\w{64})", traces[0]))) == 3


def test_a_replay_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """It says who does what to whom, how it ends, and which trace that was."""
    assert replay.main(["3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("sees boundary 10" in line for line in lines)
    assert any(re.fullmatch(r"\d+\.\d{6} op0 -> op1 KEY of \w{6} \(\w{8}\)", line) for line in lines)
    assert lines[-2].startswith("seed 3: Ending(")
    assert lines[-1] == f"trace hash {told(3).trace_hash}"


@pytest.mark.slow
def test_a_story_that_fails_is_named_with_its_replay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both commands exit with 1; the runner prints what broke, and how to see it again."""
    monkeypatch.setattr(run.Story, "_heal", lambda self: self.world.laws._require(False, "no key in the end"))
    assert run.main(["--seeds", "2", "--first", "7", "--processes", "1"]) == 1
    output = capsys.readouterr().out
    assert "FAILED seed 7" in output
    assert "no key in the end" in output
    assert "python -m tests.sim.replay 7\n" in output
    assert replay.main(["8", "-q"]) == 1
    assert "BROKEN: seed 8" in capsys.readouterr().out


def test_a_story_that_raises_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the machines is a failed story, not the end of all others."""

    def broken(_self: object) -> Ending:
        raise KeyError("op3")

    monkeypatch.setattr(run.Story, "tell", broken)
    assert told(1).complaint == "KeyError: 'op3'"
