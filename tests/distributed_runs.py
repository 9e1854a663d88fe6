"""What each process of a distributed test does: train, and write down everything that must not depend on how
many there are."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning_fabric import Fabric
from small_runs import TINY, MemoryRun, recipe, small_method, tiny_method, training_data

from harness.store.cell_run import CellRun
from harness.train.loop import TrainingOptions, train

METHODS = ("uit", "uit-mlm")


def three_steps(fabric: Fabric, folder: str, methods: tuple[str, ...] = METHODS, batch_size: int = 8) -> None:
    """Train each method for an epoch of three steps and save its losses, last gradients, weights and what it
    wrote."""
    torch.set_num_threads(1)
    for name in methods:
        # 6 persons × 2 images × 2 captions = 24 pairs.
        settings = recipe(epochs=1, batch_size=batch_size, lr=1e-3, warmup_epochs=0, image_size=TINY["size"])
        data = training_data(settings, persons=6, **TINY)
        method, run = tiny_method(name), MemoryRun()
        chosen = train(
            method, data, settings, run, seed=3, fabric=fabric, options=TrainingOptions(report_seconds=0)
        )
        result = {
            "history": run.history,
            "losses": run.history[0]["losses"] if run.history else {},
            "gradients": {
                key: weight.grad for key, weight in method.named_parameters() if weight.grad is not None
            },
            "weights": method.state_dict(),
            "wrote": [bool(run.history), run.checkpoint is not None, bool(run.models)],
            "chosen": chosen,
        }
        torch.save(result, Path(folder) / f"{name}.{batch_size}.{fabric.world_size}.{fabric.global_rank}.pt")


def resume(fabric: Fabric, folder: str, epochs: int) -> None:
    """Train in a cell of a store until so many epochs are done."""
    torch.set_num_threads(1)
    settings = recipe(epochs=epochs)
    data = training_data(settings)
    train(small_method(), data, settings, CellRun(Path(folder)), seed=3, fabric=fabric)
