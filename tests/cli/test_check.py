"""What `check` tells before anything is trained: what the study could see, and mistakes in its claims."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import stores
from stores import Truth
from study_files import SMALL, write_study
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from harness.launch import disk
from harness.launch.context import Context
from harness.study.study import load_study
from reports.comparison import ComparisonOptions, comparison_groups
from reports.power import Design, detectable, plan
from reports.stored_runs import read


@pytest.fixture(scope="module", autouse=True)
def data_root(two_datasets: Path) -> Path:
    """CUHK-PEDES with 3 test people of 2 images and 4 captions each, and RSTPReid."""
    return two_datasets


def check(study: Path, out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", str(study), "--device", "cpu", "--out", str(out), *arguments])


def seen(study: Path, out: Path) -> dict[str, Any]:
    found = json.loads(check(study, out, "--json").stdout)["detectable_difference"]["cuhk-pedes"]
    assert isinstance(found, dict)
    return found


def test_before_anything_ran_the_detectable_difference_says_which_variances_are_assumed(
    tmp_path: Path,
) -> None:
    found = seen(write_study(tmp_path, seeds=3), tmp_path / "out")
    assert found["points"] == pytest.approx(plan(Design(12, 3, 3, methods=3)))
    assert found["comparisons"] == 6
    assert found["corrected"] > found["points"]
    assert found["variances"].startswith("assumed: seeds differ by 0.85 points of R1")
    shown = " ".join(check(tmp_path / "study.yaml", tmp_path / "out").stdout.split())
    assert "corrected for 6 comparisons" in shown
    assert "both guessed" in shown


def ran(monkeypatch: pytest.MonkeyPatch, out: Path, **changes: Any) -> None:
    """Simulated cells of the small study's methods, settings and data, with some changes."""
    methods = {"uit": 60.0, "baseline": 55.0}
    study = load_study(write_study(out.parent))
    own = {name: dict(study.plan(name).method_settings) for name in methods}
    truth = Truth(
        methods,
        datasets=("cuhk-pedes",),
        people=80,
        directions=("t2i",),
        epochs=2,
        switches=own,
        train={"pretrained": "none", "precision": "fp32"},
    )
    monkeypatch.setattr(Context, "data_fingerprint", lambda self, name, cell: f"data-{name}")
    stores.write(out, replace(truth, **changes))


def test_finished_cells_in_the_output_folder_replace_the_assumptions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    ran(monkeypatch, out)
    found = seen(write_study(tmp_path, seeds=5), out)
    (group,) = comparison_groups(read([out]), ComparisonOptions(resamples=1))
    assert found["points"] == pytest.approx(detectable(group, seeds=5, people=3, methods=3))
    assert found["points"] != pytest.approx(plan(Design(12, 3, 5, methods=3)))
    assert found["variances"] == f"measured on 6 finished runs in {out}"


@pytest.mark.parametrize("changes", [{"preset": "released"}, {"epochs": 3}], ids=str)
def test_runs_of_another_preset_or_with_other_settings_say_nothing_of_a_study_s_variances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    ran(monkeypatch, tmp_path / "out", **changes)
    assert seen(write_study(tmp_path), tmp_path / "out")["variances"].startswith("assumed")


def test_runs_on_other_people_say_nothing_of_a_study_s_variances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(monkeypatch, tmp_path / "out")
    study = write_study(tmp_path, seeds=3)
    assert seen(study, tmp_path / "out")["variances"].startswith("measured")
    monkeypatch.setattr(Context, "data_fingerprint", lambda self, name, cell: f"a subset of {name}")
    assert seen(study, tmp_path / "out")["variances"].startswith("assumed")


