"""The program as a person uses it: exit codes, what goes where, and a study that outlives being killed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from study_files import SMALL, write_study
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from harness.store.disk_use import bytes_of
from harness.store.runs import RunStore

ROOT = Path(__file__).parents[2]
PLUGIN = Path(__file__).parents[1] / "light_method.py"
RECIPE = {**SMALL["train"], "epochs": 3, "batch_size": 8, "lr": 0.01, "warmup_epochs": 0}


@pytest.fixture(scope="module", autouse=True)
def data_root(two_datasets: Path) -> Path:
    return two_datasets


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def light_study(folder: Path, **changes: Any) -> Path:
    default = {"methods": ["light"], "datasets": ["cuhk-pedes"], "seeds": 1, "train": RECIPE}
    return write_study(folder, **{**default, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small finished run of a method of ours."""
    folder = tmp_path_factory.mktemp("finished")
    path = light_study(folder, methods=["uit"], train={**RECIPE, "epochs": 1})
    done = invoke("run", path, "--out", folder / "run", "--device", "cpu", "--workers", 1)
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    code = "import sys; from harness.cli.verbs import app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"torch", "numpy", "pandas", "optuna", "pydantic"} & set(done.stdout.split())
    shown = invoke("--help").stdout
    assert all(verb in shown for verb in ("run", "report", "check", "list", "data", "evaluate", "export"))


def test_list_prints_one_line_each_or_one_json_object() -> None:
    lines = invoke("list", "methods").stdout.splitlines()
    assert any(line.startswith("uit-no-tir ") for line in lines)
    listed = json.loads(invoke("list", "datasets", "--json").stdout)
    assert {"cuhk-pedes", "rendered-plaza"} <= {entry["name"] for entry in listed["datasets"]}
    refused = invoke("list", "method")
    assert refused.exit_code == 2
    assert "did you mean 'methods'" in refused.stderr


def test_list_shows_a_plugin_s_method() -> None:
    assert "mean colours against mean words" in invoke("list", "methods", "--plugin", PLUGIN).stdout


