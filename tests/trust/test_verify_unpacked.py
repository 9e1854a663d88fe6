"""A reviewer unpacks a bundle and trains its cells again: what it leaves out on purpose is no difference."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import without_torch
from light_runs import PLUGIN, light_machine, light_study, run_light
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from harness.exchange.archives import unpack_beside
from harness.exchange.bundling import bundled_runs, write_bundle
from harness.exchange.showcase import copy_evidence, leave_out_pictures
from harness.launch.context import Context
from harness.machine.files import atomic_json
from harness.store.runs import RunStore
from harness.trust.verify import verify
from reports.assemble import build


@pytest.fixture(scope="module")
def finished(cuhk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    return run_light(light_study(folder), folder / "out", Context(light_machine(cuhk_root))).directory


@pytest.fixture(scope="module")
def evidence(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle like those of the showcase: no models, no image-to-text records, no similarities."""
    small = tmp_path_factory.mktemp("small") / "light"
    copy_evidence(finished, small)
    return write_bundle([small]).path


@pytest.fixture
def unpacked(evidence: Path, tmp_path: Path) -> RunStore:
    shutil.copyfile(evidence, tmp_path / "evidence.zip")
    folder, altered = unpack_beside(tmp_path / "evidence.zip")
    assert altered == []
    return RunStore(bundled_runs(folder)[0])


def invoked(store: RunStore, cuhk_root: Path, *words: str) -> Result:
    arguments = ["verify", str(store.directory), "--plugin", str(PLUGIN), "--data-root", str(cuhk_root)]
    return CliRunner().invoke(app, [*arguments, *words])


def test_what_a_bundle_leaves_out_is_said_once_and_is_no_difference(
    unpacked: RunStore, cuhk_root: Path
) -> None:
    done = invoked(unpacked, cuhk_root, "--cells", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1].strip() == "reproduced"
    assert "differs" not in done.stdout
    assert "is gone" not in done.stdout
    (said,) = [line.strip() for line in done.stdout.splitlines() if "not in the bundle" in line]
    assert said == (
        "not in the bundle: not compared: models of 2 cells; i2t records on cuhk-pedes; "
        "similarities of the images found (top_score)"
    )
    said = "36 records of queries (1 target, 1 direction, 3 selections) compared"
    assert said in done.stdout  # 12 captions under three selections


def test_what_a_bundle_must_have_and_lacks_is_a_difference(unpacked: RunStore, cuhk_root: Path) -> None:
    run = unpacked.cells()[0]
    (run.directory / "history.jsonl").unlink()
    run.records_path("cuhk-pedes", "val", "t2i").unlink()
    done = invoked(unpacked, cuhk_root, "--cells", "0")
    assert done.exit_code == 4
    assert f"{run.name}: history.jsonl is gone" in done.stdout
    assert f"{run.name}: records/cuhk-pedes.val.t2i.parquet is gone" in done.stdout


def test_models_are_compared_where_the_bundle_has_them(
    finished: Path, cuhk_root: Path, tmp_path: Path
) -> None:
    path = write_bundle([finished], tmp_path / "whole.zip", weights=True).path
    folder, _ = unpack_beside(path)
    store = RunStore(bundled_runs(folder)[0])
    whole = verify([store.directory], light_machine(cuhk_root), cells=1)[0]
    assert (whole.verdict, whole.models_left_out) == ("reproduced", 0)
    run = store.cells()[0]
    run.model_path("val").unlink()
    (found,) = verify([store.directory], light_machine(cuhk_root), cells=0)[0].differences
    assert found == f"{run.name}: model-val.safetensors is gone"


def test_a_model_that_is_gone_from_a_run_is_not_called_another_one(
    finished: Path, cuhk_root: Path, tmp_path: Path
) -> None:
    store = RunStore(shutil.copytree(finished, tmp_path / "out"))
    for run in store.cells():
        run.model_path("val").unlink()
    found = verify([store.directory], light_machine(cuhk_root), cells=1)[0].differences
    assert found == [f"{run.name}: model-val.safetensors is gone" for run in store.cells()]


def test_evaluating_models_that_a_bundle_left_out_is_refused_with_what_to_do(
    unpacked: RunStore, cuhk_root: Path
) -> None:
    done = invoked(unpacked, cuhk_root, "--evaluate-only")
    assert done.exit_code == 2
    assert "the bundle was written without models" in done.stderr
    assert "leave out --evaluate-only" in done.stderr


