"""`why` names what makes a cell another one: the setting, the files, the rooms of code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import draw_person, write_cuhk, write_rstp
from light_runs import PLUGIN, RECIPE, light_machine, light_study, run_light
from typer.testing import CliRunner

from harness.cli.verbs import app
from harness.launch import fingerprints
from harness.launch.changes import HERE_AND_THERE, changed_files, changes_between
from harness.launch.context import Context
from harness.machine.errors import StudyError
from harness.machine.progress import Progress
from harness.store.runs import RunStore
from harness.trust.why import why

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data and a finished run."""
    folder = tmp_path_factory.mktemp("why")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(folder / "cache"))
        write_cuhk(folder / "data")
        run_light(light_study(folder, seeds=1), folder / "out", Context(light_machine(folder / "data")))
        yield folder


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    shutil.copytree(home / "data", tmp_path / "data")
    shutil.copytree(home / "out", tmp_path / "out")
    return tmp_path


def asked(folder: Path, other: str | None = None) -> Any:
    (run,) = RunStore(folder / "out").cells()
    return why(str(run.directory), other, light_machine(folder / "data"))


class Said(Progress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def test_nothing_changed_means_the_cell_is_reused(copy: Path) -> None:
    answer = asked(copy)
    assert answer.changes == []
    assert any(line.strip() == "lr = 0.01" for line in answer.made_of)
    assert sum(line.startswith("settings") for line in answer.made_of) == 1


def test_a_damaged_file_and_a_cell_that_is_not_finished_are_told(copy: Path) -> None:
    (run,) = RunStore(copy / "out").cells()
    (run.directory / "model-val.safetensors").unlink()
    assert asked(copy).again == ["model-val.safetensors is gone: it is made again"]
    run.fail("oom", "64 GiB wanted")
    assert asked(copy).again == ["it is failed (oom: 64 GiB wanted): it is run"]
    assert asked(copy).changes == []


def test_a_setting_is_named_with_both_values(copy: Path) -> None:
    light_study(copy / "in", seeds=1, train={**RECIPE, "lr": 0.02})
    answer = asked(copy, str(copy / "in" / "study.yaml"))
    assert [change.text for change in answer.changes] == ["setting lr: was 0.01, is 0.02"]


def test_changed_and_missing_files_are_named(copy: Path) -> None:
    images = sorted((copy / "data" / "CUHK-PEDES" / "imgs").rglob("*.jpg"))
    draw_person(images[0], 3, 9, size=(80, 40))
    (change,) = asked(copy).changes
    assert change.part == "data"
    assert "1 of another size" in change.text
    assert images[0].name in change.text


def replace_picture(folder: Path) -> Path:
    """Put another picture of the same size and time where a training picture was."""
    image = sorted((folder / "data" / "CUHK-PEDES" / "imgs").rglob("*.jpg"))[0]
    was = image.stat()
    image.write_bytes(image.read_bytes()[:-3] + b"\0\0\0")
    os.utime(image, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert image.stat().st_size == was.st_size
    return image


def test_a_picture_replaced_at_the_same_size_and_time_is_named(copy: Path) -> None:
    image = replace_picture(copy)
    (change,) = asked(copy).changes
    assert change.text.startswith(
        "the data of cuhk-pedes changed: 1 of the same size with another content (imgs/"
    )
    assert image.name in change.text


def test_run_says_that_a_picture_changed_and_trains_a_new_cell(copy: Path) -> None:
    image = replace_picture(copy)
    said = Said()
    (before,) = RunStore(copy / "out").cells()
    store = run_light(
        light_study(copy / "in", seeds=1), copy / "out", Context(light_machine(copy / "data"), said)
    )
    (after,) = store.cells()
    assert after.name != before.name
    assert after.status.state == "done"
    (line,) = (line for line in said.lines if "not reused" in line)
    assert line.startswith(f"not reused: {before.name}: the data of cuhk-pedes changed: 1 of the same size")
    assert image.name in line


def test_run_says_what_of_a_finished_cell_it_makes_again(copy: Path) -> None:
    write_rstp(copy / "data")
    study = light_study(copy / "in", seeds=1, evaluate={"targets": ["rstpreid"]})
    run_light(study, copy / "out", Context(light_machine(copy / "data")))
    (run,) = RunStore(copy / "out").cells()
    image = sorted((copy / "data" / "RSTPReid" / "imgs").rglob("*.jpg"))[0]
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    record = run.records_path("cuhk-pedes", "val", "t2i")
    record.unlink()
    said = Said()
    run_light(study, copy / "out", Context(light_machine(copy / "data"), said))
    assert [line for line in said.lines if "made again" in line] == [
        f"made again: {run.name}: the data of the target rstpreid changed: it is evaluated again; "
        f"records/{record.name} is gone: it is made again"
    ]
    assert run.status.state == "done"
    assert record.exists()


def test_changed_code_names_its_room_and_files(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = dict(fingerprints.code_fingerprint())
    monkeypatch.setattr(fingerprints, "code_fingerprint", lambda *_: {**code, "train": "0" * 64})
    texts = [change.text for change in asked(copy).changes if "train" in change.text]
    assert len(texts) == 1
    assert "harness/train/*.py" in texts[0]


def test_data_that_is_gone_is_said_and_no_traceback(copy: Path) -> None:
    shutil.rmtree(copy / "data" / "CUHK-PEDES")
    (change,) = asked(copy).changes
    assert "cannot be read now" in change.text


def test_another_version_of_torch_is_told_beside_the_identity(copy: Path) -> None:
    (run,) = RunStore(copy / "out").cells()
    was = run.description["recorded"]["trained_on"]
    run.describe(trained_on={**was, "packages": {**was["packages"], "torch": "1.0"}})
    answer = asked(copy)
    assert answer.changes == []
    assert any("torch: was '1.0'" in line for line in answer.beside)


def test_run_says_in_one_line_why_a_finished_cell_is_not_reused(copy: Path) -> None:
    said = Said()
    study = light_study(copy / "in", seeds=1, train={**RECIPE, "epochs": 1})
    (before,) = RunStore(copy / "out").cells()
    run_light(study, copy / "out", Context(light_machine(copy / "data"), said))
    assert [line for line in said.lines if "not reused" in line] == [
        f"not reused: {before.name}: setting epochs: was 3, is 1"
    ]


def test_two_cells_are_compared_by_what_they_are_made_of(copy: Path) -> None:
    study = light_study(copy / "in", seeds=2)
    first, second = run_light(study, copy / "out", Context(light_machine(copy / "data"))).cells()
    answer = why(str(first.directory), str(second.directory), light_machine(copy / "data"))
    assert [change.text for change in answer.changes] == ["seed: 0 here, 1 there"]


def test_a_cell_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such cell"):
        why(str(tmp_path / "nothing"), None, light_machine(tmp_path))


def test_a_damaged_description_is_refused_with_its_file(copy: Path) -> None:
    (run,) = RunStore(copy / "out").cells()
    (run.directory / "cell.json").write_text("{}")
    done = CliRunner().invoke(app, ["why", str(run.directory), "--plugin", str(PLUGIN)])
    assert done.exit_code == 2
    assert "cell.json" in done.output


def test_the_verb_answers_in_json(copy: Path) -> None:
    (run,) = RunStore(copy / "out").cells()
    arguments = ["why", str(run.directory), "--json", "--plugin", str(PLUGIN)]
    done = CliRunner().invoke(app, [*arguments, "--data-root", str(copy / "data")])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["cell"] == run.name


def test_every_kind_of_change_to_files_has_its_words() -> None:
    row = {"split": "train", "path": "a.jpg", "person": "1", "bytes": 5, "captions": "x"}
    now = [{**row, "captions": "y"}, {**row, "path": "c.jpg"}]
    sentence = changed_files([row, {**row, "path": "b.jpg"}], now)
    assert sentence == "1 gone (b.jpg); 1 new (c.jpg); 1 with other captions (a.jpg)"
    assert "not known" in changed_files(None, now)
    whole, other = {**row, "sha256": "1"}, {**row, "sha256": "2"}
    assert changed_files([whole], [other]) == "1 of the same size with another content (a.jpg)"
    assert "an older version did not look into the pictures" in changed_files([row], [other])


def test_a_setting_that_came_or_went_is_told() -> None:
    texts = [change.text for change in changes_between({"settings": {"a": 1}}, {"settings": {"b": 2}})]
    assert texts == ["setting a: was 1, is no more", "setting b: is 2, was not there"]


DATA = {"name": "lab", "fingerprint": "1", "subset": None, "caption_noise": 0.0}


@pytest.mark.parametrize(
    ("then", "now", "part", "text"),
    [
        ({"method": {"base": "uit"}}, {"method": {"base": "irra"}}, "method", "base: was 'uit', is 'irra'"),
        ({"settings": {"lr": 1}}, {"settings": {"lr": 2}}, "settings", "setting lr: was 1, is 2"),
        ({"protocol": {"k": 1}}, {"protocol": {"k": 2}}, "protocol", "protocol k: was 1, is 2"),
        ({"seed": 0}, {"seed": 1}, "seed", "seed: was 0, is 1"),
        ({"dataset": DATA}, {"dataset": {**DATA, "name": "b"}}, "data", "name: was 'lab', is 'b'"),
        ({"dataset": DATA}, {"dataset": {**DATA, "subset": 9}}, "data", "subset: was None, is 9"),
        ({"dataset": DATA}, {"dataset": {**DATA, "caption_noise": 0.5}}, "data", "noise: was 0.0, is 0.5"),
        ({"dataset": DATA}, {"dataset": {**DATA, "fingerprint": "2"}}, "data", "the data of lab changed: "),
        ({"code": {"train": "1"}}, {"code": {"train": "2"}}, "code", "of train changed (harness/train/*.py)"),
        ({"code": {"hook": "1"}}, {"code": {"hook": "2"}}, "code", "the code of hook changed"),
        (
            {"code": {"hook": "0123456789"}},
            {"code": {}},
            "code",
            "the code of hook: was '01234567', is no more",
        ),
        (
            {"code": {}},
            {"code": {"hook": "0123456789"}},
            "code",
            "the code of hook: is '01234567', was not there",
        ),
    ],
)
def test_each_change_is_said_once_with_the_part_of_the_identity_that_it_is_of(
    then: dict[str, Any], now: dict[str, Any], part: str, text: str
) -> None:
    (change,) = changes_between(then, now)
    assert change.part == part
    assert text in change.text
    assert changes_between(then, then) == []


def test_two_cells_are_compared_as_here_and_there() -> None:
    here, there = {"settings": {"a": 1, "b": 2}}, {"settings": {"a": 3, "c": 4}}
    texts = [change.text for change in changes_between(here, there, words=HERE_AND_THERE)]
    assert texts == ["setting a: 1 here, 3 there", "setting b: 2 here only", "setting c: 4 there only"]


WITHOUT_PLUGIN = """
import sys
from harness.cli.verbs import app
app(sys.argv[1:])
"""


def without_plugin(copy: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """A verb in a process of its own: in this one the plugin is known already."""
    command = [sys.executable, "-c", WITHOUT_PLUGIN, *map(str, words), "--data-root", str(copy / "data")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_a_run_is_verified_with_the_plugin_it_keeps_where_the_plugins_file_is_gone(copy: Path) -> None:
    (run,) = RunStore(copy / "out").cells()
    run.describe(plugins=[str(copy / "gone" / PLUGIN.name)])
    done = without_plugin(copy, "verify", copy / "out", "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = (copy / "out" / "plugins").rglob(PLUGIN.name)
    assert f"method 'light': by {kept}, as its run kept it" in done.stderr
    assert "1 of 1 trained cell trained again" in done.stdout
    assert done.stdout.rstrip().endswith("reproduced")


@pytest.mark.parametrize(
    "words",
    [
        ("why", "{cell}"),
        ("query", "{cell}", "a man", "--dataset", "cuhk-pedes", "--out", "{run}/sheet.html"),
        ("evaluate", "{cell}", "--dataset", "cuhk-pedes"),
    ],
)
def test_a_plugin_s_cell_is_opened_with_the_copy_that_its_run_keeps(
    copy: Path, words: tuple[str, ...]
) -> None:
    (run,) = RunStore(copy / "out").cells()
    done = without_plugin(copy, *[word.format(cell=run.directory, run=copy / "out") for word in words])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.startswith("method 'light': by ")


@pytest.mark.parametrize(
    "words",
    [("why", "{cell}"), ("verify", "{run}"), ("query", "{cell}", "a man", "--dataset", "cuhk-pedes")],
)
def test_a_cell_of_a_plugin_asks_for_that_file_where_the_copy_is_not_what_ran(
    copy: Path, words: tuple[str, ...]
) -> None:
    (run,) = RunStore(copy / "out").cells()
    (kept,) = (copy / "out" / "plugins").rglob(PLUGIN.name)
    trap = copy / "trap"
    kept.write_text(f"open({str(trap)!r}, 'w').close()\n" + kept.read_text())
    done = without_plugin(copy, *[word.format(cell=run.directory, run=copy / "out") for word in words])
    assert done.returncode == 2, done.stderr
    assert (
        done.stderr == f"{run.name}: its method 'light' came from a plugin; give it with --plugin {PLUGIN}\n"
    )
    assert not trap.exists()


def test_no_code_of_an_unpacked_bundle_runs_unless_it_is_named(copy: Path) -> None:
    (run,) = RunStore(copy / "out").cells()
    (copy / "manifest.json").write_text("{}")
    done = without_plugin(copy, "why", run.directory)
    assert done.returncode == 2, done.stderr
    assert "came from a plugin; give it with --plugin" in done.stderr


def test_no_code_of_a_run_from_another_machine_runs_unless_it_is_named(copy: Path) -> None:
    (run,) = RunStore(copy / "out").cells()
    run.describe(host="of-somebody-else")
    done = without_plugin(copy, "why", run.directory)
    assert done.returncode == 2, done.stderr
    assert "came from a plugin; give it with --plugin" in done.stderr


def test_why_says_that_the_plugin_has_changed_since_the_cell_ran(copy: Path) -> None:
    (run,) = RunStore(copy / "out").cells()
    own = copy / PLUGIN.name
    own.write_text(PLUGIN.read_text() + "\nMORE = 1\n")
    run.describe(plugins=[str(own)])
    done = without_plugin(copy, "why", run.directory)
    assert done.returncode == 0, done.stderr
    assert f"{own} has changed since: --plugin {own} takes it" in done.stderr
