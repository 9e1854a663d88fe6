"""Whatever is wrong with a plugin's method is one sentence with its name, its file and its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from study_files import write_study
from typer.testing import CliRunner, Result

from harness import registry
from harness.cli.verbs import app

HEAD = """
import torch
from harness.registry import register_method
from methods.clip import DualEncoder
@register_method("mine", summary="mine")
class Mine(DualEncoder):
    def losses(self, batch, image_features, text_features, noise):
        total = (image_features - text_features).square().mean()
        return {result}
"""
WANTED = "mine.py:7: method 'mine': losses() must return a dict of named scalar losses, got "


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.methods(), registry.datasets()
    for shelf in ("_methods", "_datasets", "_plugins"):
        monkeypatch.setattr(registry, shelf, dict(getattr(registry, shelf)))


def checked(folder: Path, source: str, verb: str = "check") -> Result:
    (folder / "mine.py").write_text(source)
    study = write_study(folder, methods=["mine"], datasets=["rendered-plaza"], subset=4, seeds=1)
    asked = [verb, study, "--plugin", folder / "mine.py", "--out", folder / "out", "--device", "cpu"]
    return CliRunner().invoke(app, [str(each) for each in asked])


@pytest.mark.parametrize(
    ("result", "got"),
    [
        ("total", "a scalar tensor"),
        ("None", "None"),
        ("{}", "an empty one"),
        ("{'apart': image_features[:3, 0]}", "a tensor of shape [3] for 'apart'"),
        ("{'apart': 1.0}", "a value of type float for 'apart'"),
        ("{'apart': total.detach()}", "'apart' without a gradient: nothing would be learnt"),
    ],
)
def test_losses_that_cannot_be_trained_on_are_refused_by_check_with_method_file_and_line(
    tmp_path: Path, result: str, got: str
) -> None:
    done = checked(tmp_path, HEAD.replace("{result}", result))
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line == WANTED + got


def test_an_exception_in_a_plugin_names_method_file_and_line_and_ends_like_a_syntax_error(
    tmp_path: Path,
) -> None:
    done = checked(tmp_path, HEAD.replace("return {result}", "raise ValueError('not today')"))
    assert done.stderr.splitlines() == ["mine.py:9: method 'mine': ValueError: not today"]
    (tmp_path / "other").mkdir()
    unreadable = checked(tmp_path / "other", "def :\n")
    assert done.exit_code == unreadable.exit_code == 2


def test_a_failed_cell_of_a_plugin_says_what_its_losses_were(tmp_path: Path) -> None:
    done = checked(tmp_path, HEAD.replace("{result}", "total"), "run")
    assert done.exit_code == 3, done.output
    assert WANTED + "a scalar tensor" in done.output


def test_losses_of_a_plugin_that_are_right_are_left_as_they_are(tmp_path: Path) -> None:
    done = checked(tmp_path, HEAD.replace("{result}", "{'apart': total, 'none': torch.zeros(())}"))
    assert done.exit_code == 0, done.output
    entry = registry.method("mine")
    assert entry.load().__name__ == "Mine"
    assert torch.is_grad_enabled()
