"""The layout: imports go downwards, one name means one thing, files and functions stay short."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("harness", "methods", "reports")
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 45
MOST_PACKAGES = 16
MOST_LAYERS = 9
ARRAYS = re.compile(
    r"\b(Tensor|ndarray|NDArray|Array|ArrayLike|Floats|Integers|Indices|Hashes|Draws|Noise)\b"
)
SHAPE = re.compile(r"\[[^]]+\]|scalar|by name|under open_clip's names")
"""What a docstring says of arrays: a shape, or that they are scalars or the weights of a model by name."""


def sources() -> Iterator[tuple[str, ast.Module, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text("utf-8")
            yield path.relative_to(ROOT).as_posix(), ast.parse(text), text


def test_no_public_class_name_stands_for_two_things() -> None:
    places = defaultdict(list)
    for path, tree, _ in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_no_file_is_longer_than_a_reader_follows() -> None:
    lengths = {path: text.count("\n") for path, _, text in sources()}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES_OF_A_FILE} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = {
        f"{path}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, tree, _ in sources()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def documented(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """Every public class, function and method of a file with its qualified name."""
    waiting: list[tuple[str, ast.Module | ast.ClassDef]] = [("", tree)]
    while waiting:
        prefix, parent = waiting.pop()
        for node in parent.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                yield prefix + node.name, node
                if isinstance(node, ast.ClassDef):
                    waiting.append((f"{prefix}{node.name}.", node))


def test_a_docstring_begins_with_a_sentence_of_one_line() -> None:
    lacking = [
        f"{path}:{getattr(node, 'name', '')}"
        for path, tree, _ in sources()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        for line in (ast.get_docstring(node) or "Private.").split("\n")[:1]
        if not re.search(r"[.?!](\s|$)|[:…]$", line)
    ]
    assert lacking == []


def test_whatever_is_public_has_a_docstring_that_gives_the_shapes_of_its_arrays() -> None:
    lacking = []
    for path, tree, _ in sources():
        for name, node in documented(tree):
            says = ast.get_docstring(node) or ""
            types = (
                ""
                if isinstance(node, ast.ClassDef)
                else f"{ast.unparse(node.args)} {node.returns and ast.unparse(node.returns)}"
            )
            if not says or (ARRAYS.search(types) and not SHAPE.search(says)):
                lacking.append(f"{path}:{name}")
    assert lacking == []


def test_an_error_that_a_docstring_announces_exists() -> None:
    named, defined = defaultdict(list), set(dir(builtins))
    for path, tree, _ in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                defined.add(node.name)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                section = (ast.get_docstring(node) or "").partition("Raises:\n")[2].split("\n\n")[0]
                for error in re.findall(r"^ {4}([A-Z]\w+):", section, re.MULTILINE):
                    named[error].append(path)
    assert {error: paths for error, paths in named.items() if error not in defined} == {}


def test_no_word_of_a_private_dialect_is_used() -> None:
    words = re.compile(r"\b(men[d](ed)?|hande[d]|des[k]|gone o[n] with|tol[d])\b", re.IGNORECASE)
    pages = [
        page
        for folder in (*PACKAGES, "tests", "studies")
        for kind in ("py", "md", "yaml", "html", "js")
        for page in (ROOT / folder).rglob(f"*.{kind}")
        if page != Path(__file__)
    ]
    found = {
        f"{page.relative_to(ROOT)}:{number}"
        for page in (*pages, *ROOT.glob("*.md"))
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1)
        if words.search(line)
    }
    assert found == set()


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def copied_sources(tmp_path: Path) -> Path:
    """The Python files and the settings of the project, to be changed by a test."""
    for path, _, text in sources():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    return tmp_path


def test_imports_go_downwards_only() -> None:
    pytest.importorskip("importlinter", reason="pip install import-linter")
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout


def test_the_readme_of_the_harness_names_every_package() -> None:
    text = (ROOT / "harness" / "README.md").read_text("utf-8")
    packages = [path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")]
    assert [name for name in packages if f"| `{name}/` |" not in text] == []


def test_every_module_that_a_readme_names_exists() -> None:
    names = {path.name for folder in (*PACKAGES, "tests") for path in (ROOT / folder).rglob("*.py")}
    pages = [
        *ROOT.glob("*.md"),
        *(page for folder in (*PACKAGES, "tests") for page in (ROOT / folder).rglob("*.md")),
    ]
    lacking = {
        f"{page.relative_to(ROOT)}: {name}"
        for page in pages
        for name in re.findall(r"`(?:[a-z_]+/)*([a-z_]+\.py)`", page.read_text("utf-8"))
        if name not in names
    }
    assert lacking == set()


def test_the_project_is_at_most_sixteen_packages_in_nine_layers() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = [each for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers"]
    layers = [set(layer.split(" | ")) for layer in contract["layers"]]
    placed = set().union(*layers)
    packages = {
        f"harness.{path.stem}"
        for path in (ROOT / "harness").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert packages - {"harness.__init__"} | {"methods", "reports"} == placed
    assert len(placed) <= MOST_PACKAGES
    assert len(layers) <= MOST_LAYERS


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("harness/store/runs.py", "import harness.launch.cells"),
        ("harness/machine/files.py", "import harness.store.runs"),
        ("methods/losses.py", "import harness.machine.files"),
        ("harness/registry/errors.py", "import harness.machine.errors"),
        ("harness/study/study.py", "import harness.data.dataset"),
        ("reports/statistics.py", "import harness.study.study"),
        ("reports/statistics.py", "import harness.train.loop"),
        ("harness/search/space.py", "import harness.cli.run"),
    ],
)
def test_an_upward_import_is_refused_by_the_linter(copied_sources: Path, file: str, line: str) -> None:
    pytest.importorskip("importlinter", reason="pip install import-linter")
    path = copied_sources / file
    path.write_text(path.read_text("utf-8") + f"\n{line}\n", "utf-8")
    done = lint_imports(copied_sources)
    assert done.returncode == 1, done.stdout + done.stderr
    importer, imported = file.removesuffix(".py").replace("/", "."), line.removeprefix("import ")
    assert f"{importer} -> {imported}" in done.stdout
