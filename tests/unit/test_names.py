"""What a board calls its data sets, backbones and strategies."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finefuse.judge.board.leaderboard import make_leaderboard
from finefuse.judge.names import Names
from finefuse.judge.overall import overall
from finefuse.judge.pairing import pair
from finefuse.types import Ref
from helpers.boards import runs

ANTS = "folder(size=64, train=/home/me/data/ants)"
BEES = "folder(size=64, train=/home/me/data/bees)"
NET = "torchvision(name=mobilenet_v2, weights=/home/me/w.pth)"


@pytest.mark.parametrize(
    ("names", "short"),
    [
        ([ANTS], ["ants"]),
        ([ANTS, BEES], ["ants", "bees"]),
        ([NET], ["mobilenet_v2"]),
        (["digits(shots=10)"], ["digits"]),
        (["digits(shots=10)", "digits(shots=3)"], ["digits(shots=10)", "digits(shots=3)"]),
        (["digits(shots=10, val=5)", "digits(shots=3, val=5)"], ["digits(shots=10)", "digits(shots=3)"]),
        (["digits", "digits(shots=3)"], ["digits", "digits(shots=3)"]),
        (["CIFAR-10 (JPEG)", "TREC, 10 each"], ["CIFAR-10 (JPEG)", "TREC, 10 each"]),
        (["folder(train=/d/ants/train, test=/d/ants/test)"], ["ants"]),
        (["csv(test=/d/trec-test.csv, train=/d/trec-train.csv)"], ["trec"]),
        (["csv(test=/d/trec/test.csv, train=/d/trec/train.csv)"], ["trec"]),
        (["csv(train=/d/trec/train.csv)"], ["trec"]),
        (["csv(train=/d/v1.2)"], ["v1.2"]),
        ([r"folder(train=C:\me\ants)"], ["ants"]),
        (["folder(train=/x/a/ants)", "folder(train=/x/b/ants)"], ["ants(train=a/ants)", "ants(train=b/ants)"]),
        (
            ["folder(train=/x/a/ants)", "csv(train=/x/a/ants.csv)"],
            ["ants(folder)", "ants(csv)"],
        ),
        (["huggingface(classes=10, name=google/fives)"], ["google/fives"]),
        (["csv(separator=,, train=/d/ants.csv)"], ["ants"]),
        ([ANTS, "ants"], ["ants(folder)", "ants"]),
        ([f"{ANTS} + {BEES}", ANTS, BEES], ["ants + bees", "ants", "bees"]),
        ([f"{NET} + vit-t"], ["mobilenet_v2 + vit-t"]),
        (["folder(train=/a + b/ants)"], ["ants"]),
        (["odd(", "odd)", "()", "a()", "a(b)", ""], ["odd(", "odd)", "()", "a()", "a(b)", ""]),
    ],
)
def test_things_have_no_more_than_tells_them_apart(names: list[str], short: list[str]) -> None:
    assert [Names.of(names, ()).thing(name) for name in names] == short


def test_strategies_keep_what_tells_them_apart() -> None:
    chain = 'chain(parts=["linear-probe", {"use": "full", "lr": 0.01}])'
    labels = ["full(lr=0.01, norm=eval)", "full(lr=0.1, norm=eval)", chain, "careful", "search(of=full)", "search"]
    found = Names.of([], labels)
    assert [found.strategy(label) for label in labels] == [
        "full(lr=0.01)", "full(lr=0.1)", "chain", "careful", "search(of=full)", "search",
    ]  # fmt: skip
    assert found.strategy("another(lr=1)") == "another(lr=1)"
    assert f"chain: {chain}" in found.in_full()
    assert not any(text.startswith(("careful", "search")) for text in found.in_full())


@given(
    st.lists(
        st.one_of(
            st.text(max_size=12),
            st.builds(
                lambda name, params: str(Ref.of(name, **params)),
                st.sampled_from(["a", "folder", "ants"]),
                st.dictionaries(
                    st.sampled_from(["name", "train", "lr", "of"]),
                    st.sampled_from(
                        ["/x/ants", "/y/ants", "ants", "a(lr=1)", ", lr=2", 1, 0.5, [1, "b, c=d"], {"use": "e"}]
                    ),
                ),
            ),
        ),
        unique=True,
        max_size=8,
    )
)
def test_what_differs_in_full_differs_when_short(names: list[str]) -> None:
    found = Names.of(names, names)
    for short in (found.thing, found.strategy):
        assert len(set(map(short, names))) == len(names)


def test_a_board_has_short_names_and_tells_them_in_full(build: ModuleType) -> None:
    rows = runs(build, "chain(parts=[1, 2])", [0.5, 0.6], dataset=ANTS, backbone=NET)
    board = make_leaderboard("demo", rows)
    text = board.to_markdown()
    assert "\n## ants · mobilenet_v2\n" in text
    assert "| chain " in text
    assert f"Names in full: ants: {ANTS}; mobilenet_v2: {NET}; chain: chain(parts=[1, 2])." in text
    assert list(board.lines["dataset"]) == [ANTS]


def test_names_of_the_board_are_understood(build: ModuleType) -> None:
    rows = runs(build, "full(lr=0.01)", [0.5, 0.6], backbone=NET) + runs(build, "l2(by=1)", [0.7, 0.8], backbone=NET)
    for a, b in (("full", "l2 on mobilenet_v2"), ("full(lr=0.01)", f"l2(by=1) on {NET}")):
        assert "| mobilenet_v2 " in pair(rows, a, b).to_markdown()
    assert "| mobilenet_v2 | full " in overall(rows).to_markdown().replace("  ", " ").replace("  ", " ")
