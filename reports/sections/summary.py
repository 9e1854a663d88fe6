"""The chapter at the top: the first screen, then what was compared, on what, and how sure the outcome is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.machine.terms import OWN_RECIPES, protocol_of
from reports import families
from reports.cell_views import ALTERED, protocol_in_words
from reports.comparison import ComparisonGroup
from reports.context import ReportContext, state
from reports.document import Block, Column, Section, Table, TableCell, TemplateBlock
from reports.formatting import (
    difference_value,
    flags_as_note,
    interval,
    judged_difference,
    listed,
    number,
    plural,
    seeds_value,
    signed,
    verdict_value,
)
from reports.power import comparisons, detectable, sentence
from reports.sections import elsewhere, first_screen
from reports.statistics import FEW_SEEDS, Comparison, Scope

NAMED = 5
"""Runs that a list of what was left out names."""


def section(context: ReportContext) -> Section:
    """The outcome and its plot, what would decide the rest, and on what all of it rests."""
    answers = [
        ("Compared", _compared(context)),
        ("On", [_tested(group) for group in context.same_dataset] or ["Nothing yet: no run has finished."]),
        ("How sure", _certainty(context)),
    ]
    blocks: list[Block] = [
        *first_screen.blocks(context, outcome(context)),
        TemplateBlock("answers.html", {"answers": answers}),
        *_tables(context),
    ]
    return Section("summary", "Summary", tuple(blocks))


def outcome(context: ReportContext) -> str:
    """Who won on every dataset, and how well the reference does."""
    lines = [_outcome(group, listing=False)[0] for group in context.same_dataset]
    return " ".join(lines) or "No run has finished yet."


def headline(context: ReportContext) -> str:
    """One sentence for the top of the page and the end of the terminal's table."""
    decided = [line for group in context.same_dataset for line in _outcome(group)]
    return decided[0] if decided else "No run has finished yet."


def _compared(context: ReportContext) -> list[str]:
    stored_runs = context.stored_runs
    presets = list(dict.fromkeys(str(run.study.get("preset", "clean")) for run in stored_runs.runs))
    lines = [
        f"{plural(len(stored_runs.methods), 'method')}: {listed(stored_runs.methods)}; "
        f"trained on {listed(stored_runs.datasets)}, preset {listed(presets)}.",
        *_recipes_in_words(context),
    ]
    counts = Counter(state(cell) for cell in stored_runs.cells)
    done = counts.pop("done", 0)
    rest = "".join(f"; {count} {text}" for text, count in sorted(counts.items()))
    lines.append(
        f"{done} of {plural(len(stored_runs.cells), 'training run')} finished{rest}. {_recipe(context)}"
    )
    return [*lines, *same_methods(context), *unlike_recipes(context)]


def _recipes_in_words(context: ReportContext) -> list[str]:
    """Whether methods share a recipe, a line for each kind: what a difference between them is of."""
    lines = []
    for run in context.stored_runs.runs:
        name, preset = str(run.study.get("recipe", "shared")), str(run.study.get("preset", "clean"))
        protocol = protocol_of(preset, name)
        if protocol == OWN_RECIPES:
            lines.append(
                "Recipe: own. Each method is trained as it was published, so a difference is of method and "
                "recipe together."
            )
        elif protocol == "clean":
            lines.append(f"Recipe: {name}, one for all methods.")
    return list(dict.fromkeys(lines))


def left_out(context: ReportContext) -> list[str]:
    """A line for every finished run that is left out because what it left was altered; few are named."""
    cells = [cell for cell in context.stored_runs.cells if cell.status == ALTERED]
    lines = [f"Left out: {cell.directory}: {cell.detail}." for cell in cells[:NAMED]]
    if len(cells) > NAMED:
        lines.append(f"Left out: {plural(len(cells) - NAMED, 'more run')}, for the like.")
    return lines


def ambiguities(context: ReportContext) -> list[str]:
    """A line for every label that stands for different methods in the folders that were named together."""
    return [
        f"{label} is not the same method in all of these folders: they are shown as {listed(names)}"
        + (", and nothing is compared with it." if label == context.stored_runs.reference else ".")
        for label, names in context.stored_runs.ambiguous.items()
    ]


