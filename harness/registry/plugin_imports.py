"""Which files a plugin brings in; its imports get these, whatever else has their names."""

from __future__ import annotations

import ast
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from harness.registry.errors import OWN_PACKAGES, PluginError

KEPT_PLUGINS = "plugins"
"""The folder of a run in which the sources of its plugins are kept."""
_TARGETS = ("build", "load")
"""Arguments of a registration whose text names a module: `build="parts.method:Mine"`."""
_IMPORTERS = ("import_module", "__import__")


def plugin_files(plugin: Path) -> list[Path]:
    """`plugin` and the files it imports, directly or not, also inside functions; sorted after the first.

    Left out are Python's own library, installed packages other than the plugin's own (their versions are
    recorded) and this project, which counts by itself. An import whose name is computed while the program
    runs is not seen.
    """
    plugin = plugin.expanduser().resolve()
    return [plugin, *sorted({*plugin_modules(plugin).values()} - {plugin})]


def plugin_modules(plugin: Path) -> dict[str, Path]:
    """The files that a plugin imports, by the names under which it imports them."""
    plugin = plugin.expanduser().resolve()
    name, package = _own_name(plugin)
    roots = plugin_roots(plugin)
    modules: dict[str, Path] = {}
    waiting = [(plugin, name)]
    while waiting:
        file, name = waiting.pop()
        for imported, path in _imported_modules(file, name, roots):
            if imported not in modules and _is_of_the_user(path, package):
                modules[imported] = path
                waiting.append((path, imported))
    return modules


def plugin_roots(plugin: Path) -> list[Path]:
    """The folders in which a plugin's modules are looked for before all others.

    Its own; above a package, the folder that the package lies in; of a copy that a run keeps, every folder up
    to the top of the copy. None of an installed one.
    """
    if _is_installed(plugin):
        return []  # imported as any other module: by the import path
    top = next((folder for folder in plugin.parents if _is_kept(folder, plugin)), None)
    folders = [folder for folder in plugin.parents if top is not None and folder.is_relative_to(top)]
    package = _own_name(plugin)[1]
    return list(dict.fromkeys([plugin.parent, *folders, *([package.parent] if package else [])]))


def _is_kept(folder: Path, plugin: Path) -> bool:
    """Whether a run keeps a copy of the plugin in `folder`: `plugins/<plugin>.<digest>`."""
    is_copy = re.fullmatch(re.escape(plugin.stem) + r"\.[0-9a-f]{12}", folder.name)
    return bool(is_copy) and folder.parent.name == KEPT_PLUGINS


def _own_name(plugin: Path) -> tuple[str, Path | None]:
    """A plugin's dotted name, and the folder of the package that it is part of, if any."""
    names, package = [plugin.stem] if plugin.stem != "__init__" else [], None
    for folder in plugin.parents:
        if not (folder / "__init__.py").is_file():
            break
        names.insert(0, folder.name)
        package = folder
    return ".".join(names), package


def _imported_modules(file: Path, name: str, roots: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Names and files of what the module `name`, which lies in `file`, imports."""
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):  # a compiled module has no source to look into
        return
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    for imported, level in _imported_names(tree):
        if level:
            above = package.split(".")[: len(package.split(".")) - level + 1]
            imported = ".".join([*above, imported]).strip(".")
        first = imported.partition(".")[0]
        if first not in OWN_PACKAGES and first not in sys.stdlib_module_names:
            yield from _files_of(imported, roots)


def _imported_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Dotted names of every import in a source, each with its number of leading dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:  # perhaps a module, perhaps a name in one
                yield f"{node.module or ''}.{alias.name}".strip("."), node.level
        elif isinstance(node, ast.Call):
            yield from ((text, 0) for text in _named_in_call(node))


def _named_in_call(call: ast.Call) -> Iterator[str]:
    """Modules that a call names in a text: `import_module("parts")`, `build="parts:Mine"`."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    texts = [keyword.value for keyword in call.keywords if keyword.arg in _TARGETS]
    for value in [*texts, *(call.args[:1] if function in _IMPORTERS else [])]:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            module, _, attribute = value.value.partition(":")
            if (attribute or function in _IMPORTERS) and all(map(str.isidentifier, module.split("."))):
                yield module


def _files_of(name: str, roots: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Of a dotted name: each package on the way, and the module, with their files."""
    search: Sequence[str] | None = [*map(str, roots), *sys.path]
    parts = name.split(".")
    for depth, part in enumerate(parts, 1):
        loaded = PathFinder.find_spec(part, search)
        if loaded is None:
            return
        if loaded.origin and os.path.isfile(loaded.origin):
            yield ".".join(parts[:depth]), Path(loaded.origin).resolve()
        search = loaded.submodule_search_locations
        if search is None:
            return


def _is_of_the_user(path: Path, package: Path | None) -> bool:
    """Whether a file is neither of Python nor of an installed package other than the plugin's own."""
    return not _is_installed(path) or (package is not None and path.is_relative_to(package))


def _is_installed(path: Path) -> bool:
    """Whether a file belongs to Python or to an installed package."""
    folders = {sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib", "platstdlib")}
    return any(path.is_relative_to(Path(folder).resolve()) for folder in folders if folder)


class _PluginModules:
    """Finds what plugins import where `plugin_files` found it, before any folder of the import path.

    So a file of the same name in the working folder, the first of the import path, is never taken for it.
    """

    def __init__(self) -> None:
        self.owners: dict[str, Path] = {}
        """By the first part of a module's name the plugin that imports it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Part of Python's protocol of import."""
        if path is not None or name not in self.owners:
            return None  # a module within a package is found by its package
        return PathFinder.find_spec(name, [*map(str, plugin_roots(self.owners[name])), *sys.path], target)


_finder = _PluginModules()


def import_own_modules(plugin: Path) -> None:
    """From now on, imports of the names of a plugin's modules get the files that count as the plugin's.

    Raises:
        PluginError: another plugin has a module of such a name with another content.
    """
    modules = plugin_modules(plugin)
    for name, file in modules.items():
        owner = _finder.owners.get(name.partition(".")[0], plugin)
        found = dict(_files_of(name, plugin_roots(owner))).get(name)
        if found is None or not _are_alike(found, file):
            raise _taken(name, found or owner, file, f"as {owner} imports it")
    for name in modules:
        _finder.owners.setdefault(name.partition(".")[0], plugin)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def release_modules(plugin: Path) -> None:
    """The names of the modules of a plugin that failed are free again."""
    _finder.owners = {name: owner for name, owner in _finder.owners.items() if owner != plugin}


def require_own_modules(plugin: Path) -> None:
    """Refuse a plugin of which a module was imported from a file that does not count as the plugin's.

    Raises:
        PluginError: names both files.
    """
    for name, file in plugin_modules(plugin).items():
        origin = getattr(sys.modules.get(name), "__file__", None)
        if origin is not None and not _are_alike(Path(origin), file):
            raise _taken(name, Path(origin), file, "which was imported before")


def _are_alike(one: Path, other: Path) -> bool:
    try:
        return one.resolve() == other or one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def _taken(name: str, imported: Path, recorded: Path, why: str) -> PluginError:
    return PluginError(
        f"its module {name!r} is imported from {imported}, {why}, and recorded as {recorded}, "
        f"which has another content; rename one of the two"
    )
