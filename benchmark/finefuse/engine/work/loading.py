"""What a job loads: the plugins by their doors, and data sets by way of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from finefuse.declare.facts import Facts
from finefuse.declare.keys import address, derive_seed, environment
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Door, Registry
from finefuse.engine.measure.repeats import repeated
from finefuse.engine.randomness import seeded
from finefuse.engine.store.splits import kept_splits
from finefuse.engine.work.room import room
from finefuse.errors import FinefuseError, PluginError, one_line
from finefuse.types import Backbone, Data, Dataset, Record, Ref, Settings, Splits

PARTS = ("train", "val", "test")


@lru_cache(maxsize=8)
def registry_of(doors: tuple[Door, ...]) -> Registry:
    """One registry per process and set of doors."""
    return Registry(doors)


@dataclass(frozen=True)
class Loaded:
    """Splits on the device; how many test examples are among the others as well; what the data set says of itself.

    `classes` are their names, or their numbers where the data set names none; () for a task without classes.
    """

    splits: Splits
    repeated: int
    remarks: tuple[str, ...]
    classes: tuple[str, ...]


@lru_cache(maxsize=16)
def loaded(
    doors: tuple[Door, ...],
    dataset: Ref,
    seed: int,
    device: str,
    store: str,
    content: str = "",
    used: tuple[str, ...] = PARTS,
) -> Loaded:
    """A data set for one seed, mapped from the store; kept, because a job may ask for the same ones again.

    Only the parts that are `used` are on the device.

    Raises:
        FinefuseError: if its fingerprint is no longer `content`.
        PluginError: if its targets can't be those of its task.
    """
    facts = Facts(registry_of(doors))
    plugin: Dataset = facts.instance("dataset", dataset)
    drawn = split_seed(dataset, seed, plugin)

    def make() -> tuple[Splits, Record]:
        splits = plugin.splits(drawn)
        for name, part in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
            if wrong := splits.task.bad_targets(part.y):
                raise PluginError(f"the data set {dataset} is wrong on {name}: {wrong}")
        names, said = class_names(plugin, drawn)
        return splits, {"repeated": repeated(splits), "remarks": [*capabilities.remarks(plugin), *said], "names": names}

    parts = environment("cpu", Settings()) | facts.parts("dataset", dataset) | {"split seed": str(drawn)}
    splits, told = kept_splits(Path(store), address(parts), plugin.task, make)
    refuse_changed(f"data set {dataset}", plugin, content)
    named = zip(PARTS, (splits.train, splits.val, splits.test), strict=True)
    placed = (_placed(part, device) if name in used else part for name, part in named)
    names = told["names"] if "names" in told else class_names(plugin, drawn)[0]  # a former version kept none
    return Loaded(Splits(splits.task, *placed), told["repeated"], tuple(told["remarks"]), tuple(names))


def splits_of(doors: tuple[Door, ...], dataset: Ref, seed: int, device: str, store: str, content: str = "") -> Splits:
    """The splits alone."""
    return loaded(doors, dataset, seed, device, store, content).splits


def class_names(dataset: Dataset, seed: int) -> tuple[list[str], list[str]]:
    """What the classes of a data set are called, and a sentence if it can't say although it should."""
    count, said = dataset.task.classes, list[str]()
    names: Sequence[object] = ()
    try:
        with seeded(seed):
            names = capabilities.description(dataset, seed).outputs.get("classes", ())
    except Exception as error:  # what only names classes must not cost the results
        said = [f"The classes have no names, because `describe` of {type(dataset).__name__} failed: {one_line(error)}"]
    fits = isinstance(names, list | tuple) and len(names) == count and {str}.issuperset(map(type, names))
    return list(map(str, names if fits else range(count))), said


def refuse_changed(who: str, plugin: Dataset | Backbone, content: str) -> None:
    """Nothing, if what a plugin has read is what it was when the suite was planned; "" for not known.

    Raises:
        FinefuseError: else, because the results would be kept under the address of what is gone.
    """
    if content and plugin.fingerprint() != content:
        raise FinefuseError(f"the {who} has changed since the suite was planned; run again to make a new plan")


def split_seed(dataset: Ref, seed: int, plugin: Dataset) -> int:
    """The seed that a data set's splits are drawn with; of one with published splits the number of the split."""
    if folds := capabilities.folds(plugin):
        return seed % folds
    return derive_seed(seed, dataset=dataset.name, purpose="split")


def _placed(part: Data, device: str) -> Data:
    """The examples on the device; inputs for which a GPU has no room stay where they are, and go there in batches."""
    return part.to(device) if device == "cpu" or room.take(part.x.nbytes) else Data(part.x, part.y.to(device))
