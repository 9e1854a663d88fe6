"""Every option of a verb reaches what the verb calls: given alone and away from its default."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from own_registry import without_plugins
from study_files import write_study
from typer.testing import CliRunner

from harness import registry
from harness.cli import check, query, report, run, run_folder, verify_runs
from harness.cli.verbs import app
from harness.exchange import exporting
from harness.launch import context, models
from harness.machine.errors import StudyError

Expected = tuple[Callable[[Any], Any], Any]
"""What to read of the call, and its value."""
MACHINE: dict[str, Expected] = {
    "--device cuda:1": (lambda call: call.machine.device, "cuda:1"),
    "--data-root FOLDER/data": (lambda call: call.machine.data_root.name, "data"),
    "--plugin FOLDER/mine.py": (lambda call: [path.name for path in call.machine.plugins], ["mine.py"]),
}
SKIP: dict[str, Expected] = {"--skip-broken": (lambda call: call.machine.skip_broken, True)}
STUDY: dict[str, Expected] = {
    "--out FOLDER/out": (lambda call: call.out.name, "out"),
    "--methods baseline": (lambda call: call.study.methods, ("baseline",)),
    "--datasets rendered-plaza": (lambda call: call.study.datasets, ("rendered-plaza",)),
    "--seeds 3,5": (lambda call: call.study.seeds, (3, 5)),
    "--subset 5": (lambda call: call.study.file.subset, 5),
    "--set train.epochs=7": (lambda call: {cell.train.epochs for cell in call.study.cells()}, {7}),
    **MACHINE,
    **SKIP,
    "--devices 2": (lambda call: call.machine.devices, 2),
    "--threads 3": (lambda call: call.machine.threads, 3),
    "--deterministic": (lambda call: call.machine.deterministic, True),
    "--workers 4": (lambda call: call.launch.workers, 4),
    "--trials-per-device 3": (lambda call: call.launch.cells_per_device, 3),
    "--launcher ray": (lambda call: call.launch.launcher, "ray"),
    "--gpus-per-cell 0.5": (lambda call: call.launch.gpus_per_cell, 0.5),
}
OF_CHECKPOINT: dict[str, Expected] = {
    "--backbone tiny": (lambda call: call.keywords["backbone"], "tiny"),
    "--image-size 96x32": (lambda call: call.keywords["image_size"], (96, 32)),
    "--ignore head.": (lambda call: call.keywords["ignore"], ["head."]),
}
SEARCHED: dict[str, Expected] = {
    **OF_CHECKPOINT,
    **MACHINE,
    **SKIP,
    "--split val": (lambda call: call.keywords["split"], "val"),
    "--subset 5": (lambda call: call.keywords["subset"], 5),
}
DATASET: dict[str, Expected] = {"--dataset rstpreid": (lambda call: call.dataset, "rstpreid")}
ARRIVES: dict[str, dict[str, Expected]] = {
    "run study.yaml": {
        **STUDY,
        "--quiet": (lambda call: type(call.progress).__name__, "QuietProgress"),
        "--reuse FOLDER/old": (lambda call: [path.name for path in call.launch.reuse], ["old"]),
    },
    "check study.yaml": STUDY,
    "evaluate model.pth --dataset cuhk-pedes": {**SEARCHED, **DATASET},
    "query tiny:none somebody": {
        **SEARCHED,
        **DATASET,
        "--gallery FOLDER": (lambda call: call.keywords["pictures"].is_dir(), True),
        "--image a.png": (lambda call: [path.name for path in call.question.pictures], ["a.png"]),
        "--from FOLDER/list.txt": (lambda call: call.question.sentences, ("somebody", "another")),
        "--top 3": (lambda call: call.top, 3),
    },
    "verify FOLDER": {
        "--cells 5": (lambda call: call.keywords["cells"], 5),
        "--cell a,b": (lambda call: (call.keywords["named"], call.keywords["cells"]), (["a", "b"], 0)),
        "--seed 3": (lambda call: call.keywords["seed"], 3),
        "--evaluate-only": (lambda call: call.keywords["evaluate_only"], True),
        "--device cuda:1": (lambda call: call.options.device, "cuda:1"),
        "--data-root FOLDER/data": (lambda call: call.options.data_root.name, "data"),
        "--plugin FOLDER/mine.py": (lambda call: [path.name for path in call.options.plugin], ["mine.py"]),
        "--json": (lambda call: call.options.as_json, True),
    },
    "report FOLDER": {
        "--out page.html": (lambda call: call.out, Path("page.html")),
        "--export hub,mlflow": (lambda call: call.keywords["exports"], ["hub", "mlflow"]),
        "--check": (lambda call: call.keywords["check"], True),
        "--allow-undecided": (lambda call: call.keywords["allow_undecided"], True),
        "--wide": (lambda call: call.keywords["wide"], True),
        "--json": (lambda call: call.keywords["as_json"], True),
        "--export hub --data-root FOLDER/data": (lambda call: call.keywords["data_root"].name, "data"),
        "--export hub --plugin FOLDER/mine.py": (
            lambda call: [path.name for path in registry.plugins()],
            ["mine.py"],
        ),
    },
    "export model.pth out": OF_CHECKPOINT,
    "export model.pth out --trec --dataset cuhk-pedes": {
        **OF_CHECKPOINT,
        **MACHINE,
        **SKIP,
        "--dataset rstpreid": (lambda call: call.export.dataset, "rstpreid"),
        "--subset 5": (lambda call: call.export.subset, 5),
        "--depth 3": (lambda call: call.export.depth, 3),
        "--trec": (lambda call: call.trec, True),
    },
    "export model.pth out --features --dataset cuhk-pedes": {
        "--features": (lambda call: call.trec, False),
    },
}
PRINTED = {"check": {"--json"}, "evaluate": {"--json"}, "query": {"--json", "--out"}}
"""What decides where an answer goes once there is one, which other tests look at."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a plugin, a list of sentences and folders of data and of runs."""
    without_plugins(monkeypatch)
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setattr(context, "prepare_arithmetic", lambda machine: None)
    monkeypatch.setattr(run_folder, "runs_to_reuse", tuple)
    (tmp_path / "data").mkdir()
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "list.txt").write_text("another\n")
    write_study(tmp_path, methods=["uit", "baseline"], datasets=["rendered-plaza", "rendered-campus"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """What the verbs called, with its arguments by name; nothing is run."""
    seen: list[SimpleNamespace] = []

    def watch(module: Any, function: str, *names: str) -> None:
        def called(*arguments: Any, **keywords: Any) -> None:
            call = SimpleNamespace(**dict(zip(names, arguments, strict=False)), keywords=keywords)
            for name, value in keywords.items():
                setattr(call, name, value)
            if "launch" in names:
                call.machine = call.launch.machine
            seen.append(call)
            raise StudyError(["enough"])

        monkeypatch.setattr(module, function, called)

    watch(run, "run_study", "study", "launch", "out", "progress")
    watch(check, "examine", "study", "context", "launch", "out")
    watch(models, "evaluate_checkpoint", "checkpoint", "dataset", "machine")
    watch(query, "ask", "checkpoint", "question", "dataset", "machine", "top")
    watch(verify_runs, "verify_runs", "runs", "options")
    watch(report, "write_report", "runs", "out")
    watch(models, "export_checkpoint", "checkpoint", "out")
    watch(exporting, "write_export", "export", "machine", "out")

    def opened(checkpoint: Path, **keywords: Any) -> SimpleNamespace:
        return SimpleNamespace(checkpoint=checkpoint, keywords=keywords)

    monkeypatch.setattr(models, "open_model", opened)
    return seen


CASES = [(verb, option) for verb, options in ARRIVES.items() for option in options]


@pytest.mark.parametrize(("verb", "option"), CASES, ids=[" ".join(case) for case in CASES])
def test_an_option_reaches_what_the_verb_calls(
    verb: str, option: str, folder: Path, calls: list[SimpleNamespace]
) -> None:
    read, expected = ARRIVES[verb][option]

    def value(line: str) -> Any:
        calls.clear()
        registry._plugins.clear()
        CliRunner().invoke(app, [word.replace("FOLDER", str(folder)) for word in line.split()])
        (call,) = calls
        if hasattr(call, "export") and not isinstance(call.export, str):
            call.keywords = call.export.model.keywords
        try:
            return read(call)
        except (AttributeError, KeyError, TypeError):
            return None

    # An option that takes one value is refused when it is given twice.
    alone = verb.replace("--dataset cuhk-pedes", "") if option.startswith("--dataset ") else verb
    given = value(f"{alone} {option}")
    assert given == expected
    if option not in ("--trec", "--features"):
        assert value(verb) != expected, "the test must be away from the default"


@pytest.mark.parametrize("name", sorted({verb.split()[0] for verb in ARRIVES}))
def test_no_option_of_these_verbs_is_left_out_here(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    known = {
        spelling for each in command.params for spelling in each.opts if each.param_type_name == "option"
    }
    tried = {word for verb, option in CASES if verb.split()[0] == name for word in option.split()}
    asked = {option for option in known if option.startswith("--") and option not in ("--help",)}
    assert asked - tried - PRINTED.get(name, set()) == {"--dataset-file"} & asked  # another name of --plugin
