"""Random faults on small studies: whatever happens to a run, the next one ends with the same digits.

    PYTHONPATH=tests python -m battery.fault_battery --minutes 30 --seed 1 --out battery

Runs the smoke study and a small search once without faults. Then every round injects faults at random moments
(signals, full and forbidden disks, clocks that jump, limits, damaged files …), runs to the end and compares
every digit. Each round is a line of DIR/log.jsonl; the folder of one that differs is kept. Exit
code 1 when any does. As root it also mounts small disks and runs as a user without rights; with a C
compiler it makes clocks jump.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from battery import rounds
from battery.program import HARNESS, ROOT, Conditions, Program

CLOCK = Path(__file__).with_name("clock.c")
SMOKE = ROOT / "studies" / "smoke.yaml"
SEARCH = {
    "trials": 3,
    "sampler": "tpe",
    "pruner": "none",
    "space": {"lr": {"low": 1e-5, "high": 1e-3, "log": True}},
}


def main() -> int:
    """Run the battery from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long new rounds are begun")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is new or a battery's own")
    parser.add_argument("--rounds", type=int, default=10**9, help="at most so many rounds")
    parser.add_argument("--first", type=int, default=1, help="number of the first round, to repeat one")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    folder = options.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    played: list[rounds.Round] = []
    try:
        battery = prepared(folder)
        baselines = [baseline(battery, "smoke", (1, 2)), baseline(battery, "search", (1,))]
        deadline = time.monotonic() + 60 * options.minutes
        for number in range(options.first, options.first + options.rounds):
            if time.monotonic() > deadline:
                break
            played.append(rounds.play(battery, baselines, number, options.seed))
            print(described(played[-1]), flush=True)
            with (folder / "log.jsonl").open("a") as log:
                print(json.dumps({"seed": options.seed, **played[-1].plain()}), file=log)
    except KeyboardInterrupt:
        print(f"stopped\n{summary(played)}")
        return 130
    print(summary(played))
    return 1 if any(one.findings for one in played) else 0


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def prepared(folder: Path) -> rounds.Battery:
    """Folders that rounds share, and which faults this machine allows; those it does not are printed."""
    shutil.rmtree(folder / "rounds", ignore_errors=True)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    home.chmod(0o777)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "TIPR_", "LC_"))
    }
    environment |= {"HOME": str(home), "HARNESS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONFAULTHANDLER"] = "1"  # prints where a program hung
    mounts, nobody = rounds.can_mount(folder / "mount"), False
    if os.getuid() == 0:
        reason = _why_nobody_cannot(folder, environment)
        nobody = not reason
        if reason:
            print(f"left out: process limits and forbidden folders (nobody cannot run the harness: {reason})")
    if not mounts:
        print("left out: full and read-only disks (mounting one needs root)")
    return rounds.Battery(folder, folder / "cache", environment, nobody, mounts, clock(folder))


def clock(folder: Path) -> Path | None:
    """Compile the library that makes clocks wrong; None, and a printed line, without a compiler."""
    library = folder / "clock.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(CLOCK)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"left out: clocks that jump (cc cannot compile {CLOCK.name}: {error})")
        return None
    return library


def _why_nobody_cannot(folder: Path, environment: dict[str, str]) -> str:
    """Why a user without rights cannot run the harness here; empty when one can."""
    try:
        program = Program(
            [*HARNESS, "list", "studies"], Conditions(environment, as_nobody=True), folder / "nobody.txt"
        )
    except OSError as error:
        return str(error)
    try:
        code = program.wait()
    finally:
        program.end()
    return "" if code == 0 else (program.output.strip().splitlines() or [f"exit code {code}"])[-1]


def baseline(battery: rounds.Battery, name: str, workers: tuple[int, ...]) -> rounds.Baseline:
    """Write a study, and run it without faults."""
    folder = battery.folder / "baseline" / name
    folder.mkdir(parents=True, exist_ok=True)
    study, store = folder / "study.yaml", folder / "out"
    values: dict[str, Any] = yaml.safe_load(SMOKE.read_text())
    if name == "search":
        values |= {"name": "battery-search", "methods": ["baseline"], "search": SEARCH}
        del values["evaluate"]
    study.write_text(yaml.safe_dump(values, sort_keys=False))
    shutil.rmtree(store, ignore_errors=True)
    environment = {**battery.environment, "HARNESS_CACHE": str(battery.cache)}
    words = [*HARNESS, "run", study, "--out", store, "--device", "cpu", "--workers", 1]
    before = _children_cpu()
    program = Program(words, Conditions(environment), folder / "output.txt")
    try:
        code = program.wait()
    finally:
        program.end()
    if code != 0:
        raise SystemExit(f"{name} does not even run without faults:\n{program.output}")
    return rounds.Baseline(name, study, store, _children_cpu() - before, workers)


def _children_cpu() -> float:
    times = os.times()
    return times.children_user + times.children_system


def described(one: rounds.Round) -> str:
    """One line about a round."""
    verdict = "DIFFERS: " + "; ".join(one.findings) if one.findings else "same"
    extra = f" (refused by name: {'; '.join(one.refused)})" if one.refused else ""
    extra += f" (said: {'; '.join(one.accepted)})" if one.accepted else ""
    return f"round {one.number} {one.study}, {one.about}: {', then '.join(one.happened)}: {verdict}{extra}"


def summary(played: list[rounds.Round]) -> str:
    """A few lines about all rounds."""
    kinds = Counter(kind for one in played for kind in one.kinds)
    lines = [
        f"{len(played)} rounds, {sum(kinds.values())} faults, "
        f"{sum(len(one.codes) for one in played)} disturbed runs, "
        f"{sum(one.seconds for one in played) / 60:.1f} minutes",
        "by kind: " + ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()),
        f"refused by name, then the same digits: {sum(bool(one.refused) for one in played)}",
        f"other trials, said by the store: {sum(bool(one.accepted) for one in played)}",
        f"differ: {sum(bool(one.findings) for one in played)}",
    ]
    lines += [f"  round {one.number}: {text}" for one in played for text in one.findings]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
