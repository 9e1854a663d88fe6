"""`--skip-broken` stands wherever it is advised; what was left out once is left out when it is checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from factories import write_cuhk
from light_runs import light_machine, light_study, run_light
from typer.testing import CliRunner

from harness.cli.verbs import app
from harness.launch.context import Context
from harness.trust.verify import verify
from harness.trust.why import why


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small CUHK-PEDES of which one test image has no content and another no end."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    write_cuhk(tmp_path / "data")
    images = sorted((tmp_path / "data" / "CUHK-PEDES" / "imgs").rglob("*.jpg"))
    images[-1].write_bytes(b"")
    images[-2].write_bytes(images[-2].read_bytes()[:200])
    return tmp_path / "data"


def test_a_model_is_evaluated_exported_and_asked_without_broken_images_where_that_is_asked_for(
    root: Path, tmp_path: Path
) -> None:
    common = ["--dataset", "cuhk-pedes", "--data-root", str(root), "--device", "cpu"]
    verbs = (
        ["evaluate", "tiny:rendered"],
        ["query", "tiny:rendered", "a man", "--out", str(tmp_path / "q.html")],
        ["export", "tiny:rendered", str(tmp_path / "f.npz"), "--features"],
    )
    for verb in verbs:
        refused = CliRunner().invoke(app, [*verb, *common])
        assert refused.exit_code == 2, refused.output
        assert "--skip-broken leaves these images out" in refused.stderr
        done = CliRunner().invoke(app, [*verb, *common, "--skip-broken"])
        assert done.exit_code == 0, done.output
        if verb[0] == "evaluate":
            assert "skipped 1 image that is missing, empty or unreadable" in done.stdout
            assert "2 images missing or unreadable, left out" in done.stdout


def test_a_run_that_left_out_broken_images_is_verified_and_explained_without_them(
    root: Path, tmp_path: Path
) -> None:
    machine = light_machine(root)
    context = Context(replace(machine, skip_broken=True))
    store = run_light(light_study(tmp_path / "in", seeds=1), tmp_path / "out", context)
    (cell,) = store.cells()
    assert cell.status.state == "done"
    (certificate,) = verify([store.directory], machine, cells=1)
    assert (certificate.verdict, certificate.differences) == ("reproduced", [])
    assert why(str(cell.directory), None, machine).changes == []
