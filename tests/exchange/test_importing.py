"""Results of other code enter by `import`: judged by our protocol, checked, marked, or refused."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from light_runs import PLUGIN, RECIPE, light_machine, light_study, run_light
from safetensors.numpy import save_file
from score_data import GALLERY, QUERY, arrays, write_npz
from typer.testing import CliRunner, Result

from harness import registry
from harness.cli.verbs import app
from harness.launch.context import Context
from harness.store.runs import RunStore
from reports.assemble import build


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def imported(
    file: Path, into: Path, *more: object, method: str = "theirs", seed: int = 0, dataset: str = "their-lab"
) -> Result:
    options = ("--method", method, "--dataset", dataset, "--seed", seed, "--into", into)
    return invoke("import", file, *options, *more)


@pytest.fixture(scope="module")
def run(cuhk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the light method, two seeds."""
    folder = tmp_path_factory.mktemp("run")
    return run_light(light_study(folder), folder / "out", Context(light_machine(cuhk_root))).directory


@pytest.fixture(scope="module")
def exported(run: Path, cuhk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with features, run file and qrels of the run's first model."""
    folder = tmp_path_factory.mktemp("exported")
    cell = RunStore(run).cells()[0].directory
    common = ("--dataset", "cuhk-pedes", "--data-root", cuhk_root, "--device", "cpu", "--plugin", PLUGIN)
    for out, option in ((folder / "features.npz", "--features"), (folder / "trec", "--trec")):
        done = invoke("export", cell, out, option, *common)
        assert done.exit_code == 0, done.output
    return folder


def into_copy(
    run: Path, tmp_path: Path, data_root: Path | None, *arguments: object
) -> tuple[Result, RunStore]:
    shutil.copytree(run, tmp_path / "run")
    root = ("--data-root", data_root) if data_root else ("--data-root", tmp_path / "nothing")
    done = invoke(
        *("import", *arguments, "--method", "again", "--dataset", "cuhk-pedes", "--seed", 0),
        *("--into", tmp_path / "run", *root),
    )
    return done, RunStore(tmp_path / "run")


def records(store: RunStore, method: str, selection: str, direction: str) -> pd.DataFrame:
    (found,) = [cell for cell in store.cells() if cell.cell.method == method and cell.cell.seed == 0]
    return found.records("cuhk-pedes", selection, direction)


@pytest.mark.parametrize("at_hand", [True, False])
def test_features_of_a_model_exported_and_imported_again_give_every_record_again(
    run: Path, exported: Path, cuhk_root: Path, tmp_path: Path, at_hand: bool
) -> None:
    done, store = into_copy(run, tmp_path, cuhk_root if at_hand else None, exported / "features.npz")
    assert done.exit_code == 0, done.output
    for direction in ("t2i", "i2t"):
        ours, theirs = (records(store, *key, direction) for key in (("light", "val"), ("again", "unknown")))
        pd.testing.assert_frame_equal(ours, theirs)
    rows = pd.read_csv(store.directory / "results.csv").query("seed == 0")
    scores = ["R1", "R5", "R10", "mAP", "mINP", "queries", "gallery"]
    first, second = (
        rows.query(f"method == '{name}' and selection == '{selection}'")[scores].to_numpy()
        for name, selection in (("light", "val"), ("again", "unknown"))
    )
    np.testing.assert_array_equal(first, second)


def test_a_trec_run_exported_and_imported_again_gives_every_record_again(
    run: Path, exported: Path, cuhk_root: Path, tmp_path: Path
) -> None:
    trec = exported / "trec"
    done, store = into_copy(run, tmp_path, cuhk_root, trec / "run.trec", "--qrels", trec / "qrels.txt")
    assert done.exit_code == 0, done.output
    ours, theirs = records(store, "light", "val", "t2i"), records(store, "again", "unknown", "t2i")
    pd.testing.assert_frame_equal(ours, theirs)


def test_a_model_of_a_study_on_a_subset_is_exported_on_that_subset_in_its_own_precision(
    cuhk_root: Path, tmp_path: Path
) -> None:
    train = {**RECIPE, "precision": "bf16"}
    study = light_study(tmp_path / "study", seeds=1, subset=2, train=train)
    run = run_light(study, tmp_path / "few", Context(light_machine(cuhk_root))).directory
    cell, file = RunStore(run).cells()[0].directory, tmp_path / "features.npz"
    common = ("--dataset", "cuhk-pedes", "--data-root", cuhk_root, "--device", "cpu", "--plugin", PLUGIN)
    done = invoke("export", cell, file, "--features", "--subset", 2, *common)
    assert done.exit_code == 0, done.output
    done, store = into_copy(run, tmp_path, cuhk_root, file)
    assert done.exit_code == 0, done.output
    ours, theirs = records(store, "light", "val", "t2i"), records(store, "again", "unknown", "t2i")
    pd.testing.assert_frame_equal(ours, theirs)
    assert ours["person_id"].nunique() == 2
    assert {cell.cell.subset for cell in store.cells()} == {2}


@pytest.mark.parametrize(("preset", "recipe"), [("clean", "own"), ("released", "shared")])
def test_an_imported_method_stands_under_the_protocol_of_the_study_it_joins(
    tmp_path: Path, preset: str, recipe: str
) -> None:
    """Under another, it would be compared with none of the study's methods."""
    folder = tmp_path / "run"
    folder.mkdir()
    study = {"name": "joined", "methods": ["uit"], "datasets": ["their-lab"], "seeds": [0]}
    (folder / "study.yaml").write_text(yaml.safe_dump({**study, "preset": preset, "recipe": recipe}))
    done = imported(write_npz(tmp_path / "theirs.npz"), folder)
    assert done.exit_code == 0, done.output
    (cell,) = (run.cell for run in RunStore(folder).cells())
    assert (cell.preset, cell.recipe) == (preset, recipe)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dataset", "cuhk-pedes"], "--dataset: only with --trec or --features"),
        (["--subset", 2], "--subset: only with --trec or --features"),
        (["--features", "--dataset", "cuhk-pedes", "--depth", 3], "--depth: only with --trec"),
        (["--features"], "--dataset NAME is needed"),
        (["--features", "--trec", "--dataset", "cuhk-pedes"], "give one of them"),
    ],
)
def test_an_option_that_an_export_would_ignore_is_refused(
    tmp_path: Path, options: list[object], said: str
) -> None:
    done = invoke("export", tmp_path / "model.pth", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "out").exists()


