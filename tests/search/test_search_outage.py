"""A search whose database goes away and comes back, and what it leaves of a password."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import postgres_server
import pytest
from light_runs import PLUGIN, light_study
from postgres_server import PASSWORD, Server

ROOT = Path(__file__).parents[2]
SEARCH = {
    "trials": 5,
    "sampler": "random",
    "pruner": "none",
    "space": {"lr": {"low": 0.001, "high": 0.1}},
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_server.running() as server:
        yield server


def start(folder: Path, out: Path, data_root: Path, *more: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "harness", "run", folder / "study.yaml", "--out", out, "--device", "cpu"]
    words += ["--data-root", data_root, "--workers", "2", "--plugin", PLUGIN, *more]
    return subprocess.Popen(
        list(map(str, words)),
        cwd=ROOT,
        # Each trial takes a second, so that the outage falls into one.
        env={**os.environ, "LIGHT_TROUBLE": "slow@1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.service
@pytest.mark.slow
def test_a_database_that_goes_away_and_comes_back_costs_no_trial_and_no_digit_and_its_password_stays_unsaid(
    tmp_path: Path, cuhk_root: Path, server: Server
) -> None:
    light_study(tmp_path, seeds=1, search=SEARCH)
    url = server.url.replace("tester@", f"tester:{PASSWORD}@")
    run = start(tmp_path, tmp_path / "out", cuhk_root, "--set", f"search.storage={url}")
    assert run.stderr is not None
    lines = []
    for line in run.stderr:
        lines.append(line)
        if "trial 0: complete" in line:
            break
    children = Path(f"/proc/{run.pid}/task").glob("*/children")
    workers = [pid for path in children for pid in path.read_text().split()]
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers]
    server.stop()
    time.sleep(4)
    server.start()
    output, errors = run.communicate()
    said = "".join(lines) + errors + output
    assert run.returncode == 0, said
    assert "Traceback" not in said

    undisturbed = start(tmp_path, tmp_path / "alone", cuhk_root)
    undisturbed.communicate()
    tables = [(tmp_path / name / "results.csv").read_text() for name in ("out", "alone")]
    assert tables[0] == tables[1]

    assert len(commands) >= 2
    secret = PASSWORD.encode()
    assert all(secret not in command for command in commands)
    assert PASSWORD not in said
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any(path.name == "report.html" for path in written)
    assert [path for path in written if secret in path.read_bytes()] == []
