"""A wrong study gives all its errors at once, each with its place and the nearest right choice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from study_files import SMALL, write_study
from typer.testing import CliRunner

from harness.cli.verbs import app
from harness.study.study import StudyError, load_study

ROOT = Path(__file__).parents[2]


def errors_of(path: Path, *overrides: str, **options: Any) -> list[str]:
    with pytest.raises(StudyError) as found:
        load_study(path, overrides, **options)
    return found.value.lines


def errors_in(folder: Path, text: str) -> list[str]:
    path = folder / "study.yaml"
    path.write_text(text)
    return errors_of(path)


def the_error(errors: list[str], key: str) -> str:
    (found,) = [error for error in errors if f" {key}: " in error]
    return found


def test_every_error_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    errors = errors_in(
        tmp_path,
        """\
name: a/b
preset: cleen
methods: [uit, uti, uit, 7, {name: x, base: uit, mask_ratio: 1.0}]
datasets: []
seeds: -1
train:
  epochs: -3
  batch_size: true
  mask_ratoi: 0.3
  temperature: .nan
  backbone: tyni
select: {metric: R2}
evaluate: {transfr: true}
search: {trials: 0, space: {temprature: {low: 0, high: 1}, lr: {low: 2, high: 1}}}
overhead: {against: uit-no-tirr}
claims: nowhere.yaml
colour: red
""",
    )
    expected = {
        1: r"name: must be a folder's name: .* got 'a/b'",
        2: r"preset: must be one of 'clean' or 'released', got 'cleen'",
        5: r"seeds: must be at least 1",
        7: r"train.epochs: must be at least 1, got -3",
        8: r"train.batch_size: must be a whole number, got true",
        9: r"train.mask_ratoi: unknown key: did you mean 'mask_ratio'\?",
        10: r"train.temperature: must be a finite number, got .nan",
        11: r"train.backbone: unknown backbone 'tyni': did you mean 'tiny'\?",
        12: r"select.metric: must be one of 'R1', 'R5', 'R10', 'mAP' or 'mINP', got 'R2'",
        13: r"evaluate.transfr: unknown key: did you mean 'transfer'\?",
        15: r"overhead.against.0: 'uit-no-tirr' is not a method of this study",
        16: r"claims: no such file: nowhere.yaml",
        17: r"colour: unknown key \(known: ablate, claims, ",
    }
    for line, message in expected.items():
        assert any(re.fullmatch(rf".*study\.yaml:{line}: {message}.*", error) for error in errors), (
            line,
            errors,
        )
    assert "did you mean 'uit'" in the_error(errors, "methods.1")
    assert "'uit' is listed twice" in the_error(errors, "methods.2")
    assert "got 7" in the_error(errors, "methods.3")
    assert "must be less than 1, got 1.0" in the_error(errors, "methods.4.mask_ratio")
    assert "must not be empty" in the_error(errors, "datasets")
    assert "did you mean 'temperature'" in the_error(errors, "search.space.temprature")
    assert "low must be less than high" in the_error(errors, "search.space.lr")
    lines = [int(error.split(":")[1]) for error in errors]
    assert lines == sorted(lines)


def bomb() -> str:
    """Six levels of nine aliases each: half a million values from two hundred characters."""
    levels = [
        f"{name}: &{name} [{', '.join(['*' + below] * 9)}]"
        for below, name in zip("abcdef", "bcdefg", strict=True)
    ]
    return "\n".join(["a: &a [x, x, x, x, x, x, x, x, x]", *levels])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping"),
        ("just a sentence", "must be a mapping"),
        ("- a\n- list", "must be a mapping"),
        ("name: [1,\n", "not YAML"),
        ("name: x\n\tmethods: y", "not YAML"),
        ("\x00\x01", "not YAML"),
        ("a: " + "[" * 50_000, "nested too deeply"),
        ("a: &a [*a]", "nested too deeply"),
        (bomb(), "too many values"),
        ("name: x\n" + "# padding\n" * 120_000, "a study is a short text"),
    ],
    ids=["empty", "text", "list", "unclosed", "tab", "binary", "deep", "recursive", "bomb", "huge"],
)
def test_what_is_no_study_is_refused_in_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (error,) = errors_in(tmp_path, text)
    assert message in error
    assert error.startswith(str(tmp_path / "study.yaml") + ":")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(b"name: \xff\xfe")
    assert "not a text file" in errors_of(tmp_path / "study.yaml")[0]


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert errors_of(tmp_path / "absent.yaml") == [f"{tmp_path / 'absent.yaml'}: no such file"]
    assert errors_of(tmp_path) == [f"{tmp_path}: is a folder, not a file"]


def test_no_tag_of_yaml_makes_an_object(tmp_path: Path) -> None:
    errors = errors_in(
        tmp_path, "name: !!python/object/apply:os.system [echo]\nmethods: [uit]\ndatasets: [cuhk-pedes]"
    )
    assert errors
    assert any("name" in error for error in errors)


def test_a_key_written_twice_is_an_error_that_names_both_lines(tmp_path: Path) -> None:
    errors = errors_in(tmp_path, "name: x\nmethods: [uit]\ndatasets: [cuhk-pedes]\nmethods: [baseline]\n")
    assert errors == [f"{tmp_path / 'study.yaml'}:4: methods: written twice, first in line 2"]


def search(name: str, values: str) -> str:
    return f"search={{trials: 1, space: {{{name}: {{{values}}}}}}}"


@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ("train.epochs='3'", "train.epochs", "must be a whole number, got '3'"),
        ("train.epochs=2.5", "train.epochs", "must be a whole number, got 2.5"),
        ("train.lr=true", "train.lr", "must be a number, got true"),
        ("train.lr=1e999", "train.lr", "must be a finite number, got 1e999"),
        ("train.flip_probability=1.5", "train.flip_probability", "must be at most 1, got 1.5"),
        ("train.image_size=[96]", "train.image_size.1", "is missing"),
        ("train.image_size=[97, 32]", "train.image_size", "is no whole number of tiny's"),
        ("train.mask_ratio=0.999", "train.mask_ratio", "some must be visible, some hidden"),
        ("train.mask_ratio=1.0", "train.mask_ratio", "must be less than 1, got 1.0"),
        ("train.mask_ratio=0.001", "train.mask_ratio", "some must be visible, some hidden"),
        ("train=[1, 2]", "train", "must be a mapping"),
        ("train.margin=null", "train.margin", "must be a number, got nothing"),
        ("methods=[]", "methods", "must not be empty"),
        ("methods=null", "methods", "is missing"),
        ("methods=[{base: uit}]", "methods.0", "must have a name"),
        ("methods=[{name: ../x, base: uit, margin: 0.1}]", "methods.0", "a name holds letters"),
        ("methods=[uit, {name: twin, base: uit}]", "methods.1", "is 'uit' under another name"),
        ("methods=[{name: x, base: uit, marginn: 1}]", "methods.0.marginn", "did you mean 'margin'"),
        ("methods=[{name: x, base: baseline, margin: 1}]", "methods.0.margin", "does not use it"),
        ("datasets=[cuhk_pedes]", "datasets.0", "did you mean 'cuhk-pedes'"),
        ("datasets=[rstpreid, rstpreid]", "datasets.1", "listed twice"),
        ("seeds=[]", "seeds", "must not be empty"),
        ("seeds=[1, 1]", "seeds", "lists a seed twice"),
        ("seeds=[-1]", "seeds.0", "must be at least 0"),
        ("seeds=true", "seeds", "must be how many seeds"),
        ("subset=0", "subset", "must be at least 1"),
        ("evaluate.targets=[nowhere]", "evaluate.targets.0", "unknown dataset 'nowhere'"),
        ("name=.", "name", "must be a folder's name"),
        ("name=3", "name", "must be text, got 3"),
        ("timeout_minutes=-1", "timeout_minutes", "must be more than 0"),
        ("search={trials: 1, space: {}}", "search.space", "must not be empty"),
        ("search={trials: 100001, space: {lr: {low: 1, high: 2}}}", "search.trials", "at most 100000"),
        (
            search("mask_ratio", "low: 0.1, high: 0.5"),
            "search.space",
            "'uit-no-tir' has none of these settings",
        ),
        (search("lr", "low: 0, high: 1, log: true"), "search.space.lr", "log scale needs low above 0"),
        (search("lr", "low: 2, high: 1"), "search.space.lr", "low must be less than high, got 2 and 1"),
        (search("lr", "low: 1, high: 2, log: true, step: 1"), "search.space.lr", "a log scale takes no step"),
        (search("lr", "low: 1, high: 2, step: 0.3"), "search.space.lr", "let high be 1.9"),
        (
            search("weight_decay", "low: -1, high: 1"),
            "search.space.weight_decay",
            "must be at least 0, got -1",
        ),
        (search("lr", "low: 1, hgh: 2"), "search.space.lr.hgh", "did you mean 'high'"),
        (search("lr", "low: 1, choices: [1]"), "search.space.lr.low", "unknown key (known: choices)"),
        (search("lr", "choices: []"), "search.space.lr.choices", "must not be empty"),
        (search("precision", "choices: [fp32, fp64]"), "search.space.precision", "got 'fp64'"),
        (search("precision", "choices: [fp32, fp32]"), "search.space.precision.choices", "a choice twice"),
        (search("batch_size", "low: 2.5, high: 9"), "search.space.batch_size", "a whole number"),
        (
            search("batch_size", "low: 2, high: 9, step: 0.5"),
            "search.space.batch_size.step",
            "a whole number",
        ),
        (search("epochs", "low: 1, high: 9"), "search.space.epochs", "the same for every trial"),
    ],
)
def test_one_mistake_is_told_in_one_sentence(tmp_path: Path, change: str, key: str, message: str) -> None:
    assert message in the_error(errors_of(write_study(tmp_path), change), key)


@pytest.mark.parametrize(
    ("ends", "message"),
    [
        ("low: 0.1, high: 0.999", "0.999 leaves 0 of"),
        ("low: 0.001, high: 0.9", "patches visible; some must be visible, some hidden"),
        ("low: 0.1, high: 1.0", "must be less than 1, got 1.0"),
    ],
)
def test_a_searched_mask_ratio_must_leave_a_visible_and_a_hidden_patch(
    tmp_path: Path, ends: str, message: str
) -> None:
    errors = errors_of(write_study(tmp_path, methods=["uit"]), search("mask_ratio", ends))
    assert message in the_error(errors, "search.space.mask_ratio")


def test_a_setting_that_no_method_of_the_study_has_is_refused(tmp_path: Path) -> None:
    errors = errors_of(write_study(tmp_path, methods=["uit-no-tir", "baseline"]), "train.mask_ratio=0.5")
    assert errors == ["--set: train.mask_ratio: no method of this study has it"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epohcs=3", "--set: train.epohcs: unknown key: did you mean 'epochs'?"),
        ("trian.epochs=3", "--set: trian: unknown key: did you mean 'train'?"),
        ("train.epochs=many", "--set: train.epochs: must be a whole number, got 'many'"),
        ("train.epochs", "--set: expected key=value, got 'train.epochs'"),
        ("train.epochs=[1", "--set: train.epochs: cannot be read"),
        ("methods.9=uit", "--set: methods.9: the list has 4 entries"),
        ("methods.9.name=uit", "--set: methods.9.name: there is no 9 to set it in"),
        ("name.deeper=1", "--set: name.deeper: is inside a plain value"),
        ("name.deeper.still=1", "--set: name.deeper.still: there is no 'deeper' to set it in"),
        ("=3", "--set: expected key=value"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, override: str, message: str) -> None:
    errors = errors_of(write_study(tmp_path), override)
    assert any(error.startswith(message) for error in errors), errors


def test_an_override_mends_what_the_file_says_wrong(tmp_path: Path) -> None:
    path = write_study(tmp_path, train={**SMALL["train"], "epochs": -3})
    assert load_study(path, ["train.epochs=3"]).cells()[0].train.epochs == 3


def test_an_unknown_method_or_dataset_on_the_command_line_is_refused_with_the_nearest(tmp_path: Path) -> None:
    errors = errors_of(write_study(tmp_path), methods=["uti"], datasets=["rstp-reid"])
    assert any("--methods" in error and "did you mean 'uit'" in error for error in errors)
    assert any("--datasets" in error and "did you mean 'rstpreid'" in error for error in errors)


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HARNESS_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
        "HARNESS_DATA": "",
    }
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )


def test_the_program_refuses_with_exit_code_2_without_traceback_and_makes_nothing(tmp_path: Path) -> None:
    path = write_study(tmp_path, train={**SMALL["train"], "epochs": -3}, methods=["uit", "uti"])
    before = sorted(tmp_path.rglob("*"))
    done = harness(tmp_path, "run", path.name, "--out", "out")
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all(re.match(r"study\.yaml:\d+: [a-z.0-9]+: ", line) for line in lines)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_study_without_its_data_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    path, out = write_study(tmp_path), tmp_path / "out"
    arguments = [
        "run",
        str(path),
        "--out",
        str(out),
        "--data-root",
        str(tmp_path / "absent"),
        "--device",
        "cpu",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "CUHK-PEDES/reid_raw.json" in done.stderr
    assert "RSTPReid/data_captions.json" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    "override",
    [
        "search.storage=[{}]",
        "search.storage={{url: {}}}",
        "search.storag={}",
        "train.lr={}",
        "seeds={}",
        "methods=[{}]",
        "{}",
        "{}=3",
    ],
)
def test_a_password_that_stands_in_the_wrong_place_is_not_repeated(tmp_path: Path, override: str) -> None:
    url = "postgresql+psycopg://me:open-sesame@host/db"
    study = str(
        write_study(tmp_path, search={"trials": 2, "space": {"temperature": {"low": 0.1, "high": 1}}})
    )
    done = CliRunner().invoke(app, ["run", study, "--set", override.format(url)])
    assert done.exit_code == 2
    assert "sesame" not in done.output


def test_an_option_that_is_named_like_its_key_is_named_once(tmp_path: Path) -> None:
    (error,) = errors_of(write_study(tmp_path), methods=["uti"])
    assert error.startswith("--methods: unknown method 'uti': did you mean 'uit'?")
    (error,) = errors_of(write_study(tmp_path), subset=0)
    assert error.startswith("--subset: must be")


def test_an_unknown_method_may_be_one_of_a_plugin_and_an_unknown_split_not(tmp_path: Path) -> None:
    (error,) = errors_of(write_study(tmp_path, methods=["mine"]))
    assert error.endswith("; one of your own needs --plugin FILE")
    (error,) = errors_of(write_study(tmp_path, datasets=["my-people"]))
    assert error.endswith("; one of your own needs --dataset-file FILE, or that file in the --data-root")
    done = CliRunner().invoke(app, ["evaluate", "x.pth", "--dataset", "rendered-plaza", "--split", "tset"])
    assert "unknown split" in done.output
    assert "plugin" not in done.output
