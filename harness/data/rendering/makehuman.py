"""Clothes, shoes and hair of the MakeHuman community's CC0 asset collection, fitted to the base mesh.

The collection is public (https://static.makehumancommunity.org, "MakeHuman system assets", CC0) and no part
of this project: the generator takes the folder that holds `clothes/` and `hair/`. Only geometry is read,
never a texture. Without the folder everything is cut from the base mesh's own helper surfaces.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from harness.data.rendering.attributes import HAIR_STYLES, MESHES, SHOE_MESHES
from harness.data.rendering.geometry import BaseMesh, MissingGeometry, Piece, load_obj
from harness.data.rendering.raster import Array

COLLECTION = "https://static.makehumancommunity.org (MakeHuman system assets, CC0)"


def needed_assets() -> list[str]:
    """The folders the generator draws from, relative to the collection's `base` folder."""
    clothes = {mesh for options in MESHES.values() for mesh, _ in options if mesh != "base"}
    clothes |= {*SHOE_MESHES, "fedora01"}
    return sorted([f"clothes/{name}" for name in clothes]) + [
        f"hair/{name}" for name in HAIR_STYLES if name != "bald"
    ]


def check_assets(folder: Path) -> None:
    """Refuse a folder that lacks some of `needed_assets()`.

    Raises:
        MissingGeometry: it does; all that are missing are named.
    """
    missing = [name for name in needed_assets() if not list((folder / name).glob("*.mhclo"))]
    if missing:
        raise MissingGeometry(
            f"{folder} lacks {len(missing)} of the MakeHuman assets: {', '.join(missing)}. "
            f"The public collection: {COLLECTION}. Without --assets, clothes are cut from the body's "
            "own helper surfaces."
        )


class Assets:
    """The pieces of one assets folder, fitted on demand; `None` everywhere when there is no folder.

    Raises:
        MissingGeometry: the folder lacks some of `needed_assets()`; all are named.
    """

    def __init__(self, base: BaseMesh, folder: Path | None) -> None:
        self.base, self.folder = base, folder
        self.piece = cache(self._load)
        if folder is not None:
            check_assets(folder)

    def _load(self, name: str) -> Piece | None:
        if self.folder is None:
            return None
        return load_mhclo(self.base, min((self.folder / name).glob("*.mhclo")))


def load_mhclo(base: BaseMesh, path: Path) -> Piece:
    """A `.mhclo` file and the mesh it names, with the base vertices it hides and its lower parts marked."""
    lines = [line.split() for line in path.read_text("utf8", errors="replace").splitlines() if line.strip()]
    rows: list[list[float]] = []
    scales: dict[int, tuple[int, int, float]] = {}
    hides = np.zeros(len(base.vertices), bool)
    section = mesh = ""
    for words in lines:
        key = words[0]
        if key in ("verts", "delete_verts"):
            section = key
        elif key.endswith("_scale"):
            scales["xyz".index(key[0])] = (int(words[1]), int(words[2]), float(words[3]))
        elif key == "obj_file":
            mesh = words[1]
        elif section == "verts" and key.isdigit():
            one = [float(key)] * 3 + [1, 0, 0, 0, 0, 0]
            rows.append([float(x) for x in words[:9]] if len(words) > 1 else one)
        elif section == "delete_verts":
            for low, high in re.findall(r"(\d+)(?: - (\d+))?", " ".join(words)):
                hides[int(low) : int(high or low) + 1] = True
    table = np.array(rows)
    triangles = load_obj(path.parent / mesh)[1]
    piece = Piece(base, table[:, :3].astype(int), table[:, 3:6], table[:, 6:], scales, triangles)
    piece.hides, piece.lower = hides, _legwear(piece)
    return piece


def _legwear(piece: Piece) -> Array:
    """Which triangles belong to an outfit's trousers: islands of the mesh that stay below the waist."""
    one, other = piece.triangles[:, :2].T.ravel(), piece.triangles[:, 1:].T.ravel()
    n = len(piece.rest)
    edges = sparse.coo_matrix((np.ones(len(one)), (one, other)), (n, n))
    count, island = connected_components(edges, directed=False)
    height = piece.rest[:, 1]
    lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(lowest, island, height)
    np.maximum.at(highest, island, height)
    mine = island[piece.triangles[:, 0]]
    return np.asarray((highest[mine] < 2.2) & (lowest[mine] < -0.5))
