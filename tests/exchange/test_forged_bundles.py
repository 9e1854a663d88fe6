"""What a reviewer relies on: what was changed in a bundle is named by its cause, or named as trusted."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import stores
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from harness.exchange.archives import MANIFEST, stored_once, unpack, write_archive
from harness.exchange.bundling import write_bundle
from harness.exchange.ro_crate import METADATA, crate
from harness.machine import files
from harness.store.cell_run import evaluation_key
from harness.store.look_history import look_history
from harness.store.runs import RunStore
from harness.store.seals import change_sealed
from harness.trust.contradictions import LOSS_SWITCHES, impossible_records

OFF: dict[str, Any] = {**dict.fromkeys(LOSS_SWITCHES, False), "sdm": True}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest") / "planted"
    truth = stores.Truth(r1={"uit": 60, "weak": 45}, people=40, epochs=2, switches={"weak": OFF})
    stores.write(folder, truth)
    files.append_line(folder / "looks.jsonl", {"kind": "plan", "seeds": [0, 1, 2], "looks": [], "at": "2026"})
    return write_bundle([folder]).path


def verified(path: Path) -> Result:
    return CliRunner().invoke(app, ["verify", str(path)])


def differing(done: Result) -> list[str]:
    assert done.exit_code == 4, done.output
    lines = [line.strip() for line in done.stdout.splitlines()]
    return [line.removeprefix("differs: ") for line in lines if line.startswith("differs: ")]


def forged(bundle: Path, folder: Path, change: Callable[[Path], None], *, crated: bool = True) -> Path:
    """The bundle after `change` of its unpacked folder, by a forger who renews manifest and metadata."""
    unpack(bundle, folder / "open")
    (folder / "open" / MANIFEST).unlink()
    change(folder / "open")
    paths = [path for path in (folder / "open").rglob("*") if path.is_file()]
    contents: dict[str, Path | bytes] = {path.relative_to(folder / "open").as_posix(): path for path in paths}
    if crated:
        kept = json.loads((folder / "open" / METADATA).read_text())["@graph"]
        del contents[METADATA]
        described = crate(["planted"], stored_once(contents))
        # Everything as the tool writes it, but for the version that the honest bundle says.
        described["@graph"][-2] = next(each for each in kept if each["@id"] == "#tipr-harness")
        contents[METADATA] = json.dumps(described).encode()
    write_archive(folder / "forged.zip", contents)
    return folder / "forged.zip"


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def store_in(folder: Path) -> RunStore:
    return RunStore(folder / "planted")


def test_an_honest_bundle_is_reproduced_and_says_what_it_takes_on_trust(bundle: Path) -> None:
    done = verified(bundle)
    assert done.exit_code == 0, done.output
    (trusted,) = [line for line in done.stdout.splitlines() if line.startswith("  taken on trust: ")]
    assert "environment.json" in trusted
    assert "host, commit, command and times" in trusted
    assert "note: " not in done.stdout
    assert "found only by training again" in " ".join(done.stdout.split())


def test_a_bundle_whose_own_files_are_packed_again_is_still_reproduced(bundle: Path, tmp_path: Path) -> None:
    done = verified(forged(bundle, tmp_path, lambda folder: None))
    assert done.exit_code == 0, done.output


CHANGED = {
    "planted/report.html": ("for new people", "for all people"),
    "planted/report/tables/r1-rendered-plaza.tex": ("worse", "tied"),
    "planted/report/tables/r1-rendered-plaza.md": ("worse", "tied"),
    "README.md": ("Check it", "Believe it"),
    "neurips-checklist.md": ("not known", "yes"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_word_of_a_page_table_or_text_is_named(bundle: Path, tmp_path: Path, name: str) -> None:
    old, new = CHANGED[name]
    (found,) = differing(verified(forged(bundle, tmp_path, edited(name, old, new))))
    assert found.startswith(f"{name}: has ")
    assert new.split()[0] in found


def test_a_changed_number_of_the_page_is_named(bundle: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        page = folder / "planted" / "report.html"
        text = page.read_text()
        number = re.search(r">(\d\d\.\d)(\s±)", text)
        assert number
        page.write_text(text.replace(number[0], f">99.9{number[2]}", 1))

    assert any("99.9" in text for text in differing(verified(forged(bundle, tmp_path, change))))


def test_a_changed_environment_is_seen_by_the_page_and_by_the_metadata(bundle: Path, tmp_path: Path) -> None:
    change = edited("planted/environment.json", "simulated", "a better machine")
    found = differing(verified(forged(bundle, tmp_path, change, crated=False)))
    assert f"{METADATA}: describes other files than these: planted/environment.json" in found
    assert any("a better machine" in text for text in found)


def test_a_changed_commit_is_seen_by_the_page(bundle: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        path = store_in(folder).cells()[0].directory / "cell.json"
        recorded = json.loads(path.read_text())["recorded"]
        change_sealed(path, recorded={**recorded, "commit": "fedcba9"})

    found = differing(verified(forged(bundle, tmp_path, change)))
    assert all("planted/report.html" in text for text in found)
    assert any("fedcba9" in text for text in found)


def test_a_cell_that_was_removed_is_named_and_what_follows_is_counted(bundle: Path, tmp_path: Path) -> None:
    gone = []

    def change(folder: Path) -> None:
        cell = store_in(folder).cells()[1]
        gone.append(cell.name)
        shutil.rmtree(cell.directory)

    found = differing(verified(forged(bundle, tmp_path, change)))
    said = "is missing: study.yaml plans it, current.json lists it, results.csv has 6 rows of it"
    assert found[0] == f"planted/cells/{gone[0]} {said}"
    assert len(found) == 2
    assert re.match(r"planted: \d+ values or passages that follow from it differ", found[1])
    assert "unfinished.csv" not in "".join(found)
    assert "the records give" not in "".join(found)


def test_a_removed_cell_that_no_table_names_any_more_is_told_by_the_looks(
    bundle: Path, tmp_path: Path
) -> None:
    def change(folder: Path) -> None:
        cell = store_in(folder).cells()[1]
        shutil.rmtree(cell.directory)
        run = folder / "planted"
        rows = (run / "results.csv").read_text().splitlines(keepends=True)
        (run / "results.csv").write_text("".join(row for row in rows if cell.name not in row))
        current = json.loads((run / "current.json").read_text())
        (run / "current.json").write_text(
            json.dumps({key: name for key, name in current.items() if name != cell.name})
        )

    found = differing(verified(forged(bundle, tmp_path, change)))
    assert found[0].startswith(
        "planted/cells/rendered-plaza.uit.1 is missing: study.yaml plans it, looks.jsonl"
    )


def without_seed_1(folder: Path) -> None:
    """Leave seed 1 out, consistently in every file but `looks.jsonl`."""
    run = folder / "planted"
    for cell in store_in(folder).cells():
        if cell.cell.seed == 1:
            shutil.rmtree(cell.directory)
    current = json.loads((run / "current.json").read_text())
    (run / "current.json").write_text(
        json.dumps({key: name for key, name in current.items() if not key.endswith("/1")})
    )
    study = (run / "study.yaml").read_text()
    (run / "study.yaml").write_text(study.replace("- 0\n- 1\n- 2\n", "- 0\n- 2\n"))
    shutil.rmtree(run / "report")
    write_bundle([run], folder.parent / "again.zip")
    (run / "report" / "written.json").unlink()


def test_a_seed_that_was_finished_at_an_earlier_look_and_left_out_is_told_by_verify_and_on_the_page(
    bundle: Path, tmp_path: Path
) -> None:
    unpack(bundle, tmp_path / "whole")
    day = look_history(tmp_path / "whole" / "planted").records[-1]["at"][:10]
    (tmp_path / "part").mkdir()
    unpack(bundle, tmp_path / "part" / "open")
    without_seed_1(tmp_path / "part" / "open")
    said = (
        f"Seed 1 was planned, and finished at the look of {day} (uit on rendered-plaza and weak on "
        "rendered-plaza); it is not in the study now"
    )
    assert differing(verified(tmp_path / "part" / "again.zip")) == [f"planted: {said}"]
    page = (tmp_path / "part" / "open" / "planted" / "report.html").read_text()
    assert said in page


def change_record(folder: Path, column: str, value: float) -> str:
    """Change one value of a cell's first record; the cell's name."""
    cell = store_in(folder).cells()[0]
    path = cell.records_path("rendered-plaza", "val", "t2i")
    frame = pd.read_parquet(path)
    frame.loc[0, column] = value
    frame.to_parquet(path, index=False)
    return cell.name


def test_of_a_damaged_cell_no_number_is_printed_that_rests_on_the_others(
    bundle: Path, tmp_path: Path
) -> None:
    names = []
    found = differing(
        verified(forged(bundle, tmp_path, lambda folder: names.append(change_record(folder, "rank", 7))))
    )
    record = "records/rendered-plaza.val.t2i.parquet"
    assert f"planted/cells/{names[0]}: {record} is not as it was written" in found
    assert not any("the records give" in text for text in found)
    assert "follow from it differ" in found[-1]


def test_a_record_that_no_ranking_gives_is_named_where_all_seals_are_renewed(
    bundle: Path, tmp_path: Path
) -> None:
    names = []

    def change(folder: Path) -> None:
        names.append(change_record(folder, "ap", 0.1))
        cell = store_in(folder).cell(names[0])
        rank = cell.records("rendered-plaza", "val", "t2i")["rank"]
        assert rank[0] == 1
        rows = cell.results
        for row in rows:
            if evaluation_key(row) == ("rendered-plaza", "val", "t2i"):
                row["mAP"] = 100 * float(cell.records(*evaluation_key(row))["ap"].mean())
        cell.write_results(rows)
        cell.finish(cell.kept_models)

    found = differing(verified(forged(bundle, tmp_path, change)))
    assert any(
        f"cells/{names[0]}: rendered-plaza t2i, selected on val: query 0: no ranking gives rank 1, AP 0.1"
        in text
        for text in found
    )


@pytest.mark.parametrize(
    ("rank", "ap", "positives", "possible"),
    [
        (1, 0.5, 2, True),
        (1, 0.49, 2, False),
        (1, 1.0, 1, True),
        (2, 0.5, 1, True),
        (2, 0.6, 1, False),
        (2, 1.0, 4, False),
        (3, 1 / 12, 4, True),
        (0, 0.5, 2, False),
        (11, 0.1, 1, False),
    ],
)
def test_a_record_is_possible_where_some_ranking_of_ten_images_gives_it(
    rank: int, ap: float, positives: int, possible: bool
) -> None:
    frame = pd.DataFrame({"query": [4], "rank": [rank], "ap": [ap], "inp": [0.2], "positives": [positives]})
    assert (list(impossible_records(frame, {"gallery": 10}, "here")) == []) == possible


def test_losses_that_the_settings_switch_off_are_named(bundle: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        cell = next(run for run in store_in(folder).cells() if run.cell.method == "weak")
        lines = cell.history
        for line in lines:
            line["losses"] = {"mlm": line["losses"]["sdm"], "id": 1.0}
        (cell.directory / "history.jsonl").write_text("".join(map(files.json_line, lines)))
        cell.finish(cell.kept_models)

    found = differing(verified(forged(bundle, tmp_path, change)))
    said = "has mlm, which its settings switch off and lacks sdm, which its settings switch on"
    assert any(f"history.jsonl: epoch 1 {said}" in text for text in found)


def test_records_that_are_stored_once_are_not_called_gone(bundle: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(contents[MANIFEST])
    name = next(name for name in contents if name.endswith(".last.t2i.parquet"))
    twins = [other for other in manifest if manifest[other] == manifest[name] and other not in contents]
    assert twins
    contents[name] = contents[name][:-1] + b"x"
    for renewed, said in (
        (False, f"is stored once, as {name}, which was changed"),
        (True, "stored once with equal ones, as cells/"),
    ):
        if renewed:
            manifest[name] = hashlib.sha256(contents[name]).hexdigest()
        with zipfile.ZipFile(tmp_path / "edited.zip", "w") as archive:
            for each, value in {**contents, MANIFEST: json.dumps(manifest).encode()}.items():
                archive.writestr(each, value)
        found = differing(verified(tmp_path / "edited.zip"))
        assert any(said in text for text in found), found
        assert not any(text.endswith("is gone") for text in found if "planted/cells" in text)


def test_a_bundle_of_another_version_is_not_said_to_differ_for_its_words(
    bundle: Path, tmp_path: Path
) -> None:
    def change(folder: Path) -> None:
        edited(METADATA, '"identifier": "sha256:', '"identifier": "sha256:0')(folder)
        edited("planted/report.html", "for new people", "for people")(folder)

    done = verified(forged(bundle, tmp_path, change))
    assert done.exit_code == 0, done.output
    assert "planted: not in the words of this version of the harness, so not compared" in done.stdout


def test_a_changed_verdict_differs_whichever_version_wrote_the_bundle(bundle: Path, tmp_path: Path) -> None:
    def change(folder: Path) -> None:
        edited(METADATA, '"identifier": "sha256:', '"identifier": "sha256:0')(folder)
        edited("planted/verdicts.csv", ",worse,", ",tied,")(folder)
        edited("planted/report/tables/r1-rendered-plaza.csv", "worse", "tied")(folder)

    found = differing(verified(forged(bundle, tmp_path, change)))
    assert any(text.startswith("planted/verdicts.csv: line 2: verdict is tied") for text in found)
    assert any(text.startswith("planted/report/tables/r1-rendered-plaza.csv") for text in found)
