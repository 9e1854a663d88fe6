"""What can be compared, and on what: methods and datasets by name, each imported only when it is used."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from harness.registry import errors, plugin_imports

# The base of the errors and the ban on the network: what a method may need besides its registration.
from harness.registry.errors import HarnessError as HarnessError
from harness.registry.errors import PluginError as PluginError
from harness.registry.errors import UnknownNameError as UnknownNameError
from harness.registry.errors import mistyped as mistyped
from harness.registry.errors import nearest as nearest
from harness.registry.variables import offline as offline

if TYPE_CHECKING:
    from pydantic import BaseModel  # slow to import; errors are needed before any settings

T = TypeVar("T")
DATASET_FILE = ".dataset.yaml"
"""The ending of a file that describes a dataset."""


def _imported(target: Callable[..., Any] | str) -> Callable[..., Any]:
    if callable(target):
        return target
    module, _, attribute = target.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return loaded


@dataclass(frozen=True)
class MethodEntry:
    """A method as the registry knows it: torch stays unloaded until `load` is called."""

    name: str
    summary: str
    build: Callable[..., Any] | str
    """The method's class, or where it is: `"methods.uit:UIT"`."""
    settings: type[BaseModel]
    """The method's own hyper-parameters, with defaults and bounds."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """The switches that make this variant what it is."""
    trains: bool = True
    ablates: str = ""
    """The one switch in which it differs from `uit`, in words."""
    recipe: str = ""
    """The recipe it was published with, a file of `methods/recipes`; empty for none."""
    plugin: Path | None = None
    """The user's file it came from, when it is not one of ours."""

    def load(self) -> Callable[..., Any]:
        """The callable that builds the method; importing it may import torch.

        What a plugin's builds raises `PluginError` for losses that nobody can train on.
        """
        if self.plugin is None:
            return _imported(self.build)
        from harness.registry.plugin_methods import checked

        return checked(self.name, _imported(self.build))

    def resolve(self, overrides: Mapping[str, Any] | None = None) -> BaseModel:
        """The method's settings: its defaults, its fixed switches, then `overrides`.

        Raises pydantic's `ValidationError` when a value is outside its bounds or a name is unknown.
        """
        return self.settings(**{**self.fixed, **(overrides or {})})

    def parameters(self, overrides: Mapping[str, Any] | None = None) -> frozenset[str]:
        """Names of the settings this variant really has: a variant without TIR has no mask ratio."""
        resolved = self.resolve(overrides)
        active = getattr(resolved, "active", None)
        return frozenset(active() if callable(active) else type(resolved).model_fields)


@dataclass(frozen=True)
class DatasetEntry:
    """A dataset as the registry knows it; its files are read only when `load` is called."""

    name: str
    summary: str
    load: Callable[..., Any] | str
    home: str = ""
    """`embedded`, or its folder below the data root."""
    how_to_get: str = ""
    plugin: Path | tuple[Path, ...] | None = None
    """The user's file it came from, when it is not one of ours; of a joint dataset those of its parts."""
    text_length: int | None = None
    """Tokens that its captions need, where its file says so."""

    def loader(self) -> Callable[..., Any]:
        """The callable that reads the dataset from disk."""
        return _imported(self.load)


_methods: dict[str, MethodEntry] = {}
_datasets: dict[str, DatasetEntry] = {}
_plugins: dict[Path, str] = {}
_loading_plugin: list[Path] = []
_builtins: set[str] = set()
_installed_loaded: list[bool] = []
BUILTINS = ("methods.variants", "harness.data.datasets")
ENTRY_POINTS = "tipr_harness.plugins"
"""The group under which other packages declare modules that register methods or datasets."""


def _add(kind: str, shelf: dict[str, Any], entry: Any) -> None:
    known = shelf.get(entry.name)
    if known is not None:
        origin = known.plugin or "this project"
        raise ValueError(f"{kind} {entry.name!r} is already registered by {origin}; choose another name")
    shelf[entry.name] = entry


