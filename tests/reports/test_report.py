"""The report as a whole: what is written, what it says of gaps, and that foreign text stays text."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import stores
import yaml
from stores import Truth

import reports
from reports import tables
from reports.comparison import ComparisonOptions
from reports.document import Column, Table, TableCell

QUICK = ComparisonOptions(resamples=300)
NOON = datetime(2026, 1, 2, 12, 0)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unfinished study: one failed run, one method that never started, an untrained one, two seeds."""
    folder = tmp_path_factory.mktemp("report") / "run"
    truth = Truth(
        r1={"uit": 60.0, "uit-no-tir": 55.0, "baseline": 50.0, "irra": 50.0, "clip-zero-shot": 12.0},
        seeds=2,
        people=60,
        failed={("baseline", 1): "oom"},
        untrained=frozenset({"clip-zero-shot"}),
        name="ablation",
    )
    stores.write(folder, truth, unstarted=frozenset({"irra"}))
    return folder


@pytest.fixture(scope="module")
def made(study: Path) -> reports.ReportResult:
    return reports.build([study], options=QUICK, now=NOON)


@pytest.fixture(scope="module")
def page(made: reports.ReportResult) -> str:
    return made.path.read_text()


class Links(HTMLParser):
    """Anchors, links and anything that could load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.hrefs: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        self.ids += [values["id"] or ""] if "id" in values else []
        self.hrefs += [values["href"] or ""] if "href" in values else []
        self.sources += [values[name] or "" for name in ("src", "srcset", "data", "action") if name in values]


def test_every_link_leads_to_a_place_on_the_page_or_a_file_beside_it_and_nothing_leads_away(
    page: str, made: reports.ReportResult
) -> None:
    links = Links(page)
    assert len(links.ids) == len(set(links.ids))
    for href in links.hrefs:
        beside = not href.startswith("#") and (made.path.parent / href).exists()
        assert href == "data:," or beside or (href.startswith("#") and href[1:] in links.ids), href
    assert all(source.startswith("data:") for source in links.sources)
    assert not re.search(r"url\((?!#)|@import|https?://", page.split("</head>")[0])
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in page


def test_every_number_of_the_result_table_leads_to_its_runs(page: str) -> None:
    table = page[page.index('id="table-r1-rendered-plaza"') :].split("</figure>")[0]
    assert re.search(r'<a href="#runs-clean-rendered-plaza-uit-no-tir">[\d.]+\s±\s[\d.]+</a>', table)
    runs = page[page.index('id="runs-clean-rendered-plaza-uit-no-tir"') :].split("</section>")[0]
    for needed in ("0123abc", "python -m harness run", "--methods uit-no-tir", "seeds=[1]", "Identity"):
        assert needed in runs


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> reports.ReportResult:
    """A study with everything: the grid, transfer, claims, overhead, pictures, published numbers."""
    folder = tmp_path_factory.mktemp("full") / "run"
    grid = {
        "uit": (1, 1, 1),
        "uit-no-tir": (0, 1, 1),
        "uit-no-cmt": (1, 0, 1),
        "uit-no-aug": (1, 1, 0),
        "only-tir": (1, 0, 0),
        "only-cmt": (0, 1, 0),
        "only-aug": (0, 0, 1),
        "baseline": (0, 0, 0),
    }
    factors = ("tir", "cmt", "text_pruning")
    switches = {name: dict(zip(factors, map(bool, levels), strict=True)) for name, levels in grid.items()}
    truth = Truth(
        r1={name: 50.0 + 2 * sum(levels) for name, levels in grid.items()},
        people=30,
        seeds=2,
        datasets=("cuhk-pedes", "rstpreid"),
        transfer=True,
        switches=switches,
        train={"backbone": "ViT-B-16-quickgelu", "image_size": (384, 128), "pretrained": "openai"},
        epochs=2,
    )
    stores.write(folder, truth)
    stores.add_pictures(folder, "cuhk-pedes", caption="A woman in a red coat & 50 % wool_blend.")
    entry = {"source": "cuhk-pedes", "target": "rstpreid", "right_images": 1000, "near": 3, "shared": 3}
    (folder / "leakage.json").write_text(json.dumps([entry]))
    cost = {"method": "uit", "against": "baseline", "quantity": "step", "value": 9.0, "unit": "ms"}
    (folder / "overhead.json").write_text(json.dumps([{**cost, "ratio": 1.4, "low": 1.3, "high": 1.5}]))
    shutil.copy(
        Path(__file__).resolve().parents[2] / "studies" / "claims" / "uit.yaml", folder / "claims.yaml"
    )
    return reports.build([folder], options=QUICK, now=NOON)


def test_every_number_in_every_table_leads_somewhere_on_the_page(full: reports.ReportResult) -> None:
    """Quoted numbers lead to their sources, all others to the runs or the table they were computed from."""
    text = full.path.read_text()
    links = Links(text)
    assert all(href[1:] in links.ids for href in links.hrefs if href.startswith("#"))
    # What others claimed or published, how images were compared, and a seed are no results of a run.
    quoted = {"R1", "R5", "R10", "mAP", "mINP"}
    given = {"claims": {"Claimed"}, "published": quoted, "replications": quoted, "leakage": None}
    found = re.findall(r'<figure class="table" id="table-([^"]+)">(.*?)</figure>', text, re.DOTALL)
    assert {"power", "claims", "effects-r1-cuhk-pedes", "overhead-baseline", "published"} <= {
        name for name, _ in found
    }
    for name, table in found:
        columns = re.findall(r"<button[^>]*>(.*?)</button>", table)
        for row in re.findall(r"<tr.*?</tr>", table.split("<tbody>")[1], re.DOTALL):
            for column, cell in zip(columns, re.findall(r"<td.*?</td>", row, re.DOTALL), strict=True):
                shown = re.sub(r"<[^>]+>", "", cell)
                exempt = name in given and (given[name] is None or column in given[name])
                if 'class="right' in cell and re.search(r"\d", shown) and not exempt:
                    assert "<a href" in cell, (name, column, shown)


def test_every_chapter_and_picture_of_a_full_study_is_on_the_page(full: reports.ReportResult) -> None:
    text = full.path.read_text()
    for chapter in (
        "Results on cuhk-pedes",
        "Claims",
        "What each component adds",
        "Transfer",
        "What it costs",
        "What this study could see",
        "Learning curves",
        "Pictures",
        "Published numbers",
        "Every run",
        "Settings and environment",
    ):
        assert f">{chapter}</h2>" in text, chapter
    figures = {path.stem for path in (full.path.parent / "report" / "figures").glob("*.pdf")}
    assert {
        "forest-cuhk-pedes",
        "forest-rstpreid",
        "effects-rstpreid",
        "transfer-r1",
        "transfer-map",
        "curves-cuhk-pedes",
    } <= figures
    assert {path.stem for path in (full.path.parent / "report" / "figures").glob("*.png")} == figures
    assert 'loading="lazy"' not in text  # a printer would not wait for it


@pytest.mark.service
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex: apt-get install texlive-latex-base")
def test_every_latex_table_compiles_and_none_is_wider_than_the_page(
    full: reports.ReportResult, tmp_path: Path
) -> None:
    folder = full.path.parent / "report" / "tables"
    hostile = Table(
        "odd", "Odd", (Column("[a]", "text"), Column("*")), ((TableCell("[b] 人"), TableCell(HOSTILE)),)
    )
    (tmp_path / "odd.tex").write_text(tables.latex(hostile))
    sources = [*sorted(folder.glob("*.tex")), tmp_path / "odd.tex"]
    inputs = "".join(rf"\input{{{path}}}\clearpage" for path in sources)
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "all.tex").write_text(head + inputs + r"\end{document}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull \\hbox" not in done.stdout


def test_the_first_screen_says_what_was_compared_on_what_who_won_and_how_sure(page: str) -> None:
    first = page[page.index("<header>") : page.index('id="results-rendered-plaza"')]
    for words in (
        "5 methods: uit, uit-no-tir, baseline, irra and clip-zero-shot",
        "7 of 10 training runs finished",
        "240 captions of 60 people against 120 images",
        "rendered-plaza: uit beats some methods, and none is shown to beat it, for new people as on this "
        "benchmark. uit finds the right person first (R1) for",
        "Primary: 3 comparisons of R1 with the reference",
        "Everything else is exploratory: 15 comparisons in 5 families",
        "four times out of five",
        "fewer than 3 seeds, as few as 1",
    ):
        assert words in first


def test_a_missing_number_says_why(page: str) -> None:
    assert "2 runs not started" in page
    assert "1 failed, ran out of memory" in page
    assert "simulated failure &lt;b&gt;not bold&lt;/b&gt;" in page
    assert "<b>not bold" not in page


def test_fewer_than_three_seeds_are_said_below_the_table_and_beside_a_method_that_has_fewer(
    page: str,
) -> None:
    table = page[page.index('id="table-r1-rendered-plaza"') :].split("</figure>")[0]
    note = (
        "Numbers of trained methods come from 2 seeds, where not marked otherwise: their spread is a guess."
    )
    assert note in table
    rows = {
        name: row for row in table.split("<tr") for name in ("uit-no-tir", "baseline") if f">{name}<" in row
    }
    assert '<span class="flag">1 seed</span>' in rows["baseline"]
    assert 'class="flag"' not in rows["uit-no-tir"]


def test_the_first_screen_has_date_machine_commit_plot_with_verdicts_and_what_would_decide(page: str) -> None:
    first = page[page.index("<header>") : page.index('<dl class="answers">')]
    for words in ("2026-01-02 12:00", "simulated", "commit 0123abc", 'id="figure-forest-rendered-plaza"'):
        assert words in first
    plot = first[first.index("<svg") : first.index("</svg>")]
    assert re.search(r">(worse|cannot tell|tied|better)<", plot)
    assert "clip-zero-shot" in plot  # every method, also one that lies outside


def test_embedded_data_says_that_nobody_published_on_it(page: str) -> None:
    assert "embedded data: nobody has published numbers on it" in page


def test_a_report_made_again_has_the_same_bytes_apart_from_its_date(
    study: Path, made: reports.ReportResult
) -> None:
    files = {
        path: path.read_bytes()
        for path in sorted(study.rglob("report*")) + sorted((study / "report").rglob("*"))
        if path.is_file()
    }
    assert len(files) > 10
    for path in files:
        path.unlink()
    reports.build([study], options=QUICK, now=NOON)
    assert {path: path.read_bytes() for path in files} == files
    later = reports.build([study], options=QUICK, now=datetime(2027, 1, 1)).path.read_text()
    assert later.replace("2027-01-01 00:00", "2026-01-02 12:00") == files[study / "report.html"].decode()


def test_tables_come_as_csv_markdown_and_latex_and_figures_as_png_and_pdf(
    study: Path, made: reports.ReportResult
) -> None:
    folder = study / "report"
    rows = list(csv.reader((folder / "tables" / "r1-rendered-plaza.csv").open()))
    assert rows[0][0] == "Method"
    assert [row[0] for row in rows[1:]] == ["uit", "uit-no-tir", "baseline", "irra", "clip-zero-shot"]
    latex = (folder / "tables" / "r1-rendered-plaza.tex").read_text()
    assert r"\toprule" in latex
    assert r"\bottomrule" in latex
    assert r"$\pm$" in latex
    assert "| uit-no-tir |" in (folder / "report.md").read_text().replace("\\", "")
    for kind, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert (folder / "figures" / f"forest-rendered-plaza.{kind}").read_bytes().startswith(magic)


def test_results_csv_has_a_row_for_every_evaluation_and_every_failure(
    study: Path, made: reports.ReportResult
) -> None:
    rows = list(csv.DictReader((study / "results.csv").open()))
    assert {row["status"] for row in rows} == {"done", "failed"}
    failed = [row for row in rows if row["status"] == "failed"]
    assert [(row["method"], row["reason"], row["R1"]) for row in failed] == [("baseline", "oom", "")]


def test_the_terminal_shows_the_whole_table(made: reports.ReportResult) -> None:
    assert "Difference to uit" in made.table_text
    assert "clip-zero-shot" in made.table_text
    assert "…" not in made.table_text


HOSTILE = "<script>alert(1)</script> \u202egnp.exe\x1b[31m <img src=x onerror=alert(2)> {{ 7*7 }} $x_1$ |a|"


def test_foreign_text_is_inert_everywhere(tmp_path: Path) -> None:
    store = stores.write(
        tmp_path, Truth(r1={"uit": 60.0, "baseline": 50.0}, seeds=2, people=20, name="hostile")
    )
    study = (
        (tmp_path / "study.yaml")
        .read_text()
        .replace("Simulated scores with planted differences; nothing was trained.", "REPLACED")
    )
    (tmp_path / "study.yaml").write_text(study.replace("REPLACED", json.dumps(HOSTILE)))
    store.cells()[0].fail("error", HOSTILE)
    store.cells()[1].note(HOSTILE)
    stores.add_pictures(tmp_path, "rendered-plaza", caption=HOSTILE)
    made = reports.build([tmp_path], options=QUICK)
    text = made.path.read_text()
    links = Links(text)
    assert links.tags.count("script") == 1
    assert "onerror=alert(2)&gt;" in text
    assert "49" not in re.findall(r"onerror=alert\(2\)&gt; (\S+)", text)
    everything = [
        made.path,
        *(path for path in (tmp_path / "report").rglob("*") if path.suffix in {".csv", ".md", ".tex"}),
    ]
    for path in everything:
        assert not {"\u202e", "\x1b"} & set(path.read_text()), path
    assert "‹U+202E›" in text
    assert "\x1b" not in made.table_text


def test_a_storage_password_is_never_shown(tmp_path: Path) -> None:
    stores.write(tmp_path, Truth(r1={"uit": 60.0}, seeds=1, people=20))
    study = tmp_path / "study.yaml"
    study.write_text(study.read_text() + "search: {storage: 'postgresql://me:hunter2@db:5432/optuna'}\n")
    (tmp_path / "environment.json").write_text(
        '{"command": "run --set search.storage=postgresql://me:hunter2@db/x"}'
    )
    made = reports.build([tmp_path], options=QUICK)
    written = [made.path, *(path for path in (tmp_path / "report").rglob("*.md"))]
    assert all("hunter2" not in path.read_text() for path in written)
    assert "postgresql://me:***@db:5432/optuna" in made.path.read_text()


def test_a_study_of_which_nothing_has_finished_still_has_a_report(tmp_path: Path) -> None:
    truth = Truth(r1={"uit": 60.0, "baseline": 50.0}, seeds=2, people=20)
    stores.write(tmp_path, truth, unstarted=frozenset({"uit", "baseline"}))
    made = reports.build([tmp_path], options=QUICK)
    assert "No run has finished yet" in made.table_text
    assert "0 of 4 training runs finished" in made.path.read_text()


def test_damaged_artefacts_cost_their_own_numbers_and_nothing_else(tmp_path: Path) -> None:
    store = stores.write(tmp_path, Truth(r1={"uit": 60.0, "baseline": 50.0}, seeds=2, people=30))
    first, second, *_ = store.cells()
    (first.directory / "cell.json").write_text("{")
    next((second.directory / "records").glob("*.val.t2i.parquet")).write_bytes(b"PAR1 no")
    (second.directory / "history.jsonl").write_text('{"epoch": 1, "val"\n')
    (tmp_path / "environment.json").write_text("[]")
    made = reports.build([tmp_path], options=QUICK)
    assert "uit" in made.table_text


def test_a_folder_without_a_run_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        reports.build([tmp_path])


def test_broken_images_that_were_left_out_are_counted_on_the_page(tmp_path: Path) -> None:
    store = stores.write(tmp_path, Truth(r1={"uit": 60.0, "baseline": 50.0}, seeds=2, people=20))
    for run in store.cells():
        run.write_results([{**row, "skipped": 3} for row in run.results])
        run.finish()
    assert "3 broken images of rendered-plaza" in reports.build([tmp_path], options=QUICK).path.read_text()


def test_pictures_are_shown_with_right_and_wrong_marked_and_small_enough(tmp_path: Path) -> None:
    stores.write(tmp_path, Truth(r1={"uit": 60.0, "baseline": 50.0}, seeds=2, people=20, directions=("t2i",)))
    stores.add_pictures(tmp_path, "rendered-plaza", caption="A woman in a red coat.")
    text = reports.build([tmp_path], options=QUICK).path.read_text()
    assert text.count("A woman in a red coat.") >= 6
    assert "right person" in text
    assert "wrong person" in text
    assert "What uit restores" in text
    assert "before and after pruning" in text
    assert len(text) < 10_000_000


def test_importing_reports_loads_neither_pandas_nor_matplotlib_nor_torch() -> None:
    code = "import sys, reports; print([m for m in ('pandas', 'matplotlib', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_the_loader_had_to_say_of_the_data_stands_beside_every_number(tmp_path: Path) -> None:
    said = ("ids restart in each split.", "the validation split was carved from train.")
    truth = Truth(
        r1={"uit": 60.0, "baseline": 50.0},
        seeds=2,
        people=20,
        datasets=("rstpreid",),
        official=False,
        data_problems=said[:1],
        data_notes=said[1:],
    )
    stores.write(tmp_path, truth)
    made = reports.build([tmp_path], options=QUICK)
    table = made.path.read_text().split('id="table-r1-rstpreid"')[1].split("</figure>")[0]
    rows = list(csv.DictReader((tmp_path / "report" / "tables" / "r1-rstpreid.csv").open()))
    terminal = " ".join(made.table_text.split())
    for text in (*said, "the counts are not the official ones."):
        assert f"rstpreid: {text}" in table
        assert f"rstpreid: {text}" in terminal
        assert all(f"rstpreid: {text}" in row["data"] for row in rows)
        assert text in (tmp_path / "report" / "tables" / "r1-rstpreid.tex").read_text()


def test_shared_settings_are_listed_once_also_when_a_method_does_not_train(study: Path, page: str) -> None:
    runs = page[page.index('id="runs"') :]
    assert runs.count("<dt>batch_size</dt>") == 1


def test_no_chapter_imports_what_launches_trains_searches_or_evaluates() -> None:
    running = tuple(f"harness.{name}" for name in ("cli", "launch", "train", "search", "evaluate", "trust"))
    for path in Path(reports.__file__).parent.rglob("*.py"):
        for line in re.findall(r"^\s*(?:from|import) (harness[\w.]*)", path.read_text(), re.MULTILINE):
            assert not line.startswith(running), (path, line)


def test_the_three_lines_of_pandas_in_the_readme_give_the_scores_of_a_run(
    study: Path, made: reports.ReportResult, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = (Path(reports.__file__).parent / "README.md").read_text()
    code = readme.split("```python\n")[1].split("```")[0]
    exec(code.replace("runs/demo/results.csv", str(study / "results.csv")), {})
    assert re.search(r"uit-no-tir +\d+\.\d+ +\d+\.\d+ +2", capsys.readouterr().out)


def test_the_readme_names_every_column_of_the_files_that_a_run_leaves(
    study: Path, made: reports.ReportResult
) -> None:
    readme = (Path(reports.__file__).parent / "README.md").read_text()
    assert (study / "results.csv").read_text().splitlines()[0] in readme


def test_the_terminal_s_tables_fit_eighty_columns_and_narrower_ones_lose_no_number(
    study: Path, tmp_path: Path
) -> None:
    made = {
        width: reports.build(
            [study], tmp_path / str(width) / "page.html", options=QUICK, width=width
        ).table_text
        for width in (80, 44)
    }
    for width, text in made.items():
        assert max(map(len, text.splitlines())) <= width
    numbers = re.findall(r"[−+]\d+\.\d", made[80].split("Verdicts are")[0])
    assert len(numbers) >= 6
    flat = " ".join(made[44].split())
    assert all(number in flat for number in numbers)
    wide = reports.build([study], tmp_path / "wide.html", options=QUICK, width=80, wide=True).table_text
    assert "Optimism" in wide
    assert "Optimism" not in made[80].split("Verdicts are")[0]


@pytest.mark.parametrize(("stated", "verdict"), [(None, "cannot tell"), (1.0, "cannot tell"), (8.0, "tied")])
def test_methods_are_tied_within_what_the_study_states(
    tmp_path: Path, stated: float | None, verdict: str
) -> None:
    stores.write(tmp_path / "run", stores.Truth(r1={"uit": 60, "near": 59.5}, seeds=3, people=80))
    file = tmp_path / "run" / "study.yaml"
    study = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(study if stated is None else {**study, "tied_within": stated}))
    reports.build([tmp_path / "run"])
    rows = pd.read_csv(tmp_path / "run" / "verdicts.csv").query("metric == 'R1' and scope == 'people'")
    assert rows["verdict"].tolist() == [verdict]
    said = f"Band: ±{stated or 1.0:g} points, within which methods count as tied"
    assert said in (tmp_path / "run" / "report.html").read_text("utf-8")
