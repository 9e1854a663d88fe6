"""Run stores with planted truth: what a study would leave behind if methods were exactly as good as we say.

Hits are drawn from a probit model with people, captions and single runs as random effects, so captions of a
person are alike, methods agree on easy queries, and seeds differ, all by stated amounts. The true R1 of a
method is what we plant. Everything is written through the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from harness.machine import files
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.study import Select, TrainSettings

PEOPLE_SD, CAPTION_SD, TASTE_SD, RUN_SD, NOISE_SD = 0.6, 0.6, 0.25, 0.15, 0.5
"""Latent spread of persons and captions, of a method's taste for persons, of a run's, of noise."""


@dataclass(frozen=True)
class Truth:
    """A planted study. `r1` is each method's true R1 in percent; everything else bends it."""

    r1: Mapping[str, float]
    seeds: int = 3
    people: int = 250
    captions: int = 4
    datasets: tuple[str, ...] = ("rendered-plaza",)
    transfer: bool = False
    transfer_loss: float = 20.0
    """Points of R1 a model loses away from home."""
    seed_sd: float = 0.3
    """Points of R1 by which seeds differ."""
    lucky: Mapping[tuple[str, int], float] = field(default_factory=dict)
    """Points of R1 on top for one method and seed."""
    optimism: Mapping[str, float] = field(default_factory=dict)
    """Points of R1 that selecting the epoch on the test split adds to a method."""
    failed: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """Reason of failure of one method and seed."""
    untrained: frozenset[str] = frozenset()
    epochs: int = 6
    preset: str = "clean"
    recipe: str = "shared"
    name: str = "planted"
    official: bool = True
    """Whether the data count as the official ones."""
    subset: int | None = None
    """People per split; None for all."""
    data_notes: tuple[str, ...] = ()
    """What the loader had to say of the data."""
    data_problems: tuple[str, ...] = ()
    caption_noise: float = 0.0
    """Share of the training captions at other images."""
    pairs: Mapping[str, Any] = field(default_factory=dict)
    """By method, what its history has of the hook's values."""
    draw: int = 0
    """Seed of the simulation."""
    base: Mapping[str, str] = field(default_factory=dict)
    """The registered methods of names that are not one, such as `{"uit-tuned": "uit"}`."""
    switches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Own settings of methods, such as `{"tir": True}`."""
    train: Mapping[str, Any] = field(default_factory=dict)
    pictures: tuple[int, ...] = ()
    """Gallery pictures of the first person, the second, …, over and over; by default half the captions."""
    unanswered: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Queries that have no positive in the gallery of a method's runs (a broken picture was left out)."""
    untransferred: frozenset[tuple[str, int]] = frozenset()
    """Method and seed of runs that were tested on their own dataset alone."""
    selections: tuple[str, ...] = ("val", "last", "test")
    directions: tuple[str, ...] = ("t2i", "i2t")


def write(directory: Path, truth: Truth, *, unstarted: frozenset[str] = frozenset()) -> RunStore:
    """Write the study's store; methods in `unstarted` are in the study but never ran."""
    store = RunStore(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "study.yaml").write_text(yaml.safe_dump(_study(truth), sort_keys=False))
    environment = {"python": "3.11.9", "torch": "2.11.0", "device": "cpu", "host": "simulated"}
    (directory / "environment.json").write_text(json.dumps(environment))
    world = {target: _World(truth, target) for target in truth.datasets}
    asked = []
    for dataset in truth.datasets:
        for method in truth.r1:
            for seed in range(truth.seeds):
                if method not in unstarted:
                    cell = _cell(truth, method, dataset, seed)
                    asked.append((cell, _write_cell(store, truth, cell, world)))
    store.make_current(asked)
    return store


def _study(truth: Truth) -> dict[str, Any]:
    return {
        "name": truth.name,
        "description": "Simulated scores with planted differences; nothing was trained.",
        "preset": truth.preset,
        "recipe": truth.recipe,
        "methods": [
            {
                "name": name,
                "base": truth.base.get(name, name),
                **_train(truth).model_dump(mode="json"),
                **truth.switches.get(name, {}),
            }
            for name in truth.r1
        ],
        "datasets": list(truth.datasets),
        "data": {"caption_noise": truth.caption_noise},
        "seeds": list(range(truth.seeds)),
        "evaluate": {"transfer": truth.transfer},
    }


def _train(truth: Truth) -> TrainSettings:
    small = {"backbone": "tiny", "pretrained": "rendered", "image_size": (96, 32), "epochs": truth.epochs}
    return TrainSettings(**{**small, **truth.train})


