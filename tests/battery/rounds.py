"""One round: a run with faults, a few times, then one without faults to its end, and the checks."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from battery import judging
from battery.faults import FAULTS, Fault, Scene
from battery.program import HARNESS, NOBODY, ORDINARY, Conditions, Hang, Program

BINARY_DEATHS = (-4, -6, -7, -8, -11)
"""Exit codes of a crash in compiled code, accepted only under a memory or process limit."""
REPAIRS = 4
"""How many refusals in a row are followed by the repair that they name."""
CPU_FACTOR = 15
"""A run that uses so many times the CPU time of an undisturbed one counts as hanging."""


@dataclass(frozen=True)
class Baseline:
    """A study that was run without faults."""

    name: str
    study: Path
    store: Path
    cpu: float
    workers: tuple[int, ...]
    """Numbers of workers with which it gives the same digits."""


@dataclass
class Battery:
    """Folders, environment and abilities that all rounds share."""

    folder: Path
    cache: Path
    environment: dict[str, str]
    nobody: bool
    """Whether programs can also run as a user without rights."""
    mounts: bool
    """Whether disks can be mounted."""
    clock: Path | None = None
    """The library that makes a clock wrong."""
    command: tuple[str, ...] = HARNESS


@dataclass
class Round:
    """The faults of a round, and how it ended."""

    number: int
    study: str
    about: str
    happened: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Refusals that named a damaged file, which was then removed as a user would."""
    accepted: list[str] = field(default_factory=list)
    """Other digits that the store itself explains."""
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def plain(self) -> dict[str, Any]:
        """As a line of the log."""
        return {"same": not self.findings, **self.__dict__}


def play(battery: Battery, baselines: list[Baseline], number: int, seed: int) -> Round:
    """Draw a round by seed and number, run and judge it; its folder is kept when something differs."""
    draw = random.Random(f"{seed}/{number}")
    baseline = draw.choice(baselines)
    folder = battery.folder / "rounds" / f"{number:04d}"
    began = time.monotonic()
    with ExitStack() as stack:
        stage = _Stage(battery, baseline, folder, draw, stack)
        played = Round(number, baseline.name, stage.about)
        try:
            for _ in range(draw.choice([1, 1, 2, 2, 3])):
                stage.disturb(played)
            stage.finish(played)
        except Hang as hang:
            played.findings.append(f"hangs: {hang}")
        if played.findings and stage.scene.mounted:
            shutil.copytree(stage.scene.store, folder / "kept", symlinks=True)
    played.seconds = round(time.monotonic() - began, 1)
    if not played.findings:
        shutil.rmtree(folder)
    return played


