"""Simulated studies whose truth was planted: the report's verdicts are right."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import stores
from stores import Truth

from harness.store.results_table import results_rows
from harness.store.runs import RunStore
from reports.comparison import ComparisonGroup, ComparisonOptions, comparison_groups
from reports.context import ReportContext
from reports.published import published
from reports.sections.summary import _compared
from reports.stored_runs import read
from reports.verdicts import VERDICT_COLUMNS, verdicts_csv


def judged(folder: Path, truth: Truth) -> ComparisonGroup:
    """The one group of a planted study."""
    stores.write(folder, truth)
    (group,) = comparison_groups(read([folder]), ComparisonOptions(resamples=2000))
    return group


def small(r1: dict[str, float], people: int = 1500, **bent: object) -> Truth:
    """Text to image only, which is what verdicts are about."""
    return Truth(r1=r1, people=people, **{"directions": ("t2i",), "selections": ("val",), **bent})  # type: ignore[arg-type]


def test_a_real_difference_of_3_points_is_found(tmp_path: Path) -> None:
    found = judged(tmp_path, small({"uit": 60.0, "uit-no-tir": 57.0, "better": 63.0})).against_reference
    assert found["uit-no-tir", "R1"].verdict == "worse"
    assert found["better", "R1"].verdict == "better"
    assert found["better", "R1"].estimate.low < 3.0 < found["better", "R1"].estimate.high


def test_no_difference_is_tied_when_the_test_set_is_large_and_undecided_when_it_is_small(
    tmp_path: Path,
) -> None:
    truth = {"uit": 60.0, "same": 60.0}
    large = judged(tmp_path / "large", small(truth, people=6000, seed_sd=0.05)).against_reference[
        "same", "R1"
    ]
    little = judged(tmp_path / "small", small(truth, people=100)).against_reference["same", "R1"]
    assert (large.verdict, little.verdict) == ("tied", "cannot tell")


def test_a_difference_through_one_lucky_seed_convinces_nobody(tmp_path: Path) -> None:
    group = judged(tmp_path, small({"uit": 60.0, "lucky": 60.0}, lucky={("lucky", 1): 9.0}))
    found = group.against_reference["lucky", "R1"]
    assert found.estimate.value > 2
    assert found.p_permutation < 0.01
    assert found.verdict == "cannot tell"


def test_a_method_better_only_on_test_selected_epochs_is_not_better_and_its_gap_shows(
    tmp_path: Path,
) -> None:
    group = judged(
        tmp_path,
        small({"uit": 60.0, "optimist": 60.0}, optimism={"optimist": 3.0}, selections=("val", "test")),
    )
    assert group.against_reference["optimist", "R1"].verdict in ("tied", "cannot tell")
    gaps = group.optimism("optimist", "R1")
    assert len(gaps) == 3
    assert min(gaps) > 1.5
    assert group.optimism("uit", "R1") == pytest.approx([0.0] * 3, abs=1e-9)


def test_one_seed_gives_no_verdict_however_large_the_difference(tmp_path: Path) -> None:
    found = judged(tmp_path, small({"uit": 60.0, "worse": 30.0}, people=200, seeds=1)).against_reference[
        "worse", "R1"
    ]
    assert found.verdict == "cannot tell"
    assert found.few_seeds


def test_two_datasets_and_two_presets_never_share_a_table(tmp_path: Path) -> None:
    common = {"r1": {"uit": 60.0, "baseline": 55.0}, "people": 40, "seeds": 2, "directions": ("t2i",)}
    stores.write(tmp_path / "clean", Truth(**common, datasets=("rendered-plaza", "rendered-station")))
    stores.write(tmp_path / "released", Truth(**common, preset="released"))
    found = comparison_groups(
        read([tmp_path / "clean", tmp_path / "released"]), ComparisonOptions(resamples=200)
    )
    assert [(one.evaluation.preset, one.evaluation.source) for one in found] == [
        ("clean", "rendered-plaza"),
        ("clean", "rendered-station"),
        ("released", "rendered-plaza"),
    ]
    for group in found:
        cells = [cell for one in group.methods.values() for cell in one.cells]
        assert {(cell.preset, cell.dataset) for cell in cells} == {
            (group.evaluation.preset, group.evaluation.source)
        }


def test_methods_with_their_own_recipes_meet_neither_those_that_share_one_nor_released_ones(
    tmp_path: Path,
) -> None:
    common = {"r1": {"uit": 60.0, "baseline": 55.0}, "people": 40, "seeds": 2, "directions": ("t2i",)}
    folders = [tmp_path / name for name in ("shared", "named", "own", "released")]
    for folder, recipe in zip(folders, ("shared", "rendered", "own", "shared"), strict=True):
        preset = "released" if folder.name == "released" else "clean"
        stores.write(folder, Truth(**common, recipe=recipe, preset=preset, name=folder.name))
    found = comparison_groups(read(folders), ComparisonOptions(resamples=200))
    assert [one.evaluation.preset for one in found] == ["clean", "own", "released"]
    for group in found:
        run_names = {cell.run.name for one in group.methods.values() for cell in one.cells}
        assert run_names <= {"clean": {"shared", "named"}}.get(
            group.evaluation.preset, {group.evaluation.preset}
        )
    written = {row["preset"] for row in results_rows(RunStore(tmp_path / "own"))}
    assert written == {"own"}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("own", "Recipe: own. Each method is trained as it was published"),
        ("rendered", "Recipe: rendered, one for all methods."),
        ("shared", "Recipe: shared, one for all methods."),
    ],
)
def test_the_page_says_whether_methods_share_a_recipe(tmp_path: Path, recipe: str, said: str) -> None:
    truth = Truth(r1={"uit": 60.0, "baseline": 55.0}, people=40, seeds=2, recipe=recipe, directions=("t2i",))
    stores.write(tmp_path / "run", truth)
    stored, options = read([tmp_path / "run"]), ComparisonOptions(resamples=200)
    context = ReportContext(stored, tuple(comparison_groups(stored, options)), options, published())
    assert said in " ".join(_compared(context))


def test_a_method_that_ran_in_another_folder_joins_the_table(tmp_path: Path) -> None:
    common = {"people": 40, "seeds": 2, "directions": ("t2i",)}
    stores.write(
        tmp_path / "one", Truth(r1={"uit": 60.0, "baseline": 50.0}, **common), unstarted=frozenset({"uit"})
    )
    stores.write(tmp_path / "two", Truth(r1={"uit": 60.0}, **common))
    (group,) = comparison_groups(read([tmp_path / "one", tmp_path / "two"]), ComparisonOptions(resamples=200))
    assert set(group.methods) == {"uit", "baseline"}


def test_verdicts_csv_says_what_the_tables_say_for_both_scopes(tmp_path: Path) -> None:
    group = judged(tmp_path, small({"uit": 60.0, "worse": 50.0}, people=200))
    rows = list(csv.DictReader(verdicts_csv([group]).splitlines()))
    assert tuple(rows[0]) == VERDICT_COLUMNS
    assert [(row["metric"], row["scope"], row["family"]) for row in rows] == [
        ("R1", "people", "primary"),
        ("mAP", "people", "exploratory"),
        ("R1", "benchmark", "exploratory"),
        ("mAP", "benchmark", "exploratory"),
    ]
    found = group.against_reference["worse", "R1"]
    assert float(rows[0]["value"]) == pytest.approx(found.value)
    assert (rows[0]["verdict"], rows[0]["seeds"], rows[0]["people"]) == (found.verdict, "3", "200")