def _cell(truth: Truth, method: str, dataset: str, seed: int) -> Cell:
    others = truth.datasets if truth.transfer and (method, seed) not in truth.untransferred else ()
    own = dict(truth.switches.get(method, {}))
    return Cell(
        study=truth.name,
        method=method,
        base=truth.base.get(method, method),
        dataset=dataset,
        seed=seed,
        preset=truth.preset,
        recipe=truth.recipe,
        train=_train(truth),
        method_settings=own,
        overrides=own,
        trains=method not in truth.untrained,
        targets=tuple(dict.fromkeys((dataset, *others))),
        subset=truth.subset,
        caption_noise=truth.caption_noise,
        select=Select(),
        tie_order="index",
    )


class _World:
    """The people and captions of one test split, and how each method takes to them."""

    def __init__(self, truth: Truth, target: str) -> None:
        rng = np.random.default_rng([truth.draw, truth.datasets.index(target)])
        self.person = np.repeat(np.arange(truth.people), truth.captions)
        self.ease = rng.normal(0, PEOPLE_SD, truth.people)[self.person] + rng.normal(
            0, CAPTION_SD, len(self.person)
        )
        self.taste = {name: rng.normal(0, TASTE_SD, truth.people)[self.person] for name in truth.r1}
        pictures = np.resize(truth.pictures or max(1, truth.captions // 2), truth.people)
        self.gallery = np.repeat(np.arange(truth.people), pictures)
        self.positives = pictures[self.person]

    def hits(self, method: str, percent: float, rng: np.random.Generator) -> np.ndarray:
        """Whether each query is found at rank 1 in a run whose expected R1 is `percent`."""
        total = np.sqrt(PEOPLE_SD**2 + CAPTION_SD**2 + TASTE_SD**2 + RUN_SD**2 + NOISE_SD**2)
        level = stats.norm.ppf(np.clip(percent, 0.1, 99.9) / 100) * total
        people = int(self.person.max()) + 1
        run = rng.normal(0, RUN_SD, people)[self.person] + rng.normal(0, NOISE_SD, len(self.person))
        return level + self.ease + self.taste[method] + run > 0


def _write_cell(store: RunStore, truth: Truth, cell: Cell, worlds: Mapping[str, _World]) -> CellRun:
    code = {"harness": "c0de", "methods": "c0de"}
    run = store.open(
        cell,
        cell.parts(_data(truth, cell.dataset), code),
        command="python -m harness run studies/planted.yaml",
        commit="0123abc",
        host="simulated",
    )
    if (cell.method, cell.seed) in truth.failed:
        run.fail(truth.failed[cell.method, cell.seed], "simulated failure <b>not bold</b>")  # type: ignore[arg-type]
        return run
    place = [truth.draw, 7, cell.seed, list(truth.r1).index(cell.method), truth.datasets.index(cell.dataset)]
    rng = np.random.default_rng(place)
    luck = truth.lucky.get((cell.method, cell.seed), 0.0)
    if cell.trains:
        luck += rng.normal(0, truth.seed_sd)
        _write_history(run, truth, truth.r1[cell.method] + luck, rng, truth.pairs.get(cell.method))
    rows = []
    for target in cell.targets:
        away = 0.0 if target == cell.dataset else truth.transfer_loss
        level = truth.r1[cell.method] + luck - away
        base = np.random.default_rng([*place, truth.datasets.index(target)])
        for direction in truth.directions:
            state = base.bit_generator.state
            for selection in truth.selections:
                # The three selections are epochs of one run: the same luck, unless optimism is planted.
                base.bit_generator.state = state
                extra = truth.optimism.get(cell.method, 0.0) if selection == "test" else 0.0
                frame = _records(worlds[target], worlds[target].hits(cell.method, level + extra, base), base)
                _without(frame, truth.unanswered.get(cell.method, ()))
                run.save_records(target, selection, direction, frame)
                rows.append(_result(frame, target, selection, direction, truth, len(worlds[target].gallery)))
    run.write_results(rows)
    run.finish()
    return run


def _records(world: _World, hits: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    queries = len(world.person)
    rank = np.where(hits, 1, 2 + rng.geometric(0.15, queries))
    ap = np.clip(0.75 / rank + 0.25 * rng.random(queries), 0, 1)
    strangers = rng.integers(0, len(world.gallery), (queries, 10))
    own = np.searchsorted(world.gallery, world.person)
    wrong = world.gallery[strangers] == world.person[:, None]
    strangers = np.where(wrong, (strangers + 2) % len(world.gallery), strangers)
    shown = np.flatnonzero(rank <= 10)
    strangers[shown, rank[shown] - 1] = own[shown]
    scores = np.sort(rng.random((queries, 10)))[:, ::-1]
    return pd.DataFrame(
        {
            "query": np.arange(queries),
            "caption_id": np.arange(queries),
            "person_id": world.person,
            "rank": rank,
            "ap": ap,
            "inp": ap * 0.7,
            "positives": world.positives,
            "top": list(strangers),
            "top_score": list(scores.astype(np.float32)),
        }
    )


def _without(frame: pd.DataFrame, queries: Sequence[int]) -> None:
    """Let `queries` have no positive, in place."""
    if queries:
        frame["rank"] = frame["rank"].astype("Int64")
        frame.loc[list(queries), "positives"] = 0
        frame.loc[list(queries), ["rank", "ap", "inp"]] = pd.NA


def _data(truth: Truth, dataset: str) -> str:
    """The fingerprint of a dataset."""
    return f"data-{dataset}" + (f"-{truth.subset}" if truth.subset else "")


def _result(
    frame: pd.DataFrame, target: str, selection: str, direction: str, truth: Truth, gallery: int
) -> dict[str, Any]:
    every, frame = frame, frame[frame["positives"] > 0]
    means = {f"R{k}": 100 * float((frame["rank"] <= k).mean()) for k in (1, 5, 10)}
    return {
        "target": target,
        "selection": selection,
        "direction": direction,
        "epoch": {"val": truth.epochs - 1, "last": truth.epochs, "test": max(1, truth.epochs - 2)}[selection],
        **means,
        "mAP": 100 * float(frame["ap"].mean()),
        "mINP": 100 * float(frame["inp"].mean()),
        "queries": len(frame),
        "gallery": gallery,
        "excluded": len(every) - len(frame),
        "fingerprint": _data(truth, target),
        "data": {
            "official": truth.official,
            "subset": truth.subset,
            "notes": list(truth.data_notes),
            "problems": list(truth.data_problems),
        },
    }


def _write_history(
    run: CellRun, truth: Truth, level: float, rng: np.random.Generator, pairs: Any = None
) -> None:
    lines = []
    for epoch in range(1, truth.epochs + 1):
        grown = level * (1 - 0.6 * 0.5 ** (epoch - 1)) + rng.normal(0, 0.4)
        lines.append(
            {
                "epoch": epoch,
                "losses": {"sdm": 3.0 / epoch, "id": 5.0 / epoch},
                "lr": 1e-4,
                "val": {"R1": grown + 0.5, "mAP": grown, "queries": truth.people},
                "test": {"R1": grown, "mAP": grown - 1, "queries": truth.people * truth.captions},
                "pairs_per_second": 300.0,
                "seconds": 11.0,
                "peak_memory": 1.2e9,
                **({"pairs": pairs} if pairs else {}),
            }
        )
    run.directory.mkdir(parents=True, exist_ok=True)
    (run.directory / "history.jsonl").write_text("".join(map(files.json_line, lines)))


def add_pictures(directory: Path, target: str, caption: str) -> None:
    """Leave the pictures a run would: a gallery of plain colours, restorations, pruned captions."""
    from PIL import Image

    from harness.data.dataset import Split
    from harness.store import pictures

    frame = RunStore(directory).cells()[-1].records(target, "val", "t2i")
    people = int(frame["person_id"].max()) + 1
    folder = directory / "images"
    folder.mkdir(exist_ok=True)
    paths = []
    for image in range(2 * people):
        paths.append(folder / f"{image}.png")
        colour = (37 * image % 256, 91 * image % 256, 53 * image % 256)
        Image.new("RGB", (32, 96), colour).save(paths[-1])
    split = Split(
        name="test",
        image_paths=tuple(paths),
        persons=tuple(str(person) for person in range(people)),
        image_person=np.repeat(np.arange(people), 2),
        captions=(caption,) * len(frame),
        caption_image=np.arange(len(frame)) // 2,
    )
    store = RunStore(directory)
    data = next(row["fingerprint"] for row in store.cells()[-1].results if row["target"] == target)
    pictures.write_gallery(store, target, data, split)
    grey = np.full((96, 32, 3), 128, dtype=np.uint8)
    done = next(run for run in store.cells() if run.status.state == "done" and ".uit." in run.name)
    pictures.write_restorations(
        done.directory, [pictures.RestorationPicture(caption, "A man.", *[grey] * 5, 0.2, 0.4, 0.3)]
    )
    trained_on = store.cells()[-1].parts["dataset"]["fingerprint"]
    pictures.write_pruned(directory, target, trained_on, "pattern 1.0", {caption: "woman red coat"})
