"""What stands behind a comparison: the same queries, the same seeds, the same test set, the same family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stores
import yaml
from stores import Truth

from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from reports.assemble import build
from reports.comparison import JUDGED_METRICS, ComparisonGroup, ComparisonOptions, comparison_groups
from reports.context import ReportContext
from reports.formatting import verdict_value
from reports.html import rendered
from reports.power import detectable, detectable_difference
from reports.published import published
from reports.sections import ablation, cells, transfer
from reports.statistics import holm
from reports.stored_runs import read

LITTLE: dict[str, Any] = {"people": 40, "directions": ("t2i",), "selections": ("val",)}


def groups_of(*folders: Path, **options: Any) -> list[ComparisonGroup]:
    return comparison_groups(read(list(folders)), ComparisonOptions(resamples=200, **options))


def the_group(folder: Path, r1: Mapping[str, float], **bent: Any) -> ComparisonGroup:
    stores.write(folder, Truth(r1, **{**LITTLE, **bent}))
    (group,) = groups_of(folder)
    return group


def hits(folder: Path, method: str, seed: int, target: str = "rendered-plaza") -> np.ndarray:
    """Whether each query of a run was found at rank 1, by query, as pandas reads the stored table."""
    (run,) = (run for run in RunStore(folder).cells() if run.cell.key == f"rendered-plaza/{method}/{seed}")
    frame = run.records(target, "val", "t2i").set_index("query")
    return frame["rank"].eq(1).fillna(False).to_numpy(dtype=float)


# -- queries --------------------------------------------------------------------------------------


def test_methods_that_answered_other_queries_are_compared_query_by_query_on_those_both_answered(
    tmp_path: Path,
) -> None:
    missing = tuple(range(3, 90, 2))
    group = the_group(tmp_path, {"uit": 70.0, "other": 50.0}, unanswered={"other": missing})
    shared = np.setdiff1d(np.arange(160), missing)
    assert group.queries == len(shared)
    for method in ("uit", "other"):
        expected = np.stack([hits(tmp_path, method, seed)[shared] for seed in range(3)])
        assert (group.methods[method].scores["R1"] == expected).all()
    assert group.notes == ("Compared on the 116 queries all cells share, of up to 160.",)
    pairs = {(int(index), int(query) // 4) for index, query in zip(group.person, shared, strict=True)}
    assert len(pairs) == group.people == len(set((shared // 4).tolist()))


# -- chance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pictures", [(1,), (2,), (1, 5, 3)])
def test_chance_is_the_r1_of_shuffled_galleries_however_many_pictures_a_person_has(
    tmp_path: Path, pictures: tuple[int, ...]
) -> None:
    group = the_group(tmp_path, {"uit": 60.0}, pictures=pictures)
    gallery = np.repeat(np.arange(40), np.resize(pictures, 40))
    assert group.gallery == len(gallery)
    rng = np.random.default_rng(0)
    firsts = gallery[rng.integers(len(gallery), size=(4000, 160))]
    assert group.chance == pytest.approx(100 * (firsts == np.arange(160) // 4).mean(), rel=0.05)


# -- families -------------------------------------------------------------------------------------


def test_with_three_methods_the_smaller_p_is_doubled_and_the_larger_is_no_smaller(tmp_path: Path) -> None:
    group = the_group(tmp_path, {"uit": 60.0, "a": 57.0, "b": 56.0}, people=200)
    found = sorted((group.against_reference[name, "R1"] for name in "ab"), key=lambda item: item.p)
    assert 0 < found[0].p < 0.5
    assert found[0].p_holm == pytest.approx(min(1, 2 * found[0].p))
    assert found[1].p_holm == pytest.approx(max(found[0].p_holm, found[1].p))


def test_comparisons_on_two_datasets_are_one_family_of_r1_and_two_of_map(tmp_path: Path) -> None:
    names = ("rendered-plaza", "rendered-arcade")
    stores.write(tmp_path, Truth({"uit": 60.0, "a": 57.0}, **{**LITTLE, "people": 200, "datasets": names}))
    groups = groups_of(tmp_path)
    found = [group.against_reference["a", "R1"] for group in groups]
    assert [item.p_holm for item in found] == pytest.approx(holm([item.p for item in found]))
    assert max(item.p_holm / item.p for item in found) == pytest.approx(2)
    alone = [group.against_reference["a", "mAP"] for group in groups]
    assert [item.p_holm for item in alone] == [item.p for item in alone]


def test_a_comparison_has_a_verdict_only_below_the_level_of_this_look(tmp_path: Path) -> None:
    stores.write(tmp_path, Truth({"uit": 60.0, "a": 50.0, "b": 60.0}, **{**LITTLE, "people": 200}))
    (group,) = groups_of(tmp_path)
    p = group.against_reference["a", "R1"].p_holm
    among_others = group.other_pairs["a", "b", "R1"].p_holm
    assert max(p, among_others) < 0.05
    for level, verdict in ((0.9 * min(p, among_others), "cannot tell"), (0.05, "worse")):
        (group,) = groups_of(tmp_path, level=level)
        assert group.against_reference["a", "R1"].verdict == verdict
        assert group.other_pairs["a", "b", "R1"].verdict == verdict


def test_the_margin_of_the_report_decides_what_is_tied_with_the_reference_and_among_others(
    tmp_path: Path,
) -> None:
    stores.write(tmp_path, Truth({"uit": 60.0, "a": 57.0, "b": 60.0}, **{**LITTLE, "people": 400}))
    for margin, tied in ((0.01, False), (15.0, True)):
        (group,) = groups_of(tmp_path, margin=margin)
        verdicts = group.against_reference["a", "R1"].verdict, group.other_pairs["a", "b", "R1"].verdict
        assert [verdict == "tied" for verdict in verdicts] == [tied, tied]


# -- seeds ----------------------------------------------------------------------------------------


def test_a_drop_under_transfer_is_of_the_same_runs_where_one_was_not_tested_there(tmp_path: Path) -> None:
    truth = Truth(
        {"uit": 50.0},
        **LITTLE,
        datasets=("rendered-plaza", "rendered-arcade"),
        transfer=True,
        transfer_loss=15.0,
        lucky={("uit", 0): 40.0},
        untransferred=frozenset({("uit", 0)}),
    )
    stores.write(tmp_path, truth)
    runs = read([tmp_path])
    groups = groups_of(tmp_path)
    context = ReportContext(runs, tuple(groups), ComparisonOptions(resamples=200), published())
    section = transfer.section(context)
    assert section is not None
    table = next(
        each for each in section.tables if each.key == "transfer-r1-rendered-plaza-to-rendered-arcade"
    )
    row = dict(zip([column.label for column in table.columns], table.rows[0], strict=True))
    home, away = (
        100 * np.mean([hits(tmp_path, "uit", seed, target).mean() for seed in (1, 2)])
        for target in ("rendered-plaza", "rendered-arcade")
    )
    assert row["Same dataset"].sort == pytest.approx(home)
    assert row["Drop"].sort == pytest.approx(home - away)
    assert row["Retention"].sort == pytest.approx(100 * away / home)


def test_a_study_whose_seeds_vary_finds_only_what_its_own_standard_error_allows(tmp_path: Path) -> None:
    group = the_group(tmp_path, {"uit": 60.0, "a": 58.0}, people=1500, seed_sd=3.0)
    estimate = group.against_reference["a", "R1"].estimate
    size = detectable(group)
    assert size == pytest.approx(detectable_difference(estimate.se, estimate.df), rel=0.1)
    # With so much luck in the seeds, people are of no help, and four times the seeds halve the error.
    assert (detectable(group, people=100 * group.people) or 0) > 0.9 * (size or 0)
    assert (detectable(group, seeds=12) or 99) < 0.5 * (size or 0)


# -- populations ----------------------------------------------------------------------------------


def test_a_run_on_a_subset_of_people_is_never_compared_with_one_on_all(tmp_path: Path) -> None:
    stores.write(tmp_path / "all", Truth({"uit": 60.0}, **LITTLE))
    stores.write(tmp_path / "few", Truth({"uit": 60.0, "a": 30.0}, **{**LITTLE, "people": 20, "subset": 20}))
    whole, few = sorted(groups_of(tmp_path / "all", tmp_path / "few"), key=lambda group: -group.people)
    assert (whole.queries, few.queries) == (160, 80)
    for group, folder, methods in ((whole, "all", 1), (few, "few", 2)):
        cells = [cell for method in group.methods.values() for cell in method.cells]
        assert {cell.run.path.name for cell in cells} == {folder}
        assert len(group.methods) == methods
    assert "20 people" in few.evaluation.title
    assert whole.evaluation.title != few.evaluation.title


def test_the_drop_of_a_study_on_a_subset_is_from_its_own_score_at_home(tmp_path: Path) -> None:
    """Not from that of a study on all people, which the same report may hold."""
    names = ("rendered-plaza", "rendered-arcade")
    planted: dict[str, Any] = {**LITTLE, "datasets": names, "transfer": True}
    folders = (tmp_path / "all", tmp_path / "few")
    stores.write(folders[0], Truth({"uit": 80.0}, **planted))
    stores.write(folders[1], Truth({"uit": 40.0}, **{**planted, "people": 20, "subset": 20}))
    groups = tuple(groups_of(*folders))
    context = ReportContext(read(list(folders)), groups, ComparisonOptions(resamples=200), published())
    section = transfer.section(context)
    assert section is not None
    shown = {}
    for table in section.tables:
        if table.key.startswith("transfer-r1-rendered-plaza-to-rendered-arcade"):
            place = [column.label for column in table.columns].index("Same dataset")
            shown["20 people" in table.title] = table.rows[0][place].sort
    at_home = [100 * np.mean([hits(folder, "uit", seed).mean() for seed in range(3)]) for folder in folders]
    assert (shown[False], shown[True]) == (pytest.approx(at_home[0]), pytest.approx(at_home[1]))


# -- foreign text ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["caption", "wrong_caption", "finding"])
def test_a_caption_beside_a_restoration_stays_text(name: str) -> None:
    foreign = "<script>alert(1)</script>"
    row = {"pictures": [], "caption": "A man.", "wrong_caption": "A woman.", name: foreign}
    finding = row.get("finding", "It helps.")
    page = rendered("restorations.html", link="runs", title="Restored", finding=finding, rows=[row])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_results_on_targets_that_only_another_study_asked_for_are_not_shown(tmp_path: Path) -> None:
    """A cell that `--reuse` copied brings them along."""
    datasets = ("rendered-plaza", "rendered-station")
    stores.write(
        tmp_path, Truth(r1={"uit": 60.0, "baseline": 45.0}, datasets=datasets, transfer=True, **LITTLE)
    )
    path = tmp_path / "study.yaml"
    values = yaml.safe_load(path.read_text("utf-8"))
    asked = (({"transfer": True, "targets": []}, set(datasets)), ({"targets": []}, {"rendered-plaza"}))
    for evaluate, tested in asked:
        path.write_text(yaml.safe_dump({**values, "evaluate": evaluate}), "utf-8")
        cell, *_ = read([tmp_path]).of("uit", "rendered-plaza", "clean")
        assert cell.targets("t2i") == tested


def test_runs_whose_records_lie_in_another_order_are_compared_query_by_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_order = the_group(tmp_path, {"uit": 70.0, "other": 50.0})
    read_columns = CellRun.record_columns

    def backwards(cell: Any, *arguments: Any) -> Any:
        columns = read_columns(cell, *arguments)
        return {name: column[::-1] for name, column in columns.items()}

    monkeypatch.setattr(CellRun, "record_columns", backwards)
    (turned,) = groups_of(tmp_path)
    for method in ("uit", "other"):
        assert (turned.methods[method].scores["R1"] == in_order.methods[method].scores["R1"]).all()
        assert (turned.methods[method].scores["mAP"] == in_order.methods[method].scores["mAP"]).all()


def test_methods_that_each_miss_as_many_but_other_queries_are_compared_on_those_both_answered(
    tmp_path: Path,
) -> None:
    missing = {"other": (3, 5, 7), "uit": (4, 6, 100)}
    group = the_group(tmp_path, {"uit": 70.0, "other": 50.0}, unanswered=missing)
    shared = np.setdiff1d(np.arange(160), [query for queries in missing.values() for query in queries])
    for method in ("uit", "other"):
        expected = np.stack([hits(tmp_path, method, seed)[shared] for seed in range(3)])
        assert np.array_equal(group.methods[method].scores["R1"], expected)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_a_method_s_settings_stand_beside_those_of_the_reference_on_the_same_data(
    tmp_path: Path, noise: float
) -> None:
    settings = {"uit": {"temperature": 0.02}, "a": {"temperature": 0.05}}
    bent = {**LITTLE, "caption_noise": noise, "switches": settings}
    stores.write(tmp_path, Truth({"uit": 60.0, "a": 30.0}, **bent))
    context = ReportContext(read([tmp_path]), (), ComparisonOptions(resamples=200), published())
    said = {entry["title"].split()[0]: entry["differs"] for entry in cells._groups(context, {})}
    assert said == {
        "a": "Unlike uit, whose settings stand in brackets: temperature 0.05 (0.02).",
        "uit": "",
    }


def test_the_table_of_other_pairs_has_each_metric_s_own_difference_p_and_verdict(tmp_path: Path) -> None:
    stores.write(tmp_path, Truth({"uit": 60.0, "a": 50.0, "b": 58.0}, **{**LITTLE, "people": 200}))
    runs = read([tmp_path])
    options = ComparisonOptions(resamples=200)
    (group,) = comparison_groups(runs, options)
    context = ReportContext(runs, (group,), options, published())
    table = ablation._pairs_table(context, group)
    ((one, other, *found),) = ([cell.sort for cell in row] for row in table.rows)
    expected: list[Any] = []
    for metric in JUDGED_METRICS:
        item = group.other_pairs[one, other, metric]
        expected += [item.estimate.value, item.p_holm, verdict_value(item, group.options.margin).sort]
    assert {one, other} == {"a", "b"}
    assert found == expected
    assert found[:3] != found[3:6]


def test_a_method_under_two_names_is_compared_once_and_the_page_says_so(tmp_path: Path) -> None:
    r1 = {"uit-no-tir": 55.0, "uit": 60.0, "baseline": 50.0, "uit-tuned": 60.0, "uit-no-tir-tuned": 55.0}
    base = {"uit-tuned": "uit", "uit-no-tir-tuned": "uit-no-tir"}  # their searches were won by the recipe
    stores.write(tmp_path / "run", Truth(r1, base=base, **LITTLE))
    made = build([tmp_path / "run"])
    assert made.context is not None
    (group,) = made.context.same_dataset
    assert group.namesakes == base
    names = {name for name, _ in group.against_reference}
    assert names == {"uit-no-tir", "baseline", "uit"} - {group.reference}
    assert group.family_size("R1") == 2, "nothing is corrected for a second name"
    why = ablation.judged_row(group, "uit-tuned", "R1", "", "people")[0].note
    assert why == "the same training as uit, which is compared"
    pairs = {frozenset(pair) for *pair, _ in group.other_pairs}
    assert pairs == {frozenset(names)}
    said = "uit-tuned has every setting of uit on rendered-plaza: the same training under a second name"
    assert said in " ".join(made.table_text.split())
    assert said in made.path.read_text()


def test_names_whose_settings_differ_are_two_methods(tmp_path: Path) -> None:
    switches = {"uit-tuned": {"mask_ratio": 0.5}}
    group = the_group(
        tmp_path, {"uit": 60.0, "uit-tuned": 60.0}, base={"uit-tuned": "uit"}, switches=switches
    )
    assert not group.namesakes
    assert ("uit-tuned", "R1") in group.against_reference
