"""Time and memory as identities, captions, gallery, cells and trials grow, measured and drawn: `make growth`.

Each point runs in a process of its own; `growth.json` is written after each, so the same command goes on
where it stopped. Seconds are those of the processor, so other programs count little.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

FOLDER = Path("reports/benchmarks")
LINKS = 10_000
"""Names of one picture: ext4 allows 65,000."""
GROWS_FASTER = 1.15
"""Exponent between the two largest sizes above which a curve is named as growing faster than linearly."""


@dataclass
class Stopwatch:
    """Processor seconds and the growth of the process's memory inside `with`."""

    seconds: float = 0.0
    megabytes: float = 0.0

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        before, began = _peak(), time.process_time()
        yield
        self.seconds, self.megabytes = time.process_time() - began, _peak() - before


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def classifier(identities: int, watch: Stopwatch, folder: Path) -> None:
    """A step of the classifier of persons: 32 pairs of width 512, forward, backward and Adam."""
    import torch

    from methods.losses import identity

    layer = torch.nn.Linear(512, identities)
    adam = torch.optim.Adam(layer.parameters())
    features, persons = torch.randn(2, 32, 512), torch.arange(32)

    def step() -> None:
        adam.zero_grad()
        identity(layer(features[0]), layer(features[1]), persons).backward()
        adam.step()

    with watch.measuring():
        step()


def _epoch(captions: int, watch: Stopwatch) -> None:
    import numpy as np

    from harness.data.sampler import IdentityBatches

    person = np.arange(captions) // 4
    with watch.measuring():
        assert len(IdentityBatches(person, 128, 0).epoch(1)) == math.ceil(captions / 128)


def sampler(identities: int, watch: Stopwatch, folder: Path) -> None:
    """The batches of an epoch, with four captions of each person."""
    _epoch(4 * identities, watch)


def captions(count: int, watch: Stopwatch, folder: Path) -> None:
    """The batches of an epoch, by its captions."""
    _epoch(count, watch)


