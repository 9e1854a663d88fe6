"""`report --check` on simulated studies: which judgement a planted truth gets, and the exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
import stores
from stores import Truth
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from reports.comparison import ComparisonOptions, comparison_groups
from reports.ledger import rulings
from reports.stored_runs import read

CLAIM = "claims:\n  - {{id: gain, better: uit, than: irra, dataset: rendered-plaza, size: {size}}}\n"
UNSTEADY: dict[str, object] = {"people": 200, "seeds": 2, "seed_sd": 3.0}
"""Two runs that differ by points: they say nothing of any claim."""


def report(*folders: Path, check: bool = True, more: tuple[str, ...] = ()) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, folders), *(["--check"] if check else []), *more])


def study(folder: Path, size: float | None, irra: float, **bent: object) -> Path:
    """Simulated runs of uit at R1 60 and irra at `irra`, with a claim that uit is `size` better."""
    common = {"people": 4000, "seed_sd": 0.05, "directions": ("t2i",), "selections": ("val",), "epochs": 1}
    stores.write(folder, Truth({"uit": 60.0, "irra": irra}, **{**common, **bent}))  # type: ignore[arg-type]
    (folder / "claims.yaml").write_text(CLAIM.format(size="null" if size is None else size))
    return folder


@pytest.mark.parametrize(
    ("size", "irra", "bent", "judgement", "code"),
    [
        (3.0, 57.0, {}, "reproduced", 0),
        (3.0, 60.0, {}, "not reproduced", 4),
        (3.0, 63.0, {}, "not reproduced", 4),
        (3.0, 50.0, {}, "not reproduced", 4),
        (3.0, 57.0, UNSTEADY, "underpowered", 5),
        (3.0, 57.0, {"seeds": 1}, "underpowered", 5),
        (3.0, 57.0, {"failed": {("irra", seed): "nan" for seed in range(3)}}, "not run", 5),
        (None, 57.0, {}, "reproduced", 0),
        (None, 60.0, {}, "not reproduced", 4),
        (None, 60.0, UNSTEADY, "underpowered", 5),
    ],
)
def test_a_claim_gets_the_judgement_its_truth_deserves_and_the_exit_code_follows(
    tmp_path: Path, size: float | None, irra: float, bent: dict[str, object], judgement: str, code: int
) -> None:
    done = report(study(tmp_path, size, irra, **bent))
    assert done.exit_code == code, done.output
    assert done.stdout.splitlines()[-1].split(": ")[1] == judgement


def test_sixty_people_may_decide_a_claim_about_this_benchmark_and_say_nothing_of_new_people(
    tmp_path: Path,
) -> None:
    done = report(study(tmp_path, None, 60.0, people=60))
    assert done.exit_code == 4
    (row,) = (line.split() for line in done.stdout.splitlines() if line.startswith("gain  "))
    assert row[1:4] == ["not", "reproduced", "underpowered"]


def test_without_check_a_claim_that_failed_is_said_and_the_exit_code_is_0(tmp_path: Path) -> None:
    done = report(study(tmp_path, 3.0, 60.0, people=1000), check=False)
    assert done.exit_code == 0
    assert "gain (clean): not reproduced" in done.stdout


def test_methods_that_ran_under_different_presets_are_not_held_against_each_other(tmp_path: Path) -> None:
    clean = study(tmp_path / "clean", 3.0, 57.0, failed={("irra", seed): "oom" for seed in range(3)})
    released = study(
        tmp_path / "released",
        3.0,
        57.0,
        failed={("uit", seed): "oom" for seed in range(3)},
        preset="released",
    )
    done = report(clean, released)
    assert done.exit_code == 5
    assert done.stdout.splitlines()[-1] == "gain: not run"


def test_each_preset_is_judged_by_itself_and_one_failure_is_enough(tmp_path: Path) -> None:
    clean = study(tmp_path / "clean", 3.0, 57.0)
    released = study(tmp_path / "released", 3.0, 60.0, preset="released")
    done = report(clean, released)
    assert done.exit_code == 4
    assert done.stdout.splitlines()[-2:] == [
        "gain (clean): reproduced",
        "gain (released): not reproduced",
    ]


@pytest.mark.parametrize(
    ("name", "text", "mistake"),
    [
        ("claims.yaml", "claims: [{id: a, better: x, dataset: d}]", "claim 1: than is missing"),
        ("claims.yaml", "claims: [", "claims.yaml: while parsing"),
        ("claims.yaml", "claims: []\nmargn: 2", "unknown key 'margn'"),
        ("study.yaml", "just text", "study.yaml: damaged"),
        ("study.yaml", "name: [", "study.yaml: damaged"),
    ],
)
def test_a_folder_whose_study_or_claims_are_damaged_is_refused_in_a_line_per_mistake(
    tmp_path: Path, name: str, text: str, mistake: str
) -> None:
    study(tmp_path, 3.0, 57.0, people=10)
    (tmp_path / name).write_text(text)
    done = report(tmp_path)
    assert done.exit_code == 2
    assert mistake in done.stderr
    assert "Traceback" not in done.stderr


def test_a_check_without_a_claim_is_refused_rather_than_passed(tmp_path: Path) -> None:
    stores.write(tmp_path, Truth({"uit": 60.0, "irra": 57.0}, people=10))
    done = report(tmp_path)
    assert done.exit_code == 2
    assert "there is no claim to check" in done.stderr
    assert report(tmp_path, check=False).exit_code == 0


def test_the_page_of_several_runs_replaces_none_of_theirs(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("one", "two")]
    for run in runs:
        stores.write(run, Truth({"uit": 60.0, "irra": 57.0}, people=10))
    done = report(*runs, check=False)
    assert f"report: {tmp_path / 'report.html'}" in done.stdout
    assert not any((run / "report.html").exists() for run in runs)


def test_a_method_that_was_run_again_by_another_recipe_is_named(tmp_path: Path) -> None:
    other = {"irra": {"epochs": 9}}
    stores.write(tmp_path, Truth({"uit": 60.0, "irra": 57.0, "baseline": 50.0}, people=10, switches=other))
    said = "Not alike: epochs is 6 for baseline and uit and 9 for irra."
    assert said in report(tmp_path, check=False).stdout
    assert said in (tmp_path / "report.html").read_text()


def test_undecided_claims_are_accepted_only_when_asked_and_contradicted_ones_never(tmp_path: Path) -> None:
    undecided = study(tmp_path / "undecided", 3.0, 57.0, **UNSTEADY)
    assert report(undecided).exit_code == 5
    assert report(undecided, more=("--allow-undecided",)).exit_code == 0
    contradicted = study(tmp_path / "contradicted", 3.0, 60.0)
    assert report(contradicted, more=("--allow-undecided",)).exit_code == 4


def test_a_claim_that_was_not_run_is_not_accepted_as_undecided(tmp_path: Path) -> None:
    undecided = study(tmp_path, 3.0, 57.0, **UNSTEADY)
    with (undecided / "claims.yaml").open("a") as file:
        file.write("\n  - {id: absent, better: uit, than: nobody, dataset: rendered-plaza}\n")
    done = report(undecided, more=("--allow-undecided",))
    assert "absent: not run" in done.stdout
    assert done.exit_code == 5


def test_the_first_screen_counts_the_claims_that_were_decided(tmp_path: Path) -> None:
    study(tmp_path, 3.0, 57.0, **UNSTEADY)
    report(tmp_path, check=False)
    page = (tmp_path / "report.html").read_text()
    said = "Claims: decided 0 of 1 on this benchmark (0 reproduced, 0 contradicted, 1 undecided, 0 not run)."
    assert said in page[: page.index('id="results-')]


def test_without_arguments_every_run_gets_its_own_page_and_the_index_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "other"):
        stores.write(tmp_path / "runs" / name, Truth({"uit": 60.0, "irra": 57.0}, people=10, name=name))
    done = report(check=False)
    assert done.exit_code == 0
    index = (tmp_path / "runs" / "index.html").read_text()
    for name in ("demo", "other"):
        assert (tmp_path / "runs" / name / "report.html").is_file()
        assert f'href="{name}/report.html"' in index
    assert "uit [" not in done.stdout
    assert not (tmp_path / "runs" / "report.html").exists()


def test_a_label_that_stands_for_two_methods_is_said_and_no_other_method_becomes_the_reference(
    tmp_path: Path,
) -> None:
    first = study(tmp_path / "first", None, 57.0, people=40)
    second = study(tmp_path / "second", None, 57.0, people=40, switches={"uit": {"tir": True}})
    stdout = " ".join(report(first, second, check=False).stdout.split())
    assert "uit is not the same method in all of these folders: they are shown as" in stdout
    assert "nothing is compared with it" in stdout
    page = (tmp_path / "report.html").read_text()
    assert "Difference to uit<" in page
    assert "Difference to uit [" not in page
    assert "Difference to irra" not in page


def test_a_claim_about_another_test_set_is_judged_by_the_scores_there(tmp_path: Path) -> None:
    names = ("rendered-plaza", "rendered-arcade")
    study(tmp_path, None, 50.0, people=300, datasets=names, transfer=True)
    claim = "{id: gain, better: uit, than: irra, dataset: rendered-plaza, target: rendered-arcade}"
    (tmp_path / "claims.yaml").write_text(f"claims: [{claim}]\n")
    runs = read([tmp_path])
    groups = comparison_groups(runs, ComparisonOptions(resamples=200))
    (ruling,) = rulings(runs, groups)
    assert ruling.group is not None
    assert (ruling.group.evaluation.source, ruling.group.evaluation.target) == names


def test_two_claims_of_one_id_are_both_judged_and_told_apart_by_their_folders(tmp_path: Path) -> None:
    first = study(tmp_path / "first", 3.0, 57.0)
    second = study(tmp_path / "second", 30.0, 57.0)
    runs = read([first, second])
    groups = comparison_groups(runs, ComparisonOptions(resamples=200))
    ruled = {ruling.claim.id: ruling.claim.size for ruling in rulings(runs, groups)}
    assert ruled == {"gain [first]": 3.0, "gain [second]": 30.0}
    (second / "claims.yaml").write_text((first / "claims.yaml").read_text())
    runs = read([first, second])
    assert [ruling.claim.id for ruling in rulings(runs, groups)] == ["gain"]