@pytest.mark.parametrize("words", [["--cell", "{0}", "--cell", "{1}"], ["--cell", "{0},{1}"]])
def test_the_named_cells_are_run_again_and_no_other(
    unpacked: RunStore, cuhk_root: Path, words: list[str]
) -> None:
    starts = [f"cuhk-pedes.light.{seed}" for seed in (0, 1)]
    done = invoked(unpacked, cuhk_root, "--json", *(word.format(*starts) for word in words))
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout).values()
    assert [each["cell"] for each in found["cells"]] == [run.name for run in unpacked.cells()]


def test_a_cell_is_named_by_its_folder_and_one_more_is_drawn_beside_it(
    unpacked: RunStore, cuhk_root: Path
) -> None:
    second = unpacked.cells()[1]
    done = invoked(unpacked, cuhk_root, "--json", "--cell", str(second.directory))
    (found,) = json.loads(done.stdout).values()
    assert [each["cell"] for each in found["cells"]] == [second.name]
    done = invoked(unpacked, cuhk_root, "--json", "--cell", second.name, "--cells", "1")
    (found,) = json.loads(done.stdout).values()
    assert [each["cell"] for each in found["cells"]] == [second.name, unpacked.cells()[0].name]


@pytest.mark.parametrize(("name", "said"), [("uit.0", "no finished cell"), ("cuhk", "2 finished cells")])
def test_a_name_of_no_cell_or_of_several_is_refused(
    unpacked: RunStore, cuhk_root: Path, name: str, said: str
) -> None:
    done = invoked(unpacked, cuhk_root, "--cell", name)
    assert done.exit_code == 2
    assert f"--cell {name}: {said}" in done.stderr


@pytest.mark.parametrize("words", [["--cells", "1"], ["--cell", "x"], ["--evaluate-only"]])
def test_asking_an_archive_to_run_cells_is_refused_with_what_to_type(
    evidence: Path, words: list[str]
) -> None:
    done = CliRunner().invoke(app, ["verify", str(evidence), *words])
    assert done.exit_code == 2
    assert f"`report {evidence}`" in done.stderr
    assert "light-bundle" in done.stderr


def test_the_bundle_says_how_a_cell_is_trained_again_and_its_commands_are_the_ones(
    evidence: Path, unpacked: RunStore, cuhk_root: Path
) -> None:
    with zipfile.ZipFile(evidence) as archive:
        readme = archive.read("README.md").decode()
    assert "pip install --no-deps ." in readme
    assert "tipr-harness" not in readme
    assert "python -m harness verify light-bundle/light --cells 1" in readme


def test_training_again_without_the_full_installation_is_refused_in_a_sentence(unpacked: RunStore) -> None:
    done = without_torch.run("verify", unpacked.directory, "--cells", "1")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (said,) = done.stderr.strip().splitlines()
    assert "needs the full installation" in said
    assert "pip install -c constraints.txt -e ." in said


def test_the_page_of_an_unpacked_bundle_does_not_miss_what_was_left_out(unpacked: RunStore) -> None:
    page = build([unpacked.directory]).path.read_text("utf-8")
    assert "is gone" not in page
    assert "makes it again" not in page


def test_a_damaged_manifest_hides_no_missing_model(unpacked: RunStore, cuhk_root: Path) -> None:
    names = [f"{unpacked.directory.name}/cells/{run.name}/model-val.safetensors" for run in unpacked.cells()]
    atomic_json(unpacked.directory.parent / "manifest.json", dict.fromkeys(names, ""))
    done = invoked(unpacked, cuhk_root, "--cells", "0")
    assert done.stdout.count("model-val.safetensors is gone") == 2


def test_images_found_that_a_bundle_leaves_out_are_said_and_the_others_compared(
    finished: Path, tmp_path: Path, cuhk_root: Path
) -> None:
    small = tmp_path / "light"
    copy_evidence(finished, small)
    leave_out_pictures(RunStore(small))
    folder, _ = unpack_beside(write_bundle([small]).path)
    done = invoked(RunStore(bundled_runs(folder)[0]), cuhk_root, "--cells", "1")
    assert done.exit_code == 0, done.output
    assert "images found (top); similarities of the images found (top_score)" in done.stdout
