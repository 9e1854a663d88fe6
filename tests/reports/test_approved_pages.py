"""Whole pages, word by word and number by number, as they were last read and approved.

A reader of a report sees all of it, and no list of single facts is as long. The pages are made of simulated
runs; `tests/reports/approved/` has their text. A change that was meant is approved by

    APPROVE=1 python -m pytest tests/reports/test_approved_pages.py

and shows in the diff, where it is to be read. That the numbers are right is for the tests of what computes
them (test_golden_statistics.py, test_figure_values.py, …).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import stores
from stores import Truth
from test_search_section import SPACE, entry, planted

import reports
from harness.store.seals import write_sealed
from reports.comparison import ComparisonOptions

APPROVED = Path(__file__).with_name("approved")
CLAIMS = Path(__file__).parents[2] / "studies" / "claims"
OPTIONS = ComparisonOptions(resamples=4000)
NOON = datetime(2026, 1, 2, 12, 0)
PLAZA, STATION = "rendered-plaza", "rendered-station"
UNSEEN = {"style", "script"}
CELLS, BLOCKS = (
    {"td", "th"},
    {"p", "h1", "h2", "h3", "tr", "li", "figure", "figcaption", "summary", "caption", "dt", "dd", "text"},
)
READ_ALOUD = ("aria-label", "title", "alt")


class Text(HTMLParser):
    """The lines of a page, with bars between cells, and with what is read aloud or shown on hovering."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._said: list[str] = []
        self._unseen = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in UNSEEN
        if tag in BLOCKS:
            self._said.append("\n")
        if tag in CELLS:
            self._said.append(" | ")
        self._said += [f" {{{value}}} " for name, value in attrs if name in READ_ALOUD and value]

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in UNSEEN
        if tag in BLOCKS:
            self._said.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._said.append(data.replace("\n", " "))

    def lines(self) -> list[str]:
        """The lines that say something."""
        found = (" ".join(line.split()) for line in "".join(self._said).split("\n"))
        return [line for line in found if line]


def ablation(folder: Path) -> None:
    """All parts of UIT on and off, a rival, an untrained method, failures, transfer, claims and costs."""
    parts = ("tir", "cmt", "text_pruning")
    grid = {
        "-".join(part for part, on in zip(parts, levels, strict=True) if on) or "none": levels
        for levels in product((True, False), repeat=3)
    }
    names = {"tir-cmt-text_pruning": "uit", "none": "baseline"}
    r1 = {
        names.get(name, name): 44.0 + 5 * levels[0] + 3 * levels[1] + levels[2]
        for name, levels in grid.items()
    }
    switches = {names.get(name, name): dict(zip(parts, levels, strict=True)) for name, levels in grid.items()}
    stores.write(
        folder,
        Truth(
            {**r1, "uit-mlm": 52.5, "irra": 40.0, "clip-zero-shot": 12.0},
            people=150,
            seeds=3,
            datasets=("cuhk-pedes", "rstpreid"),
            transfer=True,
            failed={("irra", 1): "oom"},
            untrained=frozenset({"clip-zero-shot"}),
            optimism={"irra": 2.0},
            switches={**switches, "uit-mlm": {"tir": False, "mlm": True}},
            base={name: "uit" for name in switches if name not in ("uit", "baseline")},
            train={"backbone": "ViT-B-16-quickgelu", "image_size": (384, 128), "pretrained": "openai"},
            directions=("t2i", "i2t"),
            data_notes=("98 captions longer than the text encoder reads, cut at its length.",),
        ),
    )
    stores.add_pictures(folder, "cuhk-pedes", caption="A woman in a red coat.")
    shared = {"source": "cuhk-pedes", "target": "rstpreid", "right_images": 1000, "near": 3, "shared": 3}
    (folder / "leakage.json").write_text(json.dumps([shared]))
    costs = [
        {
            "method": method,
            "against": "baseline",
            "quantity": quantity,
            "value": value,
            "unit": unit,
            "ratio": ratio,
            "low": low,
            "high": high,
            "device": "cpu",
        }
        for method, quantity, value, unit, ratio, low, high in (
            ("uit", "training step", 90.0, "ms", 1.5, 1.4, 1.625),
            ("uit", "peak memory", 3e9, "bytes", 1.25, None, None),
            ("uit-mlm", "training step", 120.0, "ms", 2.0, 1.875, 2.25),
            ("uit", "image encoding", 9.0, "ms", 1.0, 0.99, 1.01),
        )
    ]
    (folder / "overhead.json").write_text(json.dumps(costs))
    shutil.copy(CLAIMS / "uit.yaml", folder / "claims.yaml")


def tuned(folder: Path) -> None:
    """Recipes beside the winners of two searches each."""
    r1 = {
        "uit": 50.0,
        "uit-tuned-1": 51.0,
        "uit-tuned-2": 49.5,
        "baseline": 44.0,
        "baseline-tuned-1": 48.0,
        "baseline-tuned-2": 47.0,
    }
    base = {name: name.split("-tuned")[0] for name in r1}
    stores.write(
        folder,
        Truth(
            r1,
            people=200,
            seeds=3,
            base=base,
            directions=("t2i",),
            datasets=(PLAZA,),
            name="tuned",
            switches={name: {"temperature": 0.02 + 0.01 * place} for place, name in enumerate(r1)},
        ),
    )
    searches = [
        entry(
            planted(),
            name=f"tuned/{method}/{PLAZA}/{repeat}",
            method=method,
            dataset=PLAZA,
            arm="tuned",
            repeat=repeat,
            trained_as=f"{method}-tuned-{repeat}",
            settings_it_lacks=[] if method == "uit" else ["mask_ratio"],
            validation={"queries": 400, "people": 100},
            space=SPACE,
        )
        for method in ("uit", "baseline")
        for repeat in (1, 2)
    ]
    write_sealed(folder / "search.json", {"searches": searches})


def noisy(folder: Path) -> None:
    """RDE and UIT with captions at other images."""
    pairs = {"rde": {"trust": {"all": 0.5, "moved": 0.1, "in_place": 0.96}}}
    stores.write(
        folder,
        Truth(
            {"rde": 55.0, "rde-no-ccd": 47.0, "uit": 50.0},
            people=100,
            caption_noise=0.5,
            pairs=pairs,
            name="noisy",
            datasets=(PLAZA, STATION),
            epochs=4,
        ),
    )


SCENES: dict[str, Callable[[Path], None]] = {"ablation": ablation, "tuned": tuned, "noisy": noisy}


def said(scene: str, folder: Path) -> str:
    """What the terminal and the page say of a scene, without places and versions of this machine."""
    run = folder / scene
    SCENES[scene](run)
    made = reports.build([run], options=OPTIONS, now=NOON, wide=True)
    page = made.path.read_text()
    settings = re.compile(r'<section id="(settings|environment)[^"]*".*?</section>', re.DOTALL)
    parts: list[Any] = [
        made.title,
        made.headline,
        made.claims,
        made.table_text,
        *Text(settings.sub("", page)).lines(),
    ]
    text = "\n".join(str(part) for part in parts).replace(str(run), "RUN").replace(str(folder), "FOLDER")
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("scene", SCENES)
def test_a_page_and_the_terminal_say_what_was_approved(scene: str, tmp_path: Path) -> None:
    file, text = APPROVED / f"{scene}.txt", said(scene, tmp_path)
    if os.environ.get("APPROVE") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines()
