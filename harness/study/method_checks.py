"""Checks of a study's methods: each name against the registry, each setting against the methods having it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from harness import registry
from harness.machine.terms import OWN_RECIPES
from harness.registry import MethodEntry, UnknownNameError
from harness.study.document import Key, StudyDocument, shown, unknown_key
from harness.study.method_plan import MethodPlan, resolved_settings, strictly
from harness.study.schema import Preset, StudyFile, TrainSettings
from methods.recipe_files import recipe, recipe_names

SHARED = "shared"
"""The value of a study's `recipe` by which `train:`, over the defaults, is the recipe of all methods."""
LABEL = r"letters, digits, '.', '_' and '-'"
RECIPE = TrainSettings.model_fields


class _Draft(NamedTuple):
    """A listed method before its settings are checked."""

    key: Key
    label: str
    entry: MethodEntry
    written: dict[str, Any]
    """The settings of its own entry."""


class MethodChecks:
    """Resolves the methods of one document, and notes its mistakes there."""

    def __init__(self, document: StudyDocument) -> None:
        self.document = document
        self.values = document.values
        self._all_known = True
        """Whether every listed method is registered."""

    def plans(self, file: StudyFile) -> list[MethodPlan]:
        """Each method resolved with the preset, the study's `train` and its own entry, in that order."""
        self._check_recipe(file)
        drafts = list(self._drafts())
        shared = self._shared(drafts)
        self._settings(TrainSettings, ("train",), {}, {n: v for n, v in shared.items() if n in RECIPE}, {})
        plans: list[MethodPlan] = []
        for draft in drafts:
            plan = self._plan(file, draft, shared, self._recipe_of(file, draft))
            self._refuse_twin(draft.key, plan, plans)
            plans.append(plan)
        self._refuse_unused(plans)
        self._refuse_unknown_groups(plans)
        for plan in plans:
            self.patches(
                plan,
                self.document.key_of_setting(plan.label, "backbone"),
                self.document.key_of_setting(plan.label, "mask_ratio"),
            )
            self.weights(plan, self.document.key_of_setting(plan.label, "pretrained"))
        return plans

    def _drafts(self) -> Iterator[_Draft]:
        known = registry.methods()
        listed = self.values.get("methods")
        seen: set[str] = set()
        for index, item in enumerate(listed if isinstance(listed, list) else ()):
            key: Key = ("methods", index)
            written = {"name": item} if isinstance(item, str) else item
            problem, label, base = self._names(written)
            if not problem and label in seen:
                problem = f"{label!r} is listed twice"
            if problem:
                self.document.complain(key, problem)
                continue
            seen.add(label)
            if base not in known:
                self._all_known = False
                at = (*key, "base") if "base" in written else key
                self.document.complain(at, str(UnknownNameError("method", base, known)))
                continue
            if not all(letter.isalnum() or letter in "._-" for letter in label) or not label[:1].isalnum():
                self.document.complain(key, f"a name holds {LABEL} only, got {shown(label)}")
            settings = {name: value for name, value in written.items() if name not in ("name", "base")}
            yield _Draft(key, label, known[base], settings)

    @staticmethod
    def _names(written: Any) -> tuple[str, str, str]:
        """What is wrong with a listed method, its label, and the name it is registered under."""
        if not isinstance(written, dict):
            return f"must be a method's name or a mapping, got {shown(written)}", "", ""
        label, base = written.get("name"), written.get("base", written.get("name"))
        if not isinstance(label, str) or not isinstance(base, str):
            return "must have a name (and base) in text, like {name: mine, base: uit}", "", ""
        return "", label, base

    def _shared(self, drafts: list[_Draft]) -> dict[str, Any]:
        """The study's `train` without names that no method of it has; those are noted."""
        written = self.values.get("train")
        if not isinstance(written, dict):
            return {}
        elsewhere = {name for entry in registry.methods().values() for name in entry.settings.model_fields}
        had = {name for draft in drafts for name in draft.entry.settings.model_fields}
        for name in written:
            # A method whose name is mistyped may have it.
            if name in RECIPE or name in had or (not self._all_known and name in elsewhere):
                continue
            if name in elsewhere and self.document.narrowed:
                continue
            known = had | RECIPE.keys()
            message = "no method of this study has it" if name in elsewhere else unknown_key(name, known)
            self.document.complain(("train", name), message)
        return {name: value for name, value in written.items() if name in RECIPE or name in had}

    def _check_recipe(self, file: StudyFile) -> None:
        """Note a recipe that does not exist, or that the preset rules out."""
        if file.recipe == OWN_RECIPES and file.preset == "released":
            message = (
                "preset: released already trains each method as its released code does; leave recipe out"
            )
            self.document.complain(("recipe",), message)
        elif file.recipe not in (OWN_RECIPES, SHARED, *recipe_names()):
            error = UnknownNameError("recipe", file.recipe, (SHARED, OWN_RECIPES, *recipe_names()))
            self.document.complain(("recipe",), str(error))

    def _recipe_of(self, file: StudyFile, draft: _Draft) -> Mapping[str, Any]:
        """What the study's recipe sets for a method: those of its values that the method has."""
        name = draft.entry.recipe if file.recipe == OWN_RECIPES else file.recipe
        if file.recipe == OWN_RECIPES and not name and draft.entry.trains:
            message = f"{draft.label!r} has no published recipe of its own; leave it out, or name one recipe"
            self.document.complain(draft.key, message)
        if name not in recipe_names():
            return {}
        kept = {*RECIPE, *draft.entry.settings.model_fields}
        return {key: value for key, value in recipe(name).values.items() if key in kept}

    def _plan(
        self, file: StudyFile, draft: _Draft, shared: dict[str, Any], values: Mapping[str, Any]
    ) -> MethodPlan:
        """The method under the preset, the recipe's `values`, the study's `train` and its own entry."""
        key, label, entry, written = draft
        fields = entry.settings.model_fields
        self._refuse_names(draft)
        train = self._settings(
            TrainSettings,
            key,
            {
                **(_released_recipe(entry) if file.preset == "released" else {}),
                **{name: value for name, value in values.items() if name in RECIPE},
            },
            {name: value for name, value in shared.items() if name in RECIPE},
            {name: value for name, value in written.items() if name in RECIPE},
        )
        switches = {name: value for name, value in written.items() if name in fields}
        preset = {
            **_preset_settings(file.preset, entry, switches),
            **{n: v for n, v in values.items() if n in fields and n not in entry.fixed},
        }
        # What makes a variant that variant is changed in its own entry only, never by `train`.
        common = {n: v for n, v in shared.items() if n in fields and n not in entry.fixed}
        sound = self._settings(entry.settings, key, {**entry.fixed, **preset}, common, switches)
        chosen = {name: sound[name] for name in {**preset, **common, **switches} if name in sound}
        active = entry.parameters(chosen)
        for name in switches.keys() - active:
            self.document.complain((*key, name), f"{label!r} does not use it, with the switches it has")
        overrides = MappingProxyType({name: value for name, value in chosen.items() if name in active})
        settings = resolved_settings(entry, overrides)
        return MethodPlan(label, entry, strictly(TrainSettings, train), settings, overrides)

    def _refuse_names(self, draft: _Draft) -> None:
        """Refuse keys that the method has not, switches that make it another, and names of the recipe's."""
        key, label, entry, written = draft
        fields = entry.settings.model_fields
        for name, value in written.items():
            if name not in RECIPE and name not in fields:
                self.document.complain((*key, name), unknown_key(name, {*RECIPE, *fields}))
            elif label == entry.name and name in entry.fixed and value != entry.fixed[name]:
                another = f"{{name: mine, base: {label}, {name}: {shown(value)}}}"
                message = f"{label!r} is registered with {name}: {shown(entry.fixed[name])}"
                self.document.complain((*key, name), f"{message}; call it something else, like {another}")
        for name in sorted(fields.keys() & RECIPE.keys()):
            self.document.complain(key, f"its setting {name!r} has the name of the recipe's; rename it")

    def _settings(
        self,
        model: type[BaseModel],
        key: Key,
        under: Mapping[str, Any],
        shared: Mapping[str, Any],
        written: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The valid settings among those of `train` and of a method's entry; each error at its own place."""
        merged = {**under, **shared, **written}
        try:
            strictly(model, merged)
        except ValidationError as error:
            broken = {detail["loc"][0] if detail["loc"] else None for detail in error.errors()}
            for detail in error.errors():
                at: Key = key if not detail["loc"] or detail["loc"][0] in written else ("train",)
                self.document.complain_detail(detail, at, model.model_fields)
            # A rule between settings names none of them: then only what the variant itself fixes is kept.
            return dict(under) if None in broken else {n: v for n, v in merged.items() if n not in broken}
        return merged

    def _refuse_twin(self, key: Key, plan: MethodPlan, plans: list[MethodPlan]) -> None:
        for other in plans:
            if (other.entry.name, other.train, other.method_settings) == (
                plan.entry.name,
                plan.train,
                plan.method_settings,
            ):
                self.document.complain(key, f"{plan.label!r} is {other.label!r} under another name")

    def _refuse_unused(self, plans: list[MethodPlan]) -> None:
        """Note settings of `train` that no method uses, with the switches it has."""
        shared = self.values.get("train")
        if self.document.narrowed:
            return
        for name in shared if isinstance(shared, dict) and plans and self._all_known else ():
            if name not in RECIPE and not any(name in plan.overrides for plan in plans):
                self.document.complain(("train", name), "no method of this study has it")

    def _refuse_unknown_groups(self, plans: list[MethodPlan]) -> None:
        """Note rates of `group_lr` for groups of weights that no method has, or not the method itself."""
        groups = {plan.label: set(getattr(plan.entry.settings, "rate_groups", {})) for plan in plans}
        everywhere = set().union(*groups.values())
        written: list[tuple[Key, Any, set[str]]] = []
        if not self.document.narrowed and self._all_known and plans:
            shared = self.values.get("train")
            written.append((("train",), shared, everywhere))
        for index, entry in enumerate(self.values.get("methods") or ()):
            if isinstance(entry, dict) and entry.get("name") in groups:
                written.append((("methods", index), entry, groups[entry["name"]]))
        for key, section, known in written:
            rates = section.get("group_lr") if isinstance(section, dict) else None
            for name in rates if isinstance(rates, dict) else ():
                if name not in known:
                    hint = f" (known: {', '.join(sorted(known))})" if known else ""
                    self.document.complain((*key, "group_lr", str(name)), f"no such group of weights{hint}")

    def patches(self, plan: MethodPlan, at_backbone: Key, at_ratio: Key) -> None:
        """Note a backbone that does not exist, or an image or mask ratio that leaves no patches."""
        try:
            grid = patches(plan.train.backbone, plan.train.image_size)
        except UnknownNameError as error:
            self.document.complain(at_backbone, brief(error))
            return
        except ValueError as error:
            self.document.complain(self.document.key_of_setting(plan.label, "image_size"), str(error))
            return
        ratio = plan.method_settings.get("mask_ratio")
        visible = grid if ratio is None else round((1 - float(ratio)) * grid)
        if ratio is not None and not 1 <= visible < grid:
            message = (
                f"{ratio:g} leaves {visible} of {grid} patches visible; some must be visible, some hidden"
            )
            self.document.complain(at_ratio, message)

    def weights(self, plan: MethodPlan, at: Key) -> None:
        """Note pretrained weights that cannot exist; whether a tag's are on this machine is seen later."""
        from methods.backbones import why_no_weights

        problem = why_no_weights(plan.train.backbone, plan.train.pretrained)
        if problem:
            self.document.complain(at, problem)


def brief(error: UnknownNameError) -> str:
    """The message of an unknown name without the list of all that exist."""
    hint = f": did you mean {error.nearest!r}?" if error.nearest else ""
    return f"unknown {error.kind} {error.name!r}{hint}"


def _released_recipe(entry: MethodEntry) -> dict[str, Any]:
    """What the released code of a method trains with; a rival's is the recipe it was published with.

    TBPS-CLIP's code keeps float32 weights, so it keeps the clean preset's precision.
    """
    from methods.settings import released_recipe

    if entry.recipe in ("", "uit", "irra"):
        return released_recipe(entry.fixed)
    published = {name: value for name, value in recipe(entry.recipe).values.items() if name in RECIPE}
    return published if entry.recipe == "tbps-clip" else {**published, "precision": "released"}


def _preset_settings(preset: Preset, entry: MethodEntry, switches: Mapping[str, Any]) -> dict[str, Any]:
    """Switches that a preset sets for a method, beside those of the study's own entry."""
    from methods.settings import preset_settings

    fixed, fields = {**entry.fixed, **switches}, entry.settings.model_fields
    released = dict(getattr(entry.settings, "released", {})) if preset == "released" else {}
    named = {**preset_settings(preset, fixed), **released}
    return {name: value for name, value in named.items() if name in fields and name not in fixed}


def patches(backbone: str, image_size: tuple[int, int]) -> int:
    """How many patches a backbone cuts an image into; torch is not needed to know.

    Raises ValueError for an unknown backbone or an image that is no whole number of patches.
    """
    from methods.backbones import backbone_config

    side = backbone_config(backbone).patch_size
    height, width = image_size
    if height % side or width % side:
        raise ValueError(f"{height}×{width} is no whole number of {backbone}'s {side}×{side} patches")
    return (height // side) * (width // side)
