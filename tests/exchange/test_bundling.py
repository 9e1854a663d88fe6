"""A bundle is evidence that a stranger checks without torch; whatever was changed in it is named."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import stores
import without_torch
import yaml
from typer.testing import CliRunner, Result

from harness.cli.verbs import app
from harness.exchange import archives
from harness.exchange.archives import MANIFEST, BundleError, unpack, write_archive

CLAIM = {"id": "better", "better": "uit", "than": "weak", "dataset": "rendered-plaza"}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundled") / "planted"
    stores.write(folder, stores.Truth(r1={"uit": 60, "weak": 45, "same": 60}, people=60))
    (folder / "claims.yaml").write_text(yaml.safe_dump({"margin": 1.0, "claims": [CLAIM]}))
    (folder / "plugins").mkdir()
    trap = folder.parent / "trap"
    (folder / "plugins" / "mine.py").write_text(f"open({str(trap)!r}, 'w').close()\n")
    return folder


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    done = invoke("bundle", run)
    assert done.exit_code == 0, done.output
    return run.with_name("planted.zip")


def contents(bundle: Path) -> dict[str, bytes]:
    """Every file of a bundle, those that are stored under another name too."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(bundle, Path(folder))
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if name != MANIFEST}


def changed(bundle: Path, folder: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """The bundle with one file changed by a careful forger, who renews the manifest as well."""
    files = contents(bundle)
    before = files[name]
    files[name] = change(before)
    assert files[name] != before
    write_archive(folder / "forged.zip", files)
    return folder / "forged.zip"


def test_it_is_small_and_is_verified_and_shown_without_torch(bundle: Path, run: Path) -> None:
    assert bundle.stat().st_size < 10 * 2**20
    done = without_torch.run("verify", bundle, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(done.stdout).values()
    assert (found["verdict"], found["cells"], found["claims"]) == ("reproduced", 9, 1)
    assert found["verdicts"] == 2 * 2 * 2
    shown = without_torch.run("report", bundle)
    assert shown.returncode == 0, shown.stderr
    page = bundle.with_name("planted-bundle") / "planted" / "report.html"
    ours = (run / "verdicts.csv").read_text()
    assert page.is_file()
    assert page.with_name("verdicts.csv").read_text() == ours
    assert not (run.parent / "trap").exists()


def test_the_same_run_makes_the_same_evidence_again(bundle: Path, run: Path, tmp_path: Path) -> None:
    assert invoke("bundle", run, "--out", tmp_path / "again.zip").exit_code == 0
    first, second = contents(bundle), contents(tmp_path / "again.zip")
    dated = {"planted/report.html", "ro-crate-metadata.json", "README.md"}
    assert {name for name in first if first[name] != second.get(name)} <= dated


def one_digit(column: str) -> Callable[[bytes], bytes]:
    def change(table: bytes) -> bytes:
        rows = list(csv.reader(io.StringIO(table.decode())))
        place = rows[0].index(column)
        digits = rows[1][place]
        rows[1][place] = digits[:-1] + str((int(digits[-1]) + 5) % 10)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue().encode()

    return change


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("planted/verdicts.csv", "low", r"planted/verdicts.csv: line 2: low is \S+, the records give"),
        ("planted/results.csv", "mAP", r"planted/results.csv: line 2 is not what the store holds"),
    ],
)
def test_one_changed_digit_of_a_table_is_named(
    bundle: Path, tmp_path: Path, name: str, column: str, said: str
) -> None:
    done = invoke("verify", changed(bundle, tmp_path, name, one_digit(column)))
    assert done.exit_code == 4, done.output
    assert re.search(said, done.stdout), done.stdout
    assert "reproduced" not in done.stdout


def test_one_changed_record_is_named(bundle: Path, tmp_path: Path) -> None:
    name = next(name for name in contents(bundle) if name.endswith(".val.t2i.parquet"))

    def change(content: bytes) -> bytes:
        frame = pd.read_parquet(io.BytesIO(content))
        frame.loc[frame.index[0], "ap"] += 0.001
        file = io.BytesIO()
        frame.to_parquet(file, index=False)
        return file.getvalue()

    done = invoke("verify", changed(bundle, tmp_path, name, change))
    assert done.exit_code == 4, done.output
    assert f"{name.partition('/')[2].partition('/records')[0]}: " in done.stdout
    assert "mAP is stored as" in done.stdout


def test_a_file_that_is_not_as_it_was_bundled_is_named(bundle: Path, tmp_path: Path) -> None:
    files = contents(bundle)
    with zipfile.ZipFile(bundle) as archive:
        manifest = archive.read(MANIFEST)
    files["planted/study.yaml"] += b"# a line more\n"
    with zipfile.ZipFile(tmp_path / "edited.zip", "w") as archive:
        for name, value in {**files, MANIFEST: manifest}.items():
            archive.writestr(name, value)
    done = invoke("verify", tmp_path / "edited.zip")
    assert done.exit_code == 4, done.output
    assert "planted/study.yaml is not as it was bundled" in done.stdout