def register_method(
    name: str,
    *,
    summary: str,
    settings: type[BaseModel] | None = None,
    fixed: Mapping[str, Any] | None = None,
    build: Callable[..., Any] | str | None = None,
    trains: bool = True,
    ablates: str = "",
    recipe: str = "",
) -> Callable[[T], T]:
    """Make a method known under `name`: as a decorator of its class, or at once when `build` is given.

    Example:
        @register_method("mine", summary="my loss on CLIP")
        class Mine(DualEncoder): ...

    Raises ValueError when the name is taken.
    """
    plugin = _loading_plugin[-1] if _loading_plugin else None

    def add(target: Any) -> None:
        from harness.registry.settings import NoSettings

        switches = MappingProxyType(dict(fixed or {}))
        _add(
            "method",
            _methods,
            MethodEntry(
                name, summary, target, settings or NoSettings, switches, trains, ablates, recipe, plugin
            ),
        )

    return _adding(add, build)


def register_dataset(
    name: str,
    *,
    summary: str,
    load: Callable[..., Any] | str | None = None,
    home: str = "",
    how_to_get: str = "",
    text_length: int | None = None,
) -> Callable[[T], T]:
    """Make a dataset known under `name`: as a decorator of its loader, or at once when `load` is given.

    The loader is called with the data root (a Path or None) and returns `harness.data.dataset.Dataset`.
    Raises ValueError when the name is taken.
    """
    plugin = _loading_plugin[-1] if _loading_plugin else None

    def add(target: Any) -> None:
        _add("dataset", _datasets, DatasetEntry(name, summary, target, home, how_to_get, plugin, text_length))

    return _adding(add, load)


def _adding(add: Callable[[Any], None], given: Any) -> Callable[[T], T]:
    """A decorator that adds its target; where something is `given`, that is added at once instead."""
    if given is not None:
        add(given)

    def decorate(target: T) -> T:
        if given is None:
            add(target)
        return target

    return decorate


def _load_builtins(module: str) -> None:
    if module not in _builtins:
        importlib.import_module(module)
        _builtins.add(module)


def _load_installed_plugins() -> None:
    """Import what other packages declare under the entry-point group `tipr_harness.plugins`, once.

    Each counts as a plugin with its file, so that its code is part of the identity of its cells.

    Raises:
        PluginError: one cannot be imported; says which, and of which package.
    """
    if _installed_loaded:
        return
    _installed_loaded.append(True)  # first: what is imported asks for the registered methods, too
    try:
        for module in BUILTINS:
            _load_builtins(module)
        for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
            _load_installed(point)
    except BaseException:
        _installed_loaded.clear()  # whoever asks again is answered the same
        raise


def _load_installed(point: importlib.metadata.EntryPoint) -> None:
    package = point.dist.name if point.dist is not None else "an unknown package"
    named = f"plugin {point.name!r} of {package} ({point.value})"
    try:
        spec = importlib.util.find_spec(point.module)
    except (ImportError, ValueError) as error:
        raise PluginError(f"{named}: {error}; repair or uninstall {package}") from error
    if spec is None or spec.origin is None:
        raise PluginError(f"{named}: no such module; repair or uninstall {package}")
    path = Path(spec.origin).resolve()
    if path not in _plugins:
        with _registering(path, f"{named}: "):
            module = importlib.import_module(point.module)
            if point.attr:
                point.load()()
        _plugins[path] = module.__name__


@contextlib.contextmanager
def _registering(path: Path, named: str = "") -> Iterator[None]:
    """Whatever is registered in the block is the plugin's; of one that fails nothing stays registered."""
    shelves: tuple[dict[str, Any], ...] = (_methods, _datasets)
    before = [dict(shelf) for shelf in shelves]
    _loading_plugin.append(path)
    try:
        yield
    except (Exception, SystemExit) as error:
        for shelf, kept in zip(shelves, before, strict=True):
            shelf.clear()
            shelf.update(kept)
        raise PluginError(f"{named}{_failure(path, error)}") from error
    finally:
        _loading_plugin.pop()


def methods() -> dict[str, MethodEntry]:
    """Every registered method by name, in the order of registration. Raises `PluginError`."""
    _load_builtins("methods.variants")
    _load_installed_plugins()
    return dict(_methods)


def datasets() -> dict[str, DatasetEntry]:
    """Every registered dataset by name, in the order of registration."""
    _load_builtins("harness.data.datasets")
    _load_installed_plugins()
    return dict(_datasets)


