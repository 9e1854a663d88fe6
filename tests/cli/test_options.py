"""What the command line says of a study arrives, and a changed study never lands in another one's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from study_files import SMALL, write_study
from typer.testing import CliRunner

from harness.cli.options import StudyOptions
from harness.cli.report import run_folders
from harness.cli.run_folder import refuse_another_study
from harness.cli.verbs import app
from harness.machine import paths
from harness.machine.errors import StudyError
from harness.store.runs import RunStore
from harness.study.study import Study, load_study

SMOKE = Path(__file__).parents[2] / "studies" / "smoke.yaml"


def loaded(**options: object) -> tuple[StudyOptions, Study]:
    asked = StudyOptions(SMOKE, **options)  # type: ignore[arg-type]
    return asked, asked.load()


@pytest.mark.parametrize(
    ("option", "attribute"), [("methods", "methods"), ("datasets", "datasets")], ids=["methods", "datasets"]
)
def test_a_repeated_option_adds_up(option: str, attribute: str) -> None:
    names = {"methods": ["baseline", "uit-mlm", "uit"], "datasets": ["rendered-campus", "rendered-plaza"]}[
        option
    ]
    _, study = loaded(**{option: names})
    assert list(getattr(study, attribute)) == names
    _, same = loaded(**{option: [",".join(names[:1]), ",".join(names[1:])]})
    assert getattr(same, attribute) == getattr(study, attribute)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(["3"], (0, 1, 2)), (["0,4"], (0, 4)), (["1", "5"], (1, 5)), (["2,"], (2,)), (["1,2", "7"], (1, 2, 7))],
)
def test_one_number_is_how_many_seeds_and_several_are_which(
    given: list[str], expected: tuple[int, ...]
) -> None:
    assert loaded(seeds=given)[1].seeds == expected


def test_narrowing_keeps_the_folder_and_changing_gets_one_of_its_own() -> None:
    for narrowing in ({"methods": ["uit"]}, {"datasets": ["rendered-plaza"]}, {"seeds": ["3"]}):
        options, study = loaded(**narrowing)
        assert options.folder(study) == Path("runs/smoke")
    options, study = loaded(subset=4, overrides=["train.epochs=1"])
    assert options.folder(study) == Path("runs/smoke+subset=4+train.epochs=1")
    reordered, _ = loaded(overrides=["train.lr=0.1", "train.epochs=1"])
    same, _ = loaded(overrides=["train.epochs=1", "train.lr=0.1"])
    assert reordered.folder(study) == same.folder(study)
    assert options.folder(study) != StudyOptions(SMOKE, out=Path("x")).folder(study) == Path("x")


@pytest.mark.parametrize(
    "narrowing",
    ["methods=[uit]", "methods=[baseline,uit]", "datasets=[rendered-plaza]", "seeds=1", "subset=8"],
)
def test_an_override_that_only_narrows_or_changes_nothing_keeps_the_folder(narrowing: str) -> None:
    options, study = loaded(overrides=[narrowing])
    assert options.folder(study) == Path("runs/smoke")


@pytest.mark.parametrize(
    "changing", ["methods=[uit,irra]", "datasets=[rendered-campus]", "seeds=2", "preset=released", "subset=9"]
)
def test_an_override_that_adds_or_changes_gets_a_folder_of_its_own(changing: str) -> None:
    options, study = loaded(overrides=[changing])
    folder = options.folder(study)
    assert folder.parent == Path("runs")
    assert folder.name.startswith("smoke+")


def test_a_method_whose_entry_is_changed_by_an_override_is_no_narrowing(tmp_path: Path) -> None:
    entry = {"name": "uit", "margin": 0.3}
    path = write_study(tmp_path, methods=[entry, "baseline"], datasets=["rendered-plaza"])
    kept, changed = (StudyOptions(path, overrides=[f"methods=[{name}]"]) for name in ("baseline", "uit"))
    assert kept.folder(kept.load()) == Path("runs/small")
    assert changed.folder(changed.load()) != Path("runs/small")


def test_a_study_narrowed_by_an_override_keeps_settings_that_only_the_others_have(tmp_path: Path) -> None:
    train = {"backbone": "tiny", "pretrained": "none", "image_size": [96, 32], "decoder_depth": 1}
    path = write_study(tmp_path, methods=["uit", "baseline"], datasets=["rendered-plaza"], train=train)
    assert load_study(path, ["methods=[baseline]"]).methods == ("baseline",)


def test_check_refuses_the_folder_of_another_study_as_run_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_study(tmp_path, methods=["baseline"], datasets=["rendered-plaza"])
    monkeypatch.chdir(tmp_path)
    store = RunStore(Path("runs/small"))
    study = load_study(path)
    store.write_study(study)
    store.open(study.cells()[0], {"settings": {}})
    path = write_study(
        tmp_path, methods=["baseline"], datasets=["rendered-plaza"], train={**SMALL["train"], "epochs": 9}
    )
    answers = [CliRunner().invoke(app, [verb, str(path), "--device", "cpu"]) for verb in ("check", "run")]
    assert [answer.exit_code for answer in answers] == [2, 2]
    for answer in answers:
        assert "holds runs of another study named 'small' (baseline: epochs was 2, is 9)" in answer.stderr


def test_a_change_with_slashes_or_of_any_length_makes_one_short_folder() -> None:
    _, study = loaded()
    folders = [
        StudyOptions(SMOKE, overrides=[change]).folder(study)
        for change in ("claims=../../etc/claims.yaml", "claims=../../etc/claims yaml", "train.x=" + "9" * 400)
    ]
    assert len(set(folders)) == 3
    assert all(folder.parent == Path("runs") and len(folder.name) < 80 for folder in folders)


def test_a_study_narrowed_to_some_methods_keeps_settings_that_only_the_others_have(tmp_path: Path) -> None:
    train = {"backbone": "tiny", "pretrained": "none", "image_size": [96, 32]}
    asked = {"methods": ["uit", "baseline"], "datasets": ["rendered-plaza"]}
    path = write_study(tmp_path, **asked, train={**train, "decoder_depth": 1})
    assert load_study(path, methods=["baseline"]).methods == ("baseline",)
    path = write_study(tmp_path, **asked, train={**train, "decoder_dept": 1})
    with pytest.raises(StudyError, match="decoder_dept"):
        load_study(path, methods=["baseline"])


def test_another_study_of_the_same_name_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    study = load_study(SMOKE)
    store = RunStore(tmp_path / "smoke")
    store.write_study(study)
    other = load_study(SMOKE, ["train.epochs=9"])
    refuse_another_study(other, store.directory, asked=False)  # nothing was trained there yet
    store.open(study.cells()[0], {"settings": {}})
    with pytest.raises(StudyError, match=r"epochs was 2, is 9.*`name:`.*--out FOLDER"):
        refuse_another_study(other, store.directory, asked=False)
    refuse_another_study(other, store.directory, asked=True)
    refuse_another_study(load_study(SMOKE, methods=["uit"], seeds=5), store.directory, asked=False)


def test_the_version_is_printed() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.stdout.startswith("tipr-harness 0.")


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("false", False), ("0", False), ("no", False), ("", False)]
)
def test_offline_is_what_the_variable_says(
    monkeypatch: pytest.MonkeyPatch, value: str, offline: bool
) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", value)
    assert paths.offline() is offline


def test_variables_have_one_prefix_and_the_older_one_is_still_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HARNESS_CACHE", "HARNESS_DATA", "TIPR_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIPR_CACHE", str(tmp_path / "old"))
    assert paths.cache_dir() == tmp_path / "old"
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "new"))
    assert paths.cache_dir() == tmp_path / "new"
    assert paths.data_root() is None
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    assert paths.data_root() == tmp_path


def test_an_older_name_of_a_variable_is_said_once_on_standard_error(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "TIPR_DATA": str(tmp_path),
        "TIPR_CACHE": "old",
        "HARNESS_CACHE": str(tmp_path),
    }
    environment.pop("HARNESS_DATA", None)
    command = [sys.executable, "-m", "harness", "list", "studies"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == ["TIPR_DATA: read as HARNESS_DATA, which is its name now"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--methods", ""), "--methods: names nothing; leave it out for all"),
        (("--datasets", ","), "--datasets: names nothing; leave it out for all"),
        (("--seeds", "0,0"), "--seeds lists 0 more than once"),
        (("--seeds", ""), "--seeds names no seed"),
        (("--set", "train.lr=1", "--set", "train.lr=2"), "--set: train.lr: given 2 times; keep one of them"),
    ],
)
def test_a_list_that_names_nothing_and_what_is_given_twice_is_refused(
    options: tuple[str, ...], said: str
) -> None:
    done = CliRunner().invoke(app, ["check", str(SMOKE), *options])
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_a_folder_that_is_named_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").write_text("")
    named = [Path("b"), Path("a"), Path("b/"), tmp_path / "b"]
    assert run_folders(named) == [Path("b"), Path("a")]


def test_completion_of_a_module_names_the_program_that_a_shell_can_complete() -> None:
    command = [sys.executable, "-m", "harness", "--show-completion"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.endswith("type `harness --show-completion`\n")


def test_the_shell_completes_verbs_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for words, expected in (("harness ver", "verify"), ("harness run --qu", "--quiet")):
        completion = {
            "_HARNESS_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": "1" if words == "harness ver" else "2",
        }
        done = subprocess.run(
            [sys.executable, "-c", "from harness.cli.verbs import app; app(prog_name='harness')"],
            env={**os.environ, **completion},
            capture_output=True,
            text=True,
        )
        assert expected in done.stdout.split()


def test_a_shipped_study_runs_by_its_name_wherever_the_program_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = StudyOptions(Path("demo"))
    assert asked.load().name == "demo"
    assert asked.folder(asked.load()) == Path("runs/demo")


def test_a_user_without_a_home_folder_gets_a_cache_among_the_temporary_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import platformdirs

    def nobody(*_: object, **__: object) -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    for name in ("HARNESS_CACHE", "TIPR_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", nobody)
    assert paths.cache_dir().name.startswith("tipr-harness-")
