from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from finefuse.declare.suite import Pool, Strategy, Suite, load_suite, suite_schema
from finefuse.discovery.registry import Registry
from finefuse.types import Budget, Limits, Ref, Settings
from helpers.suites import HEAD, LEAST, complaint

SUITES = sorted((Path(__file__).parents[2] / "suites").glob("*.toml"))


# ------------------------------------------------------------------------------------------------------ good suites


def test_what_is_left_out_has_its_default(registry: Registry) -> None:
    assert load_suite(LEAST, registry) == Suite(
        name="x",
        file=None,
        seeds=(0,),
        settings=Settings(Budget(30, 32, "cosine"), "fp32", channels_last=False, threads=1),
        limits=Limits(),
        datasets=(Ref("shapes"),),
        backbones=(Ref("small"),),
        metrics=(Ref("accuracy"),),
        schemes=(Strategy("full", Ref("full")), Strategy("probe", Ref("probe"))),
        fusions=(),
        pools=(),
        latency=(1, 64),
    )


def test_every_key_is_read(registry: Registry, write: Callable[[str], Path]) -> None:
    file = write(
        HEAD
        + "seeds = [3, 1]\nprecision = 'bf16'\nchannels_last = true\nthreads = 2\nlatency = []\n"
        + "metrics = [{ use = 'top-k', k = 3 }]\nfusions = ['vote', { use = 'soup', times = 2, as = 'soup twice' }]\n"
        + "[budget]\nepochs = 2\nbatch_size = 8\nschedule = 'constant'\n"
        + "[limits]\nseconds = 9\nmemory = 1.5\n"
        + "[pools]\nsame = { of = ['full'], copies = 3 }\n"
    )
    suite = load_suite(file, registry)
    assert (suite.file, suite.seeds, suite.latency) == (file, (3, 1), ())
    assert suite.settings == Settings(Budget(2, 8, "constant"), "bf16", channels_last=True, threads=2)
    assert suite.limits == Limits(9, 1.5)
    assert suite.metrics == (Ref.of("top-k", k=3),)
    assert suite.fusions == (Strategy("vote", Ref("vote")), Strategy("soup twice", Ref.of("soup", times=2)))
    assert suite.pools == (Pool("same", ("full",), 3),)


def test_a_grid_is_every_combination_and_a_pool_can_name_them_all(registry: Registry) -> None:
    grid = {"lr": [0.1, 0.2], "decay": [0, 1]}
    data = {**LEAST, "schemes": [{"use": "full", "grid": grid}, {"use": "full", "as": "f", "grid": {"lr": [1.0]}}]}
    suite = load_suite({**data, "pools": {"p": {"of": ["full"]}}}, registry)
    labels = [line.label for line in suite.schemes]
    assert labels == [
        "full(decay=0, lr=0.1)",
        "full(decay=1, lr=0.1)",
        "full(decay=0, lr=0.2)",
        "full(decay=1, lr=0.2)",
        "f(lr=1)",
    ]
    assert suite.schemes[1].ref == Ref.of("full", lr=0.1, decay=1)
    assert suite.schemes[4].ref == Ref.of("full", lr=1.0)
    assert suite.pools[0].of == tuple(labels)


def test_fusions_without_pools_fuse_all_schemes(registry: Registry) -> None:
    assert load_suite({**LEAST, "fusions": ["vote"]}, registry).pools == (Pool("all", ("full", "probe"), 1),)


def test_a_pool_in_a_pool_lends_its_schemes_but_not_its_copies(registry: Registry) -> None:
    pools = {"outer": {"of": ["inner", "probe"]}, "inner": {"of": ["full", "probe"], "copies": 3}}
    suite = load_suite({**LEAST, "pools": pools}, registry)
    assert suite.pools == (Pool("outer", ("full", "probe"), 1), Pool("inner", ("full", "probe"), 3))


def test_a_long_chain_of_pools_is_no_trouble(registry: Registry) -> None:
    pools = {f"p{i}": {"of": [f"p{i + 1}"]} for i in range(3000)} | {"p3000": {"of": ["full"]}}
    assert load_suite({**LEAST, "pools": pools}, registry).pools[0] == Pool("p0", ("full",), 1)


def test_a_known_suite_is_found_by_its_name(registry: Registry) -> None:
    suite = load_suite("planned", registry)
    assert (suite.name, suite.file) == ("planned", registry.suites()["planned"])


