"""What a report is made of: sections of prose, tables, figures and pictures, before any format is chosen.

A section module offers `section(context) -> Section | None`; the page, the Markdown file and the terminal
are different renderings of the same objects, so a number cannot differ between them.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.machine.passwords import masked_text

Align = Literal["left", "right", "text"]
"""How a column stands: labels left, numbers right, and sentences, which wrap, as text."""


@dataclass(frozen=True)
class TableCell:
    """One place of a table: what is shown, what it sorts by, where it leads, and what a reader must know."""

    text: str
    sort: float | str | None = None
    link: str = ""
    """Anchor on the page (without `#`) of the cells it was computed from."""
    note: str = ""
    """A remark shown on hover and to screen readers, e.g. why a cell is missing."""
    flag: str = ""
    """A short mark printed beside the number, e.g. `2 seeds`."""
    kind: str = ""
    """How it is styled: `better worse tied unknown yes no alert missing strong quiet`."""
    word: str = ""
    """What only the styling says, for readers and formats that do not see it."""

    @property
    def plain(self) -> str:
        """The text with what styling and flag say, for formats without them."""
        return " ".join(filter(None, (self.text, self.word, f"({self.flag})" if self.flag else "")))


@dataclass(frozen=True)
class Column:
    """A column's heading; `help` explains it in a sentence."""

    label: str
    align: Align = "right"
    help: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of values. `key` names its files; a folded table starts closed on the page."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    notes: tuple[str, ...] = ()
    folded: bool = False
    data_notes: tuple[str, ...] = ()
    """What the loader had to say of the data behind the numbers; printed in every format."""


@dataclass(frozen=True)
class Figure:
    """A drawing: inline SVG in the page's colours and, by `key`, PNG and PDF beside the page."""

    key: str
    svg: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Prose:
    """A paragraph of plain text. `kind`: `lead` (large), `note` (small) or nothing."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class TemplateBlock:
    """A part with a template of its own; `values` are escaped by the template like everything else."""

    template: str
    values: Mapping[str, Any]


Block = Table | Figure | Prose | TemplateBlock


@dataclass(frozen=True)
class Section:
    """A chapter of the report; `key` is its anchor. Closed sections start folded on the page."""

    key: str
    title: str
    blocks: tuple[Block, ...] = field(default=())
    folded: bool = False

    @property
    def tables(self) -> tuple[Table, ...]:
        """The section's tables, in order."""
        return tuple(block for block in self.blocks if isinstance(block, Table))

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The section's figures, in order."""
        return tuple(block for block in self.blocks if isinstance(block, Figure))


def picture(webp: bytes | None) -> str:
    """A WebP as a data URL; empty for none and for what is no WebP."""
    if not isinstance(webp, bytes) or webp[:4] != b"RIFF" or webp[8:12] != b"WEBP":
        return ""
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def visible(text: str) -> str:
    """Text of foreign origin as a reader may see it: what misleads is spelt out, what is secret is masked.

    Control, bidirectional and unassigned characters become codes like ‹U+202E›; ordinary text of any script
    stays. Passwords inside URLs become `***`. Every format passes its text through here; HTML and LaTeX
    need their own escaping on top.
    """
    masked = masked_text(text)
    if masked.isprintable():  # nearly always, and a page's pictures are text of half a million characters
        return masked
    return "".join(
        f"‹U+{ord(char):04X}›" if char not in "\n\t" and unicodedata.category(char) in _UNSAFE else char
        for char in masked
    )


_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
