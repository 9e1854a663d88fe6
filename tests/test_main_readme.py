"""What the READMEs tell a newcomer to type works, and what they link to is there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / name / "README.md" for name in ("harness", "methods", "studies", "reports", "tests")),
        ROOT / "reports" / "showcase" / "README.md",
    ]
)
MOST_LINES = 120


def code_lines(page: Path, language: str) -> list[str]:
    """The commands in the page's blocks of a language, comments left out."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    targets = set(re.findall(r"\bmake ([a-z]+)", "\n".join(code_lines(page, "sh"))))
    assert targets or page not in (ROOT / "README.md", ROOT / "CONTRIBUTING.md")
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, f"make {target}: {done.stderr}"


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README's `run` line leaves, at a size that a test can pay for."""
    folder = tmp_path_factory.mktemp("readme") / "runs" / "demo"
    (line,) = [line for line in code_lines(ROOT / "README.md", "sh") if " run studies/" in line]
    smaller = [
        "--subset",
        "8",
        "--set",
        "train.epochs=1",
        "--seeds",
        "1",
        "--methods",
        "baseline,clip-zero-shot",
    ]
    run_line(line, *smaller, "--out", str(folder))
    return folder


def run_line(line: str, *more: str) -> str:
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "harness"], line
    done = subprocess.run([sys.executable, *words[1:], *more], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_readmes_run_leaves_what_it_says(small_run: Path) -> None:
    assert {"results.csv", "report.html"} <= {path.name for path in small_run.iterdir()}


def test_the_readmes_report_finds_the_run(small_run: Path) -> None:
    (line,) = [line for line in code_lines(ROOT / "README.md", "sh") if " report " in line]
    assert str(small_run / "report.html") in run_line(line.replace("runs/demo", str(small_run)))


def test_the_readme_installs_from_the_constraints_that_are_there() -> None:
    (line,) = [line for line in code_lines(ROOT / "README.md", "sh") if line.startswith("pip install")]
    assert shlex.split(line) == ["pip", "install", "-c", "constraints.txt", "-e", ".[test]"]
    assert (ROOT / "constraints.txt").is_file()


def verbs_named(page: Path) -> set[str]:
    return set(re.findall(r"python -m harness ([a-z]+)", page.read_text("utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_verb_that_is_named_exists(page: Path) -> None:
    from harness.cli.verbs import app

    known = {
        command.name or (command.callback and command.callback.__name__)
        for command in app.registered_commands
    }
    known |= {group.name for group in app.registered_groups}
    assert verbs_named(page) <= known


def test_the_readmes_steps_for_ci_are_commands_that_end_with_success(tmp_path: Path) -> None:
    steps = [line.removeprefix("- run: ") for line in code_lines(ROOT / "README.md", "yaml")]
    install, run = steps
    assert shlex.split(install) == ["pip", "install", "-c", "constraints.txt", "-e", "."]
    smaller = ["--methods", "baseline", "--set", "train.epochs=1"]
    assert "report:" in run_line(run.replace("runs/ci", str(tmp_path / "ci")), *smaller)
