"""The manual of study files, `studies/README.md`, made from the schema: `python -m harness.study.manual`.

A test compares the file with what this prints, so neither can change without the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from harness import registry
from harness.machine.files import atomic_write
from harness.machine.paths import SOURCE
from harness.study.schema import (
    Choices,
    Evaluate,
    Overhead,
    Range,
    Search,
    Select,
    StudyFile,
    TrainingPairs,
    TrainSettings,
)
from methods.recipe_files import recipe, recipe_names

PATH = SOURCE / "studies" / "README.md"

_OPENING = """\
# Study files

A study is one YAML file: which methods, on which datasets, with which seeds, trained and compared how.
`python -m harness check FILE` finds every mistake in one go, each with its line; `run FILE` trains what is
not trained yet. Each study of this folder opens with the question it asks and the command that runs it.

This page is made from the schema (`python -m harness.study.manual`); a test keeps the two in step.

```yaml
# Does restoring the image help, and the triplet loss? Run: python -m harness run mine.yaml --data-root DATA
name: mine
methods: [uit, uit-no-tir, uit-no-cmt]
datasets: [cuhk-pedes]
seeds: 3
train: {epochs: 60, batch_size: 128}
```

Rules that hold for every key:

* Unknown keys are refused, with the nearest known one. Values are typed strictly: `"3"` is no number.
* Numbers may be written `1e-5`; `yes` and `no` are words, `true` and `false` are not.
* `--set train.epochs=2` on the command line changes any key; the run then gets a folder of its own.
"""

_RECIPES = """\
## `recipe:` one for all, or each its own

`recipe: shared` (the default) trains every method with the defaults below and the study's `train:`; the name
of a recipe does so with its values instead: the controlled comparison. `recipe: own` trains each method as it
was published. `train:` overrides either, a method's own entry overrides both. Runs under `own` never share a
table or a verdict with runs under one recipe, nor either with `preset: released`. Every value of a recipe
stands with its source in a file of `methods/recipes`.
"""

_EXAMPLES = {
    "study": """\
name: mine
description: UIT beside its ablations.
preset: clean
recipe: shared             # or own, or the name of one: rendered
methods:
  - uit
  - {name: gentle, base: uit, mask_ratio: 0.4, lr: 5.0e-6}   # a method with settings of its own
datasets: [cuhk-pedes, rstpreid]
seeds: [0, 1, 2]           # or how many: 3; or planned looks: {looks: [3, 5, 10]}
subset: 100
claims: studies/claims/uit.yaml
timeout_minutes: 600
keep: [last, checkpoint]   # beside the model of select.split
""",
    "train": """\
train:
  backbone: ViT-B-16-quickgelu
  pretrained: openai
  image_size: [384, 128]
  epochs: 60
  batch_size: 128
  lr: 1.0e-5
  mask_ratio: 0.6          # a setting of the methods: reaches each that has it
""",
    "data": "data: {caption_noise: 0.5}\n",
    "select": "select: {metric: mAP, split: val}\n",
    "evaluate": "evaluate: {transfer: true, tie_order: index}\n",
    "search": """\
search:
  trials: 40
  epochs: 20
  sampler: tpe
  pruner: median
  space:
    mask_ratio: {low: 0.3, high: 0.9}
    temperature: {low: 0.01, high: 0.1, log: true}
    cmt_mining: {choices: [triplet, semi_hard]}
