"""Figures of the page.

Each is drawn once with matplotlib, inlined as SVG in the page's own colours, and saved as PNG and
PDF beside it.

Drawn with fixed ink colours that `_for_page` turns into CSS variables, so one drawing serves light,
dark and print. Colours are Okabe and Ito's (2008), which colour-blind readers distinguish, and never
carry a meaning alone: markers or words repeat it. Files hold no dates and no random ids, so the
same data gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.machine.errors import StoreError
from harness.machine.files import atomic_json, read_json, sha256
from reports.document import Figure, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

INK, MUTED, RULE, BAND = "#1b1d21", "#6a6f78", "#d3d6db", "#eceef1"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8c8c8c")
_PAGE = {INK: "--ink", MUTED: "--muted", RULE: "--rule", BAND: "--band"} | {
    colour: f"--c{index}" for index, colour in enumerate(PALETTE)
}
VERDICT_COLOURS = {"better": PALETTE[0], "worse": PALETTE[1], "tied": PALETTE[2], "cannot tell": MUTED}
VERDICT_MARKERS = {"better": "^", "worse": "v", "tied": "s", "cannot tell": "o"}
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "pdf.fonttype": 42,
    "figure.dpi": 100,
    "savefig.dpi": 180,
}


@dataclass(frozen=True)
class FigureWriter:
    """Where figures are drawn. `folder` receives PNG and PDF; None keeps them on the page only."""

    folder: Path | None = None
    written: list[Path] = field(default_factory=list, compare=False)
    """The files that were written so far."""

    @contextmanager
    def axes(
        self, rows: int, columns: int, size: tuple[float, float], **layout: Any
    ) -> Iterator[tuple[Any, Any]]:
        """A drawing of `size` inches with a grid of axes `[rows, columns]`, closed afterwards."""
        import matplotlib

        matplotlib.use("Agg", force=False)
        from matplotlib import pyplot

        with matplotlib.rc_context(_STYLE):
            drawing, grid = pyplot.subplots(
                rows, columns, figsize=size, squeeze=False, layout="constrained", **layout
            )
            try:
                yield drawing, grid
            finally:
                pyplot.close(drawing)

    def finish(self, drawing: Drawing, key: str, alt: str, caption: str) -> Figure:
        """Turn a drawing into a `Figure`; must be called inside `axes`."""
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        # The layout is worked out once and the canvases are called directly: `savefig` draws twice each.
        drawing.draw_without_rendering()
        drawing.set_layout_engine("none")
        buffer = io.StringIO()
        _background(drawing, "none")
        canvas: Any = FigureCanvasSVG(drawing)
        canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
        svg = buffer.getvalue()
        if self.folder is not None:
            self._save(drawing, key, svg)
        return Figure(key, _for_page(svg, key, alt), alt, caption)

    def _save(self, drawing: Drawing, key: str, svg: str) -> None:
        """Write PNG and PDF, unless those of the same drawing lie there as they were written.

        They take twice as long as the drawing on the page, most of it for the PDF's fonts.
        """
        assert self.folder is not None
        record, files = self.folder / DRAWN, [self.folder / f"{key}.{ending}" for ending in ("pdf", "png")]
        drawn = _drawn_before(record)
        source = hashlib.sha256(f"{_versions()}\0{_STYLE!r}\0{svg}".encode()).hexdigest()
        if drawn.get(key) != [source, *map(_digest, files)]:
            self._draw(drawing, *files)
            atomic_json(record, {**drawn, key: [source, *map(_digest, files)]})
        self.written.extend(file for file in (*files, record) if file not in self.written)

    @staticmethod
    def _draw(drawing: Drawing, pdf: Path, png: Path) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.backends.backend_pdf import FigureCanvasPdf

        pdf.parent.mkdir(parents=True, exist_ok=True)
        _background(drawing, "white")
        canvas: Any = FigureCanvasPdf(drawing)
        canvas.print_pdf(pdf, metadata={"CreationDate": None, "Producer": None})
        drawing.set_dpi(_STYLE["savefig.dpi"])
        canvas = FigureCanvasAgg(drawing)
        canvas.print_png(png, metadata={"Software": None})


DRAWN = "drawn.json"
"""In a folder of figures, by key: the SHA-256 of the drawing, of its PDF and of its PNG."""


def _drawn_before(record: Path) -> Mapping[str, object]:
    try:
        drawn = read_json(record)
    except StoreError:
        return {}
    return drawn if isinstance(drawn, dict) else {}


def _digest(file: Path) -> str:
    """The SHA-256 of a file; empty where there is none to read."""
    try:
        return sha256(file)
    except OSError:
        return ""


def _versions() -> str:
    """What beside the drawing decides how its files look."""
    import matplotlib

    return f"{matplotlib.__version__} {version('fonttools')} {version('pillow')}"


def _background(drawing: Drawing, colour: str) -> None:
    for patch in (drawing.patch, *(axes.patch for axes in drawing.axes)):
        patch.set_facecolor(colour)


def _for_page(svg: str, key: str, alt: str) -> str:
    """Make matplotlib's SVG part of the page: its colours, its font, ids of its own, nothing from outside."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", body).replace("xlink:href", "href")
    linked = {*re.findall(r'(?:href="#|url\(#)([^")]+)', body)}
    body = re.sub(r'\s+id="([^"]*)"', lambda found: found[0] if found[1] in linked else "", body)
    body = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), body)  # of a point
    body = re.sub(r'\bid="', f'id="{key}.', body)
    body = re.sub(r"url\(#", f"url(#{key}.", body).replace('href="#', f'href="#{key}.')
    for colour, variable in _PAGE.items():
        body = re.sub(re.escape(colour), f"var({variable})", body, flags=re.IGNORECASE)
    body = re.sub(r"'?DejaVu Sans'?(, [^;\"]*)?", "var(--sans)", body)
    view = re.search(r'viewBox="([^"]*)"', body)
    width = float(view.group(1).split()[2]) if view else 0.0
    head = (
        f'<svg class="figure" role="img" aria-label="{_attribute(alt)}" style="width:{width * 4 / 3:.0f}px"'
    )
    name = "figure-" + hashlib.sha256(key.encode()).hexdigest()[:8]  # what a style sheet may always name
    head += f' id="{name}" viewBox="{view.group(1) if view else ""}">'
    rules, body = _with_classes(_without_bare_groups(body), name)
    return re.sub(r"\n\s*", "\n", re.sub(r"^<svg[^>]*>", lambda _: head + rules, body)).strip()