def same_methods(context: ReportContext) -> list[str]:
    """A line for every method that is another one under a second name, as the winner of a search may be."""
    return [
        f"{name} has every setting of {other} on {group.evaluation.title}: the same training under a second "
        "name, compared under the first."
        for group in context.same_dataset
        for name, other in group.namesakes.items()
    ]


def unlike_recipes(context: ReportContext) -> list[str]:
    """A line for every setting of the recipe in which trained methods differ.

    Such a comparison is of more than the methods (a part of a study was run again with `--set`).
    """
    by_table: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for cell in context.stored_runs.cells:
        if "epochs" in cell.settings:  # it trains
            for name in cell.recipe_names:
                table = (name, cell.preset, cell.dataset, cell.population)
                by_table.setdefault(table, {}).setdefault(str(cell.settings.get(name)), []).append(cell.label)
    lines = []
    for (name, *_), by in by_table.items():
        if len(by) > 1:
            parts = [f"{value} for {listed(list(dict.fromkeys(who)))}" for value, who in by.items()]
            lines.append(f"Not alike: {name} is {listed(parts)}.")
    return list(dict.fromkeys(lines))


def _recipe(context: ReportContext) -> str:
    """The recipe in a few words where all cells share it."""
    words = []
    for name, text in (("backbone", "backbone {}"), ("image_size", "images {}"), ("epochs", "{} epochs")):
        values = {str(cell.settings[name]) for cell in context.stored_runs.cells if name in cell.settings}
        if len(values) == 1:
            value = values.pop().strip("[]()").replace(", ", "×")
            words.append("1 epoch" if (name, value) == ("epochs", "1") else text.format(value))
    text = ", ".join(words)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _tested(group: ComparisonGroup) -> str:
    return (
        f"{group.evaluation.title}: {plural(group.queries, 'caption')} of "
        f"{plural(group.people, 'person', 'people')} against {plural(group.gallery, 'image')}; "
        f"chance finds {number(group.chance, 2)} %."
    )


def _outcome(group: ComparisonGroup, *, listing: bool = True) -> list[str]:
    """Who won against the reference, how well the reference does, and what is open."""
    reference, title = group.reference, group.evaluation.title
    if reference not in group.methods:
        return [f"{title}: {reference} has no finished run here, so nothing is compared with it."]
    mean = group.mean(reference, "R1")
    level = (
        f"{reference} finds the right person first (R1) for {number(mean.value)} % of captions "
        f"{interval(mean, sign=False)}."
    )
    judged = _of_r1(group, "people")
    parts = (
        []
        if not listing
        else [
            _group(judged, "better", f"Better than {reference} for new people"),
            _group(judged, "worse", f"Worse than {reference} for new people"),
            _group(judged, "tied", f"Tied within ±{group.options.margin:g} for new people"),
            _group(judged, "cannot tell", "Cannot tell for new people"),
        ]
    )
    return [" ".join([f"{title}: {_winner(group)}", level, *filter(None, parts)])]


def _of_r1(group: ComparisonGroup, scope: Scope) -> list[Comparison]:
    return [item for (_, metric), item in group.judged(scope).items() if metric == "R1"]


def _winner(group: ComparisonGroup) -> str:
    """The outcome for new people and on this benchmark; once where it is the same."""
    if not _of_r1(group, "people"):
        return f"only {group.reference} has finished, so there is nobody to win against."
    people, here = (_outcome_in(_of_r1(group, scope), group.reference) for scope in ("people", "benchmark"))
    if people == here:
        return f"{people}, for new people as on this benchmark."
    return f"for new people, {people}; on this benchmark, {here}."


def _outcome_in(judged: Sequence[Comparison], reference: str) -> str:
    """The outcome in one scope; a method wins only where every verdict allows it."""
    verdicts = {item.verdict for item in judged}
    better = [item.one for item in judged if item.verdict == "better"]
    if better:
        return f"{listed(better)} beat{'s' if len(better) == 1 else ''} {reference}"
    if verdicts == {"worse"}:
        return f"{reference} beats every other method"
    if "worse" in verdicts:
        return f"{reference} beats some methods, and none is shown to beat it"
    if verdicts == {"tied"}:
        return f"nobody wins: all are tied with {reference}"
    return f"nobody wins: no method is shown to be better or worse than {reference}"


def _group(items: Sequence[Comparison], verdict: str, title: str) -> str:
    named = [f"{item.one} ({signed(item.estimate.value)})" for item in items if item.verdict == verdict]
    return f"{title}: {listed(named)}." if named else ""


