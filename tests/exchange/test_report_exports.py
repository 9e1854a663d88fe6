"""`report --export`: other tools read the page's numbers with their own readers."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import stores
import yaml
from factories import draw_person
from own_registry import without_plugins
from score_data import write_npz
from typer.testing import CliRunner, Result

from harness import registry
from harness.cli.verbs import app
from harness.exchange import report_exports
from harness.store.runs import RunStore
from reports.assemble import build
from reports.outcomes import outcomes

METHODS = ("uit", "weak")
DATASETS = ("rendered-plaza", "rendered-campus")
SCORES = ("R1", "R5", "R10", "mAP", "mINP")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "planted"
    truth = stores.Truth(
        r1={"uit": 60, "weak": 45},
        people=60,
        datasets=DATASETS,
        transfer=True,
        data_notes=("one odd caption",),
    )
    stores.write(folder, truth)
    return folder


def exported(run: Path, name: str) -> Path:
    done = invoke("report", run, "--export", name)
    assert done.exit_code == 0, done.output
    assert f"{name}: {run / 'report' / name}" in done.stdout
    return run / "report" / name


def verdicts(run: Path) -> dict[tuple[str, str, str, str, str], dict[str, str]]:
    """The rows of `verdicts.csv` by dataset, target, method, metric and scope."""
    names = ("dataset", "target", "one", "metric", "scope")
    with (run / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        return {tuple(row[name] for name in names): row for row in csv.DictReader(file)}  # type: ignore[misc]


def results(run: Path) -> dict[tuple[str, str, str, int], dict[str, float]]:
    """The quoted scores of `results.csv` by method, dataset, target and seed."""
    with (run / "results.csv").open(encoding="utf-8", newline="") as file:
        return {
            (row["method"], row["dataset"], row["target"], int(row["seed"])): {
                n: float(row[n]) for n in SCORES
            }
            for row in csv.DictReader(file)
            if row["direction"] == "t2i" and row["selection"] == "val"
        }


def test_tensorboard_reads_the_validation_curve_of_every_cell(run: Path) -> None:
    reason = "pip install 'tipr-harness[tensorboard]'"
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason=reason
    ).EventAccumulator
    folder = exported(run, "tensorboard")
    cells = RunStore(run).cells()
    assert {path.name for path in folder.iterdir()} == {cell.name for cell in cells}
    for cell in cells:
        events = reader(str(folder / cell.name)).Reload()
        assert set(events.Tags()["scalars"]) == {"val/R1", "val/mAP", "loss/sdm", "loss/id", "lr"}
        for tag, part, name in (("val/R1", "val", "R1"), ("loss/id", "losses", "id")):
            read = [(event.step, event.value) for event in events.Scalars(tag)]
            assert read == [(line["epoch"], float(np.float32(line[part][name]))) for line in cell.history]


def test_mlflow_reads_mean_interval_and_verdict_of_every_method_and_dataset_and_a_child_for_each_seed(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow", reason="pip install 'tipr-harness[mlflow]'")
    exported(run, "mlflow")
    folder = exported(run, "mlflow")  # again: it replaces the first
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = mlflow.MlflowClient(folder.as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'planted'")
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = {
        (one.data.params["method"], one.data.params["dataset"]): one
        for one in found
        if "mlflow.parentRunId" not in one.data.tags
    }
    assert set(parents) == {(method, dataset) for method in METHODS for dataset in DATASETS}
    scores = results(run)
    assert len(found) == len(parents) + 3 * len(parents)
    for one in found:
        if (parent := one.data.tags.get("mlflow.parentRunId")) is None:
            continue
        method, dataset = one.data.params["method"], one.data.params["dataset"]
        assert parents[method, dataset].info.run_id == parent
        for target in DATASETS:
            prefix = "" if target == dataset else f"{target}/"
            read = {metric: round(one.data.metrics[f"{prefix}{metric}"], 4) for metric in SCORES}
            assert read == scores[method, dataset, target, int(one.data.params["seed"])]
    context = build([run]).context
    assert context is not None
    for (dataset, target, method, metric, scope), row in verdicts(run).items():
        data = parents[method, dataset].data
        start = "" if target == dataset else f"{target}/"
        end = "" if scope == "people" else "_benchmark"
        for ours, column in (("difference", "value"), ("low", "low"), ("high", "high"), ("p", "p_holm")):
            assert f"{data.metrics[f'{start}{metric}_{ours}{end}']:.10g}" == row[column]
        assert data.tags[f"{start}{metric}_verdict{end}"] == row["verdict"]
        assert "one odd caption" in data.tags[f"{start}data_notes"]
    for group in context.same_dataset:
        for method in METHODS:
            data = parents[method, group.evaluation.source].data
            assert data.metrics["R1"] == float(np.sum(group.means(method, "R1")) / 3)


def test_the_hub_reads_scores_from_the_card_and_from_eval_results(run: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="pip install huggingface_hub")
    folder = exported(run, "hub")
    context = build([run]).context
    assert context is not None
    by_name = {outcome.name: outcome for outcome in outcomes(context)}
    assert {path.name for path in folder.iterdir()} == set(by_name)
    assert len(by_name) == len(METHODS) * len(DATASETS)
    for name, outcome in by_name.items():
        card = hub.ModelCard.load(folder / name / "README.md")
        from_card = {
            (item.dataset_name, item.metric_type): item.metric_value for item in card.data.eval_results
        }
        for of in outcome.targets:
            entries = hub.parse_eval_result_entries(
                yaml.safe_load((folder / name / ".eval_results" / f"{of.target}.yaml").read_text())
            )
            assert {entry.task_id: entry.value for entry in entries} == of.means
            assert {metric: from_card[of.target, metric] for metric in SCORES} == of.means
            assert all("one odd caption" in entry.notes for entry in entries)
        assert ("worse (" in card.text) == (outcome.method == "weak")
        assert f"# {outcome.method} on {outcome.dataset}" in card.text
        assert f"* Trained on: {outcome.dataset}\n" in card.text


# -- Croissant ------------------------------------------------------------------------------------


def validate(path: Path) -> None:
    pytest.importorskip("mlcroissant", reason="pip install mlcroissant")
    program = [str(Path(sys.executable).with_name("mlcroissant")), "validate", "--jsonld", str(path)]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr


def imported(folder: Path, dataset: str, *options: object) -> Path:
    """A run with one imported result on a dataset that is here."""
    from harness.data.datasets import load_dataset
    from harness.exchange.targets import target_of

    target = target_of(load_dataset(dataset, None))
    rng = np.random.default_rng(0)
    shape = len(target.query_person), len(target.gallery_person)
    np.savez(folder / "scores.npz", similarity=rng.normal(size=shape).astype(np.float32))
    common = ("--method", "theirs", "--dataset", dataset, "--seed", 0, "--into", folder / "run", *options)
    done = invoke("import", folder / "scores.npz", *common)
    assert done.exit_code == 0, done.output
    return folder / "run"


def test_croissant_of_a_rendered_dataset_is_valid_and_has_every_caption(tmp_path: Path) -> None:
    from harness.data.datasets import load_dataset

    folder = exported(imported(tmp_path, "rendered-plaza"), "croissant") / "rendered-plaza"
    validate(folder / "croissant.json")
    described = json.loads((folder / "croissant.json").read_text())
    assert described["license"] == "CC0-1.0"
    dataset = load_dataset("rendered-plaza", None)
    assert described["identifier"] == f"sha256:{dataset.fingerprint}"
    mlcroissant = pytest.importorskip("mlcroissant", reason="pip install mlcroissant")
    rows = list(mlcroissant.Dataset(jsonld=folder / "croissant.json").records("records"))
    for name, split in dataset.splits.items():
        ours = [
            (split.persons[split.image_person[image]], split.image_paths[image], caption)
            for caption, image in zip(split.captions, split.caption_image, strict=True)
        ]
        read = [
            tuple(row[f"records/{key}"].decode() for key in ("person", "image", "caption"))
            for row in rows
            if row["records/split"].decode() == name
        ]
        assert read == [(person, p.relative_to(dataset.root).as_posix(), text) for person, p, text in ours]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's dataset: pictures, a CSV, a dataset file with a licence; its folder."""
    without_plugins(monkeypatch)
    folder = tmp_path / "lab"
    lines = ["picture,who,split,text"]
    for person in range(6):
        for view in range(2):
            draw_person(folder / "pictures" / f"{person}_{view}.png", person, view)
            split = "train" if person < 3 else "test"
            lines.append(f'pictures/{person}_{view}.png,p{person},{split},"He said ""hello"", view {view}"')
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    (folder / "lab.dataset.yaml").write_text(
        "name: lab\nimages: .\nannotations: rows.csv\nlicence: for research only\n"
        "columns: {image: picture, person: who, captions: text, split: split}\n"
    )
    return folder


