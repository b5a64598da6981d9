"""The alert rules, tried with promtool; e2e/test_monitoring.py runs every expression against a live node."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.doc_pages import ROOT
from tests.support.tools import require

RULES = ROOT / "packaging/prometheus/alerts.yml"
CASES: dict[str, Any] = json.loads((ROOT / "tests/packaging/alert_cases.json").read_text())


@pytest.fixture
def promtool() -> str:
    """Return the program's path."""
    return require("promtool")


def rules() -> list[dict[str, Any]]:
    return json.loads(RULES.read_text())["groups"][0]["rules"]  # type: ignore[no-any-return]


def promtool_tests(folder: Path) -> Path:
    """Each alert fires in its case after its time, and does not in the quiet one. No case depends on less than five minutes."""
    told = {rule["alert"]: rule for rule in rules()}
    tests = []
    for alert, case in CASES.items():
        for kind in ("fires", "silent"):
            tests.append(
                {
                    "interval": "1m",
                    "name": f"{alert} {kind}",
                    "input_series": case[kind],
                    "promql_expr_test": [],
                    "alert_rule_test": [],
                }
            )
            count = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
            expected = [{"labels": "{}", "value": 1}] if kind == "fires" else []
            tests[-1]["promql_expr_test"] = [{"expr": count, "eval_time": "4h5m", "exp_samples": expected}]
        assert told[alert]
    path = folder / "tests.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": tests}))
    return path


@pytest.mark.slow
def test_each_alert_fires_when_it_must_and_not_otherwise(promtool: str, tmp_path: Path) -> None:
    """By promtool's own tests, each rule with a case of trouble and one without."""
    checked = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(CASES)} rules found" in checked.stdout
    done = subprocess.run(
        [promtool, "test", "rules", promtool_tests(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_is_wrong_is_noticed(promtool: str, tmp_path: Path) -> None:
    """The test before this one can fail."""
    told = json.loads(promtool_tests(tmp_path).read_text())
    told["tests"] = told["tests"][:1]
    told["tests"][0]["promql_expr_test"][0]["exp_samples"][0]["value"] = 2
    (tmp_path / "wrong.yml").write_text(json.dumps(told))
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "wrong.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