def test_other_tools_of_retrieval_read_what_export_writes(run: Path, exported: Path) -> None:
    ir_measures = pytest.importorskip("ir_measures", reason="pip install ir-measures")
    qrels = list(ir_measures.read_trec_qrels(str(exported / "trec" / "qrels.txt")))
    ranking = list(ir_measures.read_trec_run(str(exported / "trec" / "run.trec")))
    found = ir_measures.calc_aggregate([ir_measures.AP, ir_measures.RR], qrels, ranking)
    frame = RunStore(run).cells()[0].records("cuhk-pedes", "val", "t2i")
    assert found[ir_measures.AP] == pytest.approx(frame["ap"].mean())
    assert found[ir_measures.RR] == pytest.approx((1 / frame["rank"].astype(float)).mean())


def test_a_run_file_ranks_every_item_once_with_scores_that_fall(run: Path, exported: Path) -> None:
    columns = ["query", "q0", "item", "rank", "score", "tag"]
    frame = pd.read_csv(exported / "trec" / "run.trec", sep=" ", names=columns)
    for _, ranking in frame.groupby("query"):
        assert ranking["rank"].tolist() == list(range(1, len(ranking) + 1))
        assert (np.diff(ranking["score"]) < 0).all()
        assert ranking["item"].is_unique
    expected = RunStore(run).cells()[0].records("cuhk-pedes", "val", "t2i")
    qrels = pd.read_csv(exported / "trec" / "qrels.txt", sep=" ", names=["query", "zero", "item", "grade"])
    hits = (
        frame.merge(qrels.query("grade > 0"), on=["query", "item"]).groupby("query", sort=False)["rank"].min()
    )
    order = frame["query"].drop_duplicates()
    assert hits.reindex(order).tolist() == expected["rank"].tolist()