def test_croissant_of_a_users_dataset_is_valid_and_names_its_licence_and_images(lab: Path) -> None:
    file = lab / "lab.dataset.yaml"
    registry.load_plugins([file])
    run = imported(lab.parent, "lab", "--dataset-file", file)
    folder = exported(run, "croissant") / "lab"
    validate(folder / "croissant.json")
    described = json.loads((folder / "croissant.json").read_text())
    assert described["license"] == "for research only"
    assert described["distribution"][1]["includes"] == ["pictures/**/*.png"]
    for name in ("croissant.json", "records.csv"):
        shutil.copy(folder / name, lab / name)
    validate(lab / "croissant.json")
    with (lab / "records.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 12
    assert all((lab / row["image"]).is_file() for row in rows)
    assert rows[0]["caption"] == 'He said "hello", view 0'


def test_croissant_never_describes_data_that_the_results_do_not_belong_to(lab: Path) -> None:
    file = lab / "lab.dataset.yaml"
    registry.load_plugins([file])
    run = imported(lab.parent, "lab", "--dataset-file", file)
    text = (lab / "rows.csv").read_text()
    (lab / "rows.csv").write_text(text.replace("view 1", "view one"))
    done = invoke("report", run, "--export", "croissant", "--dataset-file", file)
    assert done.exit_code == 2, done.output
    assert "lab: the files that are here are not those that the results belong to" in done.stderr
    assert not (run / "report" / "croissant").exists()


# -- refusals -------------------------------------------------------------------------------------


def test_every_unknown_export_is_named_with_the_nearest_and_nothing_is_written(tmp_path: Path) -> None:
    stores.write(tmp_path / "one", stores.Truth(r1={"uit": 60}, seeds=1, people=20))
    done = invoke("report", tmp_path / "one", "--export", "tensorbord,hub,excel")
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert lines[0] == "--export: 'tensorbord' is unknown; did you mean 'tensorboard'?"
    assert lines[1] == "--export: 'excel' is unknown; there are tensorboard, mlflow, hub, croissant"
    assert not (tmp_path / "one" / "report.html").exists()


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_extra_is_said_in_one_line_with_its_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stores.write(tmp_path / "one", stores.Truth(r1={"uit": 60}, seeds=1, people=20))
    monkeypatch.setattr(report_exports.importlib.util, "find_spec", lambda package: None)
    done = invoke("report", tmp_path / "one", "--export", f"{name},hub")
    assert done.exit_code == 2
    expected = f"--export {name}: {name} is not installed: pip install 'tipr-harness[{name}]'"
    assert done.stderr.splitlines() == [expected]
    assert not (tmp_path / "one" / "report.html").exists()


def test_a_report_without_exports_imports_none_of_these_packages(tmp_path: Path) -> None:
    stores.write(tmp_path / "one", stores.Truth(r1={"uit": 60}, seeds=1, people=20))
    program = (
        "import sys; from harness.cli.verbs import app; from typer.testing import CliRunner\n"
        f"done = CliRunner().invoke(app, ['report', {str(tmp_path / 'one')!r}])\n"
        "assert done.exit_code == 0, done.output\n"
        "print({'tensorboard', 'mlflow', 'mlcroissant', 'huggingface_hub', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_hub_export_of_imported_results_says_what_is_not_known(tmp_path: Path) -> None:
    files = [write_npz(tmp_path / f"{name}.npz", 1, noise) for name, noise in (("a", 0.5), ("b", 3.0))]
    assert invoke("compare", *files, "--out", tmp_path / "run").exit_code == 0
    card = (exported(tmp_path / "run", "hub") / "scores.b" / "README.md").read_text()
    assert "* Trained on: not known, trained by other code" in card
    assert "* The epoch was chosen: not known, trained elsewhere" in card
