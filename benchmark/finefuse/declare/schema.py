"""The shape of a suite file: which keys there are, of what type, within what bounds. Also its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, field_validator, model_validator
from pydantic_core import ErrorDetails

from finefuse.declare.suite_text import Source, show, suggest
from finefuse.declare.toml_lines import KeyPath
from finefuse.errors import SuiteError
from finefuse.types import Budget, Judgement, Limits, Settings, Statistics
from finefuse.types.aggregate import Aggregate, By, Zero

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
LABEL = r"^[^\s/|#]+( [^\s/|#]+)*$"
CHANGE = r"^\s*(\d+\.?\d*|\.\d+)\s*(%|pp)?\s*$"
_PATTERNS = {
    NAME: "letters, digits, dots, dashes and underscores, and begin with a letter or digit",
    LABEL: "words with single spaces between them, without '/', '|' and '#'",
    CHANGE: 'a text such as "0.5pp", "1%" or "0"',
}
Label = Annotated[str, Field(pattern=LABEL, max_length=100)]
Positive = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class BudgetShape(_Table):
    """How much one fine-tuning may spend."""

    model_config = ConfigDict(json_schema_extra={"not": {"required": ["epochs", "steps"]}})

    epochs: Positive = Field(default=Budget.epochs, description="Passes over the training data.")
    batch_size: Positive = Field(default=Budget.batch_size, description="Examples per optimizer step.")
    schedule: Literal["cosine", "constant"] = Field(
        default=Budget.schedule, description="How the learning rate changes."
    )
    steps: Positive | None = Field(default=Budget.steps, description="Optimizer steps, in place of epochs.")

    @model_validator(mode="after")
    def _one_of(self) -> BudgetShape:
        if {"epochs", "steps"} <= self.model_fields_set:
            raise ValueError("has epochs and steps, leave one out")
        return self


class AggregateShape(_Table):
    """How the scores of several tasks become one figure."""

    by: By = Field(default=Aggregate.by, description="The mean of ratios to own models' scores, or the ratio of means.")
    zero: Zero = Field(default=Aggregate.zero, description="What a task is whose own model scores 0.")


class LimitsShape(_Table):
    """What stops a job and never changes a result."""

    seconds: float = Field(default=Limits.seconds, gt=0, description="Wall-clock seconds that one job may take.")
    memory: float | None = Field(default=Limits.memory, gt=0, description="GiB that one job may take.")


class UseShape(_Table):
    """A plugin by name, or a table with its name and parameters."""

    model_config = ConfigDict(extra="allow")
    use: str = Field(description="Name of the plugin; other keys are its parameters.")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"use": value} if isinstance(value, str) else value

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that are given in the table."""
        return dict(self.model_extra or {})


_USE = {"type": "object", "properties": {"use": {"type": "string"}}, "required": ["use"]}
Use = Annotated[UseShape, WithJsonSchema({"anyOf": [{"type": "string"}, _USE]})]


class ItemShape(UseShape):
    """A plugin by name, or a table with its name and parameters."""

    as_: Label | None = Field(default=None, alias="as", description="What to call it in tables.")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] | None = Field(
        default=None, min_length=1, description="Lists of values for parameters: one line for each combination."
    )

    choose: dict[str, Annotated[list[Any], Field(min_length=1)]] | None = Field(
        default=None,
        min_length=1,
        description="Lists of values for parameters: one line with the combination that is best on val; fusions only.",
    )
    rounds: Positive | None = Field(
        default=None, description="Fine-tune, fuse, and fine-tune again from the fused network; fusions only."
    )
    followed_by: Annotated[list[Use], Field(min_length=1)] | None = Field(
        default=None, description="Stages that change the fused network, one after the other; fusions only."
    )
    datasets: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, description="The data sets that a scheme is for; without it all. Schemes only."
    )
    backbones: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, description="The backbones that a scheme is for; without it all. Schemes only."
    )


class FileShape(_Table):
    """A network that was tuned elsewhere, as a member of a pool: its file, or a table that says more of it."""

    model_config = ConfigDict(extra="allow")
    file: str = Field(description="The file; other keys are parameters of the scheme that reads it.")
    as_: Label | None = Field(default=None, alias="as", description="What to call it in tables; else its file's name.")
    task: str | None = Field(default=None, description="The data set that it was tuned for.")
    backbone: str | None = Field(default=None, description="The backbone that it is read into.")

    @model_validator(mode="before")
    @classmethod
    def _file_alone(cls, value: Any) -> Any:
        return {"file": value} if isinstance(value, str) else value

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that are given in the table."""
        return {"file": self.file, **(self.model_extra or {})}


_FILE = {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"]}
File = Annotated[FileShape, WithJsonSchema({"anyOf": [{"type": "string"}, _FILE]})]


class RunShape(_Table):
    """The executor, observers and reporters; options of the command line override it."""

    executor: Use | None = Field(default=None, description="What carries out the jobs.")
    workers: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Jobs at a time; 0 for the process itself. Another number gives the same bits."
    )
    reporters: list[Use] | None = Field(default=None, description="Which reports are written; without it, all.")
    observers: list[Use] = Field(default=[], description="What follows the run.")


Limit = Annotated[str, Field(pattern=CHANGE)] | Annotated[float, Field(ge=0)]
"""A change that doesn't matter: "0.5pp", "20%", or a plain number."""