class _Stage:
    """A round's folders and programs."""

    def __init__(
        self, battery: Battery, baseline: Baseline, folder: Path, draw: random.Random, stack: ExitStack
    ) -> None:
        self.battery, self.baseline, self.folder, self.draw, self.stack = (
            battery,
            baseline,
            folder,
            draw,
            stack,
        )
        self.workers = draw.choice(baseline.workers)
        as_nobody, disk = battery.nobody and draw.random() < 0.5, folder / "disk"
        warm, begun = draw.random() < 0.75, draw.random() < 0.4
        disk.mkdir(parents=True)
        mounted = battery.mounts and draw.random() < 0.5
        if mounted:
            stack.enter_context(small_disk(disk))
        self.scene = Scene(
            folder,
            disk / "out",
            folder / "cache",
            baseline.cpu,
            self.start,
            as_nobody=as_nobody,
            mounted=mounted,
            clock=battery.clock,
        )
        (folder / "tmp").mkdir()
        if warm:
            shutil.copytree(battery.cache, self.scene.cache)
        else:
            self.scene.cache.mkdir()
        if begun:
            shutil.copytree(baseline.store, self.scene.store)
        self._programs = 0
        self._give_away()
        self.about = (
            f"{'finished' if begun else 'new'} store, {'warm' if warm else 'empty'} cache, "
            f"{self.workers} workers, {'nobody' if as_nobody else 'ourselves'}"
            f"{', small disk' if mounted else ''}"
        )

    def _give_away(self) -> None:
        if self.scene.as_nobody:
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(self.folder)], check=True)

    def start(self, conditions: Conditions = ORDINARY, words: list[object] | None = None) -> Program:
        """Start the round's study, or another verb."""
        self._programs += 1
        environment = {
            **self.battery.environment,
            "HARNESS_CACHE": str(self.scene.cache),
            "TMPDIR": str(self.folder / "tmp"),
        }
        run = ["run", self.baseline.study, "--out", self.scene.store, "--device", "cpu"]
        base = Conditions(environment, as_nobody=self.scene.as_nobody)
        log = self.folder / f"program-{self._programs:02d}.txt"
        words = [*self.battery.command, *(words or [*run, "--workers", self.workers])]
        program = Program(words, base.joined(conditions), log)
        self.stack.callback(program.end)
        return program

    # -- with faults ------------------------------------------------------------------------------

    def disturb(self, played: Round) -> None:
        """Start the study and inject one or two faults until it ends."""
        scene, done = self.scene, judging.finished(self.scene.store)
        faults = dict(self._drawn(played))
        conditions = ORDINARY
        for fault in faults.values():
            conditions = conditions.joined(fault.conditions)
        scene.others = []
        # Faults are undone also when the battery is interrupted, before the folders are removed.
        with ExitStack() as restored:
            for fault in faults.values():
                restored.callback(fault.after)
                fault.before()
            scene.again = partial(self.start, conditions)
            # Recorded also for a round that hangs.
            restored.callback(lambda: played.happened.append(_described(faults)))
            played.kinds += list(faults)
            first = self.start(conditions)
            strikes = [strike for fault in faults.values() for strike in fault.strikes]
            codes = [first.wait(strikes, CPU_FACTOR * scene.cpu)]
            programs = [first, *scene.others]
            codes += [other.wait((), CPU_FACTOR * scene.cpu) for other in scene.others]
        played.codes += codes
        for program, code in zip(programs, codes, strict=True):
            played.findings += self._not_excused(program, code, set(faults), done)
        played.findings += judging.half_written(scene.store, scene.damaged)

    def _drawn(self, played: Round) -> Iterator[tuple[str, Fault]]:
        wanted = self.draw.choice([1, 1, 1, 2])
        names, weights = list(FAULTS), [weight for _, weight in FAULTS.values()]
        found: set[str] = set()
        for _ in range(100):  # what cannot be made here is drawn again
            if len(found) == wanted:
                break
            kind = self.draw.choices(names, weights)[0]
            fault = None if kind in found else FAULTS[kind][0](self.scene, self.draw)
            if fault is not None:
                found.add(kind)
                yield kind, fault

    def _not_excused(self, program: Program, code: int, kinds: set[str], done: set[str]) -> Iterator[str]:
        """Faults of the program that no injected fault excuses."""
        output = program.output
        if judging.TRACEBACK in output:
            yield f"a traceback in {program.log.name}: {output.strip().splitlines()[-1][:300]}"
        if code in BINARY_DEATHS and not kinds & {"memory limit", "process limit"}:
            yield f"exit code {code} in {program.log.name}"
        if code not in (0, 1, 2, 3, 130, 143) and code >= 0:
            yield f"exit code {code} in {program.log.name}"
        yield from judging.trained_again(output, self._whole(done))

    def _whole(self, done: set[str]) -> set[str]:
        """Those of some finished cells whose files were not damaged."""
        damaged = {part for path in self.scene.damaged for part in path.parts}
        return done - damaged

    # -- without faults ---------------------------------------------------------------------------------

    def finish(self, played: Round) -> None:
        """Run the study undisturbed, doing what its refusals say, and judge what it leaves."""
        for _ in range(REPAIRS):
            done = judging.finished(self.scene.store)
            program = self.start()
            code = program.wait(most_cpu=CPU_FACTOR * self.scene.cpu)
            played.findings += self._not_excused(program, code, set(), done)
            repaired = self._repaired(program) if code in (1, 2) else ""
            if not repaired:
                break
            played.refused.append(repaired)
        if code != 0:
            played.findings.append(f"run: exit code {code}: {_last_line(program)}")
            return
        found = list(judging.differences(self.scene.store, self.baseline.store))
        failed = judging.failed_trials(self.scene.store)
        # A trial that failed was replaced by another draw, and the store says so.
        (played.accepted if failed else played.findings).extend(found)
        if failed and found:
            played.accepted += failed
        for words in (
            ["verify", self.scene.store, "--evaluate-only", "--cells", "1", "--device", "cpu"],
            ["report", self.scene.store],
        ):
            program = self.start(words=[*words])
            code = program.wait(most_cpu=CPU_FACTOR * self.scene.cpu)
            played.findings += self._not_excused(program, code, set(), set())
            if code != 0:
                played.findings.append(f"{words[0]}: exit code {code}: {_last_line(program)}")
        # Nothing of an ended trial is read again, so its damaged files stay damaged.
        ended = {path for path in self.scene.damaged if "trials" in path.parts}
        played.findings += judging.half_written(self.scene.store, ended)
        played.findings += judging.leftovers(self.scene.store, self.scene.cache)

    def _repaired(self, program: Program) -> str:
        """Remove a damaged path that a refusal names, as a user would; returns the refusal."""
        said = program.output.strip().splitlines()
        for path in sorted(self.scene.damaged):
            present = path.is_symlink() or path.exists()
            for line in said[-5:]:
                if str(path) in line and present and _cannot_be_repaired(path):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    return line
        return ""


def _described(faults: Mapping[str, Fault]) -> str:
    return " and ".join(f"{kind} ({fault.as_it_went})" for kind, fault in faults.items())


def _cannot_be_repaired(path: Path) -> bool:
    """Whether a refusal is permitted: only for a search database, a folder or a link in place of a file."""
    return path.name == "search.db" or path.is_dir() or path.is_symlink()


def _last_line(program: Program) -> str:
    lines = program.output.strip().splitlines()
    return lines[-1][:300] if lines else ""


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A file system of its own at `folder`, gone when the block ends."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1000000k", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    """Whether we may mount a disk."""
    folder.mkdir(parents=True, exist_ok=True)
    made = (
        os.getuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if made:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    return made
