"""The example of methods/README.md works as it is printed there, and its table of switches is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from own_registry import without_plugins
from toy import IMAGE_SIZE, PERSONS, toy_backbone, toy_batch

from harness import registry
from methods.base import Method
from methods.build import build_method
from methods.settings import UITSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "methods" / "README.md").read_text("utf-8")


def example(name: str, tmp_path: Path) -> Method:
    """The method `name` of the example that registers it, built as the harness builds it."""
    (source,) = [
        text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if f'"{name}"' in text
    ]
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(source, "utf-8")
    registry.load_plugin(plugin)
    entry = registry.method(name)
    return build_method(
        entry, entry.resolve(), backbone=toy_backbone(), identities=PERSONS, image_size=IMAGE_SIZE, seed=0
    )


def trained(method: Method, noise: dict[str, torch.Tensor]) -> list[float]:
    """The loss at each of five steps on one batch."""
    optimiser = torch.optim.Adam(method.parameter_groups(1e-3, 0.0))
    totals = []
    for _ in range(5):
        (loss,) = method(toy_batch(), noise).values()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        totals.append(loss.item())
    return totals


@pytest.fixture(autouse=True)
def methods_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    without_plugins(monkeypatch)


def test_the_example_of_a_method_of_ones_own_trains(tmp_path: Path) -> None:
    totals = trained(example("max-hinge", tmp_path), {})
    assert totals[-1] < totals[0]


def test_the_example_of_a_hook_weighs_the_pairs_that_agree_most(tmp_path: Path) -> None:
    method, generator = example("trusted-pairs", tmp_path), torch.Generator().manual_seed(0)
    batch = toy_batch()
    size = len(batch.person_ids)
    noise = method.draw_noise(size, generator, torch.device("cpu"))
    with torch.no_grad():
        examined = method.eval().examine(batch, noise)
    weights = method.train().before_epoch(0, examined, generator)
    dropped = examined["cosine"].argsort()[: int(0.2 * size)]
    assert weights["weight"][dropped].sum() == 0
    assert weights["weight"].sum() == size - len(dropped)
    totals = trained(method, noise | weights)
    assert totals[-1] < totals[0]


def test_the_readme_names_every_module() -> None:
    modules = [path.name for path in (ROOT / "methods").glob("*.py") if path.name != "__init__.py"]
    assert [name for name in modules if f"`{name}`" not in README] == []


def test_its_setting_is_no_other_methods_setting() -> None:
    names = re.findall(r"^    (\w+): float = Field", README, re.MULTILINE)
    taken = {name for entry in registry.methods().values() for name in entry.settings.model_fields}
    assert names
    assert not set(names) & taken


def test_the_table_of_switches_names_every_switch_with_its_default_and_other_values() -> None:
    table = README.partition("## Switches")[2]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| `")]
    for name, field in UITSettings.model_fields.items():
        choices = getattr(field.annotation, "__args__", (True, False) if field.annotation is bool else ())
        if not choices:
            continue
        (row,) = [row for row in rows if f"`{name}`" in row[0]]
        words = {True: "on", False: "off"}
        shown = re.findall(r"[a-z_]+", re.sub(r"\(.*?\)", "", row[1] + row[2]))
        assert shown == [
            words.get(v, v) for v in (field.default, *(c for c in choices if c != field.default))
        ]
