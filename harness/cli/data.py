"""The verbs `data check`, `data init` and `data cache`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from harness import registry
from harness.cli.answers import answer, print_lines, refusals
from harness.cli.command import StrictTyper
from harness.cli.options import (
    DataAnswerOptions,
    DataOptions,
    DatasetName,
    SkipBroken,
    Subset,
    height_and_width,
    takes_groups,
)
from harness.machine import paths
from harness.machine.errors import ExitCode
from harness.machine.progress import Progress
from harness.machine.words import plural

data_app = StrictTyper(
    help="Describe or check a dataset, or build its cache of decoded images.", no_args_is_help=True
)


@data_app.command("check")
@takes_groups
def data_check(
    name: DatasetName,
    options: DataAnswerOptions,
) -> None:
    """Counts beside the published ones, missing and broken files. Exits 2 when the data is damaged."""
    with refusals():
        from harness.data.checks import check_dataset

        facts = check_dataset(name, options.register())
    answer(facts, options.as_json, lambda: render(facts))
    if facts["damaged"]:
        print_lines(facts["problems"])
        raise typer.Exit(ExitCode.BAD_INPUT)


@data_app.command("init")
def data_init(
    folder: Annotated[Path, typer.Argument(help="A folder with images and one annotation file.")],
) -> None:
    """Write a dataset file for a folder, and print the first rows as it reads them."""
    with refusals():
        from harness.data.propose import propose

        proposal = propose(folder)
    print("\n".join((f"wrote {proposal.path}", *proposal.rows, *proposal.unsure)))


@data_app.command("cache")
@takes_groups
def data_cache(
    name: DatasetName,
    data: DataOptions,
    size: Annotated[str, typer.Option(help="Height×width of the images, like 384x128.")] = "384x128",
    subset: Subset = None,
    skip_broken: SkipBroken = False,
) -> None:
    """Decode every image once, so that training never waits for it."""
    with refusals():
        from harness.machine.display import shown

        data_root = data.register()
        with shown() as progress:
            lines = cache_data(name, data_root, size, subset, skip_broken, progress)
    print("\n".join(lines))


def render(facts: dict[str, Any]) -> None:
    """Print the counts and what is odd about them; of data that could not be read there are none."""
    if facts["damaged"] and not any(sum(counts.values()) for counts in facts["splits"].values()):
        print(f"{facts['dataset']}: cannot be read")
        return
    print(f"{facts['dataset']}: {_published(facts)}")
    for split, counts in facts["splits"].items():
        shown = (
            f"{counts[kind]:>8,} {kind.replace('_', ' ')}" for kind in ("person_ids", "images", "captions")
        )
        print(f"  {split:<6}{'  '.join(shown)}{_odd(counts)}")
    modes = ", ".join(f"{number:,} {mode}" for mode, number in facts["modes"].items())
    if modes:
        print(f"  image modes: {modes}")
    for note in facts["notes"]:
        print(f"  note: {note}")
    for problem in () if facts["damaged"] else facts["problems"]:
        print(f"  {problem}")


def _published(facts: dict[str, Any]) -> str:
    """How the counts stand to the published ones, where any were published."""
    from harness.data.dataset_files import load_from_root

    if facts["official"]:
        return "the published counts"
    entry = registry.dataset(facts["dataset"])
    load = entry.load if isinstance(entry.load, partial) else None
    shipped = load is not None and load.func is load_from_root
    if shipped and load is not None and load.args[0].expected:
        return "not the published counts"
    is_own = entry.plugin is not None or (load is not None and not shipped)
    return f"{'your own dataset: ' if is_own and entry.home != 'embedded' else ''}no published counts"


def _odd(counts: dict[str, int]) -> str:
    """What of a split's captions and images needs attention, in brackets."""
    words = {
        "captions_cut": "captions cut",
        "shared_captions": "captions of several persons",
        "shared_images": "images of several persons",
        "undecidable": "undecidable queries",
    }
    parts = [f"{counts[key]:,} {word}" for key, word in words.items() if counts.get(key)]
    return f"  ({', '.join(parts)})" if parts else ""


def cache_data(
    name: str,
    data_root: Path | None,
    size: str,
    subset: int | None,
    skip_broken: bool,
    progress: Progress,
) -> list[str]:
    """Build the decoded-image cache of every split; one line for each.

    Raises `StudyError` for a size that is none, `DataError` for damaged images.
    """
    from harness.data.datasets import load_dataset
    from harness.data.images import image_cache

    shape = height_and_width(size, "--size")
    dataset = load_dataset(
        name,
        data_root,
        subset=subset,
        skip_broken=skip_broken,
        progress=partial(progress.working, f"reading the images of {name}"),
    )
    lines = []
    for split in dataset.splits:
        cache = image_cache(
            dataset.splits[split],
            shape,
            paths.cache_dir(),
            fingerprint=dataset.fingerprint,
            digests=dataset.digests[split],
            skip_broken=skip_broken,
            progress=partial(progress.working, f"decoding {name} {split}"),
        )
        broken = f", {plural(len(cache.broken), 'broken image')} left out" if cache.broken else ""
        lines.append(
            f"{name} {split}: {plural(len(cache.split.image_paths), 'image')} in {cache.path}{broken}"
        )
    return lines
