"""What is refused before anything starts: options given twice, unread sentences, foreign packages."""

from __future__ import annotations

import codecs
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from study_files import write_study
from typer.testing import CliRunner, Result

from harness.cli.gallery import query_pixels
from harness.cli.query import Question, check_sheet
from harness.cli.verbs import app
from harness.machine import paths
from harness.machine.errors import StudyError

ROOT = Path(__file__).parents[2]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("option", ["--device", "--out", "--subset", "--launcher", "--workers"])
def test_a_second_value_for_an_option_that_takes_one_is_refused(tmp_path: Path, option: str) -> None:
    done = invoke("check", write_study(tmp_path), option, "2", option, "3")
    assert done.exit_code == 2
    assert f"'{option}': given more than once" in done.stderr


@pytest.mark.parametrize("verb", ["run", "check"])
def test_run_and_check_take_the_same_options(verb: str) -> None:
    shown = invoke(verb, "--help").stdout
    for option in ("--methods", "--subset", "--set", "--deterministic", "--gpus-per-cell", "--skip-broken"):
        assert option in shown


# -- questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_sentences_are_read_in_the_encoding_their_file_says(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "sentences.txt"
    file.write_bytes("穿红衣的女人\na man\n\n".encode(encoding))
    assert Question.of((), file, ()).sentences == ("穿红衣的女人", "a man")


@pytest.mark.parametrize("content", ["穿红衣的女人".encode("gbk"), "a man".encode("utf-16-le"), b"\xe9t\xe9"])
def test_sentences_in_an_encoding_nobody_knows_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "sentences.txt"
    file.write_bytes(content)
    assert not content.startswith(codecs.BOM_UTF16)
    with pytest.raises(StudyError, match="not UTF-8 text"):
        Question.of((), file, ())


def test_all_sentences_of_a_file_are_answered_or_it_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sentences.txt"
    file.write_text("a man\n" * 1000)
    assert len(Question.of((), file, ()).sentences) == 1000
    file.write_text("a man\n" * 1001)
    with pytest.raises(StudyError, match="1,001 sentences; at most 1,000"):
        Question.of((), file, ())


def test_a_sheet_that_is_neither_page_nor_picture_is_refused_before_anything_is_searched() -> None:
    with pytest.raises(StudyError, match=r"q\.jpg: the sheet is a page"):
        check_sheet(Path("q.jpg"))
    done = invoke("query", "tiny:rendered", "a man", "--dataset", "rendered-plaza", "--out", "q.jpg")
    assert done.exit_code == 2


# -- the machine ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["methods", "reports"])
def test_a_foreign_package_called_like_ours_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "harness", "list", "methods"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,  # type: ignore[arg-type]
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"{name}: Python imports {tmp_path / name}")
    assert len(done.stderr.splitlines()) == 1


def test_a_user_without_entry_and_home_folder_gets_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pwd

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    assert "no home folder" in paths.ensure_home()
    assert Path(os.environ["HOME"]).parent == tmp_path
    assert os.environ["USER"] == f"uid{os.getuid()}"


@pytest.mark.parametrize("home", ["missing", "read-only", "cache of one's own"])
def test_a_home_that_is_missing_or_read_only_is_replaced_by_a_private_folder_and_matplotlib_says_nothing(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home"
    if home != "missing":
        folder.mkdir()
    forbidden = tmp_path if home == "missing" else folder
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != forbidden and access(path, mode))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    for name in ("HARNESS_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    if home == "cache of one's own":
        monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "mine"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    private = tmp_path / f"tipr-harness-{os.getuid()}"
    said = paths.ensure_home()
    assert (
        said
        == {
            "missing": f"no home folder: caches lie in {private}; set HOME or HARNESS_CACHE to choose",
            "read-only": f"{folder}/.cache/tipr-harness cannot be written: caches lie in {private}; "
            "set HOME or HARNESS_CACHE to choose",
            "cache of one's own": "",
        }[home]
    )
    assert private.stat().st_mode & 0o777 == 0o700
    assert paths.cache_dir().is_relative_to(tmp_path / "mine" if home == "cache of one's own" else private)
    assert os.environ["MPLCONFIGDIR"] == str(private / "matplotlib")
    assert paths.ensure_home() == ""  # and workers, which inherit the environment, say it no more


def test_a_photograph_that_lies_on_its_side_is_turned_upright(tmp_path: Path) -> None:
    upright = Image.new("RGB", (30, 60), "blue")
    upright.paste("red", (0, 0, 30, 20))
    upright.save(tmp_path / "upright.png")
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    note = Image.Exif()
    note[274] = 6  # to be shown turned by 90 degrees clockwise
    lying.save(tmp_path / "lying.png", exif=note)
    expected = query_pixels(tmp_path / "upright.png", (60, 30))
    assert torch.equal(query_pixels(tmp_path / "lying.png", (60, 30)), expected)


def test_a_plugin_s_exception_is_a_line_with_its_file_and_line(tmp_path: Path) -> None:
    plugin = tmp_path / "my_data.py"
    plugin.write_text(
        "from harness.registry import register_dataset\n"
        "@register_dataset('mine', summary='fails')\n"
        "def load(root):\n"
        "    raise ValueError('no images today')\n"
    )
    done = invoke("data", "check", "mine", "--plugin", plugin)
    assert done.exit_code == 2  # as of a plugin that cannot be imported
    assert done.stderr.splitlines() == ["my_data.py:4: ValueError: no images today"]


@pytest.mark.parametrize("name", ["a" * 240, "é" * 120])
def test_a_method_name_that_no_folder_can_have_is_refused(tmp_path: Path, name: str) -> None:
    path = write_study(
        tmp_path, methods=[{"name": name, "base": "baseline"}], datasets=["rendered-plaza"], subset=4
    )
    done = invoke("check", path, "--device", "cpu", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "choose a shorter name" in done.stderr
    assert "Traceback" not in done.stderr
