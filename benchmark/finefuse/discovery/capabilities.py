"""What a plugin declares. Only this module asks for it, and checks it each time.

Every function raises `DeclarationError`, one sentence, if it finds a value of the wrong type.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args

from finefuse.errors import FinefuseError, PluginError, did_you_mean
from finefuse.types import Description, Fusing, Law, Level, Need, PluginKind, Space, Spec, Task, Vocabulary
from finefuse.types.optional import Elsewhere, EmbedsText, Prepares, ReadsInputs, ReadsMembers, Searcher, SourceNeed

_TEXTS, _FLAG = "a tuple of texts", "True or False"


_TOLD = ("run_begins", "job_begins", "job_ends", "run_ends", "note")
_FORMERLY_TOLD = {"planned": "run_begins", "started": "job_begins", "finished": "job_ends"}


class DeclarationError(PluginError):
    """A plugin has an invalid declaration. `said` is the sentence without its subject."""

    def __init__(self, plugin: Any, said: str) -> None:
        cls = plugin if isinstance(plugin, type) else type(plugin)
        super().__init__(f"{cls.__qualname__} {said}")
        self.said = said


def prepares(scheme: Any) -> Prepares | None:
    """The scheme, if it adds modules to the network."""
    return scheme if method(scheme, "prepare") else None


def given(scheme: Any) -> dict[str, str] | None:
    """What a scheme says of a network that was tuned elsewhere; None where it tunes itself."""
    if not method(scheme, "provenance"):
        return None
    said = ask(scheme, "provenance", Mapping, "a table of texts")
    if not all(isinstance(text, str) for pair in said.items() for text in pair):
        raise DeclarationError(scheme, f"has {said!r} for its `provenance`, which should be a table of texts")
    return dict(said)


def reads_members(backbone: Any) -> ReadsMembers | None:
    """The backbone, if it reads files of networks that were tuned from it."""
    return backbone if method(backbone, "member") else None


def embeds_text(backbone: Any) -> EmbedsText | None:
    """The backbone, if it has a tower for text."""
    return backbone if method(backbone, "text_head") else None


def searcher(scheme: Any) -> Searcher | None:
    """The scheme, if it is a search for the parameters of another."""
    if not method(scheme, "suggest"):
        return None
    for name in ("plan", "extremes", "at_edge"):
        if not method(scheme, name):
            raise DeclarationError(scheme, f"has a method `suggest`, as searches have, and no method `{name}`")
    ask(scheme, "of", str | dict, "a scheme")
    return scheme  # type: ignore[no-any-return]


def takes_steps(scheme: Any) -> bool | None:
    """Whether a scheme takes steps of the trainer; None where it doesn't say."""
    return _flag(scheme, "takes_steps") if _has(scheme, "takes_steps") else None


def searches(scheme: type) -> bool:
    """Whether schemes of this class are searches, asked before there is one."""
    return method(scheme, "suggest") is not None


def source_needs(scheme: Any) -> tuple[SourceNeed, ...]:
    """The parts of the pretraining that a scheme needs."""
    return _among(scheme, "needs", SourceNeed)


def fusion_needs(fusion: Any) -> tuple[Need, ...]:
    """What a fusion needs."""
    ask(fusion, "needs", tuple | list, _TEXTS)
    return _among(fusion, "needs", Need)


def level(fusion: Any) -> Level:
    """What a fusion fuses."""
    return _one_of(fusion, "level", ask(fusion, "level", str), Level)  # type: ignore[no-any-return]


def kinds(plugin: Any) -> tuple[str, ...]:
    """The kinds of task that a plugin is for; () for all."""
    found = _texts(plugin, "kinds")
    if not found and _has(plugin, "kinds"):
        raise DeclarationError(plugin, "has no kind of task in its `kinds`; leave it out if it is for all of them")
    return found


def metric_kinds(metric: Any) -> tuple[str, ...]:
    """The kinds of task that a metric is for."""
    ask(metric, "kinds", tuple | list, _TEXTS)
    return kinds(metric)


def higher_is_better(metric: Any) -> bool:
    """Whether more of a metric is better."""
    return bool(ask(metric, "higher_is_better", bool, _FLAG))


def nested(scheme: Any) -> list[Spec]:
    """The schemes that a scheme is made of."""
    found: list[Spec] = []
    for name in _texts(scheme, "nested"):
        _must_be_field(scheme, "nested", name)
        value = getattr(scheme, name)
        specs = [value] if isinstance(value, str | dict) else value or ()
        if not isinstance(specs, list | tuple) or not all(isinstance(spec, str | dict) for spec in specs):
            raise DeclarationError(scheme, f"has {value!r} in its {name!r}, where `nested` promises a scheme")
        found += specs
    return found


def space(strategy: type) -> Space:
    """The ranges of its parameters that a strategy's class declares; none where `space` is itself a parameter."""
    if "space" in _fields(strategy) or not _has(strategy, "space"):
        return {}
    declared: Space = ask(strategy, "space", dict, "a table")
    for name, given in declared.items():
        _must_be_field(strategy, "space", name)
        if not _is_range(given):
            what = f"has {given!r} for {name!r} in its `space`"
            raise DeclarationError(strategy, f"{what}, which should be a table with low < high, or with choices")
    return declared


