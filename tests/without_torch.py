"""Runs the program where torch and whatever needs it cannot be imported: `python without_torch.py VERB …`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
REFUSED = (
    *("torch", "torchvision", "open_clip", "lightning_fabric", "timm", "optuna", "sqlalchemy", "cmaes"),
    *("sklearn", "textblob", "nltk", "filelock", "tensorboard", "mlflow", "mlcroissant", "rocrate"),
)


class Refusal:
    """A finder that refuses packages, as if they were not installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a verb without these packages."""
    words = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, timeout=500)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.meta_path.insert(0, Refusal())  # type: ignore[arg-type]
    from harness.cli.verbs import main

    main()
