"""A model whose features are not a plain CLIP's, as two programs that PyTorch alone runs.

`torch.export.load(FOLDER/"encode_image.pt2").module()` takes normalised images [batch, 3, height, width]
and gives features [batch, width]; `encode_text.pt2` takes token ids [batch, tokens]. None of this project's
code is needed. The cosine of the two is the model's similarity.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from methods.clip import DualEncoder
from methods.open_clip_export import export_open_clip

GLOBAL = "global_embedding"
"""Folder of the encoders as open_clip loads them, with preprocessing and tokenizer."""


class _Encoder(nn.Module):
    """One side of a method as a module of its own."""

    def __init__(self, method: DualEncoder, side: str) -> None:
        super().__init__()
        self.method, self.side = method, side

    def forward(self, inputs: Tensor) -> Tensor:
        return self.method.encode_image(inputs) if self.side == "image" else self.method.encode_text(inputs)


def export_programs(method: DualEncoder, folder: Path, interpolation: str = "bilinear") -> Path:
    """Write `encode_image.pt2`, `encode_text.pt2` and the plain encoders; returns the folder.

    The plain encoders lie in `global_embedding`, as open_clip loads them: their preprocessing and tokenizer
    serve the programs, their features are one part of the model's. `interpolation` is the filter by which
    pictures are resized.
    """
    folder.mkdir(parents=True, exist_ok=True)
    export_open_clip(method.clip, folder / GLOBAL, interpolation)
    method = method.cpu().float().eval()
    captions = torch.zeros(2, method.clip.config.context_length, dtype=torch.int64)
    examples = {"image": torch.zeros(2, 3, *method.image_size), "text": captions}
    for side, example in examples.items():
        program = torch.export.export(
            _Encoder(method, side), (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
        )
        torch.export.save(program, folder / f"encode_{side}.pt2")
    return folder