def head_outputs(backbone: Any) -> int | None:
    """Outputs of the head that a backbone's weights come with; None where they have none."""
    outputs = ask(backbone, "head_outputs", int | None, "a number or None") if _has(backbone, "head_outputs") else None
    if outputs is True or (outputs is not None and outputs < 1):
        raise DeclarationError(backbone, f"has {outputs!r} for its `head_outputs`, which should be 1 or more, or None")
    return outputs


def keeps_head(backbone: Any) -> bool:
    """Whether a backbone's own head stays where the target has as many outputs."""
    return _flag(backbone, "keep_head")


def adapts(backbone: Any) -> bool:
    """Whether a backbone's networks take inputs of other shapes than those they were built for."""
    return _flag(backbone, "adapts")


def remarks(plugin: Any) -> tuple[str, ...]:
    """What a data set or backbone says of what it has read; () for nothing."""
    return _texts(plugin, "remarks")


def refusal(backbone: Any, task: Task, tokens: Vocabulary | None) -> str:
    """Why a backbone can't take a task's inputs; "" where it can, or doesn't say."""
    refuses = method(backbone, "refuses")
    told = refuses(task, tokens) if refuses else ""
    if not isinstance(told, str):
        raise DeclarationError(backbone, f"has {told!r} from its `refuses`, which should be a sentence or ''")
    return told


def vocabulary(dataset: Any) -> Vocabulary | None:
    """What a data set's token numbers mean, if it declares it."""
    if not method(dataset, "token_numbers"):
        return None
    return ask(dataset, "token_numbers", Vocabulary | None)  # type: ignore[no-any-return]


def description(dataset: Any, seed: int) -> Description:
    """How a data set's inputs are made and what its outputs mean; empty where it doesn't say."""
    describe = method(dataset, "describe")
    told = describe(seed) if describe else Description()
    if not isinstance(told, Description):
        raise DeclarationError(dataset, f"has {told!r} from its `describe`, which should be a Description")
    return told


def reads_inputs(dataset: Any) -> ReadsInputs | None:
    """The data set, if it reads new inputs."""
    return dataset if method(dataset, "read_inputs") else None


def folds(dataset: Any) -> int:
    """How many published splits a data set has, to be taken in turn; 0 for one that draws them by seed."""
    found = ask(dataset, "number_of_folds", int) if _has(dataset, "number_of_folds") else 0
    if isinstance(found, bool) or found < 0:
        raise DeclarationError(dataset, f"has {found!r} for its `number_of_folds`, which should be 0 or more")
    return int(found)


def alone(fusion: Any) -> bool:
    """Whether a fusion makes its own members."""
    return _flag(fusion, "alone")


def many_tasks(fusion: Any) -> bool:
    """Whether a fusion serves members of several tasks: those of weights do, unless they say otherwise."""
    if _has(fusion, "many_tasks"):
        return _flag(fusion, "many_tasks")
    return level(fusion) == "weight" and not alone(fusion)


def uses_labels(fusion: Any) -> bool:
    """Whether a fusion uses labels, as all do that don't say otherwise."""
    return _flag(fusion, "uses_labels") if _has(fusion, "uses_labels") else True


def own_gradients(fusion: Any, of: Fusing) -> int:
    """How many gradients a fusion evaluates in loops of its own beside the budget, at most; 0 where it doesn't say."""
    declared = method(fusion, "own_gradients")
    found = declared(of) if declared else 0
    if type(found) is not int or found < 0:
        raise DeclarationError(fusion, f"has {found!r} from its `own_gradients`, which should be 0 or more")
    return found


def follows(fusion: Any) -> bool:
    """Whether a fusion can be a stage after another one."""
    if not method(fusion, "follow"):
        return False
    if level(fusion) != "weight":
        raise DeclarationError(fusion, "has a method `follow`, and only fusions on the weight level follow others")
    return True


def saw(fusion: Any) -> str:
    """What data a fusion gets: "labelled" or "unlabelled", "test inputs", both, or "none"."""
    needs, labels = fusion_needs(fusion), uses_labels(fusion)
    examples = bool({"val", "train"}.intersection(needs)) or (labels and "trainer" in needs)
    told = ["labelled" if labels else "unlabelled"] if examples else []
    return " and ".join([*told, *(["test inputs"] if "test inputs" in needs else [])]) or "none"


def except_for(fusion: Any) -> tuple[Law, ...]:
    """The laws that a fusion does not keep."""
    return _among(fusion, "except_for", Law)


def parallel(executor: Any) -> bool:
    """Whether an executor carries out calls in other processes."""
    return bool(ask(executor, "parallel", bool, _FLAG))


def elsewhere(executor: Any) -> Elsewhere | None:
    """The executor, if it has jobs carried out on other machines."""
    return executor if method(executor, "room") else None