def test_an_imported_method_is_marked_and_judged_like_any_other(tmp_path: Path) -> None:
    for method, noise in (("good", 0.8), ("bad", 2.0)):
        for seed in range(3):
            file = write_npz(tmp_path / f"{method}{seed}.npz", seed, noise)
            assert imported(file, tmp_path / "run", method=method, seed=seed).exit_code == 0
    made = build([tmp_path / "run"])
    page = made.path.read_text("utf-8")
    assert "trained elsewhere" in page
    assert "how the epoch was chosen, what the model was trained on" in page
    assert "Trained elsewhere: good and bad" in made.table_text
    verdicts = pd.read_csv(tmp_path / "run" / "verdicts.csv")
    (row,) = verdicts.query("metric == 'R1' and scope == 'people'").to_dict("records")
    assert (row["one"], row["other"], row["verdict"]) == ("bad", "good", "worse")
    assert "Every epoch was chosen on validation, but for good and bad, trained elsewhere" in page


def as_similarity() -> np.ndarray:
    given = arrays()
    return given["text_features"] @ given["image_features"].T


def written(folder: Path, kind: str) -> Path:
    plain = {name: np.asarray(value) for name, value in arrays().items()}
    path = folder / f"scores.{kind.split('-')[0]}"
    if kind == "safetensors":
        save_file(plain, path)
    elif kind == "pt":
        torch.save({name: torch.from_numpy(value) for name, value in plain.items()}, path)
    elif kind == "npz-texts":
        names = [f"person {number}" for number in range(40)]
        labels = {"query_persons": np.array(names)[QUERY], "gallery_persons": np.array(names)[GALLERY]}
        np.savez_compressed(path, **{**plain, **labels})
    else:
        np.savez(path, **plain)
    return path


@pytest.mark.parametrize("kind", ["safetensors", "pt", "npz-texts"])
def test_every_format_gives_the_same_records(tmp_path: Path, kind: str) -> None:
    frames = []
    for number, name in enumerate(("npz", kind)):
        (tmp_path / str(number)).mkdir()
        done = imported(written(tmp_path / str(number), name), tmp_path / f"run{number}")
        assert done.exit_code == 0, done.output
        (cell,) = RunStore(tmp_path / f"run{number}").cells()
        frames.append(cell.records("their-lab", "unknown", "t2i").drop(columns="person_id"))
    pd.testing.assert_frame_equal(*frames)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"query_persons": None}, "query_persons is missing beside gallery_persons"),
        ({"query_person": QUERY}, "unknown key 'query_person': did you mean 'query_persons'?"),
        ({"image_features": None}, "image_features is missing beside text_features"),
        ({"similarity": as_similarity()}, "text_features: beside similarity it is ambiguous"),
        ({"query_persons": QUERY[:-1]}, "query_persons: has 119 entries, and there are 120 queries"),
        ({"query_persons": QUERY.astype(float)}, "query_persons: must be a list of whole numbers or texts"),
        ({"gallery_ids": np.zeros(80, dtype=int)}, "gallery_ids: ids repeat: '0'"),
        ({"text_features": np.zeros(120)}, "text_features: must be a matrix"),
        ({"image_features": np.zeros((80, 9))}, "text_features are 16 wide and image_features 9"),
        (
            {"text_features": np.full((120, 16), np.nan)},
            "text_features: 1,920 values are NaN or infinite, the first in row 0",
        ),
        (
            {"text_features": None, "image_features": None, "similarity": as_similarity().T},
            "similarity is transposed: it is 80 × 120",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_by_key_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    file = write_npz(tmp_path / "scores.npz", **changes)
    done = imported(file, tmp_path / "run")
    assert done.exit_code == 2, done.output
    assert f"{file}: {said}" in done.stderr
    assert not (tmp_path / "run").exists()


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "scores.npz", query_person=QUERY, gallery_ids=np.zeros(80, dtype=int))
    done = imported(file, tmp_path / "run")
    assert len(done.stderr.strip().splitlines()) == 2, done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("cuhk-pedse", "cuhk-pedes"),
        ("CUHK_PEDES", "cuhk-pedes"),
        ("cuhk", "cuhk-pedes"),
        ("rstpried", "rstpreid"),
        ("icfg-pedes+cuhk-pedes", "icfg-pedes"),
        ("rendered-plazza", "rendered-plaza"),
    ],
)
def test_a_dataset_that_was_probably_mistyped_is_refused_with_the_name_that_was_meant(
    tmp_path: Path, typed: str, meant: str
) -> None:
    file = write_npz(tmp_path / "scores.npz")
    done = imported(file, tmp_path / "run", dataset=typed)
    assert done.exit_code == 2, done.output
    assert f"--dataset: '{typed}' is not registered: did you mean '{meant}'?" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["cuhk03", "night-pedestrians", "lab.v2", "x"])
