"""Figures inside the page."""

from __future__ import annotations

import re

from reports.figures import _for_page

SVG = (
    '<?xml version="1.0"?><svg viewBox="0 0 648 396"><defs><path id="m1" d="M 0 3.512345"/></defs>'
    '<g id="axes_1"><use href="#m1" x="44.181187" y="130.667212"/><text>0.12345</text></g></svg>'
)


def test_points_are_rounded_to_what_a_screen_shows_and_written_numbers_are_not() -> None:
    shown = _for_page(SVG, "figure", "a plot")
    assert 'x="44.18" y="130.66"' in shown
    assert "<text>0.12345</text>" in shown


def test_only_what_a_link_names_keeps_its_id() -> None:
    shown = _for_page(SVG, "figure", "a plot")
    assert 'id="figure.m1"' in shown
    assert 'href="#figure.m1"' in shown
    assert "axes_1" not in shown


STYLED = (
    '<svg viewBox="0 0 6 3"><g><g><path d="M 0 3" style="fill: none"/></g><g clip-path="url(#c)">'
    '<path d="M 0 2" style="fill: none"/><path d="M 0 1" style="stroke: #0072b2"/></g></g></svg>'
)


def test_a_repeated_style_is_one_rule_bound_to_its_figure_and_bare_groups_are_left_out() -> None:
    """Bound, as two figures of a page use one name of a class for different styles."""
    shown, other = _for_page(STYLED, "figure", "a plot"), _for_page(STYLED, "another", "a plot")
    name, its = (re.search(r'<svg [^>]*id="(figure-[0-9a-f]+)"', svg) for svg in (shown, other))
    assert name is not None
    assert its is not None
    assert name[1] != its[1]
    assert f"<style>#{name[1]} .s0{{fill: none}}</style>" in shown
    assert shown.count('class="s0"') == 2
    assert 'd="M 0 1" style="stroke: var(--c0)"' in shown, "a style of its own stays"
    assert (shown.count("<g"), shown.count("</g>")) == (1, 1)
    assert shown.index("<g clip-path") < shown.index("M 0 2") < shown.index("</g>")