def test_earlier_runs_that_cannot_be_read_are_noted(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.yaml").write_text("[")
    shown = " ".join(check(write_study(tmp_path), tmp_path / "out").stdout.split())
    assert "finished cells cannot be read, so variances are assumed" in shown
    assert "study.yaml:damaged" in shown.replace(" ", "")  # a long path may be wrapped anywhere


def test_without_the_data_the_cost_is_said_to_be_unknown(tmp_path: Path) -> None:
    done = check(write_study(tmp_path), tmp_path / "out", "--data-root", str(tmp_path / "nowhere"))
    assert done.exit_code == 2
    assert "cost unknown until what is missing is there" in done.stdout


def test_a_single_seed_detects_nothing(tmp_path: Path) -> None:
    study = write_study(tmp_path, seeds=1)
    assert seen(study, tmp_path / "out")["points"] is None
    assert "one seed allows no verdict" in " ".join(check(study, tmp_path / "out").stdout.split())


def test_mistakes_in_the_claims_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(
        "claims:\n"
        "  - {id: a, better: uit, than: uit, dataset: cuhk-pedes}\n"
        "  - {id: a, better: uit, than: irra, dataset: cuhk-pedes, size: .nan}\n"
    )
    study = write_study(tmp_path, claims="claims.yaml")
    for verb in ("check", "run"):
        arguments = [verb, str(study), "--device", "cpu", "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        for mistake in ("name the same method", "got nan", "2 claims are called 'a'"):
            assert mistake in done.stderr
        assert not (tmp_path / "out").exists()


def test_check_says_which_methods_each_key_of_train_reaches(tmp_path: Path) -> None:
    train = {**SMALL["train"], "mask_ratio": 0.5}
    path = write_study(tmp_path, methods=["uit", "uit-no-tir"], datasets=["cuhk-pedes"], train=train)
    shown = check(path, tmp_path / "out").stdout
    assert "this train: key reaches only uit: mask_ratio\n" in shown
    keys = "backbone, pretrained, image_size, epochs, precision"
    assert f"these train: keys reach every method: {keys} " in " ".join(shown.split())
    found = json.loads(check(path, tmp_path / "out", "--json").stdout)
    assert found["train_keys"]["mask_ratio"] == ["uit"]


def test_weights_that_are_not_here_are_named_with_the_line_that_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    entry = {"name": "big", "base": "uit", "backbone": "ViT-B-32", "pretrained": "laion400m_e31"}
    path = write_study(
        tmp_path, methods=["baseline", {**entry, "image_size": [224, 224]}], datasets=["cuhk-pedes"]
    )
    done = check(path, tmp_path / "out")
    assert done.exit_code == 2
    assert (
        f"{path}:7: methods.1.pretrained: weights 'laion400m_e31' of ViT-B-32 are not on this" in done.stderr
    )


def test_check_says_which_claims_can_be_decided_and_how_many_seeds_the_others_need(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(
        "claims:\n"
        "  - {id: huge, better: uit, than: baseline, dataset: cuhk-pedes, size: 1.62}\n"
        "  - {id: direction, better: uit, than: baseline, dataset: cuhk-pedes}\n"
        "  - {id: elsewhere, better: uit, than: baseline, dataset: icfg-pedes}\n"
        "  - {id: others, better: uit, than: irra, dataset: cuhk-pedes}\n"
        "margin: 30\n"
    )
    path = write_study(tmp_path, methods=["uit", "baseline"], datasets=["cuhk-pedes"], claims="claims.yaml")
    found = json.loads(check(path, tmp_path / "out", "--seeds", "3", "--json").stdout)["claims"]
    assert [(one["id"], one["note"]) for one in found] == [
        ("huge", ""),
        ("direction", ""),
        ("elsewhere", "the study does not train on icfg-pedes"),
        ("others", "the study does not train irra"),
    ]
    needed = found[1]["needed"]
    assert 3 < needed < 100
    shown = " ".join(check(path, tmp_path / "out", "--seeds", "3").stdout.split())
    assert "claims: 0 of 4 can be decided on this benchmark with 3 seeds" in shown
    assert "where no size is claimed, the true difference is assumed to be no larger than the margin" in shown
    assert f"claims: direction: needs {needed} seeds for a true difference of 30 points" in shown
    enough = check(path, tmp_path / "out", "--seeds", str(needed)).stdout
    assert "can be decided on this benchmark" in enough
    assert "claims: direction: needs" not in enough


def test_check_prints_the_disk_a_run_takes_and_refuses_one_that_is_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_study(tmp_path, methods=["baseline"], datasets=["cuhk-pedes"], seeds=2)
    found = json.loads(check(path, tmp_path / "out", "--json").stdout)["disk"]
    assert 0 < found["finished"] < found["needed"]
    more = write_study(tmp_path, methods=["baseline"], datasets=["cuhk-pedes"], seeds=2, keep=["checkpoint"])
    whole = json.loads(check(more, tmp_path / "out", "--json").stdout)["disk"]["finished"]
    assert whole > 3 * found["finished"] - 4 * disk.PAGE
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=found["needed"] - 1))
    for verb in ("check", "run"):
        done = CliRunner().invoke(
            app,
            [
                verb,
                str(write_study(tmp_path, methods=["baseline"], datasets=["cuhk-pedes"], seeds=2)),
                "--device",
                "cpu",
                "--out",
                str(tmp_path / "out"),
            ],
        )
        assert done.exit_code == 2
        assert "the runs that are left need" in done.stderr
        assert not (tmp_path / "out" / "cells").exists()


def test_check_estimates_the_memory_of_a_step_and_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.memory_check.SMALL_MODEL", 0)
    path = write_study(tmp_path, methods=["baseline", "clip-zero-shot"], datasets=["cuhk-pedes"])
    found = json.loads(check(path, tmp_path / "out", "--json").stdout)["memory_gb"]
    assert list(found) == ["baseline"]
    assert 0 < found["baseline"] < 10
    assert "memory is estimated: " in check(path, tmp_path / "out").stdout


def test_check_of_one_cell_with_one_epoch_says_so_in_the_singular(tmp_path: Path) -> None:
    path = write_study(
        tmp_path,
        methods=["baseline"],
        datasets=["rendered-plaza"],
        seeds=1,
        train={**SMALL["train"], "epochs": 1},
    )
    shown = check(path, tmp_path / "out").stdout
    assert "(clean, recipe shared): 1 cell, 1 epoch, " in " ".join(shown.split())
