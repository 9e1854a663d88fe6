"""The faults that one start of the program may meet. A maker returns None where its fault is impossible."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import stat
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from battery.damage import WAYS, damage, pick
from battery.program import NOBODY, ORDINARY, PRELOAD, Conditions, Program, Strike


@dataclass
class Scene:
    """Folders and facts of a round that faults need."""

    folder: Path
    store: Path
    cache: Path
    cpu: float
    """CPU seconds of an undisturbed run."""
    again: Callable[[], Program]
    """Starts the same study again."""
    as_nobody: bool = False
    """Whether the programs run as a user without rights."""
    mounted: bool = False
    """Whether the store lies on a small disk of its own."""
    clock: Path | None = None
    """The library of `clock.c`."""
    damaged: set[Path] = field(default_factory=set)
    """Files that faults changed."""
    others: list[Program] = field(default_factory=list)
    """Programs that run at the same time as the first."""

    @property
    def can_forbid(self) -> bool:
        """Whether permissions bind the programs."""
        return self.as_nobody or os.getuid() != 0


def nothing() -> None:
    """The preparation of a fault that needs none."""


@dataclass
class Fault:
    """One fault: what to do before the start, while the program runs, and afterwards."""

    description: str
    conditions: Conditions = ORDINARY
    before: Callable[[], None] = nothing
    """Just before the program starts."""
    strikes: list[Strike] = field(default_factory=list)
    after: Callable[[], None] = nothing
    """Called when the program has ended, whatever happened; undoes the fault."""

    @property
    def as_it_went(self) -> str:
        """What was done, and whether the program was still running then."""
        late = bool(self.strikes) and not any(strike.struck for strike in self.strikes)
        return f"{self.description or 'damage'}, too late" if late else self.description


Maker = Callable[[Scene, random.Random], Fault | None]


def moment(scene: Scene, draw: random.Random) -> float:
    """CPU seconds after which a fault is injected: most of a run's first two seconds are imports."""
    return draw.uniform(0.0, 1.0) ** 0.7 * scene.cpu


# -- processes ------------------------------------------------------------------------------------


def one_of(pids: list[int], draw: random.Random) -> list[int]:
    """A random process of a program; None when it has just ended."""
    return [draw.choice(pids)] if pids else []


def kill(scene: Scene, draw: random.Random) -> Fault:
    """A signal that ends one process of the program, or all."""
    number = draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    whom = draw.choice(["all processes", "the first process", "one process"])

    def act(program: Program) -> None:
        pids = sorted(program.members())
        chosen = {"all processes": pids, "the first process": pids[:1]}.get(whom, one_of(pids, draw))
        program.signal(number, chosen)

    return Fault(f"{number.name} to {whom}", strikes=[Strike(moment(scene, draw), act)])


def freeze(scene: Scene, draw: random.Random) -> Fault:
    """Stop a process for a while, then continue it."""
    seconds = draw.uniform(0.5, 4.0)

    def act(program: Program) -> None:
        chosen = sorted(program.members())
        chosen = chosen if draw.random() < 0.5 else one_of(chosen, draw)
        program.signal(signal.SIGSTOP, chosen)
        time.sleep(seconds)
        program.signal(signal.SIGCONT, chosen)

    return Fault(f"stopped for {seconds:.1f} s", strikes=[Strike(moment(scene, draw), act)])


def twin(scene: Scene, draw: random.Random) -> Fault:
    """Start the same study a second time on the same store."""
    return Fault(
        "a second run on the store",
        strikes=[Strike(moment(scene, draw) / 2, lambda _: scene.others.append(scene.again()))],
    )


# -- disks ----------------------------------------------------------------------------------------


