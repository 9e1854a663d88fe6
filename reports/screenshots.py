"""Small pictures of a run's page for a README: its first screen, and the page's first retrieval sheet.

Run: python -m reports.screenshots runs/demo --out reports/showcase
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

SCREEN = (1280, 800)
SHRUNK = 960
"""Pixels that a picture is wide in the end."""
SHEETS_ALONE = """<style>header, nav, footer, main > section:not(#pictures), #pictures > h2
{ display: none !important } .columns { display: block !important }</style></head>"""
"""Ends the head of a page that shows its retrieval sheets alone."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write `first-screen.webp` and `retrieval.webp`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run folder with its report.html")
    parser.add_argument("--out", type=Path, default=Path("reports/showcase"))
    given = parser.parse_args(arguments)
    page = (given.run / "report.html").resolve()
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None or not page.is_file():
        parser.error("Chromium is not installed" if browser is None else f"{page}: make it with `report`")
    given.out.mkdir(parents=True, exist_ok=True)
    text = page.read_text("utf-8")
    sheets = text.replace("</head>", SHEETS_ALONE, 1)
    for name, shown in (("first-screen", text), ("retrieval", sheets)):
        path = given.out / f"{name}.webp"
        path.write_bytes(shrunk(screenshot(browser, shown)))
        print(f"{path}: {path.stat().st_size:,} bytes")


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