class GateShape(_Table):
    """What `finefuse compare` judges these results by; its options override it."""

    alpha: Annotated[float, Field(ge=0.001, lt=1)] | None = Field(default=None, description="Chance of a false alarm.")
    margin: Limit | None = Field(default=None, description="A change of a metric that doesn't matter.")
    resolve: Limit | None = Field(default=None, description="A loss of all cells that must have been visible.")
    fail_on: dict[str, Limit | Literal["off"]] = Field(default={}, description="Limits, by measure.")
    fatal: list[Judgement] = Field(default=[], description="More judgements that fail.")
    allow: list[Judgement | Literal["settings", "versions", "plan"]] = Field(
        default=[], description="Judgements and differences that don't fail."
    )
    noise: dict[Literal["train_s", "latency", "memory"], Annotated[float, Field(gt=0)]] = Field(
        default={}, description="The standard deviation of the logarithm from run to run, by measure."
    )

    @field_validator("margin", "resolve")
    @classmethod
    def _can_be_exceeded(cls, limit: str | float | None) -> str | float | None:
        found = re.match(CHANGE, limit) if isinstance(limit, str) else None
        amount = float(found[1]) / (100 if found[2] else 1) if found else limit
        if isinstance(amount, float) and amount >= 1:
            raise ValueError(f'must be below 1, which is 100 points, not {show(limit)}: one point is "1pp"')
        return limit


class SearchShape(_Table):
    """The same search for every scheme and fusion that declares a space."""

    trials: Annotated[int, Field(ge=2)] = Field(default=8, description="Settings tried, the default one included.")
    sampler: Literal["tpe", "random", "grid"] = Field(default="tpe", description="How settings are proposed.")


Items = Annotated[list[ItemShape], Field(min_length=1)]
_LIST = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Names = Annotated[list[str], Field(min_length=1), WithJsonSchema({"anyOf": [{"enum": ["*"]}, _LIST]})]
"""Names of something, or "*" for all of them."""