def full_disk(scene: Scene, draw: random.Random) -> Fault | None:
    """Leave the store's disk too little room for what the run will write."""
    if not scene.mounted:
        return None
    room = int(60e6 * draw.random() ** 2)

    def shrink() -> None:
        used = sum(path.lstat().st_blocks * 512 for path in scene.store.parent.rglob("*"))
        resize(scene, (used + room) // 1024 + 64)

    return Fault(
        f"a disk with {room / 1e6:.1f} MB left", before=shrink, after=lambda: resize(scene, 1_000_000)
    )


def resize(scene: Scene, kilobytes: int) -> None:
    """Set the size of the store's disk."""
    remount(scene, f"size={kilobytes}k")


def remount(scene: Scene, options: str) -> bool:
    """Change how the store's disk is mounted; False while that is refused."""
    command = ["mount", "-o", f"remount,{options}", str(scene.store.parent)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def read_only_disk(scene: Scene, draw: random.Random) -> Fault | None:
    """The store's disk is mounted read-only before the start, or while the run has no file open to write."""
    if not scene.mounted:
        return None
    strikes, before = [], nothing
    if draw.random() < 0.5:
        before = lambda: bool(remount(scene, "ro"))  # noqa: E731
    else:
        strikes = [Strike(moment(scene, draw), lambda _: bool(remount(scene, "ro")))]
    return Fault("a read-only disk", before=before, strikes=strikes, after=lambda: bool(remount(scene, "rw")))


def forbidden_folder(scene: Scene, draw: random.Random) -> Fault | None:
    """Forbid writing to the store or the cache."""
    if not scene.can_forbid:
        return None
    place, modes = draw.choice(["store", "cache"]), {}

    def forbid(_: object = None) -> None:
        top = scene.store if place == "store" else scene.cache
        for folder in (top, *top.rglob("*")):
            if folder.is_dir() and not folder.is_symlink() and folder.name != "imgs":
                modes[folder] = stat.S_IMODE(folder.stat().st_mode)
                folder.chmod(0o555)

    def allow() -> None:
        for folder, mode in modes.items():
            if folder.is_dir():
                folder.chmod(mode)

    late = draw.random() < 0.8
    strikes = [Strike(moment(scene, draw), forbid)] if late else []
    description = f"the {place} may not be written, from {'some moment' if late else 'the start'} on"
    return Fault(description, before=nothing if late else forbid, strikes=strikes, after=allow)


# -- clocks ---------------------------------------------------------------------------------------


def jumping_clock(scene: Scene, draw: random.Random) -> Fault | None:
    """Make the clock wrong from the start, and let it jump hours forward and back meanwhile."""
    if scene.clock is None:
        return None
    file = scene.folder / "clock"
    hours = [round(draw.uniform(-300, 300), 2) for _ in range(4)]

    def set_to(number: int) -> None:
        # In place: the program has mapped these bytes.
        with file.open("r+b" if file.exists() else "wb") as bytes_of_it:
            bytes_of_it.write(struct.pack("q", int(3600 * hours[number])))

    def jump(number: int) -> Strike:
        return Strike(moment(scene, draw), lambda _: set_to(number))

    return Fault(
        "a clock that jumps: " + ", ".join(f"{each:+.0f} h" for each in hours),
        Conditions({PRELOAD: str(scene.clock), "WRONG_CLOCK": str(file)}),
        before=lambda: set_to(0),
        strikes=[jump(number) for number in (1, 2, 3)],
    )


def wrong_clock_before(scene: Scene, draw: random.Random) -> Fault:
    """Shift the times of all files in store and cache by hours, as if the clock had been wrong."""
    hours = draw.uniform(-300, 300)

    def shift() -> None:
        for path in (*scene.store.rglob("*"), *scene.cache.glob("images/*")):
            if path.is_file():
                times = path.stat()
                by = int(hours * 3600 * 1e9)
                os.utime(path, ns=(times.st_atime_ns + by, times.st_mtime_ns + by))

    return Fault(f"files dated {hours:+.0f} h off", before=shift)


# -- limits ---------------------------------------------------------------------------------------


def few_processes(scene: Scene, draw: random.Random) -> Fault | None:
    """Limit the number of the user's processes and threads."""
    if not scene.can_forbid:
        return None
    number = draw.randint(2, 8)
    return Fault(f"at most {number} processes", Conditions(limits=((resource.RLIMIT_NPROC, number),)))


def little_memory(scene: Scene, draw: random.Random) -> Fault:
    """Limit the address space to less than some part of the run, or all of it, needs."""
    size = int(draw.choice([0.3, 0.9, 1.5, 2.5]) * draw.uniform(0.8, 1.2) * 2**30)
    return Fault(f"{size / 2**30:.2f} GiB of memory", Conditions(limits=((resource.RLIMIT_AS, size),)))


def few_files(scene: Scene, draw: random.Random) -> Fault:
    """Limit the number of open files."""
    number = draw.randint(8, 40)
    return Fault(f"at most {number} open files", Conditions(limits=((resource.RLIMIT_NOFILE, number),)))


def small_files(scene: Scene, draw: random.Random) -> Fault:
    """Limit the size of every file."""
    size = int(10 ** draw.uniform(3, 7.5))
    return Fault(f"files of at most {size:,} bytes", Conditions(limits=((resource.RLIMIT_FSIZE, size),)))


# -- damaged files --------------------------------------------------------------------------------


def damage_one(scene: Scene, folder: Path, way: str, draw: random.Random) -> str:
    """Damage one file below a folder and record it; returns what was done."""
    path = pick(folder, draw)
    if path is None:
        return "nothing there to damage"
    if way == "one byte flipped" and path.suffix == ".safetensors":
        # Two names of one file are damaged together.
        scene.damaged.update(other for other in path.parent.iterdir() if other.samefile(path))
    scene.damaged.add(path)
    try:
        damage(path, way, draw)
    except OSError as error:  # another fault made its disk read-only, or filled it
        return f"{path.relative_to(scene.folder)} not {way} ({error.strerror})"
    return f"{path.relative_to(scene.folder)} {way}"


def _damaged(where: str, scene: Scene, draw: random.Random) -> Fault:
    way, times = draw.choice(WAYS), draw.choice([1, 1, 2, 3])
    fault = Fault("")
    folder = scene.store if where == "store" else scene.cache
    done: list[str] = []

    def act(_: object = None) -> None:
        done.extend(damage_one(scene, folder, way, draw) for _ in range(times))
        fault.description = "; ".join(done)

    if folder.is_dir() and any(folder.iterdir()) and draw.random() < 0.6:
        fault.before = act
    else:  # later, when there is something to damage
        fault.strikes = [Strike(draw.uniform(0.3, 1.0) * scene.cpu, act)]
    return fault


def damaged_store(scene: Scene, draw: random.Random) -> Fault:
    """Damage files of the store, before the start or while the program runs."""
    return _damaged("store", scene, draw)


def damaged_cache(scene: Scene, draw: random.Random) -> Fault:
    """Damage cached pictures, labels, captions or unpacked data, before the start or meanwhile."""
    return _damaged("cache", scene, draw)


def picture_away(scene: Scene, draw: random.Random) -> Fault | None:
    """Make a picture of a dataset unreadable for a while."""
    pictures = sorted(scene.cache.glob("rendered/*/rendered-plaza/imgs/*"))
    if not pictures:
        return None
    picture = draw.choice(pictures)
    aside = scene.folder / picture.name

    def take(_: object) -> None:
        if picture.exists():
            picture.rename(aside)

    def give_back() -> None:
        if aside.exists() and picture.parent.is_dir():
            aside.replace(picture)

    return Fault(f"{picture.name} away", strikes=[Strike(moment(scene, draw), take)], after=give_back)


# -- surroundings ---------------------------------------------------------------------------------


def surroundings(scene: Scene, draw: random.Random) -> Fault:
    """Change language, time zone, hash seed, umask, home or temporary folder, or delete one meanwhile."""
    temporary = scene.folder / "gone"
    odd: list[tuple[str, Conditions]] = [
        ("locale C", Conditions({"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})),
        ("a time zone 14 h ahead", Conditions({"TZ": "Pacific/Kiritimati"})),
        ("no such time zone", Conditions({"TZ": "Nowhere/Land+99"})),
        ("another hash seed", Conditions({"PYTHONHASHSEED": str(draw.randrange(2**32))})),
        ("umask 077", Conditions(umask=0o077)),
        ("umask 000", Conditions(umask=0)),
        ("a home that cannot be written", Conditions({"HOME": "/proc"})),
        ("a home that is not there", Conditions({"HOME": "/nowhere/at/all"})),
        ("no such temporary folder", Conditions({"TMPDIR": "/nowhere/at/all"})),
        ("a temporary folder that goes", Conditions({"TMPDIR": str(temporary)})),
    ]
    description, conditions = draw.choice(odd)
    strikes = []
    if description.endswith("goes"):
        temporary.mkdir(exist_ok=True)
        if scene.as_nobody:
            os.chown(temporary, NOBODY, NOBODY)
        strikes = [Strike(moment(scene, draw), lambda _: shutil.rmtree(temporary, ignore_errors=True))]
    return Fault(description, conditions, strikes=strikes)


FAULTS: dict[str, tuple[Maker, int]] = {
    "kill": (kill, 4),
    "freeze": (freeze, 1),
    "twin": (twin, 2),
    "full disk": (full_disk, 3),
    "read-only disk": (read_only_disk, 2),
    "forbidden folder": (forbidden_folder, 3),
    "jumping clock": (jumping_clock, 3),
    "wrong clock before": (wrong_clock_before, 2),
    "process limit": (few_processes, 3),
    "memory limit": (little_memory, 2),
    "open-file limit": (few_files, 2),
    "file-size limit": (small_files, 2),
    "damaged store": (damaged_store, 8),
    "damaged cache": (damaged_cache, 3),
    "picture away": (picture_away, 1),
    "surroundings": (surroundings, 2),
}
"""By name: the maker of a fault, and the weight with which it is drawn."""
