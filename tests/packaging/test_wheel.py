"""The wheel: built from these files, put into an empty folder, it runs; and it has what man and shells look for."""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.doc_pages import ROOT
from tests.support.waiting import PATIENCE


def build(kind: str, source: Path, folder: Path) -> Path:
    """A wheel or sdist, by the project's own backend, in a process of its own."""
    code = f"import hatchling.build as b; print(b.build_{kind}({str(folder)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from this checkout."""
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as opened:
        return set(opened.namelist())


def test_it_has_the_package_and_all_its_data(wheel: Path) -> None:
    """Every file below eigenkms/ that is no cache; nothing else but metadata, manual pages and completions."""
    files = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "eigenkms").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "eigenkms/py.typed" in files
    found = names(wheel)
    assert {name for name in found if name.startswith("eigenkms/")} == files
    rest = {name.partition("/")[2] for name in found if not name.startswith("eigenkms/")}
    shared = {name.removeprefix("data/share/") for name in rest if name.startswith("data/share/")}
    assert {"man/man1/eigenkms.1", "man/man1/eigenkms-node.1", "zsh/site-functions/_eigenkms"} <= shared
    assert {"bash-completion/completions/eigenkms", "fish/vendor_completions.d/eigenkms.fish"} <= shared
    assert {name for name in rest if not name.startswith(("data/", "licenses/"))} == {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
    }


def test_it_runs_by_itself(wheel: Path, tmp_path: Path) -> None:
    """Unpacked somewhere else, before this checkout on the path: the command, and data that it reads at run time."""
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(tmp_path)
    code = (
        "import eigenkms, json; from eigenkms.cli.main import run\n"
        "from eigenkms.chain.contracts import artefact\n"
        "print(json.dumps([eigenkms.__file__, run(['version']), len(artefact('KeyRegistrar').abi) > 5]))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    *shown, last = done.stdout.splitlines()
    assert json.loads(last) == [str(tmp_path / "eigenkms" / "__init__.py"), 0, True]
    assert shown[0].startswith("version")


@pytest.mark.slow
def test_the_source_distribution_is_enough_for_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """It has sources, tests, documentation and locks; no caches, no history, nothing installed; the wheel of it is the same."""
    sdist = build("sdist", ROOT, tmp_path)
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path, filter="data")
        found = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "requirements.lock"} <= found
    assert {"docs/cli.md", "tests/__init__.py", "scripts/docs", "packaging/Dockerfile"} <= found
    junk = re.compile(
        r"(^|/)(__pycache__|node_modules|\.git|\.venv[^/]*|\.[a-z_]+_cache|build|dist)(/|$)|\.pyc$"
    )
    assert [name for name in found if junk.search(name)] == []
    (tmp_path / "again").mkdir()
    again = build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "again")
    assert names(again) == names(wheel)
