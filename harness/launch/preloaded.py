"""What the server of workers imports before it forks: all that training and evaluating a cell needs.

Nothing here may start a thread or CUDA: a child process could use neither.
"""

from __future__ import annotations

import gc
import importlib

from harness.launch.fingerprints import code_fingerprint

for name in (
    *("harness.data.captions", "harness.data.loader", "harness.evaluate.features", "harness.launch.cells"),
    *("harness.machine.devices", "harness.train.loop", "methods.build", "methods.clip", "pyarrow.parquet"),
):
    importlib.import_module(name)
# Of the code that was imported just now: an edit that comes later is neither run nor in an identity.
code_fingerprint()
gc.collect()
gc.freeze()  # children share what was imported, and never search it for garbage