def observer_calls(observer: Any) -> dict[str, Callable[..., Any]]:
    """What an observer wants to be told, by the names of its methods."""
    found = {name: call for name in _TOLD if (call := method(observer, name))}
    for former, name in _FORMERLY_TOLD.items():
        if name not in found and method(observer, former):
            raise DeclarationError(observer, f"has a method `{former}`, which is called `{name}` now")
    if not found:
        raise DeclarationError(observer, f"has none of the methods of an observer: {', '.join(_TOLD)}")
    return found


def version(plugin: Any) -> str:
    """The version of a module or an object; "" if it gives none."""
    return ask(plugin, "__version__", str, "a text") if _has(plugin, "__version__") else ""


_QUESTIONS: Mapping[PluginKind, tuple[Callable[[Any], object], ...]] = {
    "dataset": (lambda dataset: method(dataset, "token_numbers"), folds, reads_inputs),
    "backbone": (
        head_outputs,
        keeps_head,
        adapts,
        reads_members,
        embeds_text,
        lambda backbone: method(backbone, "refuses"),
    ),
    "scheme": (
        prepares,
        searcher,
        source_needs,
        takes_steps,
        kinds,
        nested,
        lambda scheme: method(scheme, "provenance"),
        lambda scheme: space(type(scheme)),
    ),
    "fusion": (
        level,
        fusion_needs,
        kinds,
        alone,
        many_tasks,
        except_for,
        uses_labels,
        lambda fusion: method(fusion, "own_gradients"),
        follows,
        lambda fusion: space(type(fusion)),
    ),
    "metric": (metric_kinds, higher_is_better),
    "executor": (parallel,),
    "observer": (observer_calls,),
}


def check(kind: PluginKind, plugin: Any) -> None:
    """Check everything that a plugin of this kind may declare."""
    for question in _QUESTIONS.get(kind, ()):
        question(plugin)


def ask(plugin: Any, what: str, expected: Any, wanted: str = "") -> Any:
    """An attribute of a plugin, or what it returns if it is a method; `wanted` says in words what is expected."""
    try:
        answer = getattr(plugin, what)
        answer = answer() if callable(answer) else answer
    except FinefuseError:
        raise
    except (Exception, SystemExit) as error:
        raise DeclarationError(plugin, f"can't tell its `{what}`: {type(error).__name__}: {error}") from error
    if not isinstance(answer, expected):
        wanted = wanted or f"a {expected.__name__ if isinstance(expected, type) else expected}"
        raise DeclarationError(plugin, f"has {answer!r} for its `{what}`, which should be {wanted}")
    return answer


def method(plugin: Any, name: str) -> Callable[..., Any] | None:
    """A method that a plugin may leave out."""
    if not _has(plugin, name):
        return None
    found = getattr(plugin, name)
    if not callable(found):
        raise DeclarationError(plugin, f"has {found!r} for its `{name}`, which should be a method")
    return found  # type: ignore[no-any-return]


def _has(plugin: Any, what: str) -> bool:
    """Whether there is such an attribute, without asking for it."""
    return inspect.getattr_static(plugin, what, _NOTHING) is not _NOTHING


_NOTHING = object()


def _flag(plugin: Any, what: str) -> bool:
    return bool(ask(plugin, what, bool, _FLAG)) if _has(plugin, what) else False


def _texts(plugin: Any, what: str) -> tuple[str, ...]:
    if not _has(plugin, what):
        return ()
    texts = tuple(ask(plugin, what, tuple | list, _TEXTS))
    for text in texts:
        if not isinstance(text, str):
            raise DeclarationError(plugin, f"has {text!r} in its `{what}`, which should be {_TEXTS}")
    return texts


def _among(plugin: Any, what: str, allowed: Any) -> tuple[Any, ...]:
    return tuple(_one_of(plugin, what, value, allowed) for value in _texts(plugin, what))


def _one_of(plugin: Any, what: str, value: str, allowed: Any) -> Any:
    if value not in get_args(allowed):
        raise DeclarationError(
            plugin, f"says {what} {value!r}, and there is only {', '.join(map(repr, get_args(allowed)))}"
        )
    return value


def _fields(scheme: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(scheme) if field.init]


def _must_be_field(scheme: Any, what: str, name: object) -> None:
    fields = _fields(scheme)
    if name not in fields:
        raise DeclarationError(
            scheme, f"has {name!r} in its `{what}`, and no such parameter{did_you_mean(str(name), fields)}"
        )


def _is_range(given: Any) -> bool:
    """Whether it says low < high, and log or not, or choices."""
    if not isinstance(given, Mapping):
        return False
    if given.keys() == {"choices"}:
        return isinstance(given["choices"], list | tuple) and bool(given["choices"])
    ends = [given.get("low"), given.get("high")]
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
    if not numbers or not given.keys() <= {"low", "high", "log"} or not isinstance(given.get("log", False), bool):
        return False
    return bool(given["low"] < given["high"] and (given["low"] > 0 or not given.get("log", False)))
