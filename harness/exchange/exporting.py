"""What a model gives on a test split, for other tools: features as a NumPy archive, rankings for TREC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.exchange import trec as trec_files
from harness.exchange.score_files import Array
from harness.exchange.targets import Target, target_of
from harness.machine.environment import Machine
from harness.machine.errors import StudyError
from harness.machine.files import atomic_file

if TYPE_CHECKING:
    from harness.launch.models import OpenedModel

RUN, QRELS = "run.trec", "qrels.txt"


@dataclass(frozen=True)
class Export:
    """A model on the test split of a dataset; `depth` documents of each query, None for all."""

    model: OpenedModel
    dataset: str
    subset: int | None = None
    depth: int | None = None

    @staticmethod
    def refuse(trec: bool, features: bool, dataset: str, subset: int | None, depth: int | None) -> None:
        """Raise `StudyError` for options that do not go together."""
        mistakes = ["--trec and --features: give one of them"] if trec and features else []
        if trec or features:
            if not dataset:
                mistakes.append("--dataset NAME is needed: the test split that is searched")
        else:
            split = {"--dataset": dataset, "--subset": subset}
            mistakes += [f"{name}: only with --trec or --features" for name, value in split.items() if value]
        if depth is not None and not trec:
            mistakes.append("--depth: only with --trec")
        if mistakes:
            raise StudyError(mistakes)


def write_export(export: Export, machine: Machine, out: Path, *, trec: bool) -> str:
    """Encode the split and write it; a sentence that says what was written.

    Args:
        export: the model and the split.
        machine: where it is encoded.
        out: a folder for `--trec`; the file of features otherwise.
        trec: whether a run file and qrels are wanted.

    Raises:
        StudyError: the file of features does not end in `.npz`.
    """
    if not trec and out.suffix != ".npz":
        raise StudyError([f"{out}: a file of features ends in .npz"])
    text, image, target = encoded(export, machine)
    if not trec:
        _write_features(out, text, image, target)
        return f"{out}: features of {len(text):,} captions and {len(image):,} images; `import` reads it"
    out.mkdir(parents=True, exist_ok=True)
    gallery_ids, query_ids = list(target.gallery_ids), list(target.query_ids)
    similarity = cosines(text, image)
    tag = "".join(export.dataset.split()) or "run"
    depth = export.depth or len(image)
    trec_files.write_run(out / RUN, similarity, query_ids, gallery_ids, tag, depth)
    trec_files.write_qrels(out / QRELS, query_ids, gallery_ids, target.query_person, target.gallery_person)
    return f"{out / RUN} and {out / QRELS}: {len(text):,} queries, {min(depth, len(image)):,} documents each"


def encoded(export: Export, machine: Machine) -> tuple[Array, Array, Target]:
    """Features of the captions `[captions, width]` and images `[images, width]`, and the split."""
    from harness.evaluate.features import encode
    from harness.launch.context import Context
    from harness.machine.devices import make_fabric, to_precision

    model = export.model
    context = Context(machine)
    target = target_of(context.dataset(export.dataset, export.subset), export.subset)
    device = make_fabric(model.precision, device=machine.device).device
    data = context.split(export.dataset, model.input_spec(export.subset), "test", device)
    to_precision(model.method.to(device), model.precision)
    found = encode(model.method, data, precision=model.precision)
    return found.text.cpu().numpy(), found.image.cpu().numpy(), target


def cosines(text: Array, image: Array) -> Array:
    """Cosines `[captions, images]` in the steps that the harness compares them in."""
    from harness.evaluate.score_ranking import STEPS, cosine_steps

    return cosine_steps(text, image) / STEPS


def _write_features(out: Path, text: Array, image: Array, target: Target) -> None:
    labels = np.array(target.persons)
    with atomic_file(out) as file:
        np.savez(
            file,
            text_features=text,
            image_features=image,
            query_persons=labels[target.query_person],
            gallery_persons=labels[target.gallery_person],
            query_ids=np.array(target.query_ids),
            gallery_ids=np.array(target.gallery_ids),
        )
