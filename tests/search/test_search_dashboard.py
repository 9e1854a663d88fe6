"""optuna-dashboard opens the database that a search leaves, and serves its study and every trial."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import search_stub as stub

from harness.launch.local import InProcess
from harness.search.creation import create_search
from harness.search.search_loop import run_searches

pytestmark = pytest.mark.service


def answer(url: str, server: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What the dashboard answers, once it is up."""
    while True:
        try:
            with urllib.request.urlopen(url) as response:
                found: dict[str, Any] = json.load(response)
                return found
        except OSError:
            assert server.poll() is None, "the dashboard ended"
            time.sleep(0.2)


def test_the_dashboard_shows_a_searchs_trials_with_their_scores_and_reasons(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("optuna-dashboard")
    if not program.exists() and shutil.which("optuna-dashboard") is None:
        pytest.skip("optuna-dashboard is not installed: pip install 'tipr-harness[dashboard]'")
    hill = stub.Hill(tmp_path / "cells", fails="oom")
    search = stub.search(tmp_path, trials=6, objective=hill, sampler="random")
    create_search(search)
    run_searches([search], InProcess(), lambda progress, outcome: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(program) if program.exists() else "optuna-dashboard", "--port", str(port), search.url]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        base = f"http://127.0.0.1:{port}/api/studies"
        (study,) = answer(base, server)["study_summaries"]
        assert study["study_name"] == search.name
        trials = answer(f"{base}/{study['study_id']}", server)["trials"]
    finally:
        server.terminate()
        server.wait()
    assert [trial["number"] for trial in trials] == list(range(len(trials)))
    assert sum(trial["state"] == "Complete" for trial in trials) == 6
    for trial in trials:
        point = {param["name"]: float(param["param_internal_value"]) for param in trial["params"]}
        reasons = [note["value"] for note in trial["user_attrs"] if note["key"] == "reason"]
        if point["mask_ratio"] > 0.8:
            assert (trial["state"], reasons) == ("Fail", ["oom"])
        else:
            assert (trial["state"], reasons) == ("Complete", [])
            assert float(trial["values"][0]) == pytest.approx(stub.height(point))
