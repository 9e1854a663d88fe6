"""The page: one HTML file that needs nothing else, built from sections by escaped templates."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

import jinja2
from markupsafe import Markup

from reports.document import Block, Prose, Section, Table, TableCell, TemplateBlock, visible

_SYMBOLS = {"better": "▲", "worse": "▼", "tied": "=", "unknown": "?", "yes": "✓", "no": "✗"}


def page(
    *,
    title: str,
    description: str,
    sections: Sequence[Section],
    now: datetime,
    remarks: Sequence[str] = (),
    facts: Sequence[str] = (),
    downloads: Sequence[tuple[str, str]] = (),
) -> str:
    """The whole report as HTML.

    All text passes `reports.document.visible` and jinja's escaping; a content security policy forbids every
    script but ours and every request, so that even a mistake of ours could not run or load anything.

    Args:
        title: The study's name.
        description: What the study says of itself.
        sections: The chapters, in order.
        now: The only thing on the page that is not in the run stores.
        remarks: What a reader must know before any number.
        facts: Machine, commit and duration, for the line below the title.
        downloads: Label and relative link of the data beside the page.
    """
    script = _asset("report.js")
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=title,
            description=description,
            sections=[_notes_once(section) for section in sections],
            remarks=remarks,
            facts=facts,
            downloads=downloads,
            now=now.strftime("%Y-%m-%d %H:%M"),
            style=Markup(_asset("report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _notes_once(section: Section) -> Section:
    """The section with every note of its tables below the first one that has it."""
    said: set[str] = set()
    blocks: list[Block] = []
    for block in section.blocks:
        if isinstance(block, Table):
            fresh = tuple(note for note in block.notes if note not in said)
            said.update(block.notes)
            block = replace(block, notes=fresh)
        blocks.append(block)
    return replace(section, blocks=tuple(blocks))


def rendered(template: str, **values: Any) -> str:
    """One of our templates with escaped values."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals |= {"kind_of": _kind_of, "sort_key": _sort_key, "symbols": _SYMBOLS, "svg": Markup}
    environment.globals |= {"template_block": _template_block, "unbroken": _unbroken}
    return environment


def _shown(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _unbroken(text: str) -> str:
    """A number that may break before its interval, or before the runs behind it, and nowhere else."""
    return text.replace(" ", "\u00a0").replace("\u00a0[", " [").replace("\u00a0(", " (")


def _template_block(block: TemplateBlock) -> Markup:
    values: Mapping[str, Any] = block.values
    return Markup(_environment().get_template(block.template).render(values))


def _kind_of(block: object) -> str:
    if isinstance(block, Table):
        return "table"
    if isinstance(block, Prose):
        return "prose"
    return "template" if isinstance(block, TemplateBlock) else "figure"


def _sort_key(value: TableCell) -> str:
    """What a column sorts by: a number in full precision, else the text; nothing for an empty place."""
    if value.sort is None:
        return ""
    return repr(value.sort) if isinstance(value.sort, (int, float)) else value.sort


@cache
def _asset(name: str) -> str:
    source, _, _ = jinja2.PackageLoader("reports").get_source(jinja2.Environment(), name)
    return source
