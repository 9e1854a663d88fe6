"""Claims, factorial effects, transfer and power, on scores made up in the test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from simulated_studies import Regime, judged

from reports.cell_views import CellView, Evaluation, Run
from reports.claim_files import ClaimsError, load_claims
from reports.claim_rules import judge_claim
from reports.comparison import ComparisonGroup, ComparisonOptions, MethodScores
from reports.context import ReportContext
from reports.document import Figure, Table
from reports.power import Assumptions, Design, assumed, detectable, detectable_difference, plan
from reports.power import measured as measured_variances
from reports.published import Conditions, backbone_family, published
from reports.sections import factorial, overhead, power, transfer
from reports.sections.published import section as published_section
from reports.statistics import Estimate
from reports.stored_runs import StoredRuns

HOME = Evaluation("clean", "cuhk-pedes", "cuhk-pedes")
ROOT = Path(__file__).resolve().parents[2]


def group(
    r1: Mapping[str, float],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    evaluation: Evaluation = HOME,
    people: int = 400,
    seeds: int = 3,
    folder: Path = Path("nowhere"),
) -> ComparisonGroup:
    """Methods whose expected R1 is as given, with independent hits, on 4 captions a person."""
    person = np.repeat(np.arange(people), 4)
    run = Run(folder, {}, {})
    methods = {}
    for number, (name, percent) in enumerate(r1.items()):
        rng = np.random.default_rng([number, people, seeds, len(evaluation.target)])
        hits = (rng.random((seeds, len(person))) < percent / 100).astype(float)
        own = (settings or {}).get(name, {})
        parts = {"settings": {"backbone": "ViT-B-16-quickgelu", "image_size": [384, 128], **own}}
        cells = tuple(
            CellView(run, name, name, name, evaluation.source, seed, evaluation.preset, "done", parts=parts)
            for seed in range(seeds)
        )
        for cell in cells:  # as if it had been read from a store
            row = {"target": evaluation.target, "data": {"official": True, "subset": None}}
            vars(cell)["results"] = ({**row, "selection": "none", "direction": "t2i"},)
        methods[name] = MethodScores(name, cells, {"R1": hits, "mAP": hits * 0.8})
    return ComparisonGroup(evaluation, "uit", methods, person, 800, ComparisonOptions(resamples=500))


def context(*groups: ComparisonGroup, folder: Path = Path("nowhere")) -> ReportContext:
    """A context of these groups alone."""
    cells = tuple(cell for one in groups for each in one.methods.values() for cell in each.cells)
    return ReportContext(
        StoredRuns((Run(folder, {}, {}),), cells), groups, ComparisonOptions(resamples=500), published()
    )


# -- claims ---------------------------------------------------------------------------------------


def measured(value: float, half: float, seeds: int = 3) -> Estimate:
    """An estimate whose 90 % interval is value ± half (many degrees of freedom)."""
    return Estimate(value, value - half, value + half, half / float(stats.norm.isf(0.05)), 1e9, seeds)


@pytest.mark.parametrize(
    ("estimate", "size", "judgement"),
    [
        (measured(1.6, 0.5), 1.62, "reproduced"),
        (measured(1.6, 0.9), 1.62, "reproduced"),
        (measured(0.0, 0.5), 1.62, "not reproduced"),
        (measured(5.0, 0.5), 1.62, "not reproduced"),
        (measured(1.6, 2.5), 1.62, "underpowered"),
        (measured(1.6, 0.1, seeds=1), 1.62, "underpowered"),
        (measured(3.0, 1.0), None, "reproduced"),
        (measured(0.1, 0.3), None, "not reproduced"),
        (measured(0.1, 0.5), None, "underpowered"),
        (measured(0.5, 0.3), None, "real but smaller than the margin"),
        (measured(-3.0, 1.0), None, "not reproduced"),
        (measured(1.0, 1.5), None, "underpowered"),
        (measured(0.4, 0.1), 1.62, "not reproduced"),
        (measured(0.4, 0.1, seeds=200), 1.62, "smaller than claimed"),
        (measured(2.9, 0.1, seeds=200), 1.62, "larger than claimed"),
        (measured(0.2, 0.4), 0.5, "underpowered"),
        (measured(0.5, 0.2), 0.5, "reproduced"),
        (Estimate.unknown(), 1.62, "underpowered"),
    ],
)
def test_a_claim_is_judged_by_its_size_its_direction_and_one_more_pair_of_single_runs(
    estimate: Estimate, size: float | None, judgement: str
) -> None:
    assert judge_claim(estimate, size, margin=1.0)[0] == judgement


def test_the_papers_claims_have_the_published_sizes_and_leave_the_unread_ones_empty() -> None:
    found = {claim.id: claim for claim in load_claims(ROOT / "studies" / "claims" / "uit.yaml")}
    table = {
        (entry["method"], entry["dataset"]): entry["R1"]
        for entry in published().in_domain
        if entry.get("backbone") == "ViT-B/16"
    }
    for claim in found.values():
        if claim.than == "irra":
            expected = table["uit", claim.dataset] - table["irra", claim.dataset]
            assert claim.size == pytest.approx(expected, abs=0.005)
        else:
            assert claim.size is None
    assert {claim.than for claim in found.values()} == {
        "irra",
        "uit-no-tir",
        "uit-no-cmt",
        "uit-no-aug",
        "uit-mlm",
    }


def test_a_claim_is_judged_within_its_dataset_its_backbone_and_one_preset(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(
        "claims:\n"
        "  - {id: same, better: uit, than: irra, dataset: cuhk-pedes, backbone: ViT-B/16, size: 10}\n"
        "  - {id: other-backbone, better: uit, than: irra, dataset: cuhk-pedes, backbone: ViT-L/14}\n"
        "  - {id: other-data, better: uit, than: irra, dataset: rstpreid}\n"
        "  - {id: other-method, better: uit, than: clip-itc, dataset: cuhk-pedes}\n"
    )
    clean = group({"uit": 70.0, "irra": 60.0}, people=20_000)
    released = group({"uit": 70.0}, evaluation=Evaluation("released", "cuhk-pedes", "cuhk-pedes"))
    ruled = context(clean, released, folder=tmp_path).rulings
    assert [(one.claim.id, one.preset, one.judgement) for one in ruled] == [
        ("same", "clean", "reproduced"),
        ("other-backbone", "", "not run"),
        ("other-data", "", "not run"),
        ("other-method", "", "not run"),
    ]


def test_the_margin_of_a_claims_file_is_what_its_claims_are_judged_by(tmp_path: Path) -> None:
    judgements = {}
    for margin in (0.25, 6):
        claim = "{id: size, better: uit, than: irra, dataset: cuhk-pedes, size: 11}"
        (tmp_path / "claims.yaml").write_text(f"margin: {margin}\nclaims: [{claim}]\n")
        (ruled,) = context(group({"uit": 70.0, "irra": 60.0}, people=2000), folder=tmp_path).rulings
        assert ruled.claim.margin == margin
        judgements[margin] = ruled.judgement
    assert judgements[6] == "reproduced"
    assert judgements[0.25] != "reproduced"


def test_among_many_sized_claims_a_pair_of_single_runs_must_lie_farther_off_to_contradict_one(
    tmp_path: Path,
) -> None:
    found = {}
    for count in (1, 10):
        claims = [
            f"{{id: c{number}, better: uit, than: irra, dataset: cuhk-pedes, size: 11}}"
            for number in range(count)
        ]
        (tmp_path / "claims.yaml").write_text(f"claims: [{', '.join(claims)}]\n")
        ruled = context(group({"uit": 70.0, "irra": 60.0}), folder=tmp_path).rulings[0]
        assert ruled.scopes is not None
        judged = ruled.scopes["benchmark"]
        found[count] = (judged.runs.high - judged.estimate.value) / stats.t.isf(
            0.025 / count, judged.estimate.df
        )
    assert found[1] == pytest.approx(found[10])


def test_claims_without_a_size_leave_the_pair_of_single_runs_of_a_sized_one_where_it_was(
    tmp_path: Path,
) -> None:
    """Nor do claims that were not run: no size of theirs is compared with single runs."""
    sized = "{id: sized, better: uit, than: irra, dataset: cuhk-pedes, size: 11}"
    others = [
        *(f"{{id: d{number}, better: uit, than: irra, dataset: cuhk-pedes}}" for number in range(5)),
        "{id: elsewhere, better: uit, than: irra, dataset: rstpreid, size: 3}",
    ]
    found = []
    for more in ([], others):
        (tmp_path / "claims.yaml").write_text(f"claims: [{', '.join([*more, sized])}]\n")
        ruled = context(group({"uit": 70.0, "irra": 60.0}), folder=tmp_path).rulings
        (scopes,) = (one.scopes for one in ruled if one.claim.id == "sized")
        assert scopes is not None
        found.append({name: (judged.runs.low, judged.runs.high) for name, judged in scopes.items()})
    assert found[0] == found[1]


def test_a_file_of_claims_gives_all_its_errors_at_once(tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(
        "claims:\n"
        "  - {id: a, better: x, dataset: d, sise: 1}\n"
        "  - {id: b, better: x, than: y, dataset: d, size: big}\n"
    )
    with pytest.raises(ClaimsError) as caught:
        load_claims(path)
    assert len(caught.value.lines) == 3


# -- factorial ------------------------------------------------------------------------------------


def grid(effect: Mapping[str, float]) -> ComparisonGroup:
    """All eight combinations; `effect` in points of R1 for TIR, CMT, text pruning and TIR × CMT."""
    r1, settings = {}, {}
    for tir, cmt, pruning in product((True, False), repeat=3):
        name = "uit" if tir and cmt and pruning else f"m{tir:d}{cmt:d}{pruning:d}"
        r1[name] = 50 + effect["TIR"] * tir + effect["CMT"] * cmt + effect["both"] * (tir and cmt)
        settings[name] = {"tir": tir, "cmt": cmt, "text_pruning": pruning, "mlm": False}
    return group(r1, settings, people=2000)


def test_main_effects_and_interactions_are_those_that_were_planted() -> None:
    found = grid({"TIR": 6.0, "CMT": 0.0, "both": 4.0})
    effects = factorial.effects(found, factorial.complete_grid(found) or {}, "R1")
    # An interaction of 4 points when both are on: each main effect gains half, their interaction is half.
    expected = {
        "TIR": 8.0,
        "CMT": 2.0,
        "text pruning": 0.0,
        "TIR × CMT": 2.0,
        "TIR × CMT × text pruning": 0.0,
    }
    for name, value in expected.items():
        found_effect = effects[name].estimate
        assert abs(found_effect.value - value) < 3 * found_effect.se < 1.5, name


def test_effects_equal_the_differences_of_averages_computed_by_hand() -> None:
    found = grid({"TIR": 6.0, "CMT": 1.0, "both": 0.0})
    cells = factorial.complete_grid(found) or {}
    mean = {levels: found.methods[name].scores["R1"].mean() * 100 for levels, name in cells.items()}
    tir = np.mean([value for levels, value in mean.items() if levels[0]]) - np.mean(
        [value for levels, value in mean.items() if not levels[0]]
    )
    with_cmt = np.mean([mean[True, True, p] - mean[False, True, p] for p in (True, False)])
    without = np.mean([mean[True, False, p] - mean[False, False, p] for p in (True, False)])
    effects = factorial.effects(found, cells, "R1")
    assert effects["TIR"].estimate.value == pytest.approx(tir)
    assert effects["TIR × CMT"].estimate.value == pytest.approx((with_cmt - without) / 2)


def test_the_margin_of_an_interaction_is_as_much_smaller_as_its_weight() -> None:
    """An interaction of ±0.6 points as it is estimated stands for 1.2 beyond the sum of the parts."""
    found = grid({"TIR": 3.0, "CMT": 1.0, "both": 0.0})
    assert factorial.margin_of(found, "TIR") == 1.0
    assert factorial.margin_of(found, "TIR × CMT") == 0.5
    assert factorial.margin_of(found, "TIR × CMT × text pruning") == 0.25
    complete = factorial.complete_grid(found)
    assert complete is not None
    effects = factorial.effects(found, complete, "R1")
    assert effects["TIR × CMT"].p_tost == pytest.approx(effects["TIR × CMT"].estimate.p_within(0.5))


def test_shapley_values_stand_beside_main_effects_and_add_up_to_the_whole_difference() -> None:
    made = factorial.section(context(grid({"TIR": 3.0, "CMT": 1.0, "both": 2.0})))
    assert made is not None
    (table,) = (table for table in made.tables if table.key == "shapley-r1-cuhk-pedes")
    *components, together = (row[2].sort for row in table.rows)
    assert sum(map(float, components)) == pytest.approx(float(together))  # type: ignore[arg-type]
    main = sum(float(row[1].sort) for row in table.rows[:-1])  # type: ignore[arg-type]
    assert main != pytest.approx(float(together), abs=0.05)  # type: ignore[arg-type]


def test_an_incomplete_grid_has_no_effects() -> None:
    found = grid({"TIR": 1.0, "CMT": 1.0, "both": 0.0})
    rest = {name: one for name, one in found.methods.items() if name != "m010"}
    partial = ComparisonGroup(found.evaluation, "uit", rest, found.person, 800, found.options)
    assert factorial.complete_grid(partial) is None
    assert factorial.section(context(partial)) is None


# -- transfer -------------------------------------------------------------------------------------


def test_transfer_shows_drop_retention_and_the_published_number(tmp_path: Path) -> None:
    home = group({"uit": 60.0, "irra": 58.0})
    away = group({"uit": 30.0, "irra": 24.0}, evaluation=Evaluation("clean", "cuhk-pedes", "rstpreid"))
    entry = {
        "source": "cuhk-pedes",
        "target": "rstpreid",
        "right_images": 1000,
        "exact_files": 2,
        "shared": 2,
    }
    (tmp_path / transfer.LEAKAGE).write_text(json.dumps([entry]))
    section = transfer.section(context(home, away, folder=tmp_path))
    assert section is not None
    leakage, scores, _ = section.tables
    assert leakage.rows[0][-1].text == "2 (0.20 %)"
    uit = next(row for row in scores.rows if row[0].text == "uit")
    row = dict(zip([column.label for column in scores.columns], uit, strict=True))
    assert row["Drop"].sort == pytest.approx(30.0, abs=3.0)
    assert row["Retention"].sort == pytest.approx(50.0, abs=5.0)
    assert row["Published"].text == "55.50"
    assert [figure.key for figure in section.figures] == ["transfer-r1", "transfer-map"]


def test_transfer_without_a_check_for_shared_pictures_says_so() -> None:
    home = group({"uit": 60.0})
    away = group({"uit": 30.0}, evaluation=Evaluation("clean", "cuhk-pedes", "rstpreid"))
    section = transfer.section(context(home, away))
    assert section is not None
    assert "was not checked" in section.blocks[0].text  # type: ignore[union-attr]


# -- power ----------------------------------------------------------------------------------------


def test_the_detectable_difference_is_found_in_80_of_100_simulated_studies() -> None:
    se, df = 0.8, 6.0
    size = detectable_difference(se, df)
    rng = np.random.default_rng(0)
    spread = np.sqrt(rng.chisquare(df, 20_000) / df)
    found = np.abs(size + se * rng.normal(size=20_000)) / (se * spread) > stats.t.isf(0.025, df)
    assert found.mean() == pytest.approx(0.8, abs=0.04)


def test_more_seeds_and_more_people_detect_smaller_differences() -> None:
    sizes = [plan(Design(6156, 1000, seeds)) for seeds in (2, 3, 5, 10)]
    assert sizes == sorted(sizes, reverse=True)
    assert plan(Design(24_624, 4000, 3)) < plan(Design(6156, 1000, 3))


def test_three_seeds_on_the_largest_benchmark_cannot_settle_a_gain_of_1_6_points() -> None:
    """What `check` should tell whoever plans to compare UIT with IRRA: seeds alone move R1 by 2 points."""
    assert plan(Design(6156, 1000, 3)) > 1.62


def test_the_assumed_standard_error_is_that_of_a_simulation_under_the_assumptions() -> None:
    planned = assumed(Design(2000, 2000, 3), Assumptions(seed=0.85, disagreement=0.2, people=0.0))
    rng = np.random.default_rng(1)
    means = []
    for _ in range(1500):
        lasting = rng.normal(0, np.sqrt(0.1), 2000)
        runs = rng.normal(0, np.sqrt(0.1), (3, 2000))
        seeds = rng.normal(0, 0.0085 * np.sqrt(2), 3)
        means.append(100 * ((lasting + runs).mean() + seeds.mean()))
    assert planned.standard_error(3, 2000)[0] == pytest.approx(float(np.std(means)), rel=0.06)


def test_the_detectable_difference_of_a_study_is_found_in_80_of_100_studies_of_its_measured_variances() -> (
    None
):
    found = group({"uit": 60.0, "baseline": 58.0})
    ((seeds, parts),) = measured_variances(found)
    size = detectable(found)
    assert size is not None
    regime = Regime(
        float(np.sqrt(parts.person / found.people)),
        float(np.sqrt(parts.run / found.people / 2)),
        float(np.sqrt(parts.seed / 2)),
        found.people,
    )
    items = [family[0] for family in judged(regime, np.array([0.0, size]), seeds, 600)]
    assert np.mean([item.p < 0.05 for item in items]) == pytest.approx(0.8, abs=0.05)


def test_where_only_noise_on_people_varies_four_times_the_people_halve_the_detectable_difference() -> None:
    found = group({"uit": 60.0, "baseline": 58.0})
    size = detectable(found) or 0.0
    item = found.against_reference["baseline", "R1"].estimate
    # Here runs happened to differ by less than that noise; in other studies they do not, and tests see less.
    assert detectable_difference(item.se, item.df) < size
    assert detectable(found, people=4 * found.people) == pytest.approx(size / 2, rel=0.02)


def test_the_spread_over_epochs_counts_only_those_that_validation_cannot_tell_apart() -> None:
    history = [
        {"epoch": epoch, "val": {"R1": val, "queries": 400}, "test": {"R1": test}}
        for epoch, (val, test) in enumerate([(20.0, 99.0), (59.5, 50.0), (60.0, 52.0), (58.9, 54.0)], 1)
    ]
    assert power.epoch_spread(history) == pytest.approx(2.0)
    assert power.epoch_spread(history[:1]) is None


# -- overhead, published ----------------------------------------------------------------------------


def test_overhead_is_shown_as_ratios_and_damaged_files_as_nothing(tmp_path: Path) -> None:
    entry = {
        "method": "uit",
        "against": "uit-no-tir",
        "quantity": "training step",
        "value": 139.0,
        "unit": "ms",
        "ratio": 1.39,
        "low": 1.35,
        "high": 1.43,
    }
    (tmp_path / overhead.OVERHEAD).write_text(json.dumps([entry, {"method": "uit", "ratio": "much"}]))
    section = overhead.section(context(folder=tmp_path))
    assert section is not None
    table = next(block for block in section.blocks if isinstance(block, Table))
    assert [value.text for value in table.rows[0]][2:5] == ["139 ms", "1.390×", "[1.350, 1.430]"]
    (tmp_path / overhead.OVERHEAD).write_text("[{")
    assert overhead.section(context(folder=tmp_path)) is None


OFFICIAL = Conditions("cuhk-pedes", "cuhk-pedes", "ViT-B-16-quickgelu", (384, 128), "openai", True)


def test_published_numbers_stand_beside_the_same_backbone_only() -> None:
    table = published()
    tiny = replace(OFFICIAL, backbone="tiny")
    assert table.value("uit", OFFICIAL, "R1").text == "75.00"
    assert table.value("baseline", OFFICIAL, "R1").text == "70.52"
    assert [one["R1"] for one in table.replicated("baseline", OFFICIAL, "R1")] == [73.01]
    assert table.replicated("baseline", tiny, "R1") == []
    assert table.value("uit", tiny, "R1").kind == "missing"
    assert table.transferred("uit", replace(OFFICIAL, target="rstpreid"), "R1").text == "55.50"
    assert "ViT-B/16" in table.transferred("uit", replace(tiny, target="rstpreid"), "R1").text
    assert backbone_family("ViT-L-14-quickgelu") == "ViT-L/14"


@pytest.mark.parametrize(
    ("unlike", "why"),
    [
        ({"official": False}, "not the official data"),
        ({"official": None}, "whether these are the official data was not recorded"),
        ({"subset": 8}, "a subset of 8 people"),
        ({"image_size": (32, 16)}, "images of 32×16; published numbers used 384×128"),
        ({"start": "random"}, "started from random; published numbers from openai"),
        ({"source": "rendered-plaza", "target": "rendered-plaza"}, "embedded data"),
    ],
)
def test_a_published_number_is_not_shown_beside_unlike_data_and_the_cell_says_why(
    unlike: dict[str, Any], why: str
) -> None:
    conditions = replace(OFFICIAL, **unlike)
    for shown in (
        published().value("uit", conditions, "R1"),
        published().transferred("uit", replace(conditions, target=unlike.get("target", "rstpreid")), "R1"),
    ):
        assert shown.text.startswith(f"none: {why}")
        assert "75.00" not in shown.plain
        assert "55.50" not in shown.plain


def test_a_published_number_of_another_image_size_stands_beside_that_size_only() -> None:
    square = replace(OFFICIAL, image_size=(224, 224))
    assert published().value("tbps-clip", square, "R1").text == "73.54"
    assert "published numbers used 224×224" in published().value("tbps-clip", OFFICIAL, "R1").text
    assert "published numbers used 384×128" in published().value("uit", square, "R1").text


def test_numbers_of_other_inference_never_stand_beside_ours_and_say_how_they_were_made() -> None:
    entries = {one["method"]: one for one in published().in_domain}
    assert (entries["rasa"]["inference"], entries["mars"]["inference"]) == ("rerank", "rerank")
    assert "backbone" not in entries["cfam"]
    with_backbone = replace(OFFICIAL, backbone="")
    assert published().value("rasa", with_backbone, "R1").kind == "missing"
    known = {"dual", "rerank", "interactive"}
    assert {one.get("inference", published().inference) for one in published().in_domain} <= known


def test_transfer_of_irra_is_that_of_icls_table_and_its_re_run_stands_among_replications() -> None:
    short = {"C": "cuhk-pedes", "I": "icfg-pedes", "R": "rstpreid"}
    expected = {
        "CI": (42.41, 62.11, 21.77, 43.04),
        "CR": (53.25, 77.15, 39.63, 52.55),
        "IC": (33.48, 56.29, 31.56, 33.90),
        "IR": (45.30, 69.25, 36.82, 47.45),
        "RC": (32.80, 55.26, 30.29, 35.25),
        "RI": (32.30, 49.67, 20.54, 33.58),
    }
    for pair, (*scores, again) in expected.items():
        conditions = replace(OFFICIAL, source=short[pair[0]], target=short[pair[1]])
        for metric, score in zip(("R1", "R5", "mAP"), scores, strict=True):
            assert published().transferred("irra", conditions, metric).sort == score
        assert [one["R1"] for one in published().replicated("irra", conditions, "R1")] == [again]


def test_what_other_groups_got_is_drawn_and_listed_beside_ours() -> None:
    made = published_section(context(group({"uit": 75.0, "irra": 73.0, "baseline": 71.0})))
    assert made is not None
    tables = {block.key: block for block in made.blocks if isinstance(block, Table)}
    rows = {(row[0].text, row[3].text): row[4].text for row in tables["replications"].rows}
    assert rows["irra", "MLLM4Text-ReID"] == "73.48"
    assert rows["baseline", "BiLMa"] == "73.01"
    (figure,) = [block for block in made.blocks if isinstance(block, Figure)]
    assert figure.key == "replications-cuhk-pedes"
    assert "other groups" in figure.caption


def test_the_copy_of_the_published_numbers_marks_what_nobody_has_read() -> None:
    assert "component ablation table" in published().unread