def _certainty(context: ReportContext) -> list[str]:
    lines = []
    settled = [group for group in context.same_dataset if not first_screen.is_undecided(group)]
    sizes = [(group, size) for group in settled if (size := detectable(group)) is not None]
    lines += [
        sentence(
            size,
            detectable(group, comparisons=comparisons(group)) or size,
            comparisons(group),
            group.evaluation.title if len(sizes) > 1 else "",
        )
        for group, size in sizes
    ]
    if any(detectable(group) is not None for group in context.same_dataset):
        lines.append("Smaller differences than this study can find may be real.")
    trained = [
        method for group in context.same_dataset for method in group.methods.values() if not method.untrained
    ]
    fewest = min((len(method.cells) for method in trained), default=FEW_SEEDS)
    if fewest < FEW_SEEDS:
        all_few = all(len(method.cells) < FEW_SEEDS for method in trained)
        who = "All" if all_few else "Some"
        lines.append(
            f"{who} methods have fewer than {FEW_SEEDS} seeds, as few as {fewest}: how much seeds differ is "
            "hardly known" + (", and a single one allows no verdict." if fewest == 1 else ".")
        )
    lines += [line for line in (context.looks.sentence,) if line]
    if len(margins := sorted(set(context.stored_runs.margins))) > 1:
        stated = listed([f"±{margin:g}" for margin in margins])
        lines.append(f"These studies call methods tied within {stated} points; here the smallest counts.")
    lines += families.sentences(context.groups)
    lines.append(
        f"Every epoch was chosen on validation, but for {listed(context.elsewhere)}, trained elsewhere."
        if context.elsewhere
        else "Every epoch was chosen on validation."
    )
    return lines


def _tables(context: ReportContext) -> list[Table]:
    """One overview per preset with several datasets: a row for each method, two columns for each dataset.

    With a single dataset the plot and the results' own table say it all.
    """
    return [
        _overview(context, preset)
        for preset, count in sorted(
            Counter(group.evaluation.preset for group in context.same_dataset).items()
        )
        if count > 1
    ]


def _overview(context: ReportContext, preset: str) -> Table:
    homes = [group for group in context.same_dataset if group.evaluation.preset == preset]
    methods = [
        name
        for name in context.stored_runs.methods
        if any(name in context.methods_of(group) for group in homes)
    ]
    columns = [Column("Method", "left")]
    for group in homes:
        prefix = f"{group.evaluation.source}: " if len(homes) > 1 else ""
        columns += [Column(f"{prefix}R1"), Column(f"to {group.reference}", help="with its 95 % interval")]
        columns += [Column("Verdict", "left")] if len(homes) == 1 else []
    rows = []
    for method in methods:
        kind = "strong" if method == context.stored_runs.reference else ""
        cells = [value for group in homes for value in _places(context, group, method, len(homes) > 1)]
        name = TableCell(method, method, context.link(homes[0], method), kind=kind)
        rows.append((elsewhere.marked(context, method, name), *cells))
    title = f"R1, {context.chosen}" + ("" if preset == "clean" else f", {protocol_in_words(preset)}")
    notes = ("▲ better, ▼ worse, = tied, ? cannot tell.",) if len(homes) > 1 else ()
    table = Table(f"overview-{preset}", title, tuple(columns), tuple(rows), notes)
    most = {group.most_seeds for group in homes}
    return flags_as_note(table, most.pop()) if len(most) == 1 else table


def _places(
    context: ReportContext, group: ComparisonGroup, method: str, together: bool
) -> tuple[TableCell, ...]:
    """Score, difference and verdict; difference and verdict in one place when they stand `together`."""
    link = context.link(group, method)
    if method not in group.methods:
        gap = context.gap(group, method)
        return (gap, gap) if together else (gap, gap, TableCell(gap.note, kind="missing"))
    score = seeds_value(group.means(method, "R1"), link, trains=not group.methods[method].untrained)
    if method == group.reference or (method, "R1") not in group.against_reference:
        reference = TableCell("reference" if method == group.reference else "", kind="quiet")
        return (score, reference) if together else (score, reference, TableCell(""))
    item, shared = group.against_reference[method, "R1"], group.fewer_shared_seeds(method, group.reference)
    if together:
        return score, judged_difference(item, link, shared)
    return score, difference_value(item, link, shared), verdict_value(item, group.options.margin)
