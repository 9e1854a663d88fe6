"""RDE's released checkpoints: the names of its token selection, and a method with a checkpoint's weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from methods.clip import Backbone
from methods.rde import RDE
from methods.rival_settings import RDESettings

IMAGE, TEXT = "visul_emb_layer.", "texual_emb_layer."
NAMES: Mapping[str, str] = {
    f"{IMAGE}fc.": "image_selection.skip.",
    f"{IMAGE}mlp.layers.0.": "image_selection.first.",
    f"{IMAGE}mlp.layers.1.": "image_selection.second.",
    f"{IMAGE}mlp.bns.0.": "image_selection.norm.",
    f"{TEXT}linear.": "text_selection.skip.",
    f"{TEXT}mlp.layers.0.": "text_selection.first.",
    f"{TEXT}mlp.layers.1.": "text_selection.second.",
    f"{TEXT}mlp.bns.0.": "text_selection.norm.",
}
"""The released start of a name, and ours."""
NEVER_USED = (f"{IMAGE}linear.", f"{IMAGE}mlp.bns.1.", f"{TEXT}mlp.bns.1.")
"""Built and saved by the released code, and read by nothing."""
PARTS = (*NAMES, *NEVER_USED)


def our_name(name: str) -> str | None:
    """Our name of a released weight of the token selection; None for one that is not ours or never used."""
    for released, ours in NAMES.items():
        if name.startswith(released):
            return ours + name.removeprefix(released)
    return None


def is_rde(state: Mapping[str, Tensor]) -> bool:
    """Whether weights by name have RDE's token selection."""
    return any(name.startswith((IMAGE, TEXT)) for name in state)


def with_selection(
    backbone: Backbone, state: Mapping[str, Tensor], image_size: tuple[int, int], **settings: object
) -> RDE:
    """RDE on a loaded backbone, with the token selection of the released weights by name in `state`.

    Raises:
        ValueError: weights of the selection are missing, or do not fit each other.
    """
    own = {ours: tensor for name, tensor in state.items() if (ours := our_name(name)) is not None}
    try:
        wide, hidden = own["image_selection.second.weight"].shape
        chosen = RDESettings.model_validate({"selection_width": wide, **settings})
        method = RDE(chosen, backbone=backbone, identities=0, image_size=image_size)
        method.use_selection(hidden, wide)
        weights = {name: tensor.float() for name, tensor in own.items()}
        missing, _ = method.load_state_dict(weights, strict=False)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"its token selection is not RDE's: {error}") from error
    lacking = [
        name for name in missing if not name.startswith("clip.") and not name.endswith("num_batches_tracked")
    ]
    if lacking:
        raise ValueError(f"its token selection lacks {', '.join(lacking)}")
    return method
