"""The chapter on power: what this study could see, and where its uncertainty comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from reports.comparison import ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Prose, Section, Table, TableCell
from reports.formatting import flags_as_note, mean_of, missing, number, plural
from reports.power import comparisons, detectable, measured
from reports.statistics import FEW_SEEDS


def section(context: ReportContext) -> Section | None:
    """What this study could see, what more of everything would bring, and where the variance comes from."""
    homes = [group for group in context.same_dataset if group.reference in group.methods]
    if not homes:
        return None
    blocks: list[Block] = [
        Prose(
            "Detectable difference: the true difference in R1 that a comparison with these seeds and this "
            "test set would call significant in four studies out of five. From the variances these runs "
            "measured; the median over the comparisons with the reference."
        ),
        *([outlook] if (outlook := _outlook(homes)) is not None else []),
        Prose(
            "Where the uncertainty of one method’s R1 comes from. Test people: which people, with their "
            "captions, happen to be in the test set. Choice of epoch: the spread of the test score, within a "
            "run, over the epochs that validation cannot tell from the best one. It is no part of the other "
            "columns, and can be larger: all runs may choose alike."
        ),
        *(_decomposition(context, group) for group in homes),
    ]
    return Section("power", "What this study could see", tuple(blocks))


def _outlook(groups: Sequence[ComparisonGroup]) -> Table | None:
    """Detectable difference as the study is, corrected, and with more seeds or more people."""
    columns = (Column("Design", "left"), *(Column(group.evaluation.title) for group in groups))
    rows = [
        (TableCell("this study, one comparison"), *(_size(group) for group in groups)),
        (
            TableCell("this study, corrected for its comparisons"),
            *(_size(group, comparisons=comparisons(group)) for group in groups),
        ),
        *(
            (TableCell(f"{seeds} seeds, one comparison"), *(_size(group, seeds=seeds) for group in groups))
            for seeds in (3, 5, 10)
        ),
        (
            TableCell("four times the test people, one comparison"),
            *(_size(group, people=4 * group.people) for group in groups),
        ),
    ]
    if all(value.sort is None for value in rows[0][1:]):
        return None
    return Table("power", "Detectable difference, points of R1", columns, tuple(rows), _fewest(groups))


def _size(group: ComparisonGroup, **design: int) -> TableCell:
    size = detectable(group, **design)
    link = f"table-variance-{group.evaluation.key}"
    if size is None:
        return missing("needs two methods with two seeds", link)
    return TableCell(number(size), size, link)


def _fewest(groups: Sequence[ComparisonGroup]) -> tuple[str, ...]:
    """A note where the variances come from few seeds; nothing where they do not."""
    seeds = [count for group in groups for count, _ in measured(group)]
    fewest = min(seeds, default=FEW_SEEDS)
    if fewest >= FEW_SEEDS:
        return ()
    return (
        f"The variances behind these numbers come from as few as {plural(fewest, 'seed')}: a rough guess.",
    )


def _decomposition(context: ReportContext, group: ComparisonGroup) -> Table:
    """The standard error of a method's mean R1, its two parts, and what single runs differ by."""
    columns = (
        Column("Method", "left"),
        Column("Standard error", help="of the mean R1 over all seeds, everything together"),
        Column("from test people", help="and its share of the variance"),
        Column("from seeds", help="and its share of the variance"),
        Column("Single runs: seeds", help="standard deviation between seeds beyond noise on single people"),
        Column("Single runs: choice of epoch", help="standard deviation over epochs tied on validation"),
    )
    rows = tuple(_uncertainty(context, group, method) for method in group.methods)
    title = f"Where the uncertainty comes from on {group.evaluation.title}"
    nothing = any(from_seeds.plain.startswith("0.00") for _, _, _, from_seeds, *_ in rows)
    more = " 0.00 from seeds: they differ by no more than noise on single people explains." if nothing else ""
    table = Table(f"variance-{group.evaluation.key}", title, columns, rows, (f"Points of R1.{more}",))
    return flags_as_note(table, group.most_seeds)


def _uncertainty(context: ReportContext, group: ComparisonGroup, method: str) -> tuple[TableCell, ...]:
    spread = group.blocks["R1"].own_parts(method)
    link = context.link(group, method)
    people, seeds = spread.people, spread.seed_only
    few = spread.seeds < FEW_SEEDS and not spread.untrained
    whole = _points(np.sqrt(people + (seeds if spread.seeds > 1 else 0.0)), link)
    if spread.untrained or spread.seeds < 2:
        why = "does not train" if spread.untrained else "one seed tells nothing about seeds"
        of_people, of_seeds, single = _points(np.sqrt(people), link), missing(why, link), missing(why, link)
    else:
        of_people, of_seeds = (_share(part, people + seeds, link) for part in (people, seeds))
        single = _points(np.sqrt(seeds * spread.seeds), link)
    flagged = TableCell(whole.text, whole.sort, link, flag=plural(spread.seeds, "seed") if few else "")
    return (
        TableCell(method, method, link),
        flagged,
        of_people,
        of_seeds,
        single,
        _epoch_choice(group, method, link),
    )


def _points(points: float, link: str) -> TableCell:
    return TableCell(number(points, 2), points, link)


def _share(part: float, whole: float, link: str) -> TableCell:
    root, share = float(np.sqrt(part)), 100 * part / whole if whole > 0 else 0.0
    return TableCell(f"{number(root, 2)} ({number(share, 0)} %)", root, link)


def _epoch_choice(group: ComparisonGroup, method: str, link: str) -> TableCell:
    widths = [
        width for cell in group.methods[method].cells if (width := epoch_spread(cell.history)) is not None
    ]
    mean = mean_of(widths)
    if mean is None and not any(cell.trains for cell in group.methods[method].cells):
        return missing("does not train", link)
    if mean is None:
        return missing("the history holds no test scores for several epochs tied on validation", link)
    return TableCell(number(mean, 2), mean, link, f"mean over {plural(len(widths), 'run')}")


def epoch_spread(history: Sequence[Mapping[str, object]]) -> float | None:
    """Standard deviation of test R1 over the epochs that tie on validation.

    Those are the epochs whose validation R1 is within a standard error of the best. The standard error is
    the binomial one of the validation queries; without their number, one point is taken. None when fewer
    than two epochs qualify.
    """
    pairs = [(_score(line, "val"), _score(line, "test"), line.get("val")) for line in history]
    both = [(val, test, of) for val, test, of in pairs if val is not None and test is not None]
    if not both:
        return None
    best = max(val for val, _, _ in both)
    queries = next((of.get("queries") for _, _, of in both if isinstance(of, Mapping)), None)
    width = (
        float(np.sqrt(max(best * (100 - best), 1.0) / queries))
        if isinstance(queries, int) and queries
        else 1.0
    )
    tied = [test for val, test, _ in both if val >= best - width]
    return float(np.std(tied, ddof=1)) if len(tied) > 1 else None


def _score(line: Mapping[str, object], split: str) -> float | None:
    scores = line.get(split)
    value = scores.get("R1") if isinstance(scores, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and value == value else None