""",
    "overhead": "overhead: {against: [uit-no-tir], steps: 50, repeats: 3}\n",
}
"""By section, its keys as a study file has them."""


def manual() -> str:
    """The whole page."""
    return "\n".join([_OPENING, *_sections(), ""])


def examples() -> dict[str, str]:
    """The example of each section, as YAML."""
    return dict(_EXAMPLES)


def _sections() -> Iterator[str]:
    yield _section("The study", "", StudyFile, "study")
    yield _recipes()
    yield _section(
        "`train:` the recipe",
        "Every method of the study is trained with these. Any setting of the methods may stand beside them;\n"
        "it reaches each method that has it, and `check` prints which. A method's own entry goes first.\n",
        TrainSettings,
        "train",
    )
    for base, labels in _settings_of_methods().items():
        yield f"Settings of {', '.join(f'`{label}`' for label in labels)}:\n"
        yield _table(base)
    yield _section("`data:` the training captions", "", TrainingPairs, "data")
    yield _section("`select:` the epoch that counts", "", Select, "select")
    yield _section("`evaluate:` what models are tested on", "", Evaluate, "evaluate")
    yield _section(
        "`search:` hyper-parameters",
        "The same budget for every method that trains, scored on validation; the best is trained anew.\n",
        Search,
        "search",
    )
    yield "A range of `search.space`:\n"
    yield _table(Range)
    yield "A choice of `search.space`:\n"
    yield _table(Choices)
    yield _section("`overhead:` what methods cost", "", Overhead, "overhead")


def _recipes() -> str:
    """The recipes that ship, and whose they are."""
    rows = [f"| {_recipe_row(name)} |" for name in recipe_names()]
    return "\n".join([_RECIPES, "| recipe | what it is | `own` recipe of |", "|---|---|---|", *rows, ""])


def _recipe_row(name: str) -> str:
    entries = [entry for entry in registry.methods().values() if entry.plugin is None]
    owners = ", ".join(f"`{entry.name}`" for entry in entries if entry.recipe == name)
    return f"`{name}` | {recipe(name).summary} | {owners}"


def _settings_of_methods() -> dict[type[BaseModel], list[str]]:
    """The settings of the methods of this project, each with the methods that have them."""
    methods: dict[type[BaseModel], list[str]] = {}
    for name, entry in registry.methods().items():
        if entry.plugin is None and entry.settings.model_fields:
            methods.setdefault(entry.settings, []).append(name)
    return methods


def _section(title: str, lead: str, model: type[BaseModel], example: str) -> str:
    parts = [f"## {title}\n", lead, _table(model), f"```yaml\n{_EXAMPLES[example]}```\n"]
    return "\n".join(part for part in parts if part)


def _table(model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, value in schema["properties"].items():
        required = name in schema.get("required", ())
        default = "required" if required else _default(value)
        meaning = " ".join((model.model_fields[name].description or "").split()).replace("|", "\\|")
        rows.append(f"| `{name}` | {_type(value, definitions)} | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    if value.get("type") == "object":
        return "empty"
    if isinstance(default, dict) or "$ref" in value or "allOf" in value:
        return "see below"
    return "null" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


_NAMES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}


def _type(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A JSON schema's type in words, with its bounds."""
    if "$ref" in value:
        return "section" if value["$ref"].rpartition("/")[2] in definitions else "value"
    if "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value["enum"])
    if "const" in value:
        return f"`{value['const']}`"
    if "anyOf" in value:
        kinds = [_type(each, definitions) for each in value["anyOf"] if each.get("type") != "null"]
        if "number" in kinds:
            kinds = [kind for kind in kinds if kind != "whole number"]
        return " or ".join(dict.fromkeys(kinds))
    if value.get("type") == "array":
        items = value.get("prefixItems")
        if items:
            return f"list of {len(items)}: {_type(items[0], definitions)} each"
        inner = _type(value.get("items", {}), definitions)
        return "list" if inner == "value" else f"list of {inner}"
    if value.get("type") == "object":
        return "mapping"
    return _bounded(_NAMES.get(str(value.get("type")), "value"), value)


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _bounded(name: str, value: dict[str, Any]) -> str:
    limits = [f"{sign} {value[key]:,}" for key, sign in _BOUNDS.items() if key in value]
    return f"{name} {', '.join(limits)}" if limits else name


if __name__ == "__main__":
    atomic_write(PATH, manual())
    print(PATH)
