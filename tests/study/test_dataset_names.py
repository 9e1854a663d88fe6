"""A study names a dataset by its file, and several for joint training by a list."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import write_cuhk
from own_registry import without_plugins

from harness import registry
from harness.machine.errors import StudyError
from harness.study.study import load_study

STUDY = "name: mine\nmethods: [baseline]\ntrain: {{backbone: tiny, pretrained: none}}\ndatasets: {datasets}\n"


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    without_plugins(monkeypatch)


def study(folder: Path, datasets: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(STUDY.format(datasets=datasets))
    return path


def test_a_path_of_a_dataset_file_is_its_name_and_a_list_is_trained_on_together(tmp_path: Path) -> None:
    folder = write_cuhk(tmp_path)
    (folder / "lab.dataset.yaml").write_text("like: cuhk-pedes")
    path = study(tmp_path, "[CUHK-PEDES/lab.dataset.yaml, [rendered-plaza, rendered-campus]]")
    loaded = load_study(path)
    assert loaded.datasets == ("lab", "rendered-plaza+rendered-campus")
    assert (folder / "lab.dataset.yaml").resolve() in registry.plugins()


def test_a_mistake_in_a_dataset_file_or_a_name_is_one_of_the_study(tmp_path: Path) -> None:
    (tmp_path / "lab.dataset.yaml").write_text("like: cuhk")
    with pytest.raises(StudyError) as caught:
        load_study(study(tmp_path, "[lab.dataset.yaml, [rendered-plaza, rendered-kampus]]"))
    text = "\n".join(caught.value.lines)
    assert "unknown layout 'cuhk'" in text
    assert "did you mean 'rendered-campus'" in text