def _without_bare_groups(svg: str) -> str:
    """The drawing without groups that have no attribute, of which matplotlib writes thousands."""
    groups: list[bool] = []

    def kept(tag: re.Match[str]) -> str:
        if tag[0] != "</g>":
            groups.append(tag[0] != "<g>")
            return tag[0] if groups[-1] else ""
        return tag[0] if groups.pop() else ""

    return re.sub(r"</g>|<g\b[^>]*>", kept, svg).replace("<defs>\n </defs>\n", "")


def _with_classes(svg: str, name: str) -> tuple[str, str]:
    """A style sheet for the drawing of the id `name`, and the drawing with classes for repeated styles."""
    count = Counter(re.findall(r' style="([^"]*)"', svg))
    repeated = [style for style, times in count.items() if times > 1]
    names = {style: f"s{number}" for number, style in enumerate(repeated)}
    rules = "".join(f"#{name} .{names[style]}{{{style}}}" for style in repeated)
    body = re.sub(
        r' style="([^"]*)"',
        lambda found: f' class="{names[found[1]]}"' if found[1] in names else found[0],
        svg,
    )
    return f"<style>{rules}</style>", body


def _attribute(text: str) -> str:
    return (
        visible(text).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
    )


def forest(
    axes: Axes,
    labels: Sequence[str],
    values: Sequence[tuple[float, float, float]],
    verdicts: Sequence[str],
    *,
    margin: float | None = None,
    xlabel: str = "",
    limits_from: Sequence[tuple[float, float, float]] = (),
    words: bool = False,
) -> bool:
    """Draw differences as points with intervals, the first on top; whether anything lies outside the limits.

    Args:
        axes: Where.
        labels: One per row.
        values: `(value, low, high)` of each row.
        verdicts: Each row's, for its colour and marker.
        margin: Drawn as a band around zero.
        xlabel: The axis' label.
        limits_from: The rows that must fit; one that lies outside is an arrow at the edge with its value.
        words: Whether the verdicts are written at the right.
    """
    if margin is not None:
        axes.axvspan(-margin, margin, color=BAND, lw=0, zorder=0)
    axes.axvline(0, color=MUTED, lw=0.8, zorder=1)
    if limits_from:
        axes.set_xlim(*_limits(limits_from, margin or 0.0))
    outside = False
    for row, (value, verdict) in enumerate(zip(values, verdicts, strict=True)):
        outside |= _forest_row(axes, row, value, verdict)
        if words:
            at: Any = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8.5}
            axes.text(1.04, row, verdict, color=VERDICT_COLOURS.get(verdict, INK), **at)
    axes.set_yticks(range(len(labels)), [visible(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.set_xlabel(xlabel)
    return outside


def _limits(rows: Sequence[tuple[float, float, float]], margin: float) -> tuple[float, float]:
    bounds = [bound for _, low, high in rows for bound in (low, high) if bound == bound]
    low, high = min([-margin, 0.0, *bounds]), max([margin, 0.0, *bounds])
    spare = 0.08 * (high - low or 1.0)
    return low - spare, high + spare


def _forest_row(axes: Axes, row: int, value: tuple[float, float, float], verdict: str) -> bool:
    """Draw a row; whether any of it lies outside the axes' limits, shown by an arrow at their edge."""
    centre, low, high = value
    colour = VERDICT_COLOURS.get(verdict, PALETTE[0])
    left, right = axes.get_xlim()
    if axes.get_autoscalex_on() or left <= centre <= right:
        axes.plot([low, high], [row, row], color=colour, lw=1.6, solid_capstyle="butt", zorder=2)
        axes.plot([centre], [row], VERDICT_MARKERS.get(verdict, "o"), color=colour, ms=6, zorder=3)
        if axes.get_autoscalex_on():
            return False
        inward = 0.015 * (right - left)
        for edge, marker, cut in ((left + inward, "<", low < left), (right - inward, ">", high > right)):
            if cut:
                axes.plot([edge], [row], marker, color=colour, ms=5, zorder=3)
        return low < left or high > right
    below = centre < left
    inward = 0.025 * (right - left)
    edge, step = (left + inward, 1) if below else (right - inward, -1)
    axes.plot([edge], [row], "<" if below else ">", color=colour, ms=7, zorder=3, clip_on=False)
    text = f"{centre:+.1f}".replace("-", "−")
    axes.annotate(
        text, (edge, row), (8 * step, 0), textcoords="offset points", va="center",
        ha="left" if below else "right", fontsize=8, color=colour,
    )  # fmt: skip
    return True
