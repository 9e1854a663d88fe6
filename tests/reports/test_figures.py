"""Figures inside the page."""

from __future__ import annotations

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
