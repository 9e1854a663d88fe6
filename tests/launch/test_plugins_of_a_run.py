"""A run keeps the plugins and dataset files that it uses, and its models open without the data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import open_clip
import pytest
from factories import write_cuhk
from own_registry import without_plugins
from study_files import SMALL, write_study
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore

METHOD = """
from harness.registry import register_method
from methods.uit import ZeroShot

register_method("mine", summary="the backbone as it is", build=ZeroShot, trains=False)
"""


def harness(*arguments: object) -> Result:
    """The program with no plugin registered yet, as in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        without_plugins(patch)
        return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run on a dataset of one's own; another dataset lies in the data root."""
    home = tmp_path_factory.mktemp("home")
    folder = write_cuhk(home / "data").rename(home / "data/lab")
    (folder / "lab.dataset.yaml").write_text("like: cuhk-pedes\n")
    (home / "data/other.dataset.yaml").write_text("annotations: nowhere.json\n")
    (home / "mine.py").write_text(METHOD)
    (home / "unused.py").write_text("")
    train = {**SMALL["train"], "pretrained": "rendered"}
    study = write_study(home, methods=["clip-zero-shot", "mine"], datasets=["lab"], seeds=1, train=train)
    given = ["--data-root", home / "data", "--plugin", home / "mine.py", "--plugin", home / "unused.py"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(home / "cache"))
        ran = harness("run", study, "--out", home / "out", *given, "--device", "cpu", "--workers", "1")
        assert ran.exit_code == 0, ran.stderr
        yield home


def cell_of(home: Path, method: str) -> CellRun:
    return next(run for run in RunStore(home / "out").cells() if run.cell.base == method)


def test_a_run_keeps_only_the_plugins_and_dataset_files_that_its_study_uses(home: Path) -> None:
    kept = {path.name for path in (home / "out/plugins").rglob("*") if path.is_file()}
    assert kept == {"lab.dataset.yaml", "mine.py"}
    recorded = {
        method: [Path(file).name for file in cell_of(home, method).recorded["plugins"]]
        for method in ("mine", "clip-zero-shot")
    }
    assert recorded == {"mine": ["mine.py", "lab.dataset.yaml"], "clip-zero-shot": ["lab.dataset.yaml"]}


def test_a_model_trained_on_ones_own_dataset_is_exported_without_that_dataset(home: Path) -> None:
    model = cell_of(home, "clip-zero-shot").model_path("val")
    done = harness("export", model, home / "exported")
    assert done.exit_code == 0, done.stderr
    open_clip.create_model_from_pretrained(f"local-dir:{home / 'exported'}")


def test_a_folder_of_pictures_is_searched_without_the_dataset_of_the_model(home: Path) -> None:
    model = cell_of(home, "clip-zero-shot").model_path("val")
    pictures = home / "data/lab/imgs/cam_a"
    done = harness(
        "query", model, "a man", "--gallery", pictures, "--device", "cpu", "--out", home / "a.html"
    )
    assert done.exit_code == 0, done.stderr


def test_export_takes_the_plugin_of_a_method(home: Path, tmp_path: Path) -> None:
    shutil.copytree(cell_of(home, "mine").directory, tmp_path / "cell")
    model = tmp_path / "cell/model-val.safetensors"
    asked = harness("export", model, home / "mine")
    assert asked.exit_code == 2
    assert f"its method 'mine' came from a plugin; give it with --plugin {home / 'mine.py'}" in asked.stderr
    done = harness("export", model, home / "mine", "--plugin", home / "mine.py")
    assert done.exit_code == 0, done.stderr


def test_a_model_copied_without_cell_json_or_renamed_says_what_to_copy_and_how_to_call_it(
    home: Path, tmp_path: Path
) -> None:
    run = cell_of(home, "clip-zero-shot")
    copied = shutil.copy(run.model_path("val"), tmp_path)
    asked = harness("export", copied, tmp_path / "copied")
    assert asked.exit_code == 2
    assert f"copy cell.json along, which lay beside it, into {tmp_path}/" in asked.stderr
    shutil.copy(run.directory / "cell.json", tmp_path)
    assert harness("export", copied, tmp_path / "copied").exit_code == 0
    renamed = Path(copied).rename(tmp_path / "best.safetensors")
    asked = harness("export", renamed, tmp_path / "copied")
    assert asked.exit_code == 2
    assert "which model of its cell it is stands in its name: model-val.safetensors" in asked.stderr


@pytest.mark.parametrize("names_the_folder", [True, False])
def test_a_model_is_evaluated_on_the_dataset_of_its_run_by_the_copy_that_the_run_keeps(
    home: Path, names_the_folder: bool
) -> None:
    run = cell_of(home, "clip-zero-shot")
    model = run.directory if names_the_folder else run.model_path("val")
    # Without a data root only what the run keeps says what the dataset is.
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HARNESS_DATA", raising=False)
        done = harness("evaluate", model, "--dataset", "lab", "--device", "cpu", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["scores"]["t2i"]["R1"] == pytest.approx(
        next(row["R1"] for row in run.results if (row["selection"], row["direction"]) == ("val", "t2i"))
    )