def test_check_prints_cells_and_cost_and_makes_nothing(tmp_path: Path) -> None:
    path = write_study(tmp_path, evaluate={"transfer": True})
    done = invoke("check", path, "--device", "cpu", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert len(found["cells"]) == found["cost"]["cells"] == 16
    assert found["cells"][0]["targets"] == ["cuhk-pedes", "rstpreid"]
    # 6 people × 2 images × 2 captions, 2 epochs, 2 seeds, 3 methods that train, 2 datasets
    assert found["cost"]["training_pairs"] == 24 * 2 * 2 * 3 * 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "gpu"), "unknown device 'gpu'"),
        (("--launcher", "lsf"), "unknown launcher 'lsf'"),
        (
            ("--set", "train.pretrained=openay"),
            "train.pretrained: 'openay' is neither a file nor a tag of open_clip",
        ),
        (("--set", "train.sampler=released", "--set", "train.batch_size=64"), "an epoch would be empty"),
        (("--plugin", "absent.py"), "no such plugin file"),
        (("--subset", "1"), "at least 2 are needed"),
    ],
)
def test_check_refuses_what_a_run_would_stumble_over(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    device = () if "--device" in arguments else ("--device", "cpu")
    done = invoke("check", write_study(tmp_path), "--out", tmp_path / "out", *device, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


def test_weights_that_are_not_here_are_refused_offline_with_the_file_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    recipe = {"backbone": "ViT-B-16-quickgelu", "pretrained": "openai"}
    path = write_study(tmp_path, train=recipe)
    done = invoke("run", path, "--out", tmp_path / "out", "--device", "cpu")
    if done.exit_code == 0:
        pytest.skip("the weights are on this machine")
    assert done.exit_code == 2
    assert "HARNESS_OFFLINE is set" in done.stderr
    assert "put the file at" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_ends_with_the_table_and_the_report(finished: Path) -> None:
    assert (finished / "report.html").is_file()
    assert (finished / "environment.json").is_file()
    rows = (finished / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 2
    again = invoke("report", finished)
    assert again.exit_code == 0
    assert f"report: {finished / 'report.html'}" in again.stdout


def test_a_run_leaves_the_pictures_its_report_shows(finished: Path) -> None:
    (restored,) = (finished / "cells").glob("*/restorations.parquet")
    rows = pd.read_parquet(restored)
    assert len(rows) == 12  # all test captions: fewer than are measured of a large split
    assert (rows["caption"] != rows["wrong_caption"]).all()
    shown = rows[rows["right"].map(len) > 0]
    assert len(shown) == 6
    assert all(Image.open(io.BytesIO(picture)).size == (32, 96) for picture in shown["right"])
    (kept,) = (finished / "pictures").glob("cuhk-pedes.*.queries.parquet")
    queries = pd.read_parquet(kept)
    assert queries["chosen"].sum() == 6
    (kept,) = (finished / "pictures").glob("cuhk-pedes.*.pruned.json")
    pruned = json.loads(kept.read_text())["examples"]
    assert all(len(example["pruned"]) < len(example["caption"]) for example in pruned)
    assert (finished / "report.html").read_text().count("data:image/webp;base64,") >= 4 * 6


def test_a_run_takes_the_disk_that_check_says_within_ten_percent(finished: Path) -> None:
    done = invoke("check", finished / "study.yaml", "--out", finished, "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["disk"]["finished"] == pytest.approx(bytes_of(finished), rel=0.1)


def test_a_report_of_nothing_is_refused(tmp_path: Path) -> None:
    done = invoke("report", tmp_path)
    assert done.exit_code == 2
    assert "no run here" in done.stderr


def test_a_run_with_failed_cells_exits_3_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHT_TROUBLE", "nan")
    out = tmp_path / "out"
    arguments = ("--out", out, "--device", "cpu", "--plugin", PLUGIN, "--workers", 1)
    done = invoke("run", light_study(tmp_path), *arguments)
    assert done.exit_code == 3
    assert "failed nan: TrainingDiverged" in done.stderr
    assert (out / "report.html").is_file()
    monkeypatch.delenv("LIGHT_TROUBLE")
    assert invoke("run", light_study(tmp_path), *arguments).exit_code == 0


def test_a_run_whose_last_cell_another_process_trains_says_so_and_is_incomplete(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (light_study(tmp_path), "--out", out, "--device", "cpu", "--plugin", PLUGIN, "--workers", 1)
    assert invoke("run", *arguments).exit_code == 0
    (cell,) = RunStore(out).cells()
    with cell.lock():  # as held by another process: a lock belongs to who opened the file
        cell.set_status("running")
        done = invoke("run", *arguments)
    assert done.exit_code == 3
    said = f"1 cell is being trained by another process (pid {os.getpid()}): {cell.name}"
    assert said in done.stderr.splitlines()


def test_a_model_of_a_run_evaluates_to_the_scores_the_run_has(finished: Path) -> None:
    (cell,) = (finished / "cells").iterdir()
    done = invoke("evaluate", cell, "--dataset", "cuhk-pedes", "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    stored = [row for row in json.loads((cell / "results.json").read_text()) if row["selection"] == "val"]
    for row in stored:
        scores = json.loads(done.stdout)["scores"][row["direction"]]
        assert all(scores[name] == row[name] for name in ("R1", "R5", "R10", "mAP", "mINP", "queries"))


def test_a_checkpoint_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"no weights")
    for name in ("model.pth", "absent.pth"):
        done = invoke("evaluate", tmp_path / name, "--dataset", "cuhk-pedes", "--device", "cpu")
        assert done.exit_code == 2
        assert name in done.stderr


def test_an_exported_model_loads_in_open_clip_with_the_same_features(finished: Path, tmp_path: Path) -> None:
    import open_clip
    import torch

    from harness.launch.models import open_model

    (cell,) = (finished / "cells").iterdir()
    assert invoke("export", cell, tmp_path / "exported").exit_code == 0
    theirs = open_clip.create_model(f"local-dir:{tmp_path / 'exported'}").eval()
    ours = open_model(cell).method.eval()
    images = torch.rand(2, 3, *RECIPE["image_size"])
    with torch.inference_mode():
        assert torch.allclose(theirs.encode_image(images), ours.encode_image(images), atol=1e-5)


def test_data_check_counts_and_names_damage_with_exit_code_2(tmp_path: Path, data_root: Path) -> None:
    good = invoke("data", "check", "cuhk-pedes", "--json")
    assert good.exit_code == 0
    counts = json.loads(good.stdout)
    nothing = {"captions_cut": 0, "shared_captions": 0, "shared_images": 0, "undecidable": 0}
    assert counts["splits"]["train"] == {"person_ids": 6, "images": 12, "captions": 24, **nothing}
    assert counts["official"] is False

    shutil.copytree(data_root, tmp_path / "data")
    victim = next((tmp_path / "data" / "CUHK-PEDES" / "imgs").rglob("*.jpg"))
    victim.write_bytes(victim.read_bytes()[:200])
    damaged = invoke("data", "check", "cuhk-pedes", "--data-root", tmp_path / "data")
    assert damaged.exit_code == 2
    assert victim.name in damaged.stderr


def test_data_cache_decodes_every_split_once() -> None:
    done = invoke("data", "cache", "rstpreid", "--size", "64x24")
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        f"rstpreid {split}" for split in ("train", "val", "test")
    ]
    assert invoke("data", "cache", "rstpreid", "--size", "tall").exit_code == 2


class Program:
    """`python -m harness run …` in a process of its own."""

    def __init__(self, study: Path, out: Path) -> None:
        self.out = out
        self.command = [
            sys.executable,
            "-m",
            "harness",
            "run",
            str(study),
            "--out",
            str(out),
            "--device",
            "cpu",
        ]
        self.command += ["--workers", "1", "--plugin", str(PLUGIN)]

    def start(self, **environment: str) -> subprocess.Popen[str]:
        everything = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
        return subprocess.Popen(
            self.command, cwd=ROOT, env=everything, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def epochs(self) -> int:
        histories = self.out.glob("cells/*/history.jsonl")
        return sum(path.read_bytes().count(b"\n") for path in histories)


@pytest.mark.slow
def test_a_study_killed_and_stopped_on_its_way_ends_with_the_same_table(tmp_path: Path) -> None:
    study = light_study(tmp_path, seeds=2, train={**RECIPE, "epochs": 6})
    undisturbed, disturbed = Program(study, tmp_path / "one"), Program(study, tmp_path / "other")
    with undisturbed.start() as running:
        output, errors = running.communicate()
    assert running.returncode == 0, errors
    assert "report.html" in output

    for kind, epochs in ((signal.SIGKILL, 2), (signal.SIGTERM, 8)):
        # Slow enough to be caught on the way, whatever the machine.
        with disturbed.start(LIGHT_TROUBLE="slow@3") as running:
            while disturbed.epochs() < epochs and running.poll() is None:
                time.sleep(0.02)
            running.send_signal(kind)
            _, errors = running.communicate()
        assert running.returncode == (143 if kind is signal.SIGTERM else -signal.SIGKILL)
    assert (
        "steps since a cell's last checkpoint are trained again. To resume: python -m harness run" in errors
    )
    with disturbed.start() as running:
        _, errors = running.communicate()
    assert running.returncode == 0, errors
    tables = [(program.out / "results.csv").read_text() for program in (undisturbed, disturbed)]
    assert tables[0] == tables[1]
