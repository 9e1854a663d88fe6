"""One family of errors: each says its lines, its exit code and its reason, wherever it is caught."""

from __future__ import annotations

import importlib
import pickle
import pkgutil
from pathlib import Path

import pytest
import torch

import harness
import methods
import reports
from harness.cli.verbs import refusals
from harness.evaluate.metrics import NonFiniteFeatures
from harness.launch.cell import ProcessFailed
from harness.machine.errors import (
    DataError,
    ExitCode,
    HarnessError,
    Pruned,
    StudyError,
    described,
    reason_of,
    refusal_of,
)
from harness.registry import PluginError, UnknownNameError
from harness.search.plan import TrialFailed
from harness.search.study import SearchIncomplete
from harness.train.epoch_stats import TrainingDiverged

EXAMPLES = [
    (StudyError(["a.yaml:1: x: y", "a.yaml:2: z"]), 2, "error"),
    (DataError(["one", "two"], "buy a disk"), 2, "data"),
    (UnknownNameError("method", "uti", ("uit",)), 2, "error"),
    (TrainingDiverged(3, 2, {"loss": float("inf")}), 1, "nan"),
    (NonFiniteFeatures("features hold NaN"), 1, "nan"),
    (TrialFailed("oom", "too large"), 1, "oom"),
    (ProcessFailed("TrainingDiverged: …", reason="nan"), 1, "nan"),
    (SearchIncomplete(["a: 1 of 2 trials finished"]), 3, "error"),
    (Pruned(4), 1, "error"),
]


@pytest.mark.parametrize(("error", "code", "reason"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_crosses_processes_with_all_it_says(error: HarnessError, code: int, reason: str) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.lines, copy.exit_code, copy.reason) == (error.lines, code, reason)
    assert copy.__dict__ == error.__dict__
    assert str(copy) == "\n".join(error.lines)
    assert reason_of(copy) == reason


@pytest.mark.parametrize(("error", "code", "reason"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_a_verb_prints_the_lines_of_an_error_and_ends_with_its_code(
    error: HarnessError, code: int, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    with pytest.raises(typer.Exit) as caught, refusals():
        raise error
    assert caught.value.exit_code == code
    assert capsys.readouterr().err.splitlines() == error.lines


def test_every_exception_of_the_project_is_of_the_family_or_never_leaves_it() -> None:
    kept_inside = {
        *("OrderMismatch", "MissingGeometry"),  # of the tool that draws the datasets
        *("StopTraining", "Stopped"),  # control flow
        "NotForDeviceError",  # of a rehearsal of a device, which its callers catch
        "RepeatedKeyError",  # of a JSON object, which the readers of records name with its place
    }
    for package in (harness, methods, reports):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found = {kind for kind in _descendants(BaseException) if kind.__module__.startswith(_PACKAGES)}
    outside = {kind.__name__ for kind in found if not issubclass(kind, HarnessError)}
    assert outside == kept_inside
    tree = HarnessError.__doc__ or ""
    assert {kind.__name__ for kind in found if kind.__name__ not in tree} == kept_inside


_PACKAGES = ("harness.", "methods.", "reports.")


def _descendants(kind: type[BaseException]) -> set[type[BaseException]]:
    below = set(kind.__subclasses__())
    return below.union(*(_descendants(one) for one in below)) if below else below


def test_torchs_own_shortage_of_memory_is_oom_whatever_it_says() -> None:
    assert reason_of(torch.OutOfMemoryError("no words that say so")) == "oom"
    assert reason_of(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")) == "oom"
    assert reason_of(TimeoutError()) == "timeout"
    assert reason_of(ValueError("out of range")) == "error"


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    assert refusal_of(ValueError("a bug")) is None
    refusal = refusal_of(FileNotFoundError(2, "No such file or directory", "x.yaml"))
    assert refusal is not None
    assert (refusal.lines, refusal.exit_code) == (
        ["x.yaml: No such file or directory"],
        ExitCode.BAD_INPUT,
    )


def test_an_error_in_a_plugin_is_shown_with_the_plugins_line(tmp_path: Path) -> None:
    file = tmp_path / "my_method.py"
    file.write_text("import json\n\ndef load():\n    return json.loads('nonsense')\n")
    names: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    with pytest.raises(ValueError) as caught:
        names["load"]()  # type: ignore[operator]
    assert described(caught.value, [file]).startswith("my_method.py:4: JSONDecodeError: Expecting value")
    assert described(caught.value).startswith("JSONDecodeError: Expecting value")


def test_a_plugin_that_does_not_parse_is_shown_with_the_line(tmp_path: Path) -> None:
    from harness.registry import load_plugin

    file = tmp_path / "my_method.py"
    file.write_text("x = 1\ndef (:\n")
    with pytest.raises(PluginError, match=r"my_method\.py:2: SyntaxError: invalid syntax"):
        load_plugin(file)


@pytest.mark.parametrize(
    "text",
    ["postgresql://me:s3cret@db:5432/optuna", "see postgresql://me:s3cret@db/x?password=s3cret now"],
)
def test_a_page_masks_passwords_as_the_program_does(text: str) -> None:
    from harness.machine.passwords import masked_text
    from reports.document import visible

    assert visible(text) == masked_text(text)
    assert "s3cret" not in visible(text)
