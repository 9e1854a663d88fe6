"""`compare` judges files of scores by themselves: no study, no dataset, no torch."""

from __future__ import annotations

import json
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import without_torch
from score_data import QUERY, write_npz
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from reports.statistics import compare_methods


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def seeds(folder: Path, name: str, noise: float, count: int = 3) -> str:
    files = [write_npz(folder / f"{name}{seed}.npz", 10 * seed, noise) for seed in range(count)]
    return f"{name}={','.join(map(str, files))}"


def hits(argument: str) -> np.ndarray:
    """Hits at rank 1 `[seeds, queries]`, by brute force."""
    rows = []
    for path in argument.partition("=")[2].split(","):
        given = dict(np.load(path))
        sides = [given[name].astype(float) for name in ("text_features", "image_features")]
        text, image = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
        best = (text @ image.T).argmax(axis=1)
        rows.append(given["gallery_persons"][best] == given["query_persons"])
    return np.array(rows, dtype=float)


def test_the_verdicts_are_those_of_compare_methods(tmp_path: Path) -> None:
    ours, theirs = seeds(tmp_path, "ours", 1.0), seeds(tmp_path, "theirs", 1.5)
    done = invoke(ours, theirs, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    (row,) = [row for row in answer["verdicts"] if (row["metric"], row["scope"]) == ("R1", "people")]
    scores = {"ours": hits(ours), "theirs": hits(theirs)}
    (expected,) = compare_methods(scores, QUERY, reference="ours")
    assert (row["one"], row["verdict"], row["seeds"]) == ("theirs", expected.verdict, 3)
    assert float(row["value"]) == pytest.approx(expected.value)
    assert float(row["low"]) == pytest.approx(expected.low)
    assert [run["R1"] for run in answer["methods"]["ours"]] == pytest.approx(
        100 * scores["ours"].mean(axis=1)
    )
    assert Path(answer["page"]).read_text("utf-8").count("trained elsewhere") > 2


def test_it_answers_without_torch_in_a_table_and_a_page(tmp_path: Path) -> None:
    done = without_torch.run(
        "compare", seeds(tmp_path, "a", 1.0, 2), seeds(tmp_path, "b", 2.5, 2), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "worse" in done.stdout
    page = done.stdout.splitlines()[-1].removeprefix("report: ")
    assert (tmp_path / page).is_file()


def test_one_seed_a_method_allows_no_verdict(tmp_path: Path) -> None:
    files = [write_npz(tmp_path / f"{name}.npz", 1, noise) for name, noise in (("a", 0.5), ("b", 3.0))]
    done = invoke(*files, "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    verdicts = json.loads(done.stdout)["verdicts"]
    assert {row["verdict"] for row in verdicts} == {"cannot tell"}
    assert {row["se"] for row in verdicts if row["scope"] == "benchmark"} == {None}


def test_a_method_whose_name_is_a_number_keeps_its_name(tmp_path: Path) -> None:
    files = [write_npz(tmp_path / f"{name}.npz", 1, noise) for name, noise in (("a", 0.5), ("b", 3.0))]
    done = invoke(f"007={files[0]}", f"1e5={files[1]}", "--out", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.output
    assert {(row["one"], row["other"]) for row in json.loads(done.stdout)["verdicts"]} == {("1e5", "007")}


def test_comparing_the_same_files_again_writes_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = seeds(tmp_path, "a", 1.0, 1), seeds(tmp_path, "b", 2.0, 1)
    for _ in range(2):
        assert invoke(*arguments).exit_code == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(list((folder / "cells").iterdir())) == 2


def bad(folder: Path, case: str) -> list[object]:
    good = write_npz(folder / "good.npz")
    if case == "one":
        return [good]
    if case == "same name":
        (folder / "below").mkdir()
        return [good, write_npz(folder / "below" / "good.npz")]
    if case == "other people":
        return [good, write_npz(folder / "other.npz", query_persons=np.roll(QUERY, 1))]
    if case == "fewer queries":
        less = {"query_persons": QUERY[:-3], "text_features": np.ones((len(QUERY) - 3, 16))}
        return [good, write_npz(folder / "less.npz", **less)]
    if case == "no people":
        return [good, write_npz(folder / "bare.npz", query_persons=None, gallery_persons=None)]
    return [good, folder / "absent.npz", f"b={folder / 'gone.npz'}"]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("one", ["give at least two methods"]),
        ("same name", ["good: 2 methods are called so", "its seeds: good=FILE,FILE", "its own: NAME=FILE"]),
        ("other people", ["other.npz: query_persons: 40 rows are of other people than in {folder}/good.npz"]),
        ("fewer queries", ["less.npz: has 117 queries, and the test split of {folder}/good.npz has 120"]),
        ("no people", ["bare.npz: query_persons and gallery_persons are missing"]),
        ("absent", ["absent.npz: no such file", "gone.npz: no such file"]),
    ],
)
def test_what_cannot_be_compared_is_refused_and_nothing_is_written(
    tmp_path: Path, case: str, said: list[str]
) -> None:
    done = invoke(*bad(tmp_path, case), "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    assert all(text.format(folder=tmp_path) in done.stderr for text in said), done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_four_matrices_of_a_benchmarks_size_take_seconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    people = [np.concatenate([np.arange(1000), rng.integers(0, 1000, more)]) for more in (5156, 2074)]
    right = (people[0][:, None] == people[1]).astype(np.float32)
    files: list[Any] = []
    for number in range(4):
        noise = rng.standard_normal(right.shape, dtype=np.float32)
        files.append(
            write_npz(
                tmp_path / f"m{number}.npz",
                text_features=None,
                image_features=None,
                similarity=noise + (2.5 + 0.1 * number) * right,
                query_persons=people[0],
                gallery_persons=people[1],
            )
        )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = without_torch.run("compare", *files, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    # Processor time, of two cores at once: ten seconds of an idle machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 20


def test_one_file_under_two_seeds_of_a_method_is_refused(tmp_path: Path) -> None:
    first, other = write_npz(tmp_path / "a0.npz", 0), write_npz(tmp_path / "b0.npz", 1)
    copy = Path(shutil.copy(first, tmp_path / "a1.npz"))
    done = invoke(f"ours={first},{copy}", f"theirs={other}", "--out", tmp_path / "out")
    assert done.exit_code == 2, done.output
    expected = f"{copy}: the same content as {first}, another seed of ours; each is its own run"
    assert done.stderr.splitlines() == [expected]
    assert not (tmp_path / "out").exists()
