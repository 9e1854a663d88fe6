"""How a cell ended is said of the model that tables quote."""

from __future__ import annotations

from pathlib import Path

import pytest
from light_runs import light_machine, light_study

from harness.launch.cell import outcome
from harness.launch.context import Context
from harness.launch.models import CheckpointError, open_model
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.cell import Cell


@pytest.fixture
def ended(tmp_path: Path, cuhk_root: Path) -> tuple[CellRun, Cell]:
    """A cell of which epoch 1 scored best on val, epoch 2 on test, and neither is the last."""
    cell = light_study(tmp_path).cells()[0]
    run = Context(light_machine(cuhk_root)).open_run(RunStore(tmp_path / "out"), cell)
    for epoch, (val, test) in enumerate([(60.0, 10.0), (50.0, 70.0), (40.0, 30.0)], 1):
        run.append_history({"epoch": epoch, "val": {"R1": val}, "test": {"R1": test}})
    for selection, epoch in (("val", 1), ("test", 2), ("last", 3)):
        run.save_model(selection, {}, epoch)
    run.set_status("done")
    return run, cell


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("val", "done, chosen on val: epoch 1, val R1 60.0"),
        ("test", "done, chosen on test: epoch 2, test R1 70.0"),
        ("last", "done, last epoch 3, val R1 40.0"),
    ],
)
def test_the_last_line_of_a_cell_has_the_score_of_the_epoch_that_is_quoted(
    ended: tuple[CellRun, Cell], split: str, words: str
) -> None:
    run, cell = ended
    select = cell.select.model_copy(update={"split": split})
    assert outcome(run, cell.__class__(**{**vars(cell), "select": select})) == words


def test_a_failed_cell_is_named_with_its_reason_and_no_score(ended: tuple[CellRun, Cell]) -> None:
    run, cell = ended
    run.fail("nan", "loss is NaN in epoch 2")
    assert outcome(run, cell) == "failed (nan): loss is NaN in epoch 2"


def test_a_model_whose_weights_are_not_those_of_its_method_is_refused_and_never_half_loaded(
    tmp_path: Path, cuhk_root: Path
) -> None:
    context = Context(light_machine(cuhk_root))
    cell = light_study(tmp_path).cells()[0]
    run = context.open_run(RunStore(tmp_path / "out"), cell, identities=context.identities(cell))
    weights = context.method(cell).state_dict()
    run.save_model("val", weights, 3)
    opened = open_model(run.directory)
    assert opened.origin == f"{run.name}, selected on val, epoch 3"
    assert all((opened.method.state_dict()[name] == weight).all() for name, weight in weights.items())
    name, weight = next(iter(weights.items()))
    for others in (
        {**weights, "further": weight},
        {**weights, name: weight[:1]},
        {each: weights[each] for each in weights if each != name},
    ):
        run.save_model("val", others, 3)
        with pytest.raises(CheckpointError, match="trained by other code than this"):
            open_model(run.model_path("val"))
