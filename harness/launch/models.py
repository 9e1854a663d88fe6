"""Models as files: of a run of ours, released by the authors, or open_clip's; opened all alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.launch.context import Context, InputSpec, config_of
from harness.launch.kept_plugins import register_plugins_at, register_plugins_of
from harness.machine.environment import Machine
from harness.machine.errors import HarnessError, StoreError
from harness.machine.terms import METRICS, SELECTIONS, Precision, TieOrder
from harness.machine.words import plural
from harness.store.cell_run import CellRun
from harness.store.data_notes import data_sentences
from harness.study.cell import Cell
from harness.study.schema import TrainSettings

if TYPE_CHECKING:
    from methods.backbones import BackboneConfig
    from methods.base import Method
    from methods.clip import Backbone


class CheckpointError(HarnessError):
    """A checkpoint that cannot be opened; says what it is and what would help."""


@dataclass(frozen=True)
class OpenedModel:
    """A model ready to encode images and captions."""

    method: Method
    backbone: Backbone
    image_size: tuple[int, int]
    precision: Precision
    tie_order: TieOrder
    origin: str
    """What kind of checkpoint it is, in words."""
    notes: tuple[str, ...] = ()
    """What was left out while loading."""
    test_resize: str = "bilinear"
    """The filter by which it was tested."""
    caption_cleaning: bool = False
    """Whether it reads cleaned captions."""

    def input_spec(self, subset: int | None = None) -> InputSpec:
        """How it sees a dataset."""
        config = self.backbone.config
        return InputSpec(
            subset,
            self.image_size,
            config.vocab_size,
            config.context_length,
            config.mean,
            config.std,
            self.test_resize,
            self.caption_cleaning,
        )


def open_model(
    checkpoint: Path,
    *,
    backbone: str | None = None,
    image_size: tuple[int, int] | None = None,
    ignore: Sequence[str] = (),
) -> OpenedModel:
    """Open a checkpoint, whatever kind it is; no code of the file is run.

    Known are: a model of a run (`model-val.safetensors`, or the cell's folder for what its study
    selects), a released UIT (SEN), IRRA, RDE or VFE-TPS checkpoint, a file of open_clip or OpenAI
    weights (with `backbone`), and `backbone:pretrained` for weights that open_clip or this project know
    by name, like `tiny:rendered`.

    Args:
        checkpoint: the file, folder or name.
        backbone: the backbone of a file that does not say.
        image_size: height and width of a checkpoint that does not say; of a run's model it is known.
        ignore: starts of the names of weights that may be left out of a checkpoint of another code.

    Raises `CheckpointError`, `WeightsNotFoundError` or `UnknownNameError`.
    """
    name, colon, pretrained = str(checkpoint).partition(":")
    if colon and not checkpoint.exists():
        return _by_name(name, pretrained, image_size)
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    if (folder / "cell.json").is_file():
        opened = _of_run(CellRun(folder), checkpoint)
        if image_size not in (None, opened.image_size):
            height, width = opened.image_size
            raise CheckpointError(f"{checkpoint}: --image-size: it was trained at {height}x{width}")
        return opened
    if not checkpoint.is_file():
        raise CheckpointError(
            f"{checkpoint}: no such checkpoint; give a file, a cell's folder, or a name like tiny:rendered"
        )
    if backbone is not None:
        return _by_name(backbone, str(checkpoint), image_size)
    return _released(checkpoint, image_size, ignore)


def _by_name(name: str, pretrained: str, image_size: tuple[int, int] | None) -> OpenedModel:
    from methods.backbones import backbone_config
    from methods.clip import load_backbone

    size = image_size or _default_size(backbone_config(name))
    preprocessing = _preprocessing_of(name, pretrained)
    try:
        backbone = load_backbone(name, pretrained, size, seed=0)
    except (ValueError, HarnessError) as error:
        raise CheckpointError(f"{error}{_size_advice(error, image_size)}") from error
    return OpenedModel(
        _encoder(backbone),
        backbone,
        size,
        "fp32",
        "index",
        f"{name} with weights {pretrained}, not trained here{_other_resizing(preprocessing)}",
        test_resize=preprocessing.get("interpolation", "bilinear"),
    )


def _preprocessing_of(name: str, pretrained: str) -> dict[str, Any]:
    """How open_clip reads pictures for a tag of its own; empty for other weights."""
    from open_clip import list_pretrained_tags_by_model
    from open_clip.pretrained import get_pretrained_cfg

    known = pretrained in list_pretrained_tags_by_model(name)
    return dict(get_pretrained_cfg(name, pretrained)) if known else {}


def _other_resizing(preprocessing: Mapping[str, Any]) -> str:
    """What open_clip does otherwise: here all of a picture is resized, whatever its shape."""
    otherwise = {"shortest": "cuts a square from their middle", "longest": "adds bars to a square"}
    mode = otherwise.get(preprocessing.get("resize_mode", ""), "")
    return f" (pictures are squashed to the size, where open_clip {mode})" if mode else ""


def _size_advice(error: Exception, image_size: tuple[int, int] | None) -> str:
    """What to type where the size that was assumed does not fit the backbone."""
    unsuited = image_size is None and "patch size" in str(error)
    return "; state another: --image-size HEIGHTxWIDTH" if unsuited else ""


def _default_size(config: BackboneConfig) -> tuple[int, int]:
    """The published size, for backbones of square pictures; a backbone for upright ones keeps its own."""
    height, width = config.image_size
    return (height, width) if height > width else TrainSettings().image_size


def _encoder(backbone: Backbone) -> Method:
    from methods.build import build_method

    entry, size = registry.method("clip-zero-shot"), backbone.image_size
    return build_method(entry, entry.resolve(), backbone=backbone, identities=1, image_size=size, seed=0)


def _released(checkpoint: Path, image_size: tuple[int, int] | None, ignore: Sequence[str]) -> OpenedModel:
    from methods.released import from_state, is_released
    from methods.released_tbps import from_tbps_state, is_released_tbps
    from methods.weight_files import read_state

    try:
        state = read_state(checkpoint)
        of_tbps = is_released_tbps(state)
        if not is_released(state) and not of_tbps:
            if _is_model_of_a_run(checkpoint):
                raise CheckpointError(
                    f"{checkpoint}: a model of a run, copied out of its folder, and its file does not say "
                    "which method it is: copy cell.json along, which lay beside it, into "
                    f"{checkpoint.parent or '.'}/, and keep the model's name, like model-val.safetensors; "
                    "or name the cell's folder"
                )
            raise CheckpointError(
                f"{checkpoint}: neither a model of a run nor a released checkpoint of UIT/SEN, IRRA, RDE or "
                "VFE-TPS; for a file of open_clip or OpenAI weights name its --backbone"
            )
        if of_tbps:
            released = from_tbps_state(state, image_size, source=str(checkpoint))
        else:
            released = from_state(state, image_size, ignore, source=str(checkpoint))
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    origin = f"{released.layout}, images of {released.image_size[0]}x{released.image_size[1]}"
    return OpenedModel(
        released.encoder,
        released.encoder.clip,
        released.image_size,
        "fp32",
        "index",
        origin,
        released.skipped,
        released.test_resize,
        released.caption_cleaning,
    )


def _is_model_of_a_run(checkpoint: Path) -> bool:
    """Whether a file is a model that a cell of ours left."""
    from harness.store.weights import epoch_of

    return epoch_of(checkpoint) is not None


def _of_run(run: CellRun, checkpoint: Path) -> OpenedModel:
    from methods.build import build_method
    from methods.clip import Backbone

    register_plugins_of(run, dataset=False)
    try:
        cell, identities = run.cell, int(run.recorded["identities"])
        train = cell.train
        selection = _selection(checkpoint, cell)
        weights = run.load_model(selection)
    except (KeyError, TypeError, ValueError, StoreError) as error:
        raise CheckpointError(f"{checkpoint}: this cell has no model to open: {error}") from error
    entry = registry.method(cell.base)
    backbone = Backbone(config_of(train), train.image_size)
    settings, size = entry.resolve(cell.overrides), train.image_size
    method = build_method(
        entry, settings, backbone=backbone, identities=identities, image_size=size, seed=0
    )  # whatever was drawn is replaced by the stored weights
    try:
        method.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint}: trained by other code than this: {error}") from error
    trained = f"selected on {selection}, epoch {run.model_epoch(selection)}"
    origin = f"{run.name}, {trained if cell.trains else 'not trained'}"
    return OpenedModel(
        method,
        backbone,
        size,
        train.precision,
        cell.tie_order,
        origin,
        test_resize=train.test_resize,
        caption_cleaning=train.caption_cleaning,
    )


def _selection(checkpoint: Path, cell: Cell) -> str:
    if checkpoint.is_dir():
        return cell.select.split
    selection = checkpoint.stem.removeprefix("model-")
    if selection not in SELECTIONS or checkpoint.name != f"model-{selection}.safetensors":
        known = ", ".join(f"model-{name}.safetensors" for name in SELECTIONS)
        raise CheckpointError(f"{checkpoint}: which model of its cell it is stands in its name: {known}")
    return selection


def evaluate_checkpoint(
    checkpoint: Path,
    dataset: str,
    machine: Machine,
    *,
    split: str = "test",
    backbone: str | None = None,
    subset: int | None = None,
    image_size: tuple[int, int] | None = None,
    ignore: Sequence[str] = (),
) -> dict[str, Any]:
    """R1 … mINP of a checkpoint on a dataset, both ways, as plain values.

    Raises `CheckpointError`, `DataError` and `UnknownNameError`.
    """
    from harness.data.dataset import SPLIT_NAMES
    from harness.evaluate.features import evaluate
    from harness.evaluate.metrics import summarise
    from harness.machine.devices import make_fabric, to_precision

    if split not in SPLIT_NAMES:
        raise registry.UnknownNameError("split", split, SPLIT_NAMES)
    register_plugins_at(checkpoint)  # the dataset may be its plugin's
    context = Context(machine)
    loaded = context.dataset(dataset, subset)
    loaded.require(split)
    model = open_model(checkpoint, backbone=backbone, image_size=image_size, ignore=ignore)
    device, spec = make_fabric(model.precision, device=machine.device).device, model.input_spec(subset)
    data = context.split(dataset, spec, split, device)
    to_precision(model.method.to(device), model.precision)
    by_direction = evaluate(model.method, data, precision=model.precision, tie_order=model.tie_order)
    known = {**context.data_provenance(dataset, spec, split), "subset": subset}
    known["skipped"] = loaded.skipped + len(context.images(dataset, spec, split).broken)
    return {
        "checkpoint": str(checkpoint),
        "origin": model.origin,
        "skipped": list(model.notes),
        "dataset": dataset,
        "split": split,
        "official": loaded.official,
        "data": known,
        "image_size": list(model.image_size),
        "scores": {direction: summarise(records) for direction, records in by_direction.items()},
    }


def render(evaluation: dict[str, Any]) -> None:
    """Print an evaluation for a person."""
    height, width = evaluation["image_size"]
    searched = f"{evaluation['dataset']} ({evaluation['split']})"
    print(f"{evaluation['origin']} on {searched}, images read at {height}x{width}")
    for direction, scores in evaluation["scores"].items():
        words = {"t2i": "text → image", "i2t": "image → text"}[direction]
        shown = "  ".join(f"{name} {scores[name]:6.2f}" for name in METRICS)
        sizes = f"{plural(scores['queries'], 'query', 'queries')}, {scores['gallery']:,} in the gallery"
        print(f"  {words}  {shown}  ({sizes})")
    for line in evaluation["skipped"]:
        print(f"  left out: {line}")
    for line in data_sentences(evaluation["dataset"], evaluation["data"]):
        print(f"  note: {line}")


def export_checkpoint(
    checkpoint: Path,
    out: Path,
    *,
    backbone: str | None = None,
    image_size: tuple[int, int] | None = None,
    ignore: Sequence[str] = (),
) -> str:
    """Write a checkpoint as a folder that other programs load; a sentence that says how.

    A model whose features are a plain CLIP's is written for open_clip, any other as programs of PyTorch.

    Raises `CheckpointError` for a plugin's method that is no dual encoder of ours.
    """
    from methods.clip import DualEncoder
    from methods.open_clip_export import export_open_clip, has_own_merges
    from methods.program_export import GLOBAL, export_programs

    model = open_model(checkpoint, backbone=backbone, image_size=image_size, ignore=ignore)
    marks = '; it reads captions in lower case, without . ! " ( ) * # : ; ~' if model.caption_cleaning else ""
    if not isinstance(model.method, DualEncoder):
        raise CheckpointError(f"{checkpoint}: its method is no dual encoder; export it by its own code")
    plain = model.method.plain_backbone()
    if plain is None:
        folder = export_programs(model.method, out, model.test_resize)
        return (
            f'{folder}: torch.export.load("{folder}/encode_image.pt2").module() and encode_text.pt2 give '
            f"the features; preprocessing and tokenizer are those of {folder / GLOBAL}, which open_clip "
            f"loads and which has the global embedding alone{marks}"
        )
    folder = export_open_clip(plain, out, model.test_resize)
    moved = f"; once it is moved, as {folder}/README.md says" if has_own_merges(plain) else ""
    return (
        f'{folder}: load it with open_clip.create_model_from_pretrained("local-dir:{folder}") and '
        f'open_clip.get_tokenizer("local-dir:{folder}"){moved}{marks}'
    )
