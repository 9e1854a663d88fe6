"""What the README shows of a run is written by a script, from the stored run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import stores
from PIL import Image

from harness.machine.generated_text import END, generated_part, replace_generated
from reports.screenshots import BEGIN, links, main, shown_run

ROOT = Path(__file__).parents[2]


def test_the_main_readme_has_the_marks_between_which_the_script_writes(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text((ROOT / "README.md").read_text("utf-8"), "utf-8")
    shown = links("reports/showcase", "ablation")
    replace_generated(readme, BEGIN, shown)
    assert generated_part(readme, BEGIN) == shown
    readme.write_text("no marks", "utf-8")
    with pytest.raises(ValueError, match="lacks the lines"):
        replace_generated(readme, BEGIN, shown)
    assert readme.read_text("utf-8") == "no marks"


def test_the_shown_output_stands_whole_above_how_to_read_it() -> None:
    page = shown_run("demo", "Method  R1\nuit     24.2\n")
    assert "```text\nMethod  R1\nuit     24.2\n```" in page
    assert re.search(r"Cannot tell.*neither a difference nor a tie", page)


@pytest.mark.service
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium: apt-get install chromium")
def test_pictures_output_and_links_come_from_the_stored_run(tmp_path: Path) -> None:
    run, out, readme = tmp_path / "run", tmp_path / "showcase", tmp_path / "README.md"
    stores.write(run, stores.Truth(r1={"uit": 60.0, "baseline": 45.0}, people=30, seeds=2))
    stores.add_pictures(run, "rendered-plaza", caption="A woman in a red coat.")
    from reports import build

    build([run])
    readme.write_text(f"{BEGIN}\n{END}\n")
    main([str(run), "--out", str(out), "--readme", str(readme)])
    for name in ("first-screen", "retrieval"):
        assert Image.open(out / f"{name}.webp").width == 960
    assert "baseline" in (out / "run.md").read_text("utf-8")
    named = re.findall(r"\]\(([^)]+)\)", readme.read_text() + (out / "run.md").read_text("utf-8"))
    assert all((tmp_path / link).exists() or (out / link).exists() for link in named)
