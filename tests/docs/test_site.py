"""The documentation as a site: its generator finds nothing to warn of, and would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.doc_pages import PAGES, ROOT
from tests.support.waiting import PATIENCE


def build(root: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"EIGENKMS_VENV": str(Path(sys.executable).parent.parent)}
    return subprocess.run(
        [root / "scripts" / "build-docs", site],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the site is made of, to be broken."""
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "mkdocs.yml"):
        (tmp_path / "copy").mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    for name in ("docs", "packaging", "examples", "benchmarks", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """Every page is in the navigation, every link and anchor is one that the generator makes."""
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    for page in PAGES:
        name = "index.html" if str(page) == "README.md" else str(page).replace(".md", ".html")
        assert (tmp_path / "site" / name).stat().st_size > 1000


@pytest.mark.slow
def test_a_broken_page_breaks_the_site(copy: Path, tmp_path: Path) -> None:
    """A link to nowhere, an anchor that is none, a page that the navigation does not know: each is told, and no site is built."""
    with (copy / "docs" / "glossary.md").open("a") as file:
        file.write("\n[a](moon.md) [b](cli.md#moon)\n")
    (copy / "docs" / "lost.md").write_text("# Lost\n")
    done = build(copy, tmp_path / "site")
    assert done.returncode != 0
    for said in ("'moon.md'", "'#moon'", "docs/lost.md"):
        assert said.strip("'") in done.stderr, done.stderr
    assert "built" not in done.stdout
