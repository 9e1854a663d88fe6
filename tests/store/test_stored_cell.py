"""A stored cell is run again as it ran, and the command that does it is given."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_files import write_study

from harness import registry
from harness.machine.environment import Machine
from harness.machine.errors import StudyError
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.store.stored_cell import MOST_THREADS, find_cell, kept_copies, machine_of, options_again
from harness.study.study import load_study


def stored(folder: Path, **recorded: Any) -> CellRun:
    (folder / "in").mkdir(parents=True)
    cell = load_study(write_study(folder / "in")).cells()[0]
    run = RunStore(folder / "out").open(cell, cell.parts("data", {"train": "code"}), **recorded)
    run.write_results([{"target": "cuhk-pedes", "skipped": 0}])
    return run


RAN: dict[str, Any] = {
    "data_root": "/data",
    "device": "cuda:3",
    "devices": 2,
    "deterministic": True,
    "trained_on": {"threads": 6},
}


def test_a_cell_is_run_again_with_the_data_devices_threads_and_kernels_that_it_had(tmp_path: Path) -> None:
    asked = Machine(device="cpu", command="verify")
    again = machine_of(stored(tmp_path, **RAN), asked)
    assert again == replace(
        asked, data_root=Path("/data"), devices=2, threads=6, deterministic=True, plugins=again.plugins
    )


def test_what_is_asked_for_now_counts_before_what_was_recorded(tmp_path: Path) -> None:
    run = stored(tmp_path, **{**RAN, "deterministic": False})
    asked = Machine(data_root=Path("/here"), deterministic=True, skip_broken=True)
    again = machine_of(run, asked)
    assert (again.data_root, again.deterministic, again.skip_broken) == (Path("/here"), True, True)


def test_broken_images_are_left_out_again_where_they_were(tmp_path: Path) -> None:
    run = stored(tmp_path, **RAN)
    assert not machine_of(run, Machine()).skip_broken
    run.write_results([{"target": "cuhk-pedes", "skipped": 0}, {"target": "rstpreid", "skipped": 2}])
    assert machine_of(run, Machine()).skip_broken


def test_plugins_are_those_asked_for_and_those_that_are_registered_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "plugins", lambda: (Path("b.py"), Path("a.py")))
    again = machine_of(stored(tmp_path, **RAN), Machine(plugins=(Path("a.py"), Path("c.py"))))
    assert again.plugins == (Path("a.py"), Path("c.py"), Path("b.py"))


@pytest.mark.parametrize(
    "damage",
    [
        {},
        {"trained_on": "x", "devices": "2", "data_root": 3, "deterministic": "yes"},
        {"trained_on": {"threads": 0}, "data_root": ""},
        {"trained_on": {"threads": MOST_THREADS + 1}},
        {"trained_on": {"threads": "6"}},
    ],
)
def test_a_record_that_makes_no_sense_changes_nothing(tmp_path: Path, damage: dict[str, Any]) -> None:
    asked = Machine(device="cpu", devices=1, threads=3)
    assert machine_of(stored(tmp_path, **damage), asked) == replace(asked, plugins=registry.plugins())


def test_as_many_threads_as_a_machine_can_have_are_taken(tmp_path: Path) -> None:
    assert machine_of(stored(tmp_path, trained_on={"threads": MOST_THREADS}), Machine()).threads == 1024


def test_the_options_of_a_run_name_its_data_root_and_each_plugin_once(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    for file in (one, other):
        file.write_text("")
    records = [
        {"data_root": "/data", "plugins": [str(one)]},
        {"data_root": "/data", "plugins": [str(other), str(one)]},
        {"data_root": "", "plugins": "damaged"},
        {},
    ]
    given = ["--data-root", "/data", "--plugin", str(one), "--plugin", str(other)]
    assert options_again(tmp_path, records) == given
    elsewhere = {"data_root": "/elsewhere", "plugins": []}
    assert options_again(tmp_path, [records[0], elsewhere]) == ["--plugin", str(one)]
    assert options_again(tmp_path, []) == []


def test_what_is_found_without_an_option_is_not_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    beside_data, elsewhere = root / "lab" / "lab.dataset.yaml", tmp_path / "own.dataset.yaml"
    plugin, installed = root / "mine.py", tmp_path / "site-packages" / "plugin.py"
    for file in (beside_data, elsewhere, plugin, installed):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    files = [str(file) for file in (beside_data, elsewhere, plugin, installed)]
    words = options_again(tmp_path, [{"data_root": str(root), "plugins": files}])
    assert words == ["--data-root", str(root), "--plugin", str(elsewhere), "--plugin", str(plugin)]


def test_of_a_plugin_that_is_gone_the_latest_copy_of_the_run_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "mine[1].py"
    folder = tmp_path / "run"
    assert options_again(folder, [{"plugins": [str(gone)]}]) == ["--plugin", str(gone)]
    copies = [folder / "plugins" / f"mine[1].{digest}" / gone.name for digest in ("aaa", "bbb")]
    for age, copy in enumerate(copies):
        copy.parent.mkdir(parents=True)
        copy.write_text("")
        stamp = 10**18 - age * 10**9  # the first is the latest
        os.utime(copy, ns=(stamp, stamp))
    other = folder / "plugins" / "other.aaa" / "other.py"
    other.parent.mkdir()
    other.write_text("")
    assert kept_copies(folder, gone) == copies
    assert options_again(folder, [{"plugins": [str(gone)]}]) == ["--plugin", str(copies[0])]


def test_of_many_cells_of_a_name_the_first_five_are_named_in_order_and_the_others_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = stored(tmp_path / "one").name
    for run in ("g", "c", "e", "a", "f", "b", "d"):
        shutil.copytree(tmp_path / "one" / "out", Path("runs") / run)
        (Path("runs") / run / "study.yaml").write_text("name: x\n")
    with pytest.raises(StudyError) as caught:
        find_cell(name)
    first, *listed = caught.value.lines
    assert first == f"{name}: 7 cells start like this; give one's folder:"
    assert listed == [*(f"  runs/{run}/cells/{name}" for run in "abcde"), "  and 2 more"]