@pytest.mark.parametrize("verb", ["verify", "report"])
@pytest.mark.parametrize("damage", ["byte", "cut", "text"])
def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path, verb: str, damage: str) -> None:
    whole = bytearray(bundle.read_bytes())
    if damage == "byte":
        whole[len(whole) // 2] ^= 1
    content = {"byte": bytes(whole), "cut": bytes(whole[: len(whole) // 2]), "text": b"no archive"}[damage]
    (tmp_path / "damaged.zip").write_bytes(content)
    done = invoke(verb, tmp_path / "damaged.zip")
    assert done.exit_code == 2, done.output
    assert "damaged" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "damaged.zip"]


@pytest.mark.parametrize("name", ["../out.txt", "{folder}/out.txt", "planted/../../out.txt", "C:\\out.txt"])
def test_an_archive_that_leaves_its_folder_is_refused_whole(bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "below").mkdir()
    forged = tmp_path / "below" / "forged.zip"
    write_archive(forged, {**contents(bundle), name.format(folder=tmp_path): b"out"})
    for verb in ("verify", "report"):
        done = invoke(verb, forged)
        assert done.exit_code == 2, done.output
        assert "leaves the folder" in done.stderr
    assert {path.name for path in tmp_path.rglob("*")} == {"below", "forged.zip"}
    assert not (tmp_path / "out.txt").exists()


def repeating(folder: Path, elsewhere: str = "run/b.parquet") -> Path:
    """An archive with two equal tables of records and two equal texts."""
    path = folder / "twice.zip"
    write_archive(
        path, {"run/a.parquet": b"same", elsewhere: b"same", "run/c.md": b"same", "run/d.md": b"same"}
    )
    return path


def test_records_with_equal_bytes_are_stored_once_and_restored(tmp_path: Path) -> None:
    path = repeating(tmp_path)
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == [MANIFEST, "run/a.parquet", "run/c.md", "run/d.md"]
    assert unpack(path, tmp_path / "out") == []
    assert (tmp_path / "out" / "run" / "b.parquet").read_bytes() == b"same"


def test_a_manifest_that_restores_a_file_outside_the_folder_is_refused(tmp_path: Path) -> None:
    path = repeating(tmp_path, "../z.parquet")
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files.setdefault("run/a.parquet", files.pop("../z.parquet", b"same"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(BundleError, match="leaves the folder"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "z.parquet").exists()
    assert not (tmp_path / "out").exists()


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        entry = zipfile.ZipInfo("run/study.yaml")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    done = invoke("verify", tmp_path / "link.zip")
    assert done.exit_code == 2, done.output
    assert "is a link" in done.stderr


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    done = invoke("verify", tmp_path / "other.zip")
    assert done.exit_code == 2, done.output
    assert "no bundle: it has no manifest.json" in done.stderr


def test_an_unfinished_run_has_no_evidence(tmp_path: Path) -> None:
    stores.write(tmp_path / "none", stores.Truth(r1={"uit": 60}), unstarted=frozenset({"uit"}))
    done = invoke("bundle", tmp_path / "none")
    assert done.exit_code == 2, done.output
    assert "no finished cell" in done.stderr
    assert not (tmp_path / "none.zip").exists()


def test_checklists_answer_with_a_link_to_a_file_or_not_known(bundle: Path) -> None:
    files = contents(bundle)
    for name, least in (("neurips-checklist.md", 16), ("reforms.md", 30)):
        rows = [line for line in files[name].decode().splitlines() if re.match(r"\| \d", line)]
        assert len(rows) >= least
        for row in rows:
            links = re.findall(r"\]\(<([^>]+)>\)", row)
            assert all(link in files for link in links)
            assert bool(links) != ("| not known |" in row), row


def test_the_crate_describes_every_file(bundle: Path, tmp_path: Path) -> None:
    graph = json.loads(contents(bundle)["ro-crate-metadata.json"])["@graph"]
    described = {entity["@id"] for entity in graph if entity["@type"] == "File"}
    with zipfile.ZipFile(bundle) as archive:
        assert described == {*archive.namelist()} - {"ro-crate-metadata.json", MANIFEST}
    rocrate = pytest.importorskip("rocrate.rocrate", reason="pip install rocrate")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path)
    crate = rocrate.ROCrate(tmp_path)
    assert {entity.id for entity in crate.data_entities} >= described
    assert crate.name == "Evidence of planted"


def test_files_that_are_stored_once_and_named_often_count_as_often_as_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a small archive could fill the disk of whoever verifies it."""
    content = b"x" * 1000
    digest = hashlib.sha256(content).hexdigest()
    names = [f"run/records/{number}.parquet" for number in range(20)]
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        archive.writestr(names[0], content)
        archive.writestr(MANIFEST, json.dumps(dict.fromkeys(names, digest)))
    assert unpack(tmp_path / "small.zip", tmp_path / "all") == []
    assert sorted(path.name for path in (tmp_path / "all/run/records").iterdir()) == sorted(
        Path(name).name for name in names
    )
    monkeypatch.setattr(archives, "MOST_BYTES", 15_000)
    with pytest.raises(BundleError, match="unpacked it would be"):
        unpack(tmp_path / "small.zip", tmp_path / "none")
    assert not (tmp_path / "none").exists()
