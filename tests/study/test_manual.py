"""The manual of study files is the schema's: every key with its meaning, and examples that are valid."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from study_files import SMALL, write_study

from harness import registry
from harness.study import manual, schema
from harness.study.study import load_study

SECTIONS = [
    value
    for value in vars(schema).values()
    if isinstance(value, type) and issubclass(value, schema.StudySection) and value is not schema.StudySection
]


def test_the_manual_of_study_files_is_in_step_with_the_schema() -> None:
    assert manual.PATH.read_text("utf-8") == manual.manual(), "run: python -m harness.study.manual"


@pytest.mark.parametrize("model", SECTIONS, ids=lambda model: model.__name__)
def test_every_key_of_a_study_file_has_a_meaning_and_stands_in_the_manual(
    model: type[BaseModel],
) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []
    page = manual.manual()
    assert [name for name in model.model_fields if f"| `{name}` |" not in page] == []


def test_every_setting_of_every_method_stands_in_the_manual() -> None:
    page = manual.manual()
    own = [entry for entry in registry.methods().values() if entry.plugin is None]
    missing = {name for entry in own for name in entry.settings.model_fields if f"| `{name}` |" not in page}
    assert missing == set()


@pytest.mark.parametrize("section", manual.examples())
def test_every_example_of_the_manual_is_valid(tmp_path: Path, section: str) -> None:
    text = manual.examples()[section]
    two = {"methods": ["uit"] if section == "search" else ["uit", "uit-no-tir"]}
    assert text in manual.manual()
    assert load_study(write_study(tmp_path, **{**two, **yaml.safe_load(text)}))


def test_the_small_study_of_the_tests_uses_keys_of_the_manual() -> None:
    assert SMALL.keys() <= schema.StudyFile.model_fields.keys()
