"""Whatever is wrong with a plugin's method is one sentence with its name, its file and its line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from own_registry import without_plugins
from small_runs import tiny_method
from study_files import write_study
from typer.testing import CliRunner, Result

from harness import registry
from harness.cli.verbs import app
from harness.registry import PluginError
from methods.base import Batch, Method
from methods.clip import backbone_config

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
    without_plugins(monkeypatch)


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


@pytest.mark.parametrize(
    ("result", "got"),
    [
        ("{'apart': total, 'aside': total.detach()}", "'aside' without a gradient: {it}"),
        ("{'apart': total, 'aside': torch.tensor(0.5)}", "'aside' without a gradient: {it}"),
        (
            "{'apart': total, 'a': total.detach(), 'b': (total * float('nan')).detach()}",
            "'a', 'b' without a gradient: nothing would be learnt from them; leave it out",
        ),
    ],
)
def test_one_of_several_losses_that_adds_to_the_total_without_a_gradient_ends_the_first_step(
    tmp_path: Path, result: str, got: str
) -> None:
    done = checked(tmp_path, HEAD.replace("{result}", result), "run")
    assert done.exit_code == 3, done.output
    it = "nothing would be learnt from it; leave it out"
    assert WANTED + got.format(it=it) in " ".join(done.output.split())


def test_a_constant_loss_of_zero_and_losses_without_training_need_no_gradient(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        HEAD.replace("{result}", "{'apart': total, 'none': total.new_zeros(())}")
    )
    registry.load_plugin(tmp_path / "mine.py")
    method = tiny_method("mine", identities=2)
    batch = pairs(method)
    assert method(batch, {})["none"] == 0
    losses = HEAD.replace("{result}", "{'apart': total, 'aside': total.detach()}").replace(
        '"mine"', '"other"'
    )
    (tmp_path / "other.py").write_text(losses)
    registry.load_plugin(tmp_path / "other.py")
    frozen = tiny_method("other", identities=2)
    with torch.no_grad():
        assert frozen(batch, {})["aside"] > 0
    with pytest.raises(PluginError, match="'aside' without a gradient"):
        frozen(batch, {})
    assert frozen.requires_grad_(False)(batch, {})["aside"] > 0


def pairs(method: Method) -> Batch:
    """Two pairs of random pixels and words."""
    config = backbone_config("tiny")
    images = torch.rand(2, 3, *config.image_size)
    captions = torch.randint(1, config.vocab_size - 3, (2, config.context_length))
    return Batch(images, captions, captions, captions > 0, torch.arange(2))


def test_losses_of_a_plugin_that_are_right_are_left_as_they_are(tmp_path: Path) -> None:
    done = checked(tmp_path, HEAD.replace("{result}", "{'apart': total, 'none': torch.zeros(())}"))
    assert done.exit_code == 0, done.output
    entry = registry.method("mine")
    assert entry.load().__name__ == "Mine"
    assert torch.is_grad_enabled()