def records(identities: int, watch: Stopwatch, folder: Path) -> None:
    """Reading the annotation of a dataset with two captions of each person."""
    from factories import draw_person

    from harness.data.dataset_files import load_folder
    from harness.data.layout import Columns, Layout

    for person in range(0, identities, LINKS):
        draw_person(folder / f"{person}.jpg", 0, 0)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "person", "text", "split"])
        for row in range(2 * identities):
            split = "test" if row // 2 % 10 == 0 else "train"
            writer.writerow([f"{row // 2}.jpg", row // 2, f"a coat {row}", split])
    for person in range(identities):
        if person % LINKS:
            (folder / f"{person}.jpg").hardlink_to(folder / f"{person - person % LINKS}.jpg")
    columns = Columns(image=("image",), person=("person",), captions=("text",))
    layout = Layout(annotations=("table.csv",), images=".", rows="caption", columns=columns)
    with watch.measuring():
        load_folder(layout, "table", folder)


def gallery(images: int, watch: Stopwatch, folder: Path) -> None:
    """Ranking a gallery for 100 captions with features of width 128."""
    import torch

    from harness.evaluate.metrics import query_records, ranks, summarise

    generator = torch.Generator().manual_seed(0)
    queries, items = (torch.randn(count, 128, generator=generator) for count in (100, images))
    persons = torch.arange(100), torch.arange(images) // 4
    with watch.measuring():
        summarise(query_records(ranks(queries, items, *persons), persons[0]))


def query(images: int, watch: Stopwatch, folder: Path) -> None:
    """The best ten of a gallery for ten sentences, as `query` sorts them, features of width 128."""
    import torch

    from harness.cli.query import _best

    generator = torch.Generator().manual_seed(0)
    asked, items = (torch.randn(count, 128, generator=generator) for count in (10, images))
    with watch.measuring():
        assert all(len(best) == 10 for best in _best(asked, items, 10))


def cells_left(count: int, watch: Stopwatch, folder: Path) -> None:
    """`run` finds that no cell of a store is left."""
    from factories import write_cuhk
    from light_runs import light_machine, light_study

    from harness.launch import cells
    from harness.launch.cell import run_cell
    from harness.launch.context import Context
    from harness.store.runs import RunStore

    write_cuhk(folder / "data")
    store, context = RunStore(folder / "out"), Context(light_machine(folder / "data"))
    planned = light_study(folder, seeds=count).cells()
    run_cell(planned[0], store, context)
    first = store.open(planned[0], context.parts(planned[0]))
    for cell in planned[1:]:
        run = store.open(cell, context.parts(cell))
        shutil.copytree(first.directory / "records", run.directory / "records")
        for name in ("results.json", "history.jsonl", "model-val.safetensors"):
            shutil.copyfile(first.directory / name, run.directory / name)
        run.finish()
    options = cells.LaunchOptions(context.machine, workers=1)
    with watch.measuring():
        assert not cells.failed(cells.run_cells(planned, store, context, options))


def cells_report(count: int, watch: Stopwatch, folder: Path) -> None:
    """The report of a store: ten methods on two datasets, the rest seeds, 60 people each."""
    import stores

    from reports.assemble import build

    r1 = {name: 60.0 - 2 * number for number, name in enumerate(["uit", *"bcdefghij"])}
    datasets = ("rendered-plaza", "rendered-station")
    truth = stores.Truth(
        r1=r1, seeds=max(2, count // 20), people=60, datasets=datasets, directions=("t2i",), epochs=10
    )
    stores.write(folder, truth)
    with watch.measuring():
        build([folder])


def trials_left(count: int, watch: Stopwatch, folder: Path) -> None:
    """`run` finds that no trial of a search is left, from an unopened database."""
    from benchmarks import test_search_growth as growth

    from harness.search import trial_queue

    growth.TRIALS = count - 1
    search = growth._grown(folder)
    trial_queue._queues.clear()
    with watch.measuring():
        growth.create_search(search)
        assert trial_queue.trial_queue(search).budget().missing == 0


def trials_report(count: int, watch: Stopwatch, folder: Path) -> None:
    """The report of a search."""
    import stores
    from benchmarks import test_search_growth as growth

    from reports.assemble import build

    growth.TRIALS = count - 1
    search = growth._grown(folder / "search")
    stores.write(folder / "run", stores.Truth(r1={"uit": 50.0}, seeds=2, people=20))
    growth.write_search_json([search], folder / "run")
    with watch.measuring():
        build([folder / "run"])


IDENTITIES = (1_000, 3_000, 10_000, 30_000, 100_000)
COUNTS = (100, 300, 1_000, 3_000, 10_000)
CURVES: Mapping[str, tuple[str, Callable[[int, Stopwatch, Path], None], tuple[int, ...]]] = {
    "classifier": ("identities", classifier, IDENTITIES),
    "sampler": ("identities", sampler, IDENTITIES),
    "records": ("identities", records, IDENTITIES),
    "captions": ("captions", captions, (10_000, 100_000, 1_000_000, 10_000_000)),
    "gallery": ("images", gallery, (10_000, 30_000, 100_000, 300_000, 1_000_000)),
    "query": ("images", query, (10_000, 30_000, 100_000, 300_000, 1_000_000)),
    "cells left": ("cells", cells_left, COUNTS),
    "cells report": ("cells", cells_report, COUNTS),
    "trials left": ("trials", trials_left, COUNTS),
    "trials report": ("trials", trials_report, COUNTS),
}
"""By name: what grows, what is measured, and at which sizes."""


def measure(name: str, size: int) -> dict[str, float]:
    """A point, in a process of its own. Raises RuntimeError when that process fails."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_point, args=(name, size, theirs))
    process.start()
    theirs.close()
    try:
        point: dict[str, float] = ours.recv()
    except EOFError:
        raise RuntimeError(f"{name} at {size:,} failed") from None
    finally:
        process.join()
    return point


def _point(name: str, size: int, answer: Any) -> None:
    from harness.machine import files

    # The store flushes every file to the disk; what is simulated here need not be.
    files.os.fsync = lambda descriptor: None  # type: ignore[attr-defined]
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HARNESS_CACHE"] = f"{folder}/cache"
        work = Path(folder, "work")
        work.mkdir()
        CURVES[name][1](size, watch, work)
    answer.send({"seconds": round(watch.seconds, 4), "megabytes": round(watch.megabytes, 1)})


def exponent(points: Mapping[str, Mapping[str, float]]) -> float | None:
    """How seconds grow between the two largest sizes: 1 is linear; None where they are too short to tell."""
    sizes = sorted(map(int, points))[-2:]
    seconds = [points[str(size)]["seconds"] for size in sizes]
    if len(sizes) < 2 or min(seconds) < 0.05:
        return None
    return math.log(seconds[1] / seconds[0]) / math.log(sizes[1] / sizes[0])


def draw(stored: Mapping[str, Any], path: Path) -> None:
    """Draw the curves of `growth.json` as one picture."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from reports.figures import FigureWriter

    curves = {name: points for name, points in stored["growth"].items() if points}
    with FigureWriter().axes(len(curves), 2, (8.0, 2.1 * len(curves))) as (drawing, grid):
        for row, (name, points) in zip(grid, curves.items(), strict=True):
            grows, function, _ = CURVES[name]
            sizes, power = sorted(map(int, points)), exponent(points)
            steep = "" if power is None else f"; last two: size to the power {power:.2f}"
            row[0].set_title((function.__doc__ or "").split("\n")[0] + steep, loc="left", fontsize=7)
            for axes, quantity, unit in zip(
                row, ("seconds", "megabytes"), ("CPU s", "MB above the peak before"), strict=True
            ):
                values = [max(points[str(size)][quantity], 1e-3) for size in sizes]
                axes.plot(sizes, values, marker="o")
                axes.set(xscale="log", yscale="log", xlabel=grows, ylabel=unit)
        FigureCanvasSVG(drawing).print_svg(path, metadata={"Date": None, "Creator": None})


def summary(stored: Mapping[str, Any]) -> Iterator[str]:
    """A line for each curve: its largest size, and whether it grows faster than linearly."""
    for name, points in stored["growth"].items():
        if not points:
            continue
        largest = max(points, key=int)
        power, (grows, *_) = exponent(points), CURVES[name]
        how = "too short to tell" if power is None else f"size to the power {power:.2f}"
        faster = " FASTER THAN LINEAR" if power is not None and power > GROWS_FASTER else ""
        found = points[largest]
        size, seconds, memory = int(largest), found["seconds"], found["megabytes"]
        yield f"{name}: {size:,} {grows}: {seconds} s, {memory} MB; {how}{faster}"


def _load(path: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return stored
    except FileNotFoundError:
        return {"growth": {}}


def main() -> None:
    """Measure what is left, the small sizes of every curve first; then draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--minutes", type=float, default=60.0, help="points begin until then")
    parser.add_argument("--most", type=int, default=10**8, help="the largest size")
    parser.add_argument("--only", nargs="*", choices=CURVES, default=list(CURVES))
    asked = parser.parse_args()
    from harness.machine import environment
    from harness.machine.files import atomic_json

    path, end = asked.out / "growth.json", time.monotonic() + 60 * asked.minutes
    stored = _load(path)
    points = [(rank, name, size) for name in asked.only for rank, size in enumerate(CURVES[name][2])]
    for _, name, size in sorted(points, key=lambda point: point[0]):
        curve = stored["growth"].setdefault(name, {})
        if str(size) in curve or size > asked.most or time.monotonic() > end:
            continue
        try:
            curve[str(size)] = measure(name, size)
        except RuntimeError as error:  # the other points are measured
            print(error, flush=True)
            continue
        described = environment.describe()
        stored |= {
            "command": "make growth",
            "date": date.today().isoformat(),
            "processor": described["processor"],
            "versions": {"torch": described["packages"]["torch"], "python": described["python"]},
        }
        atomic_json(path, stored)
        print(f"{name} {size:,}: {curve[str(size)]}", flush=True)
    draw(stored, asked.out / "growth.svg")
    print("\n".join(summary(stored)))


if __name__ == "__main__":
    main()
