"""A cell trains on several datasets at once, their people kept apart, and is tested on each."""

from __future__ import annotations

from pathlib import Path

from light_runs import light_machine, light_study, run_light

from harness.data.datasets import load_dataset
from harness.launch.context import Context

JOINT = "cuhk-pedes+rstpreid"


def test_a_cell_trains_on_a_joint_dataset_and_is_tested_on_its_parts(
    two_datasets: Path, tmp_path: Path
) -> None:
    study = light_study(
        tmp_path,
        datasets=[["cuhk-pedes", "rstpreid"]],
        seeds=1,
        evaluate={"targets": ["cuhk-pedes", "rstpreid"]},
    )
    store = run_light(study, tmp_path / "out", Context(light_machine(two_datasets)))
    (run,) = store.cells()
    assert (run.status.state, run.cell.dataset) == ("done", JOINT)
    assert len(run.history) == 3
    parts = [load_dataset(name, two_datasets) for name in ("cuhk-pedes", "rstpreid")]
    people = sum(len(part.splits["train"].persons) for part in parts)
    assert run.recorded["identities"] == people
    queries = {row["target"]: row["queries"] for row in run.results if row["direction"] == "t2i"}
    captions = {part.name: len(part.splits["test"].captions) for part in parts}
    assert queries == {**captions, JOINT: sum(captions.values())}
