"""`requirements-review.txt` is enough for a reviewer: no torch, no 5 GB."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from score_data import write_npz

from harness.cli.answers import FULL_INSTALLATION

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements-review.txt"


def test_the_reviewers_packages_are_packages_of_the_project_and_torch_is_not_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    listed = [line for line in REQUIREMENTS.read_text("utf-8").splitlines() if line and line[0] != "#"]
    assert set(listed) <= set(project)
    assert not any(re.match(r"torch|open_clip|lightning|optuna", line) for line in listed)


def test_every_other_package_is_known_to_be_one_of_the_full_installation() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    listed = [line for line in REQUIREMENTS.read_text("utf-8").splitlines() if line and line[0] != "#"]
    imported = {"open_clip_torch": "open_clip", "scikit-learn": "sklearn"}
    names = {re.split(r"[<>=]", line)[0] for line in set(project) - set(listed)}
    assert {imported.get(name, name.replace("-", "_")) for name in names} == FULL_INSTALLATION


def test_the_install_line_works_in_a_clone() -> None:
    for page in (REQUIREMENTS, ROOT / "harness" / "README.md"):
        assert "pip install --no-deps ." in page.read_text("utf-8")
        assert "--no-deps tipr-harness" not in page.read_text("utf-8")


@pytest.mark.service
@pytest.mark.slow
def test_compare_works_in_an_environment_made_of_these_packages(tmp_path: Path) -> None:
    """Needs a package index; CI sets REVIEW_ENVIRONMENT=1."""
    if not os.environ.get("REVIEW_ENVIRONMENT"):
        pytest.skip("set REVIEW_ENVIRONMENT=1 to install requirements-review.txt into a new environment")
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    for words in (["-r", str(REQUIREMENTS)], ["--no-deps", str(ROOT)]):
        subprocess.run([python, "-m", "pip", "install", "--quiet", *words], check=True)
    files = [write_npz(tmp_path / f"{name}.npz", 1, noise) for name, noise in (("a", 0.5), ("b", 3.0))]
    words = [python, "-m", "harness", "compare", *map(str, files)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = subprocess.run([python, "-c", "import torch"], env=environment, capture_output=True)
    assert found.returncode != 0, sys.path