class PoolShape(_Table):
    """What is fused."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["of"]}, {"required": ["files"]}]})
    of: Names | None = Field(
        default=None, description="Labels of schemes, names of scheme plugins, or other pools; '*' for all schemes."
    )
    files: Annotated[list[File], Field(min_length=1)] | None = Field(
        default=None, description="Networks that were tuned elsewhere, each a file or a table with `file`."
    )
    base: str | None = Field(default=None, description="The file of what all `files` were tuned from.")
    backbone: str | None = Field(default=None, description="The backbone that all `files` are read into.")
    copies: Positive = Field(default=1, description="Members per scheme, which differ in their member seed only.")
    backbones: Names | None = Field(
        default=None, description="Fuse across these backbones, '*' for all of them; without, each for itself."
    )
    datasets: Names | None = Field(
        default=None, description="Fuse members of these data sets, '*' for all of them; without, each for itself."
    )
    statistics: Statistics | None = Field(
        default=None, description="Across data sets: where a merged body's BatchNorm statistics come from."
    )
    held_out: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, description="Across data sets: others, for which `probe` tunes what was merged."
    )
    probe: Label | None = Field(default=None, description="The label of the scheme that tunes for `held_out`.")
    sizes: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)] | None = Field(
        default=None, description="Fuse parts of the pool too: a curve over how many tasks, or members of one task."
    )
    subsets: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="How many subsets of each size are drawn."
    )

    @field_validator("of", "backbones", "datasets", mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        return ["*"] if value == "*" else value


class SuiteShape(_Table):
    """A finefuse suite: what is compared."""

    name: str = Field(pattern=NAME, max_length=100, description="Names the folder of the results.")
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1, description="One repetition for each.")
    budget: BudgetShape = Field(default_factory=BudgetShape)
    datasets: Items = Field(description="Data sets to tune for.")
    also_test: list[ItemShape] = Field(default=[], description="More test sets for every model: of shifted data.")
    source_test: bool | Use = Field(
        default=False,
        description="Score every body with the pretrained head on the source data, or on this data set.",
    )
    backbones: Items = Field(description="Pretrained networks to tune.")
    metrics: Items = Field(
        default=[], description="Scores; the first that is for the task ranks. Without any, its kind's own metric."
    )
    schemes: Items = Field(default=[], description="Fine-tuning schemes; needed where no pool has `files`.")
    search: SearchShape | None = Field(
        default=None, description="Search for the parameters of every scheme and fusion that declares a space."
    )
    fusions: list[ItemShape] = Field(default=[], description="Fusion methods, each for every pool.")
    pools: dict[Label, PoolShape] = Field(
        default={}, description="What is fused; without any, all schemes make one: `all`."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default=Settings.precision, description="What training and scoring compute in."
    )
    channels_last: bool = Field(default=Settings.channels_last, description="Memory format of images.")
    augment: list[Literal["flip", "crop", "randaugment", "mixup", "cutmix"]] = Field(
        default=[], description="How training images are changed at random, in this order."
    )
    threads: Positive = Field(
        default=Settings.threads, description="CPU threads per job; another number gives other bits."
    )
    compile: Literal["off", "default", "reduce-overhead", "cuda-graphs"] = Field(
        default=Settings.compile, description="Train by torch.compile, or by CUDA graphs of whole steps: cuda-graphs."
    )
    tf32: bool = Field(default=Settings.tf32, description="Let matrix products on a GPU round to TF32.")
    deterministic: bool = Field(
        default=Settings.deterministic, description="Only algorithms that give the same bits each time, on a GPU too."
    )
    portable: bool = Field(
        default=Settings.portable, description="Pin the instruction set to AVX2: the same bits on other machines."
    )
    accumulate: bool = Field(
        default=Settings.accumulate, description="Out of memory, try once more with half a batch at a time."
    )
    selection: Literal["last", "best-val"] = Field(
        default=Settings.selection, description="Which weights count: the last, or the checkpoint that is best on val."
    )
    checkpoints: Annotated[int, Field(ge=0)] = Field(
        default=Settings.checkpoints, description="Looks at val and test on the way of a fine-tuning; 0 for none."
    )
    aggregate: AggregateShape = Field(default_factory=AggregateShape)
    limits: LimitsShape = Field(default_factory=LimitsShape)
    run: RunShape = Field(default_factory=RunShape)
    gate: GateShape = Field(default_factory=GateShape)
    latency: list[Positive] = Field(default=[1, 64], description="Batch sizes to time; [] for none.")


_TABLES: dict[str, type[BaseModel]] = {
    "aggregate": AggregateShape,
    "budget": BudgetShape,
    "gate": GateShape,
    "limits": LimitsShape,
    "pools": PoolShape,
    "run": RunShape,
    "search": SearchShape,
}


def read_shape(source: Source) -> SuiteShape:
    """Check keys, types and bounds.

    Raises:
        SuiteError: about the first thing that is wrong; a misspelled key comes before the key that is missing for it.
    """
    try:
        return SuiteShape.model_validate(source.data)
    except ValidationError as error:
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise _explain(found, source) from None


def _place(wrong: ErrorDetails, data: Any) -> KeyPath:
    """Where in a suite something is wrong, without the names that pydantic gives to the alternatives for a value."""
    found: list[str | int] = []
    for part in wrong["loc"]:
        inside = part in data if isinstance(data, Mapping) else isinstance(data, list) and isinstance(part, int)
        if inside:
            found.append(part)
            data = data[part]
    return (*found, wrong["loc"][-1]) if wrong["type"] == "missing" else tuple(found)


def _explain(found: Sequence[ErrorDetails], source: Source) -> SuiteError:
    """The first error; where a value may be of several types, what is wrong inside it, or else what it may be."""
    places = [_place(wrong, source.data) for wrong in found]
    path = max((place for place in places if place[: len(places[0])] == places[0]), key=len)
    here = [wrong for wrong, place in zip(found, places, strict=True) if place == path]
    kind, value = here[0]["type"], here[0]["input"]
    if kind in ("extra_forbidden", "missing"):
        *table, key = path
        model = _TABLES.get(str(path[0]), ItemShape) if table else SuiteShape
        known = [field.alias or name for name, field in model.model_fields.items()]
        if kind == "missing":
            return source.error(tuple(table), f"the key {key!r} is missing")
        return source.error(path, f"unknown key{suggest(str(key), known)}")
    if kind == "value_error":
        return source.error(path, str(here[0]["ctx"]["error"]))
    if kind == "too_short":
        return source.error(path, "must not be empty")
    first, *others = dict.fromkeys(_must_be(wrong, path) for wrong in here)
    told = " or ".join([first, *(other.removeprefix("must be ") for other in others)])
    return source.error(path, f"{told}, not {show(value)}")


def _must_be(wrong: ErrorDetails, path: KeyPath) -> str:
    """What a value must be, by one of the types that it may have."""
    kind = wrong["type"]
    if kind == "string_pattern_mismatch":
        return f"must be {_PATTERNS[wrong['ctx']['pattern']]}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        item = isinstance(path[-1], int) or (path[0] == "run" and len(path) > 1) or path[0] == "source_test"
        return f"must be a {'name or a table' if item else 'table'}"
    message = re.sub("^(Input|String) should", "must", wrong["msg"])
    return message.replace("a valid integer", "a whole number").replace("a valid", "a")


def json_schema(names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """JSON Schema (Draft 2020-12) of a suite file; `names` of known plugins, by key, are hints and refuse no others."""
    schema = SuiteShape.model_json_schema()
    table = schema["$defs"].pop("ItemShape")
    described = table["properties"]["use"]["description"]
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "finefuse suite"
    schema["properties"]["pools"]["additionalProperties"] = False
    for key, known in names.items():
        name = [*([{"enum": list(known)}] if known else []), {"type": "string"}]
        properties = {**table["properties"], "use": {"anyOf": name, "description": described}}
        schema["properties"][key]["items"] = {"anyOf": [*name, {**table, "properties": properties}]}
    return schema
