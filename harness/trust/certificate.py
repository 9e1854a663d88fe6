"""What a verification found, as it is kept in the store, printed, and shown on the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from harness.machine import environment
from harness.machine.paths import as_typed
from harness.machine.words import plural
from harness.store.results_table import results_sha256
from harness.store.run_files import CERTIFICATE
from harness.store.runs import RunStore
from harness.trust.run_comparison import Expectation

KEPT_DIFFERENCES = 200
"""Sentences kept in a certificate."""

Repetition = Literal["trained again", "evaluated again"]
CertificateVerdict = Literal[
    "differs", "reproduced", "evaluations reproduced", "nothing trained was run again"
]


@dataclass
class CheckedCell:
    """One cell that was run again."""

    cell: str
    expected: Expectation
    trains: bool
    repetition: Repetition
    compared: int = 0
    """Per-query records compared."""
    kinds: dict[str, int] = field(default_factory=dict)
    """How many targets, directions and selections they are of, by the noun."""
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What changed since the cell ran."""
    not_compared: list[str] = field(default_factory=list)
    """What running it again gives and its bundle left out."""
    has_checksums: bool = True
    """Whether its files' checksums were kept when it finished; an older version kept none."""

    def counted(self) -> str:
        """How many records were compared, and of what: a query has one in each direction and selection."""
        records = f"{plural(self.compared, 'record')} of queries"
        parts = [plural(number, noun) for noun, number in self.kinds.items() if number]
        return f"{records} ({', '.join(parts)})" if parts else records

    def plain(self) -> dict[str, Any]:
        """As kept in the certificate."""
        return {
            "cell": self.cell,
            "trains": self.trains,
            "repetition": self.repetition,
            "bit_for_bit": self.expected.exact,
            "basis": self.expected.basis,
            "records": self.compared,
            "differences": len(self.differences),
            "checksums": self.has_checksums,
            "notes": self.notes,
            "not_compared": self.not_compared,
        }


@dataclass
class Certificate:
    """What a verification of one store found."""

    store: Path
    seed: int
    trained: int
    """Finished cells that were trained; all their records were checked against checksums and scores."""
    untrained: int
    """Finished cells of methods that are not trained; their records likewise."""
    imported: int = 0
    """Cells that were trained elsewhere and cannot be run here; their records likewise."""
    checked: list[CheckedCell] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """What is not as it was written, whichever cell it is in."""
    models_left_out: int = 0
    """Cells whose models their bundle left out."""
    not_written: str = ""
    """Why the certificate could not be kept in the store."""

    @property
    def differences(self) -> list[str]:
        """Everything that differs, each naming its cell."""
        again = [f"{each.cell}: {text}" for each in self.checked for text in each.differences]
        return self.damaged + again

    @property
    def not_compared(self) -> list[str]:
        """What the bundle left out on purpose, so that it was compared with nothing; each once."""
        models = [f"models of {_counted(self.models_left_out, 'cell')}"] if self.models_left_out else []
        return models + list(dict.fromkeys(text for each in self.checked for text in each.not_compared))

    @property
    def verdict(self) -> CertificateVerdict:
        """The whole in a word: `reproduced` only where something trained was trained again, or none was."""
        if self.differences:
            return "differs"
        if self._count(True, "trained again") or (not self.trained and self.checked):
            return "reproduced"
        return "evaluations reproduced" if self.checked else "nothing trained was run again"

    def coverage(self) -> str:
        """How much of the store was run again, in words: trained cells and untrained ones apart."""
        return "; ".join(self._covered())

    def _covered(self) -> Iterator[str]:
        trained, evaluated = (self._count(True, how) for how in ("trained again", "evaluated again"))
        if self.trained:
            done = [f"{trained} of {_counted(self.trained, 'trained cell')} trained again"]
            done += [f"{evaluated} evaluated again"] if evaluated else []
            yield f"{', '.join(done)}, {self.trained - trained - evaluated} not"
        if self.untrained:
            again = self._count(False, "evaluated again")
            counted = _counted(self.untrained, "untrained cell")
            yield f"{again} of {counted} evaluated again, {self.untrained - again} not"
        if self.imported:
            yield f"{_counted(self.imported, 'imported cell')}, trained elsewhere, not run again"

    def _count(self, trains: bool, repetition: Repetition) -> int:
        return sum((each.trains, each.repetition) == (trains, repetition) for each in self.checked)

    def plain(self) -> dict[str, Any]:
        """As kept in the store and printed by `--json`."""
        differences = self.differences
        return {
            "verdict": self.verdict,
            "coverage": self.coverage(),
            "seed": self.seed,
            "finished": self.trained + self.untrained + self.imported,
            "trained": self.trained,
            "untrained": self.untrained,
            "imported": self.imported,
            "cells": [each.plain() for each in self.checked],
            "differences": differences[:KEPT_DIFFERENCES],
            "not_compared": self.not_compared,
            "results_sha256": results_sha256(RunStore(self.store)),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": environment.commit(),
            "processor": environment.describe()["processor"],
        }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def render(certificates: Sequence[Certificate]) -> None:
    """Print what was found for a person."""
    for certificate in certificates:
        store = as_typed(certificate.store)
        print(f"{store}: {certificate.coverage()}; the stored records of all of them checked")
        for each in certificate.checked:
            said = _counted(len(each.differences), "difference") if each.differences else "the same"
            cell = store / "cells" / each.cell
            print(f"  {cell}: {said}, {each.counted()} compared ({each.expected.basis})")
            if not each.has_checksums:
                print("    an older version finished it, without checksums: its models were evaluated again")
            for note in each.notes:
                print(f"    since then: {note}")
        if certificate.not_compared:
            print(f"  not in the bundle: not compared: {'; '.join(certificate.not_compared)}")
        for text in certificate.differences:
            print(f"  differs: {text}")
        if not certificate.not_written:
            print(f"  kept in {store / CERTIFICATE}")
        print(f"  {certificate.verdict}")
