"""A dual encoder as a folder that open_clip alone can use: weights, sizes, preprocessing and tokenizer."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

from safetensors.torch import save

from methods.clip import Backbone
from methods.tokenizer import BYTE_SYMBOLS, CLIP_VOCABULARY, SPECIAL_TOKENS, clip_merges

MERGES_FILE = "bpe_merges.txt.gz"
NO_MERGE = "<mask> <mask>"
"""A merge that no word has: it gives the mask token its place before the start token."""


_README = """# A dual encoder for open_clip

```python
from pathlib import Path

import open_clip

folder = Path("FOLDER")  # where this README lies
model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{{folder}}")
tokenize = open_clip.get_tokenizer(f"local-dir:{{folder}}"{own})
```

`model.encode_image(preprocess(image)[None])` and `model.encode_text(tokenize(["a sentence"]))` give features;
their cosine is the similarity.{why}
"""
_OWN_MERGES = f', bpe_path=str(folder / "{MERGES_FILE}")'
_WHY = f""" The vocabulary is smaller than CLIP's: its merges are in `{MERGES_FILE}`. Without `bpe_path` the
tokenizer is found only where the folder was written."""


def has_own_merges(backbone: Backbone) -> bool:
    """Whether a backbone's tokenizer needs a file of merges beside the model."""
    return backbone.config.vocab_size != CLIP_VOCABULARY


def export_open_clip(backbone: Backbone, folder: Path, interpolation: str = "bilinear") -> Path:
    """Write `backbone` as an open_clip model; returns the folder.

    `interpolation` is the filter by which pictures are resized.

    `open_clip.create_model_from_pretrained("local-dir:FOLDER")` gives the model and the preprocessing of
    picture files, `open_clip.get_tokenizer("local-dir:FOLDER")` the tokenizer. A vocabulary smaller than
    CLIP's has its merges in a file beside, which the configuration names by its absolute path: open_clip
    looks for a relative one below the working folder. `README.md` has lines that also work once the folder
    was moved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = json.loads(json.dumps(backbone.config.raw))
    small = has_own_merges(backbone)
    _write(
        folder / "README.md",
        _README.format(own=_OWN_MERGES if small else "", why=_WHY if small else "").encode(),
    )
    if small:
        merges = folder.resolve() / MERGES_FILE
        _write(merges, _merges(backbone.config.vocab_size))
        model["text_cfg"]["tokenizer_kwargs"] = {"bpe_path": str(merges)}
    preprocess = {
        "mean": list(backbone.config.mean),
        "std": list(backbone.config.std),
        "interpolation": interpolation,
        "resize_mode": "squash",
    }
    config = {"model_cfg": model, "preprocess_cfg": preprocess}
    _write(folder / "open_clip_config.json", (json.dumps(config, indent=2) + "\n").encode())
    state = {name: value.detach().cpu().contiguous() for name, value in backbone.state_dict().items()}
    _write(folder / "open_clip_model.safetensors", save(state, metadata={"format": "pt"}))
    return folder


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o644)


def _merges(vocab_size: int) -> bytes:
    """CLIP's first merges, as many as a vocabulary has, in the form that open_clip's tokenizer reads."""
    count = max(0, vocab_size - BYTE_SYMBOLS - SPECIAL_TOKENS)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in clip_merges()[:count]), NO_MERGE]
    compressed = io.BytesIO()
    with gzip.GzipFile(fileobj=compressed, mode="wb", mtime=0) as file:
        file.write("\n".join(lines).encode())
    return compressed.getvalue()
