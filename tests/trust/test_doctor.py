"""`doctor` says what is missing and what to do about it, and whether there is room for a study."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories import write_cuhk
from study_files import write_study
from typer.testing import CliRunner

import methods
from harness.cli.verbs import app
from harness.data import rendered
from harness.launch import disk
from harness.machine.errors import DataError
from harness.store.runs import RunStore
from harness.study.study import load_study
from harness.trust import doctor, evidence
from harness.trust.doctor import Diagnosis, diagnose, healthy, study_disk

EMBEDDED = doctor._embedded


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of its own, no network, and no unpacking of the embedded datasets, which others test."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    monkeypatch.setattr(doctor, "_embedded", lambda name: Diagnosis(f"dataset {name}", "ok", "embedded"))


def found(name: str, *arguments: Any) -> Diagnosis:
    (finding,) = [finding for finding in diagnose(*arguments) if finding.name == name]
    return finding


def test_a_package_that_is_damaged_is_reinstalled_and_a_cache_without_room_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "file"))
    assert "point HARNESS_CACHE elsewhere" in EMBEDDED("rendered-plaza").remedy

    def damaged(name: str) -> Path:
        raise DataError(["/home/HARNESS_CACHE/manifest.json: damaged"])

    monkeypatch.setattr(rendered, "unpack", damaged)
    assert EMBEDDED("rendered-plaza").remedy == "reinstall it"


def test_a_cache_folder_that_may_not_be_made_is_named_itself_and_asks_for_no_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **given: object) -> None:
        raise PermissionError(13, "Permission denied", str(given.get("dir")))

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "away/cache"))
    monkeypatch.setattr("tempfile.TemporaryFile", forbidden)
    (finding, _) = doctor._folders(tmp_path)
    wanted = tmp_path / "away/cache"
    assert finding.detail == f"{wanted} cannot be made: {tmp_path} cannot be written: Permission denied"
    monkeypatch.setattr(Path, "mkdir", forbidden)
    remedy = EMBEDDED("rendered-plaza").remedy
    assert remedy == "point HARNESS_CACHE elsewhere, at a folder you may write to"


def test_every_finding_that_is_not_ok_comes_with_its_remedy(tmp_path: Path) -> None:
    findings = diagnose(tmp_path)
    assert {finding.verdict for finding in findings} <= {"ok", "note", "fail"}
    assert [finding.name for finding in findings if finding.verdict != "ok" and not finding.remedy] == []


def test_builds_of_torch_and_torchvision_that_do_not_match_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def broken(name: str, *rest: Any) -> Any:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", broken)
    finding = found("torch and torchvision")
    assert finding.verdict == "fail"
    assert "do not match" in finding.detail
    assert "pip install" in finding.remedy


def test_a_check_that_breaks_is_a_finding_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise OSError("no such thing")
        yield

    monkeypatch.setattr(doctor, "_extras", broken)
    findings = diagnose()
    assert not healthy(findings)
    assert any("no such thing" in finding.detail for finding in findings)
    assert any(finding.name == "part-of-speech tagger" for finding in findings)


def test_a_benchmark_that_is_there_loads_and_one_that_is_not_says_how_to_get_it(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    assert found("dataset cuhk-pedes", tmp_path).detail == "loadable, not the published counts"
    missing = found("dataset rstpreid", tmp_path)
    assert missing.verdict == "note"
    assert "RSTPReid" in missing.detail + missing.remedy


def test_a_study_s_need_of_disk_is_counted_by_hand(tmp_path: Path) -> None:
    write_cuhk(tmp_path)
    path = write_study(tmp_path, methods=["clip-zero-shot"], datasets=["cuhk-pedes"], seeds=2)
    cache, runs = study_disk(load_study(path), tmp_path)
    assert cache == 24 * 3 * 96 * 32
    from methods.clip import load_backbone

    weights = sum(p.numel() for p in load_backbone("tiny", "none", (96, 32), seed=0).parameters())
    # Of 12 captions and 6 images there are records of three selections; then the page of the run.
    records = 3 * (disk.QUERY * (12 + 6) + 2 * disk.RECORD_FILE)
    assert runs == 2 * (4 * weights + records) + disk.PAGE
    changes = {"methods": ["baseline"], "datasets": ["cuhk-pedes"], "seeds": 2}
    everything = ["val", "last", "test", "checkpoint"]
    trained = write_study(tmp_path, **changes, keep=everything)
    weights += 6 * (96 + 1)  # six people to tell apart
    assert study_disk(load_study(trained), tmp_path) == (
        cache,
        4 * (2 * 6 + 4) * weights + 2 * records + disk.PAGE,
    )
    # By default two models stay, and one cell after the other needs nine copies more while it trains.
    assert study_disk(load_study(write_study(tmp_path, **changes)), tmp_path) == (
        cache,
        4 * (2 + 9) * weights + 2 * records + disk.PAGE,
    )


def test_a_disk_too_small_for_a_study_fails_with_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cuhk(tmp_path)
    path = write_study(tmp_path, datasets=["cuhk-pedes"])
    monkeypatch.setattr(doctor, "study_disk", lambda *_: (10**9, 10**18))
    finding = found("disk for runs of small", tmp_path, tmp_path / "runs", path)
    assert finding.verdict == "fail"
    assert str(tmp_path) in finding.remedy


def test_the_verb_prints_json_and_exits_1_where_the_demo_cannot_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "DEMO_DISK", 0.0)
    for refusal, code in (("", 0), ("no room", 1)):
        monkeypatch.setattr(doctor, "why_not_writable", lambda folder, refusal=refusal: refusal)
        monkeypatch.setattr(doctor, "_devices", lambda: iter([Diagnosis("cpu", "ok", "cores of a test")]))
        done = CliRunner().invoke(app, ["doctor", "--json"])
        assert done.exit_code == code
        assert json.loads(done.stdout)["healthy"] is (code == 0)
    assert "the demo cannot run here" in CliRunner().invoke(app, ["doctor"]).stdout


def test_the_json_has_what_a_maintainer_needs_of_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "geheim")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    (tmp_path / "in").mkdir()
    cell = load_study(write_study(tmp_path / "in")).cells()[0]
    run = RunStore(tmp_path / "runs" / "small").open(cell, cell.parts("data", {"train": "code"}), host="here")
    (tmp_path / "runs" / "small" / "study.yaml").write_text("name: small\n")
    (run.directory / "error.txt").write_text("Traceback\n  postgresql://me:geheim@host/db\nValueError: lost")
    run.fail("error", "ValueError: lost")
    done = CliRunner().invoke(app, ["doctor", "--json", "--out", str(tmp_path / "runs")])
    collected = json.loads(done.stdout)
    (failed,) = collected["failed_cells"]
    assert (failed["reason"], failed["detail"]) == ("error", "ValueError: lost")
    assert failed["traceback"].endswith("ValueError: lost")
    assert failed["settings"]["precision"] == "fp32"
    assert failed["recorded"] == {"host": "here"}
    assert failed["cell"] == str(run.directory)
    assert collected["imported_from"]["methods"] == str(Path(methods.__file__).parent)
    assert collected["environment"]["packages"]["torch"]
    assert collected["variables"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert {"limits", "plugins", "command", "working_folder"} <= collected.keys()
    assert "geheim" not in done.stdout
    assert any(each["name"] == "failed cells" for each in collected["findings"])


def test_a_package_that_shadows_one_of_ours_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("imported code").verdict == "ok"
    folders = {"harness": "/here/harness", "methods": "/elsewhere/methods", "reports": "/here/reports"}
    monkeypatch.setattr(evidence, "imported_from", lambda: folders)
    finding = found("imported code")
    assert finding.verdict == "fail"
    assert "methods from /elsewhere/methods" in finding.detail


def test_a_study_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: 3\n")
    assert CliRunner().invoke(app, ["doctor", str(tmp_path / "bad.yaml")]).exit_code == 2


def test_each_line_is_printed_before_the_next_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def looked() -> Iterator[Diagnosis]:
        assert seen[:3] == ["python", "imported code", "packages"]
        yield Diagnosis("gpu", "ok", "")

    monkeypatch.setattr(doctor, "_devices", looked)
    findings = diagnose(on_finding=lambda finding: seen.append(finding.name))
    assert seen == [finding.name for finding in findings]
    assert "gpu" in seen
