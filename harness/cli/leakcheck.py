"""Before a transfer is measured: has a model seen its target's test images under another name?"""

from __future__ import annotations

from harness.data.leakage import transfer_leakage
from harness.launch.context import Context
from harness.machine import paths
from harness.machine.files import atomic_json
from harness.store.runs import RunStore
from harness.study.study import Study

FILE = "leakage.json"


def check_leakage(study: Study, store: RunStore, context: Context) -> None:
    """Compare what each source trains on with each other target's test images; the findings go to the store.

    DIR/leakage.json is a list of `{"source", "target", **LeakageReport.as_dict()}`. Hashes of images are
    cached, so a second run costs seconds. Nothing is stopped: a report prints what was found.

    Images that cannot be read are counted, not compared. Raises `DataError` when a dataset cannot be used.
    """
    crossings = {
        (cell.dataset, target): cell.subset
        for cell in study.cells()
        for target in cell.targets
        if target != cell.dataset
    }
    findings = []
    for (source, target), subset in crossings.items():
        report = transfer_leakage(
            context.dataset(source, subset), context.dataset(target, subset), paths.cache_dir()
        )
        context.progress.say(report.sentence())
        findings.append({"source": source, "target": target, **report.as_dict()})
    if findings:
        atomic_json(store.directory / FILE, findings)