def test_a_file_by_its_path_as_text_with_bom_and_windows_line_ends(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    file.write_bytes(b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode())
    assert load_suite(str(file), registry).name == "x"


def test_relative_paths_are_relative_to_the_suite_file(registry: Registry, write: Callable[[str], Path]) -> None:
    file = write(HEAD.replace('"shapes"', '{ use = "folder", path = "d/e" }, { use = "folder", path = "/f" }'))
    assert [ref.kwargs["path"] for ref in load_suite(file, registry).datasets] == [str(file.parent / "d/e"), "/f"]
    suite = load_suite({**LEAST, "schemes": [{"use": "from-file", "weights": Path("w")}]}, registry)
    assert suite.schemes == (Strategy("from-file(weights=w)", Ref.of("from-file", weights=str(Path("w").resolve()))),)


def test_python_s_own_sequences_will_do(registry: Registry) -> None:
    suite = load_suite({**LEAST, "seeds": range(3), "datasets": ("shapes",)}, registry)
    assert (suite.seeds, suite.datasets) == ((0, 1, 2), (Ref("shapes"),))


# ------------------------------------------------------------------------------------------------- keys, types, bounds

BAD_SHAPES = {
    "seed = [1]": "s.toml:5: seed: unknown key; did you mean 'seeds'?",
    "zzz = 1": "s.toml:5: zzz: unknown key; there is accumulate, aggregate, also_test, augment, "
    "backbones, budget, channels_last, checkpoints, compile, datasets, deterministic, fusions, ...",
    "[budget]\nepoch = 3": "s.toml:6: budget.epoch: unknown key; did you mean 'epochs'?",
    "[limits]\nsecond = 3": "s.toml:6: limits.second: unknown key; did you mean 'seconds'?",
    "[pools.p]\nof = ['full']\ncopy = 2": "s.toml:7: pools.p.copy: unknown key; did you mean 'copies'?",
    "[pools.p]\ncopies = 2": "s.toml:5: pools.p: the key 'of' is missing",
    "fusions = [{ times = 2 }]": "s.toml:5: fusions[0]: the key 'use' is missing",
    "seeds = 3": "s.toml:5: seeds: must be a list, not 3",
    "seeds = [0,\n'one']": 's.toml:6: seeds[1]: must be a whole number, not "one"',
    "seeds = [true]": "s.toml:5: seeds[0]: must be a whole number, not true",
    "seeds = [1.0]": "s.toml:5: seeds[0]: must be a whole number, not 1.0",
    "seeds = [0, -1]": "s.toml:5: seeds[1]: must be greater than or equal to 0, not -1",
    "budget = 30": "s.toml:5: budget: must be a table, not 30",
    "budget = { epochs = 0 }": "s.toml:5: budget.epochs: must be greater than or equal to 1, not 0",
    "budget = { steps = 0 }": "s.toml:5: budget.steps: must be greater than or equal to 1, not 0",
    "budget = { epochs = 3, steps = 9 }": "s.toml:5: budget: has epochs and steps, leave one out",
    "budget = { batch_size = 0 }": "s.toml:5: budget.batch_size: must be greater than or equal to 1, not 0",
    "[budget]\n\nschedule = 'cos'": "s.toml:7: budget.schedule: must be 'cosine' or 'constant', not \"cos\"",
    "precision = 'fp8'": "s.toml:5: precision: must be 'fp32', 'bf16' or 'fp16', not \"fp8\"",
    "channels_last = 1": "s.toml:5: channels_last: must be a boolean, not 1",
    "threads = 0": "s.toml:5: threads: must be greater than or equal to 1, not 0",
    "latency = [0]": "s.toml:5: latency[0]: must be greater than or equal to 1, not 0",
    "limits = { seconds = 0 }": "s.toml:5: limits.seconds: must be greater than 0, not 0",
    "limits = { seconds = inf }": "s.toml:5: limits.seconds: must be a finite number, not Infinity",
    "limits = { memory = '2GB' }": 's.toml:5: limits.memory: must be a number, not "2GB"',
    "fusions = [3]": "s.toml:5: fusions[0]: must be a name or a table, not 3",
    "fusions = 'vote'": 's.toml:5: fusions: must be a list, not "vote"',
    "fusions = [{ use = 'soup', grid = 2 }]": "s.toml:5: fusions[0].grid: must be a table, not 2",
    "fusions = [{ use = 'soup', grid = { times = 2 } }]": "s.toml:5: fusions[0].grid.times: must be a list, not 2",
    "fusions = [{ use = 'vote', as = 'a/b' }]": "s.toml:5: fusions[0].as: must be words with single spaces between "
    "them, without '/', '|' and '#', not \"a/b\"",
    "pools = ['full']": 's.toml:5: pools: must be a table, not ["full"]',
    "[pools]\n'a|b' = { of = ['full'] }": "s.toml:6: pools.a|b: must be words with single spaces between them, "
    "without '/', '|' and '#', not \"a|b\"",
    "pools = { p = { of = ['full'], copies = 0 } }": "s.toml:5: pools.p.copies: must be greater than or equal to 1, "
    "not 0",
    # what may be of several types
    "source_test = ['points']": 's.toml:5: source_test: must be a boolean or a name or a table, not ["points"]',
    "source_test = {}": "s.toml:5: source_test: the key 'use' is missing",
    "source_test = { use = 3 }": "s.toml:5: source_test.use: must be a string, not 3",
    "gate = { margin = 'some' }": 's.toml:5: gate.margin: must be a text such as "0.5pp", "1%" or "0" or a number, '
    'not "some"',
    "gate = { margin = true }": "s.toml:5: gate.margin: must be a string or a number, not true",
    "[gate.fail_on]\nflops = 'some'": 's.toml:6: gate.fail_on.flops: must be a text such as "0.5pp", "1%" or "0" or a '
    "number or 'off', not \"some\"",
    "gate = { allow = ['all'] }": "s.toml:5: gate.allow[0]: must be 'regressed', 'failed', 'missing', "
    "'not-comparable', 'inconclusive', 'improved', 'new', 'skipped' or 'unchanged' or 'settings', 'versions' or "
    "'plan', "
    'not "all"',
    "gate = { noise = { flops = 1 } }": "s.toml:5: gate.noise.flops: must be 'train_s', 'latency' or 'memory', "
    'not "flops"',
    # empty lists
    "seeds = []": "s.toml:5: seeds: must not be empty",
    "metrics = []": "s.toml:5: metrics: must not be empty",
    "pools = { p = { of = [] } }": "s.toml:5: pools.p.of: must not be empty",
    "fusions = [{ use = 'soup', grid = {} }]": "s.toml:5: fusions[0].grid: must not be empty",
    "fusions = [{ use = 'soup', grid = { times = [] } }]": "s.toml:5: fusions[0].grid.times: must not be empty",
}
ONLY_TOML = ("limits = { seconds = inf }", "seeds = [1.0]")
"""JSON knows no infinity, and to JSON Schema 1.0 is a whole number."""


@pytest.mark.parametrize("added", BAD_SHAPES)
def test_keys_types_and_bounds(added: str, registry: Registry, write: Callable[[str], Path]) -> None:
    assert complaint(write(HEAD + added), registry) == BAD_SHAPES[added]


@pytest.mark.parametrize("key", ["name", "datasets", "backbones", "schemes"])
def test_a_missing_key(key: str, registry: Registry, write: Callable[[str], Path]) -> None:
    text = "".join(line for line in HEAD.splitlines(keepends=True) if not line.startswith(key))
    assert complaint(write(text), registry) == f"s.toml: the key {key!r} is missing"
    assert complaint({k: v for k, v in LEAST.items() if k != key}, registry) == f"the key {key!r} is missing"


@pytest.mark.parametrize("key", ["datasets", "backbones", "schemes"])
def test_an_empty_list_of_what_is_needed(key: str, registry: Registry) -> None:
    assert complaint({**LEAST, key: []}, registry) == f"{key}: must not be empty"


def test_a_misspelled_key_comes_before_the_one_missing_for_it(registry: Registry, write: Callable[[str], Path]) -> None:
    text = HEAD.replace("datasets", "dataset")
    assert complaint(write(text), registry) == "s.toml:2: dataset: unknown key; did you mean 'datasets'?"


@pytest.mark.parametrize("name", ["../x", "a b", "", ".hidden", "a/b"])
def test_a_name_must_do_for_a_folder(name: str, registry: Registry) -> None:
    assert complaint({**LEAST, "name": name}, registry) == (
        "name: must be letters, digits, dots, dashes and underscores, and begin with a letter or digit, "
        f"not {json.dumps(name)}"
    )
    assert complaint({**LEAST, "name": "x" * 101}, registry).startswith("name: must have at most 100 characters")


# ------------------------------------------------------------------------------------------------- names that repeat

TWINS = {
    "seeds = [1, 2, 1]": "s.toml:5: seeds[2]: 1 is given twice, first as seeds[0] on line 5",
    "latency = [8,\n8]": "s.toml:6: latency[1]: 8 is given twice, first as latency[0] on line 5",
    "metrics = ['accuracy', 'accuracy']": "s.toml:5: metrics[1]: accuracy is given twice, first as metrics[0] on "
    "line 5",
    "fusions = ['vote',\n'vote']": "s.toml:6: fusions[1]: vote is given twice, first as fusions[0] on line 5; "
    "give one another name with `as`",
    "fusions = ['vote', { use = 'soup', as = 'vote' }]": "s.toml:5: fusions[1]: vote is given twice, first as "
    "fusions[0] on line 5; give one another name with `as`",
    "fusions = [{ use = 'soup', grid = { times = [1, 1] } }]": "s.toml:5: fusions[0]: soup(times=1) is given twice, "
    "first as fusions[0] on line 5; give one another name with `as`",
    "pools = { p = { of = ['full', 'full'] } }": "s.toml:5: pools.p.of[1]: full is given twice, first as pools.p.of[0] "
    "on line 5",
    # TOML's own
    "name = 'y'": "s.toml:5: name: is given twice, first on line 1",
    "name = [1,\n2]": "s.toml:5: name: is given twice, first on line 1",
    "[pools]\n[limits]\n[pools]": "s.toml:7: pools: is given twice, first on line 5",
    "[budget]\nepochs = 1\n# note\nepochs = 2": "s.toml:8: budget.epochs: is given twice, first on line 6",
    "budget = { epochs = 1, epochs = 2 }": "s.toml:5: budget.epochs: is given twice, first on line 5",
}


@pytest.mark.parametrize("added", TWINS)
def test_what_is_given_twice(added: str, registry: Registry, write: Callable[[str], Path]) -> None:
    assert complaint(write(HEAD + added), registry) == TWINS[added]


def test_twins_among_what_is_needed(registry: Registry) -> None:
    assert complaint({**LEAST, "datasets": ["shapes", "shapes"]}, registry) == (
        "datasets[1]: shapes is given twice, first as datasets[0]"
    )
    assert complaint({**LEAST, "schemes": ["full", {"use": "probe", "as": "full"}]}, registry) == (
        "schemes[1]: full is given twice, first as schemes[0]; give one another name with `as`"
    )


# ------------------------------------------------------------------------------------------------------------- pools

BAD_POOLS = {
    "p = { of = ['fulll'] }": "s.toml:6: pools.p.of[0]: no scheme or pool is called \"fulll\"; did you mean 'full'?",
    "p = { of = ['full',\n'zzzz'] }": 's.toml:7: pools.p.of[1]: no scheme or pool is called "zzzz"; '
    "there is full, probe",
    "full = { of = ['full'] }": "s.toml:6: pools.full: has the name of a scheme; give it another",
    "a = { of = ['a'] }": "s.toml:6: pools.a: contains itself: a -> a",
    "x = { of = ['full'] }\na = { of = ['b'] }\nb = { of = ['full', 'c'] }\nc = { of = ['a'] }": "s.toml:7: pools.a: "
    "contains itself: a -> b -> c -> a",
}


@pytest.mark.parametrize("pools", BAD_POOLS)
def test_pools_that_make_no_sense(pools: str, registry: Registry, write: Callable[[str], Path]) -> None:
    assert complaint(write(f"{HEAD}[pools]\n{pools}"), registry) == BAD_POOLS[pools]


# -------------------------------------------------------------------------------------------- plugins and parameters


@pytest.mark.parametrize(
    ("added", "where", "sentence"),
    [
        ("fusions = ['vote',\n'vot']", "6: fusions[1]", "there is no fusion 'vot'; did you mean 'vote'?"),
        ("metrics = ['acuracy']", "5: metrics[0]", "there is no metric 'acuracy'; did you mean 'accuracy'?"),
        ("fusions = [{ use = 'soup', time = 2 }]", "5: fusions[0].time", "did you mean 'times'?"),
        ("fusions = [{ use = 'soup', times = 0 }]", "5: fusions[0].times", "greater than or equal to 1, not 0"),
        ("[[fusions]]\nuse = 'soup'\ntimes = 'two'", "7: fusions[0].times", "times must be an integer, not 'two'"),
        ("fusions = [{ use = 'soup', grid = { times = [\n1, 0] } }]", "5: fusions[0].grid.times", "not 0"),
        ("fusions = [{ use = 'soup', times = 2, grid = { times = [3] } }]", "5: fusions[0].times", "in the grid"),
        (
            "fusions = [{ use = 'soup', times = 1979-05-27 }]",
            "5: fusions[0].times",
            "1979-05-27 can't be a parameter",
        ),
        ("metrics = ['top-k', { use = 'top-k', as = 'k' }]", "5: metrics[1]", "top-k is given twice"),
        ("metrics = ['squared']", "5: metrics", "shapes is a classification task, and none of squared is for that"),
        (
            "fusions = ['floating']",
            "5: fusions[0]",
            "says level 'cloud', and there is only 'output', 'feature', 'weight'",
        ),
        ("fusions = ['greedy']", "5: fusions[0]", "says needs 'test', and there is only 'val', 'train', 'base'"),
        ("fusions = ['shapeless']", "5: fusions[0]", "can't tell its `level`: AttributeError"),
    ],
)
def test_plugins_and_parameters(
    added: str, where: str, sentence: str, registry: Registry, write: Callable[[str], Path]
) -> None:
    text = complaint(write(HEAD + added), registry)
    assert text.startswith(f"s.toml:{where}: ")
    assert sentence in text


@pytest.mark.parametrize(
    ("key", "name", "sentence"),
    [
        ("datasets", "shape", "datasets[0]: there is no dataset 'shape'; did you mean 'shapes'?"),
        ("datasets", "taskless", "datasets[0]: the dataset 'taskless' has 'classification' for its `task`"),
        ("backbones", "lost", "backbones[0]: there is no dataset 'sauce'; did you mean 'source'?"),
        ("schemes", "vote", "schemes[0]: there is no scheme 'vote'; 'vote' is a fusion"),
    ],
)
def test_plugins_that_are_needed(key: str, name: str, sentence: str, registry: Registry) -> None:
    assert complaint({**LEAST, key: [name]}, registry).startswith(sentence)


def test_every_data_set_needs_a_metric_for_its_kind_of_task(registry: Registry) -> None:
    both = {**LEAST, "datasets": ["shapes", "prices"]}
    assert load_suite(both, registry).metrics == (Ref("accuracy"), Ref("squared"))
    assert (
        complaint({**both, "metrics": ["accuracy"]}, registry)
        == "metrics: prices is a regression task, and none of accuracy is for that"
    )
    assert load_suite({**both, "metrics": ["accuracy", "squared"]}, registry).metrics == (
        Ref("accuracy"),
        Ref("squared"),
    )


def test_a_grid_without_end(registry: Registry) -> None:
    grid = {"lr": [float(i + 1) for i in range(1000)], "decay": list(range(1000))}
    text = complaint({**LEAST, "schemes": [{"use": "full", "grid": grid}]}, registry)
    assert text == "schemes[0].grid: has more than 10,000 combinations"


# ------------------------------------------------------------------------------------------------------- from Python


@pytest.mark.parametrize("added", [*BAD_SHAPES, *list(TWINS)[:7]])
def test_the_same_from_python_without_lines(added: str, registry: Registry) -> None:
    expected = {**BAD_SHAPES, **TWINS}[added].partition(": ")[2].replace(" on line 5", "")
    assert complaint({**LEAST, **tomllib.loads(added)}, registry) == expected


def test_values_that_only_python_has(registry: Registry) -> None:
    odd = {"use": "full", "lr": object()}
    assert "schemes[0].lr: <object object at" in complaint({**LEAST, "schemes": [odd]}, registry)
    assert complaint({**LEAST, "seeds": {1, 2}}, registry) == "seeds: must be a list, not {1, 2}"
    assert complaint({**LEAST, 7: 1}, registry).startswith("7: unknown key")


# ------------------------------------------------------------------------------------------------------------ schema


def test_the_schema_is_valid_and_accepts_the_suites(registry: Registry) -> None:
    schema = suite_schema(registry)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {"digits.toml", "quick.toml"} <= {file.name for file in SUITES}
    for file in (*SUITES, registry.suites()["planned"]):
        jsonschema.validate(tomllib.loads(file.read_text()), schema, jsonschema.Draft202012Validator)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("added", [text for text in BAD_SHAPES if text not in ONLY_TOML])
def test_the_schema_refuses_what_the_reader_refuses(added: str, registry: Registry) -> None:
    validator = jsonschema.Draft202012Validator(suite_schema(registry))
    assert validator.is_valid(LEAST)
    assert not validator.is_valid({**LEAST, **tomllib.loads(added)})


def test_the_schema_hints_at_plugins_and_refuses_no_others(registry: Registry) -> None:
    schema = suite_schema(registry)
    assert {"enum": ["from-file", "full", "probe"]} in schema["properties"]["schemes"]["items"]["anyOf"]
    jsonschema.validate({**LEAST, "schemes": ["mine", {"use": "mine", "lr": 1}]}, schema)


def test_the_schema_of_a_registry_without_plugins_is_valid_too() -> None:
    schema = suite_schema(Registry(entry_points=False))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(LEAST, schema)
    assert not jsonschema.Draft202012Validator(schema).is_valid({**LEAST, "schemes": [3]})
