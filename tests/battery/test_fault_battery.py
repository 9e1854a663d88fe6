"""The battery finds faults: each kind of broken harness is caught by a round."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from battery import fault_battery, faults, judging, program, rounds
from battery.damage import WAYS, damage, pick
from battery.program import Conditions, Program, Strike
from light_runs import light_machine, light_study, run_light

from harness.launch.context import Context
from harness.store.results_table import write_results_table

STAND_IN = """
import json, os, sys, time
from pathlib import Path

kind, verb = sys.argv[1], sys.argv[2]
if verb != "run":
    sys.exit(kind == verb)
out = Path(sys.argv[sys.argv.index("--out") + 1])
cell = out / "cells" / "only.0"
cell.mkdir(parents=True, exist_ok=True)
starts = len(list(out.glob("start-*")))
(out / f"start-{starts}").touch()
if starts and kind == "hangs":
    time.sleep(3600)
if starts and kind == "raises":
    raise RuntimeError("planted")
if starts and kind == "refuses":
    sys.exit("no")
if starts and kind == "trains again" or not (cell / "status.json").exists():
    print("only.0: starts", flush=True)
    sum(range(10**6))
    (cell / "status.json").write_text('{"state": "done"}')
if kind == "leaves a file":
    (out / ".results.csv.x.tmp").touch()
if kind == "leaves half a file":
    (cell / "results.json").write_text('[{"R1": ')
score = 50 + (kind == "other digits" and starts)
(out / "results.csv").write_text(f"cell,R1\\nonly.0,{score}.0000\\n")
"""
"""A program with the commands of the harness; `kind` says how it is broken from its second start on."""

CAUGHT = {
    "is sound": "",
    "other digits": "results.csv differs",
    "trains again": "only.0 was done and began again",
    "leaves a file": "left over: ",
    "leaves half a file": "cells/only.0/results.json is half a file",
    "raises": "a traceback in program-",
    "refuses": "run: exit code 1: no",
    "verify": "verify: exit code 1",
    "report": "report: exit code 1",
    "hangs": "hangs: 1 processes idle",
}


@pytest.mark.parametrize("kind", CAUGHT)
def test_a_round_says_what_is_broken_and_nothing_of_a_sound_harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(program, "IDLE_SECONDS", 1.0)
    monkeypatch.setattr(rounds, "FAULTS", {"kill": faults.FAULTS["kill"]})
    (tmp_path / "cache").mkdir()
    run = Program(
        [sys.executable, script, "", "run", "--out", tmp_path / "base"], Conditions(), tmp_path / "log"
    )
    assert run.wait() == 0
    battery = rounds.Battery(
        tmp_path / "battery", tmp_path / "cache", {}, False, False, None, (sys.executable, str(script), kind)
    )
    baselines = [rounds.Baseline("stand-in", tmp_path / "study.yaml", tmp_path / "base", 0.05, (1,))]
    found: list[str] = []
    # In some rounds the first start is killed before it did anything, and then nothing is broken yet.
    for number in range(1, 13 if CAUGHT[kind] else 3):
        found += [] if found else rounds.play(battery, baselines, number, seed=4).findings
    assert bool(found) == bool(CAUGHT[kind])
    assert not found or any(CAUGHT[kind] in text for text in found), found
    assert not program.session(run.process.pid)


@pytest.fixture(scope="module")
def store(cuhk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    made = run_light(light_study(folder), folder / "out", Context(light_machine(cuhk_root)))
    write_results_table(made)
    return made.directory


def change_digit(store: Path) -> None:
    path = store / "results.csv"
    text = path.read_text()
    path.write_text(text[:-20] + ("1" if text[-20] == "0" else "0") + text[-19:])


def change_rank(store: Path) -> None:
    path = next(store.glob("cells/*/records/*.parquet"))
    frame = pd.read_parquet(path)
    frame.loc[0, "rank"] += 1
    frame.to_parquet(path, index=False)


def lose_records(store: Path) -> None:
    next(store.glob("cells/*/records/*.parquet")).unlink()


ALTERED = {change_digit: "results.csv differs", change_rank: "parquet differs", lose_records: ".parquet: "}


@pytest.mark.parametrize("alter", ALTERED)
def test_a_real_store_with_one_thing_changed_differs_from_its_baseline(
    store: Path, tmp_path: Path, alter: Callable[[Path], None]
) -> None:
    shutil.copytree(store, tmp_path / "out")
    assert list(judging.differences(tmp_path / "out", store)) == []
    assert list(judging.half_written(store, set())) == []
    assert judging.leftovers(store) == []
    assert len(judging.finished(store)) == 2
    alter(tmp_path / "out")
    (found,) = judging.differences(tmp_path / "out", store)
    assert ALTERED[alter] in found


@pytest.mark.parametrize("suffix", [".json", ".parquet", ".pt"])
def test_half_a_file_of_a_real_store_is_found(store: Path, tmp_path: Path, suffix: str) -> None:
    shutil.copytree(store, tmp_path / "out")
    path = next(path for path in sorted((tmp_path / "out").rglob(f"*{suffix}")))
    path.write_bytes(path.read_bytes()[:-9])
    (found,) = judging.half_written(tmp_path / "out", set())
    assert str(path.relative_to(tmp_path / "out")) in found
    assert list(judging.half_written(tmp_path / "out", {path})) == []


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_damage_a_file_leaves_another(tmp_path: Path, way: str) -> None:
    path = tmp_path / "file.json"
    path.write_text("[1, 2, 3]")
    draw = random.Random(1)
    assert pick(tmp_path, draw) == path
    damage(path, way, draw)
    assert not path.is_file() or path.read_text() != "[1, 2, 3]"


def test_a_strike_comes_after_so_much_work_and_a_stopped_program_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "IDLE_SECONDS", 0.5)
    scene = faults.Scene(tmp_path, tmp_path, tmp_path, 0.3, lambda: pytest.fail("no second run"))
    fault = faults.freeze(scene, random.Random(2))
    words = [sys.executable, "-c", "while True: pass"]
    running = Program(words, Conditions(), tmp_path / "log")
    strikes = [*fault.strikes, Strike(0.6, lambda one: one.signal(9))]
    assert running.wait(strikes) == -9
    assert all(strike.struck for strike in strikes)


def test_a_clock_jumps_while_a_program_runs_and_its_monotonic_one_does_not(tmp_path: Path) -> None:
    library = fault_battery.clock(tmp_path)
    if library is None:
        pytest.skip("no C compiler")
    scene = faults.Scene(
        tmp_path, tmp_path, tmp_path, 0.5, lambda: pytest.fail("no second run"), clock=library
    )
    fault = faults.jumping_clock(scene, random.Random(1))
    assert fault is not None
    code = """
import time
first = time.time() - time.monotonic()
while abs(time.time() - time.monotonic() - first) < 3000:
    pass
print("jumped", time.time_ns() // 10**9 - int(time.time()), flush=True)
"""
    fault.before()
    running = Program([sys.executable, "-c", code], fault.conditions, tmp_path / "log")
    assert running.wait(fault.strikes) == 0
    assert running.output.startswith("jumped")
    assert abs(int(running.output.split()[1])) <= 1


def test_what_is_not_there_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    scene = faults.Scene(tmp_path, tmp_path, tmp_path, 1.0, lambda: pytest.fail("no second run"))
    makers = (
        *(faults.full_disk, faults.read_only_disk, faults.forbidden_folder),
        *(faults.jumping_clock, faults.few_processes),
    )
    assert [maker(scene, random.Random(1)) for maker in makers] == [None] * 5
