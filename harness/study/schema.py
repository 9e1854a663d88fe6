"""The shape of a study file, section by section; what the names mean together is for `validation.py`."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from harness.machine.terms import TIED_WITHIN, Metric, Precision, SamplingRule, Selection, TieOrder
from methods.settings import Preset as Preset

Kept = Literal["val", "last", "test", "checkpoint"]


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a number, got {value!r}")
    return value


Number = Annotated[int | float, BeforeValidator(_number)]
Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class StudySection(BaseModel):
    """A part of a study: typed strictly, unknown keys refused, each key documented."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class TrainSettings(StudySection):
    """The recipe that every method of a study shares; the defaults are the published one."""

    backbone: str = "ViT-B-16-quickgelu"
    """An open_clip model name, or `tiny`."""
    pretrained: str = "openai"
    """An open_clip tag, a local open_clip or OpenAI file, `rendered` (for `tiny`), or `none`."""
    image_size: tuple[Annotated[int, Field(ge=8, le=2048)], Annotated[int, Field(ge=8, le=2048)]] = (384, 128)
    """Height and width in pixels."""
    text_length: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Tokens of a caption, start and end included; null: what the dataset's file says, or the backbone's own
    (77 for CLIP). Positions that a longer text needs are interpolated."""
    normalisation: Literal["clip", "imagenet"] = "clip"
    """What pixels are normalised by: the mean and deviation of the first weights (CLIP's), or ImageNet's."""
    test_resize: Literal["bilinear", "bicubic"] = "bilinear"
    """The filter by which images are resized for validation and test; for training it is bilinear."""
    caption_cleaning: bool = False
    """Whether captions lose their punctuation and what is beyond 77 words before they are encoded."""
    text_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the attention probabilities of every text block that training sets to 0."""
    epochs: int = Field(default=60, ge=1, le=100_000)
    """Passes over the training captions."""
    batch_size: int = Field(default=128, ge=2, le=1_000_000)
    """Pairs per step, over all devices together."""
    lr: Positive = 1e-5
    """Base learning rate, reached after the warm-up; from there it falls along a half cosine."""
    group_lr: dict[str, Positive] = {}
    """Learning rates of named groups of weights, absolute, biases included: `{token_selection: 1.0e-3}`."""
    optimiser: Literal["adam", "adamw"] = "adam"
    """Adam with weight decay in the gradient, or AdamW with weight decay beside it."""
    weight_decay: float = Field(default=4e-5, ge=0)
    """Weight decay of everything but biases."""
    decay_of: Literal["weights", "matrices"] = "weights"
    """What decays: everything but biases (weights), or only what has two dimensions or more (matrices)."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Adam's decay of the average gradient."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Adam's decay of the average squared gradient."""
    adam_eps: Positive = 1e-3
    """Adam's epsilon."""
    bias_lr_factor: Positive = 2.0
    """Learning-rate factor of biases."""
    head_lr_factor: Positive = 5.0
    """Learning-rate factor of classifier, cross-attention and MLM head; everything else runs at 1."""
    warmup_epochs: int = Field(default=5, ge=0)
    """Epochs in which the learning rate rises to `lr`."""
    warmup_factor: float = Field(default=0.1, gt=0, le=1)
    """Share of `lr` at which the warm-up begins."""
    schedule: Literal["epoch", "iteration"] = "epoch"
    """Whether the learning rate changes from epoch to epoch, or from step to step."""
    final_lr_factor: Unit = 0.0
    """Share of `lr` towards which the half cosine falls; it would be reached just after the last step."""
    precision: Precision = "bf16"
    """bf16 autocast over fp32 weights, fp32 throughout, or (released) fp16 weights without loss scaling."""
    sampler: SamplingRule = "pairs"
    """Every caption once, a person's two by two (pairs) or in any order (shuffle), or as released."""
    image_augmentation: Literal["flip_crop_erase", "two_of_six"] = "flip_crop_erase"
    """What changes training images: flip, padded crop and erasing, or two drawn of TBPS-CLIP's six."""
    flip_probability: Unit = 0.5
    """Probability that a training image is mirrored (`flip_crop_erase`)."""
    crop_padding: int = Field(default=10, ge=0, le=1024)
    """Pixels of padding before the random crop (`flip_crop_erase`)."""
    erase_probability: Unit = 0.5
    """Probability that a random rectangle of a training image is erased (`flip_crop_erase`)."""
    word_deletion: float = Field(default=0.0, ge=0, lt=1)
    """Probability that a word of a training caption is deleted; one always stays."""
    evaluate_every: Count = 1
    """Epochs between two evaluations; the last epoch is always evaluated."""


class TrainingPairs(StudySection):
    """What is done to the training captions of every dataset before training."""

    caption_noise: Unit = 0.0
    """Share of the training captions that are moved to other images, drawn anew for each seed."""


class Select(StudySection):
    """How the epoch that a table quotes is chosen."""

    metric: Metric = "R1"
    """The score of text-to-image retrieval by which the best epoch is chosen."""
    split: Selection = "val"
    """`val` is the honest choice; `test` is what the released code does; `last` chooses nothing."""


class Evaluate(StudySection):
    """What a trained model is tested on."""

    transfer: bool = False
    """Whether every model is evaluated on every dataset of the study, not only its own."""
    targets: tuple[str, ...] = ()
    """Datasets to evaluate on besides those of the study."""
    tie_order: TieOrder = "index"
    """Equal similarities are ranked by gallery index, or as an unstable sort leaves them (as released)."""


class Range(StudySection):
    """A numeric parameter of a search."""

    low: Number
    """The smallest value."""
    high: Number
    """The largest value."""
    log: bool = False
    """Whether values are drawn on a logarithmic scale."""
    step: Positive | None = None
    """Distance between two values; null allows any."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low must be less than high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log scale needs low above 0, got {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("a log scale takes no step")
        if self.step is not None and self.step > self.high - self.low:
            raise ValueError(f"step {self.step:g} is wider than the range")
        if self.step is not None and (rest := _remainder(self.high - self.low, self.step)):
            reached = self.high - rest
            raise ValueError(
                f"steps of {self.step:g} from {self.low:g} miss {self.high:g}; let high be {reached:g}"
            )
        return self

    def ends(self) -> tuple[int | float, int | float]:
        """The two ends; what is valid at both is taken to be valid between them."""
        return self.low, self.high


def _remainder(width: float, step: float) -> float:
    """What is left of `width` after whole steps; 0 when rounding alone leaves something."""
    steps = width / step
    return 0.0 if abs(steps - round(steps)) < 1e-6 else width - int(steps) * step


class Choices(StudySection):
    """A categorical parameter of a search."""

    choices: tuple[str | bool | int | float, ...]
    """The values to choose from."""

    @field_validator("choices")
    @classmethod
    def _distinct(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values:
            raise ValueError("must not be empty")
        if len({(type(value), value) for value in values}) < len(values):
            raise ValueError("lists a choice twice")
        return values

    def ends(self) -> tuple[Any, ...]:
        """Every choice."""
        return self.choices


class Search(StudySection):
    """A search of hyper-parameters: the same budget for every method that trains, on validation only."""

    trials: int = Field(ge=1, le=100_000)
    """Finished trials of every search, complete or pruned; more of them continue a search."""
    arms: tuple[Literal["recipe", "tuned"], ...] = Field(default=("recipe", "tuned"), min_length=1)
    """What is trained on the study's seeds: every method by its recipe, by the settings that won, or both."""
    repeats: int = Field(default=1, ge=1, le=100)
    """Searches of every method, each with its own seed and winner: how much winners differ by chance."""
    space: dict[str, Any] = Field(min_length=1)
    """By name of a setting: a range `{low: …, high: …}`, or `{choices: […]}`."""
    sampler: Literal["tpe", "cmaes", "random", "grid"] = "tpe"
    """How the next settings are proposed (Optuna's samplers)."""
    pruner: Literal["median", "hyperband", "none"] = "median"
    """How a trial that does badly is ended early (Optuna's pruners)."""
    epochs: Count | None = None
    """Epochs of a trial; null trains as long as the study does."""
    datasets: tuple[str, ...] = ()
    """The datasets to search on; none named means every dataset of the study."""
    storage: str | None = None
    """An SQLAlchemy URL that several machines reach; null keeps a database file below `--out`."""
    points: int = Field(default=8, ge=2, le=1000)
    """Points per range without a step, for the grid sampler."""

    def ranges(self) -> dict[str, Range | Choices]:
        """The space, typed; raises pydantic's `ValidationError` where it makes no sense."""
        return {name: parameter(value) for name, value in self.space.items()}


def parameter(value: dict[str, Any]) -> Range | Choices:
    """One parameter of a search: categorical when it lists `choices`, else a range."""
    model: type[Range] | type[Choices] = Choices if "choices" in value else Range
    return model.model_validate_json(json.dumps(value))


class Overhead(StudySection):
    """A measurement of what each method costs, as a ratio to `against`."""

    against: tuple[str, ...] = Field(min_length=1)
    """The methods, one or several, that every other is compared with."""
    steps: int = Field(default=50, ge=2, le=100_000)
    """Timed training steps of each method, methods taking turns."""
    warmup: int = Field(default=5, ge=0, le=100_000)
    """Steps of each method before the first timed one."""
    repeats: Count = 3
    """How often the measurement is repeated."""

    @field_validator("against", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if isinstance(value, list):
            return tuple(value)
        return (value,) if isinstance(value, str) else value


Seed = Annotated[int, Field(ge=0, lt=2**31)]


class StudyFile(StudySection):
    """A whole study file. `methods` and `train` are checked against the registry later."""

    name: str = Field(min_length=1, max_length=100)
    """The study's name, and that of its folder below `runs/`: letters, digits, `.`, `_` and `-`."""
    description: str = ""
    """A sentence for the report."""
    preset: Preset = "clean"
    """The clean protocol, or `released`: as the authors' code does it, bugs included."""
    recipe: str = "shared"
    """What methods are trained with: one recipe for all (`shared`, or the name of a file of
    `methods/recipes`), or each with the one it was published with (`own`). `train:` overrides either."""
    methods: tuple[Any, ...] = Field(min_length=1)
    """Names, or mappings `{name: label, base: registered name, any setting: value}`."""
    ablate: tuple[str, ...] = ()
    """Up to five switches of the first method, of which the study trains every combination (of four or five
    switches half of them)."""
    datasets: tuple[str, ...] = Field(min_length=1)
    """Names of the datasets to train on."""
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1)
    """Which seeds, as a list; or how many: 3 stands for `[0, 1, 2]`; or `{looks: [3, 5, 10]}`: as many as
    the first of several planned looks."""
    looks: tuple[Count, ...] | None = None
    """At how many seeds verdicts are looked at, planned in advance; written as `seeds: {looks: …}`."""
    subset: Count | None = None
    """Identities kept per split; null keeps all."""
    data: TrainingPairs = TrainingPairs()
    """What is done to the training captions."""
    train: dict[str, Any] = Field(default_factory=dict)
    """The recipe, and any setting of the methods by its name."""
    select: Select = Select()
    """How the epoch that a table quotes is chosen."""
    evaluate: Evaluate = Evaluate()
    """What a trained model is tested on."""
    search: Search | None = None
    """A search of hyper-parameters that precedes the comparison."""
    overhead: Overhead | None = None
    """A measurement of what each method costs."""
    keep: tuple[Kept, ...] = ()
    """What a finished training run keeps on the disk beside the model of `select.split`; every score and
    record stays in any case. `checkpoint` is the state from which damaged models are restored."""
    tied_within: float = Field(default=TIED_WITHIN, gt=0, le=100)
    """Points of a score within which two methods count as tied."""
    claims: str | None = None
    """A file of claims that the report judges, each within the margin that the file states."""
    timeout_minutes: Positive | None = None
    """After this long a training run is given up as failed (timeout)."""

    @field_validator("name")
    @classmethod
    def _a_folder_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ValueError(
                f"must be a folder's name: letters, digits, '.', '_' and '-', no separators; got {name!r}"
            )
        return name

    @field_validator("looks")
    @classmethod
    def _looks_rise(cls, looks: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if looks is not None and (len(looks) < 2 or list(looks) != sorted(set(looks)) or looks[0] < 2):
            raise ValueError(f"must be two or more rising numbers of seeds from 2, got {list(looks)}")
        return looks

    @field_validator("seeds", mode="before")
    @classmethod
    def _how_many_or_which(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, list, tuple)):
            raise ValueError(f"must be how many seeds or a list of them, got {value!r}")
        if isinstance(value, int):
            if not 1 <= value <= 10_000:
                raise ValueError(f"must be at least 1 and at most 10000, got {value}")
            return tuple(range(value))
        if any(value.count(seed) > 1 for seed in value):
            raise ValueError("lists a seed twice")
        return tuple(value)
