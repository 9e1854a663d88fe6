"""What a README shows of a run: the page's first screen, a retrieval sheet, and what the terminal printed.

Run: python -m reports.screenshots runs/showcase/ablation --out reports/showcase --readme README.md
Needs Chromium (Debian: apt-get install chromium).
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from harness.machine.generated_text import begin_mark, replace_generated
from reports.assemble import build

SCREEN = (1280, 800)
COLUMNS = 80
"""Width of the terminal whose output is shown."""
SHRUNK = 960
"""Pixels that a picture is wide in the end."""
SHEETS_ALONE = """<style>header, nav, footer, main > section:not(#pictures), #pictures > h2
{ display: none !important } .columns { display: block !important }</style></head>"""
"""Ends the head of a page that shows its retrieval sheets alone."""
BEGIN = begin_mark("reports.screenshots")
"""What follows this mark in the README is written here."""
READING = """R1 is the share of captions whose first image shows the right person, in percent: the mean
and its standard deviation over seeds. The verdict is about new people; the difference is to the first method,
with its 95 % interval; p is corrected for all comparisons of R1 (Holm). *Tied*: more than the margin
is excluded. *Cannot tell*: neither a difference nor a tie is shown; the page says how many more seeds would
decide. On the retrieval sheet the wanted image stands first, then the ten nearest; ✓ is the right person."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `first-screen.webp`, `retrieval.webp` and `RUN.md`, which shows both, and link them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder with its report.html")
    parser.add_argument("--out", type=Path, default=Path("reports/showcase"))
    parser.add_argument("--readme", type=Path, help="takes the links")
    given = parser.parse_args(arguments)
    page = (given.run / "report.html").resolve()
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None or not page.is_file():
        parser.error("Chromium is not installed" if browser is None else f"{page}: make it with `report`")
    given.out.mkdir(parents=True, exist_ok=True)
    printed = build([given.run], width=COLUMNS).table_text
    (given.out / f"{given.run.name}.md").write_text(shown_run(given.run.name, printed), "utf-8")
    text = page.read_text("utf-8")
    sheets = text.replace("</head>", SHEETS_ALONE, 1)
    for name, shown in (("first-screen", text), ("retrieval", sheets)):
        path = given.out / f"{name}.webp"
        path.write_bytes(shrunk(screenshot(browser, shown)))
        print(f"{path}: {path.stat().st_size:,} bytes")
    if given.readme:
        folder = given.out.resolve().relative_to(given.readme.resolve().parent).as_posix()
        replace_generated(given.readme, BEGIN, links(folder, given.run.name))


def shown_run(name: str, printed: str) -> str:
    """A page of Markdown: what the terminal printed at the end of a run, how to read it, and the pictures."""
    head = f"# What the {name} prints and shows\n\nWritten by `python -m reports.screenshots`, never by hand."
    pictures = "![The first screen of the page](first-screen.webp)\n\n![A retrieval sheet](retrieval.webp)"
    return f"{head}\n\n```text\n{printed.rstrip()}\n```\n\n{READING}\n\n{pictures}\n"


def links(folder: str, name: str) -> str:
    """The first screen, and a link to the rest, as Markdown."""
    screen = f"![The first screen of the page of the study `{name}`]({folder}/first-screen.webp)"
    return f"{screen}\n[Its terminal output, a retrieval sheet, and how to read them]({folder}/{name}.md)"


def screenshot(browser: str, page: str) -> bytes:
    """The top of a page, given as HTML, on a screen; a PNG."""
    with tempfile.TemporaryDirectory() as folder:
        shot, shown = Path(folder) / "shot.png", Path(folder) / "page.html"
        shown.write_text(page, "utf-8")
        size = ",".join(map(str, SCREEN))
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--window-size={size}",
        ]
        options += [f"--user-data-dir={folder}/profile", "--virtual-time-budget=3000", f"--screenshot={shot}"]
        subprocess.run([browser, *options, shown.as_uri()], check=True, capture_output=True, timeout=120)
        return shot.read_bytes()


def shrunk(png: bytes) -> bytes:
    """A picture of at most `SHRUNK` pixels in width, as WebP."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((SHRUNK, SHRUNK), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
