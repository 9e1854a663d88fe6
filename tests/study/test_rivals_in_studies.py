"""What presets, recipes and caption noise make of the rivals in a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_files import write_study

from harness.machine.errors import StudyError
from harness.study.study import Study, load_study


def study(folder: Path, **changes: Any) -> Study:
    return load_study(write_study(folder, **changes))


def test_released_rivals_are_trained_by_their_own_released_recipes(tmp_path: Path) -> None:
    full = {"train": {}}
    made = study(tmp_path, methods=["rde", "vfe-mim", "irra"], preset="released", **full)
    rde, vfe, irra = made.plans
    assert (rde.train.batch_size, rde.train.sampler, rde.train.precision) == (64, "shuffle", "released")
    assert rde.train.group_lr == {"token_selection": 1e-3}
    assert (vfe.train.batch_size, vfe.train.sampler) == (100, "shuffle")
    assert (vfe.method_settings["guide"], vfe.method_settings["overwritten_captions"]) == ("self", True)
    assert (irra.train.batch_size, irra.train.sampler) == (64, "shuffle")


def test_under_the_clean_preset_the_guide_is_the_papers_and_captions_are_whole(tmp_path: Path) -> None:
    (vfe,) = study(tmp_path, methods=["vfe-mim"], train={}).plans
    assert (vfe.method_settings["guide"], vfe.method_settings["overwritten_captions"]) == ("text", False)


def test_each_rival_has_its_published_recipe_as_its_own_and_adapters_have_none(tmp_path: Path) -> None:
    rde, bge, vfe = study(tmp_path, methods=["rde", "rde-bge", "vfe-mim"], recipe="own", train={}).plans
    assert [plan.train.batch_size for plan in (rde, bge, vfe)] == [64, 64, 100]
    with pytest.raises(StudyError, match="'clip-lora' has no published recipe of its own"):
        study(tmp_path, methods=["clip-lora"], recipe="own", train={})


def test_caption_noise_is_part_of_a_cells_identity(tmp_path: Path) -> None:
    clean, noisy, other = (
        study(tmp_path, data={"caption_noise": share}).cells()[0] for share in (0.0, 0.5, 0.2)
    )
    parts = [cell.parts("data", {}) for cell in (clean, noisy, other)]
    assert [part["dataset"]["caption_noise"] for part in parts] == [0.0, 0.5, 0.2]
    assert type(noisy).from_dict(noisy.to_dict()) == noisy


@pytest.mark.parametrize("share", [-0.1, 1.5, "half"])
def test_a_share_that_is_none_is_refused(tmp_path: Path, share: Any) -> None:
    with pytest.raises(StudyError, match=r"caption_noise"):
        study(tmp_path, data={"caption_noise": share})