def test_a_dataset_of_an_unlike_name_is_accepted_and_said_to_be_unknown(tmp_path: Path, name: str) -> None:
    done = imported(write_npz(tmp_path / "scores.npz"), tmp_path / "run", dataset=name)
    assert done.exit_code == 0, done.output
    assert f"not checked against the dataset: no dataset called '{name}' is registered" in done.stdout


def test_a_name_that_the_run_has_records_of_is_accepted_however_like_a_registered_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_npz(tmp_path / "scores.npz")
    with monkeypatch.context() as patch:
        patch.setattr(registry, "mistyped", lambda name, known: None)
        assert imported(file, tmp_path / "run", dataset="cuhk-pedes-2").exit_code == 0
    again = write_npz(tmp_path / "again.npz", 1)
    assert imported(again, tmp_path / "run", dataset="cuhk-pedes-2", seed=1).exit_code == 0


class Evil:
    """What runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("kind", ["npz", "pt"])
def test_code_inside_a_file_is_refused_and_never_run(tmp_path: Path, kind: str) -> None:
    trap, file = tmp_path / "trap", tmp_path / f"scores.{kind}"
    if kind == "npz":
        write_npz(file, query_persons=np.array([Evil(trap)] * 120, dtype=object))
    else:
        file.write_bytes(pickle.dumps({"similarity": Evil(trap)}))
    done = imported(file, tmp_path / "run")
    assert done.exit_code == 2, done.output
    assert "only running its code could read" in done.stderr
    assert not trap.exists()


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
@pytest.mark.parametrize("kind", ["npz", "safetensors", "pt"])
def test_a_damaged_file_is_refused_in_a_line(tmp_path: Path, kind: str, damage: str) -> None:
    file = written(tmp_path, kind)
    whole = file.read_bytes()
    file.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no numbers here", "empty": b""}[damage])
    done = imported(file, tmp_path / "run")
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith(f"{file}: ")


def test_rows_of_other_people_than_the_datasets_are_refused(
    run: Path, exported: Path, cuhk_root: Path, tmp_path: Path
) -> None:
    given = dict(np.load(exported / "features.npz"))
    given.pop("query_ids")
    given["query_persons"] = np.roll(given["query_persons"], 1)
    np.savez(tmp_path / "wrong.npz", **given)
    done, store = into_copy(run, tmp_path, cuhk_root, tmp_path / "wrong.npz")
    assert done.exit_code == 2, done.output
    assert "query_persons:" in done.stderr
    assert "in the order of the annotation, or query_ids name them" in done.stderr
    assert len(store.cells()) == 2


def test_rows_in_any_order_are_put_right_by_their_ids(
    run: Path, exported: Path, cuhk_root: Path, tmp_path: Path
) -> None:
    given = dict(np.load(exported / "features.npz"))
    sides = {
        "query_ids": ("text_features", "query_persons", "query_ids"),
        "gallery_ids": ("image_features", "gallery_persons", "gallery_ids"),
    }
    shuffled = {}
    for ids, names in sides.items():
        order = np.random.default_rng(0).permutation(len(given[ids]))
        shuffled |= {name: given[name][order] for name in names}
    np.savez(tmp_path / "shuffled.npz", **{**given, **shuffled})
    done, store = into_copy(run, tmp_path, cuhk_root, tmp_path / "shuffled.npz")
    assert done.exit_code == 0, done.output
    ours, theirs = records(store, "light", "val", "t2i"), records(store, "again", "unknown", "t2i")
    pd.testing.assert_frame_equal(ours, theirs)


def test_an_id_that_the_dataset_lacks_is_named_with_the_nearest(
    run: Path, exported: Path, cuhk_root: Path, tmp_path: Path
) -> None:
    given = dict(np.load(exported / "features.npz"))
    known = str(given["gallery_ids"][0])
    given["gallery_ids"] = np.array([f"{known}x", *given["gallery_ids"][1:].tolist()])
    np.savez(tmp_path / "wrong.npz", **given)
    done, _ = into_copy(run, tmp_path, cuhk_root, tmp_path / "wrong.npz")
    assert done.exit_code == 2, done.output
    assert f"gallery_ids: '{known}x' is not in the test split; did you mean '{known}'?" in done.stderr


@pytest.mark.parametrize("by_data", [True, False])
def test_exchanged_sides_are_recognised_by_the_datasets_people(
    run: Path, exported: Path, cuhk_root: Path, tmp_path: Path, by_data: bool
) -> None:
    given = dict(np.load(exported / "features.npz"))
    swapped = {
        "text_features": given["image_features"],
        "image_features": given["text_features"],
        "query_persons": given["gallery_persons"],
        "gallery_persons": given["query_persons"],
    }
    np.savez(tmp_path / "swapped.npz", **swapped)
    done, _ = into_copy(run, tmp_path, cuhk_root if by_data else None, tmp_path / "swapped.npz")
    assert done.exit_code == 2, done.output
    assert "its two sides are exchanged" in done.stderr


def trec(folder: Path, run: str, qrels: str) -> tuple[Path, Path]:
    (folder / "theirs.run").write_text(run)
    with gzip.open(folder / "qrels.gz", "wt") as file:
        file.write(qrels)
    return folder / "theirs.run", folder / "qrels.gz"


QRELS = "q1 0 a 1\nq1 0 b 1\nq2 0 c 1\nq2 0 a 0\n"
RUN = "q1 Q0 b 1 .9 x\nq1 Q0 c 2 .5 x\nq1 Q0 a 3 .4 x\nq2 Q0 c 1 3 x\nq2 Q0 a 2 2 x\nq2 Q0 b 3 1 x\n"


def test_a_run_file_alone_is_judged_by_the_people_of_its_qrels(tmp_path: Path) -> None:
    run, qrels = trec(tmp_path, RUN, QRELS)
    done = imported(run, tmp_path / "run", "--qrels", qrels, "--json")
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)["scores"]
    assert scores.keys() == {"t2i"}
    assert scores["t2i"]["R1"] == 100
    assert scores["t2i"]["mAP"] == pytest.approx(100 * np.mean([(1 + 2 / 3) / 2, 1]))


@pytest.mark.parametrize(
    ("run", "qrels", "said"),
    [
        (RUN + "q3 Q0 a 1 1 x\n", QRELS, "query 'q3' is not in"),
        (RUN.replace("c 2", "cc 2"), QRELS, "document 'cc' is not in"),
        (RUN + "q2 Q0 c 4 .1 x\n", QRELS, "query q2: document c is ranked more than once"),
        (RUN.replace("q1 Q0 a 3 .4 x\n", ""), QRELS, "its relevant document 'a' is not ranked"),
        (RUN.replace(".9", "high"), QRELS, "rank and score must be numbers"),
        (RUN.replace(".9 x", ".9"), QRELS, "not a line of a TREC run: 5 fields, not 6"),
        (RUN, QRELS + "q2 0 b 1\n", "relevance must be: shows the same person"),
        (RUN, QRELS.replace("c 1", "c yes"), "relevance must be a whole number"),
        ("", QRELS, "holds no ranking"),
    ],
)
def test_a_run_file_that_does_not_fit_its_qrels_is_refused(
    tmp_path: Path, run: str, qrels: str, said: str
) -> None:
    done = imported(*trec(tmp_path, run, qrels)[:1], tmp_path / "run", "--qrels", tmp_path / "qrels.gz")
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_trained_here_is_never_replaced_by_an_import(
    run: Path, exported: Path, cuhk_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    file = exported / "features.npz"
    options = ("--method", "light", "--dataset", "cuhk-pedes", "--seed", 0, "--into", tmp_path / "run")
    done = invoke("import", file, *options, "--data-root", cuhk_root)
    assert done.exit_code == 2, done.output
    assert "has light on cuhk-pedes with seed 0 already, trained here" in done.stderr


def test_names_that_no_folder_can_have_are_refused_together(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "scores.npz")
    options = ("--method", "../up", "--dataset", "a b", "--seed", -1, "--into", tmp_path / "run")
    done = invoke("import", file, *options)
    assert done.exit_code == 2, done.output
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["--method", "--dataset", "--seed"]


def test_verify_and_why_say_that_an_import_cannot_be_run_again(tmp_path: Path) -> None:
    done = imported(write_npz(tmp_path / "scores.npz"), tmp_path / "run")
    assert done.exit_code == 0, done.output
    found = invoke("verify", tmp_path / "run")
    assert found.exit_code == 0, found.output
    assert "1 imported cell, trained elsewhere, not run again" in found.stdout
    (cell,) = RunStore(tmp_path / "run").cells()
    said = invoke("why", cell.directory)
    assert said.exit_code == 0, said.output
    assert "Trained elsewhere: it cannot be run here" in said.stdout
    assert "imported  scores.npz" in said.stdout
    frame = cell.records("their-lab", "unknown", "t2i")
    frame.loc[0, "ap"] = 0.123
    frame.to_parquet(cell.records_path("their-lab", "unknown", "t2i"), index=False)
    assert invoke("verify", tmp_path / "run").exit_code == 4


def test_a_file_that_is_one_seed_of_a_method_is_not_another_of_it_as_well(tmp_path: Path) -> None:
    file, into = write_npz(tmp_path / "a.npz"), tmp_path / "run"
    assert imported(file, into).exit_code == 0
    done = imported(file, into, seed=1)
    assert done.exit_code == 2, done.output
    assert done.stderr.splitlines() == [f"{file}: is seed 0 of theirs already; each seed is its own run"]
    assert len(RunStore(into).cells()) == 1
    assert imported(file, into).exit_code == 0  # the same again is no contradiction


def test_scores_that_rank_nothing_are_said_when_they_are_imported_and_beside_the_number(
    tmp_path: Path,
) -> None:
    flat = np.ones((len(QUERY), len(GALLERY)))
    flat[0] = np.arange(len(GALLERY))
    file = write_npz(tmp_path / "flat.npz", text_features=None, image_features=None, similarity=flat)
    done = imported(file, tmp_path / "run")
    said = (
        f"flat.npz: every image scores alike for {len(QUERY) - 1} of {len(QUERY)} queries; R1 is chance there"
    )
    assert said in done.stdout
    assert said in str(RunStore(tmp_path / "run").cells()[0].results)

    zeros = np.zeros((len(QUERY), 16))
    file = write_npz(tmp_path / "zeros.npz", text_features=zeros)
    done = imported(file, tmp_path / "other")
    assert f"every image scores alike for {len(QUERY)} of {len(QUERY)} queries" in done.stdout
    file = write_npz(tmp_path / "sound.npz")
    assert "alike" not in imported(file, tmp_path / "sound").stdout


def test_a_folder_in_the_place_of_a_file_of_scores_is_called_a_folder(tmp_path: Path) -> None:
    done = imported(tmp_path, tmp_path / "run")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"{tmp_path}: a folder; name a file of scores (.npz, ")