def method(name: str) -> MethodEntry:
    """The method registered under `name`; raises `UnknownNameError` with the nearest name otherwise."""
    known = methods()
    if name not in known:
        raise UnknownNameError("method", name, known)
    return known[name]


def dataset(name: str) -> DatasetEntry:
    """The dataset registered under `name`, or several joined by `+` for joint training.

    Raises:
        UnknownNameError: there is none; with the nearest name.
    """
    known = datasets()
    parts = [part.strip() for part in name.split("+")]
    for part in parts:
        if part not in known:
            raise UnknownNameError("dataset", part, known)
    if len(parts) == 1:
        return known[name]
    entries = [known[part] for part in parts]
    return DatasetEntry(
        name,
        summary="joint training: " + "; ".join(entry.summary for entry in entries),
        load="harness.data.datasets:load_dataset",
        plugin=tuple(dict.fromkeys(file for entry in entries if isinstance(file := entry.plugin, Path)))
        or None,
        text_length=max((entry.text_length or 0 for entry in entries), default=0) or None,
    )


def load_dataset_file(path: Path) -> str:
    """Register the dataset that a `NAME.dataset.yaml` describes, once; its name.

    Workers register the same files, as they do plugins.

    Raises:
        harness.machine.errors.DataError: every mistake in the file.
        PluginError: there is no such file, or its name is taken.
    """
    path = path.expanduser().resolve()
    if path in _plugins:
        return _plugins[path]
    if not path.is_file():
        raise PluginError(f"{path}: no such dataset file")
    datasets()
    register: Callable[[Path], str] = _imported("harness.data.dataset_files:register_dataset_file")
    try:
        _plugins[path] = register(path)
    except ValueError as error:
        raise PluginError(f"{path}: {error}") from error
    return _plugins[path]


def load_plugin(path: Path) -> None:
    """Import a user's file so that what it registers can be named in a study; a second call does nothing.

    Raises `PluginError` when there is no such file, it fails while being imported, or one of its modules was
    imported from another file than the one that counts as the plugin's.
    """
    path = path.expanduser().resolve()
    if path in _plugins:
        return
    if path.name.endswith(DATASET_FILE):
        load_dataset_file(path)
        return
    if not path.is_file():
        raise PluginError(f"{path}: no such plugin file")
    # First, so that a plugin that takes a name of ours is refused.
    methods(), datasets()
    if path in _plugins:  # one of an installed package, which these two have just imported
        return
    name = f"harness_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:  # for imports of computed names; last, so that nothing there
        sys.path.append(str(path.parent))  # stands for a package of ours
    try:
        with _registering(path):
            plugin_imports.import_own_modules(path)
            spec.loader.exec_module(module)
            plugin_imports.require_own_modules(path)
    except PluginError:
        del sys.modules[name]
        plugin_imports.release_modules(path)
        raise
    _plugins[path] = name


def load_plugins(paths: Iterable[Path]) -> None:
    """Import several files, as `load_plugin` does each."""
    for path in paths:
        load_plugin(path)


def plugin_line(error: BaseException) -> str:
    """`FILE:LINE` of the plugin's code that raised an error, or through which it came; empty for none."""
    place = errors.place_in(error, _plugins)
    return f"{place[0]}:{place[1]}" if place else ""


def plugin_fault(error: BaseException) -> PluginError | None:
    """An exception that arose in a plugin's code, as an error with its place and method; None for another."""
    return errors.fault_in(
        error, _plugins, {name: (entry.plugin, entry.build) for name, entry in _methods.items()}
    )


def _failure(path: Path, error: BaseException) -> str:
    """What to say of a plugin that could not be imported: with the line, where it has one."""
    text = errors.described(error, [path])
    return f"{path.parent}/{text}" if text.startswith(f"{path.name}:") else f"{path}: {text}"


def described(error: BaseException) -> str:
    """`ValueError: …`, with file and line in front when a plugin's code is where it arose."""
    return errors.described(error, _plugins)


def plugins() -> tuple[Path, ...]:
    """The plugin files imported so far, in order; workers import the same ones."""
    return tuple(_plugins)
