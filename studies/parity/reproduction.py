"""Merges networks of five tasks by finefuse and by official code in turn, and writes docs/reproduction.md.

    python -m venv merging && . merging/bin/activate
    pip install . torchvision peft mergekit fusion-bench
    python studies/parity/reproduction.py [STORE]

The members are those of the suite `tasks` that `full` tuned; with the STORE of a run of that suite they are not tuned
again. Each way gets the same state dicts of the bodies, and its result the same heads and BatchNorm's statistics for
each task. What depends on chance (masks, drawn examples) is drawn once, by finefuse, and given to both.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
import torch
from merging import State, fb_arithmetic, fb_average, fb_dare, fb_iso, fb_magmax, fb_stock, fb_ties, fb_tsv
from safetensors.torch import load_file
from torch import Tensor, nn

import finefuse
from finefuse import nets
from finefuse.types import Fusing, Member, Splits
from finefuse_zoo.backbones.cnn import CnnS
from finefuse_zoo.backbones.vit import VitT
from finefuse_zoo.datasets.dice import Dice
from finefuse_zoo.datasets.digits import Digits
from finefuse_zoo.datasets.gratings import Gratings
from finefuse_zoo.datasets.shapes import Shapes
from finefuse_zoo.datasets.signs import Signs
from finefuse_zoo.fusions._curvature import fisher, grams
from finefuse_zoo.fusions.dare import Dare
from finefuse_zoo.fusions.fisher import Fisher
from finefuse_zoo.fusions.iso_c import IsoC
from finefuse_zoo.fusions.magmax import MagMax
from finefuse_zoo.fusions.model_stock import ModelStock
from finefuse_zoo.fusions.regmean import RegMean
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.fusions.task_arithmetic import TaskArithmetic
from finefuse_zoo.fusions.ties import Ties
from finefuse_zoo.fusions.tsv_m import TsvM

SUITE = Path(__file__).parents[2] / "suites" / "tasks.toml"
DATA = {"digits": Digits, "shapes": Shapes, "signs": Signs, "gratings": Gratings, "dice": Dice}
BACKBONES: dict[str, Any] = {"cnn-s": CnnS, "vit-t": VitT}
SEEDS, SHOTS = (0, 1, 2), 20
Theirs = Callable[[State, list[State], Fusing], State]


@dataclass(frozen=True)
class Case:
    """A method, its official code, FusionBench's figure for CLIP ViT-B/32 and eight tasks, and why they differ."""

    name: str
    code: str
    ours: Any
    theirs: Theirs
    published: float | None = None
    reason: str = ""


def plain(call: Callable[[State, list[State]], State]) -> Theirs:
    """A function of state dicts alone."""
    return lambda base, members, _: call(base, members)


def same_masks(base: State, members: list[State], of: Fusing) -> State:
    """DARE with the masks that finefuse draws: tensor by tensor, and for each of them member by member."""
    drawn = {name: [torch.rand(t.numel(), generator=of.rng) for _ in members] for name, t in base.items()}
    order = iter([drawn[name][i].view(base[name].shape) for i in range(len(members)) for name in base])
    with patch("torch.rand_like", lambda _: next(order)):
        return fb_dare(base, members)


def peft_ties(base: State, members: list[State], _: Fusing) -> State:
    """TIES tensor by tensor."""
    from peft.utils.merge_utils import ties

    ones = torch.ones(len(members))
    return {name: t + ties([m[name] - t for m in members], ones, density=0.2) for name, t in base.items()}


def mergekit_ties(base: State, members: list[State], _: Fusing) -> State:
    """The same by mergekit."""
    from mergekit.merge_methods import registry
    from mergekit.merge_methods.base import TensorGroup
    from merging import per_input

    alike = {key: per_input(dict.fromkeys(range(1, len(members) + 1), of)) for key, of in TIES_OF_MERGEKIT.items()}
    method, made = registry.get("ties"), {}
    for name, tensor in base.items():
        group = TensorGroup.from_tensors([tensor, *(m[name] for m in members)], base_index=0, name=name)
        made[name] = method([group], parameters=dict(alike))[0]
    return made


TIES_OF_MERGEKIT = {"weight": 1.0, "density": 0.2}


def weighted_by_fisher(**how: Any) -> Theirs:
    """fusion_bench's mean, weighted by finefuse's Fisher information."""

    def call(_: State, members: list[State], of: Fusing) -> State:
        from fusion_bench.method.fisher_merging.fisher_merging import merging_with_fisher_weights

        found = [fisher(m.net, m.task, x) for m, x in zip(of.members, inputs(of), strict=True)]
        by_name = {name: [state[name].double() for state in members] for name in members[0]}
        weights = [{name: f[name].double() for name in members[0]} for f in found]
        scale = torch.ones(len(members), dtype=torch.float64)
        return dict(merging_with_fisher_weights(by_name, weights, scale, **how))

    return call


def regressed(_: State, members: list[State], of: Fusing) -> State:
    """fusion_bench's regression, on finefuse's Gram matrices; convolutions as matrices."""
    from fusion_bench.method.regmean.regmean import merging_with_regmean_weights

    found = [grams(m.net, x) for m, x in zip(of.members, inputs(of), strict=True)]
    by_name = {name: [flat(state[name], name in found[0]) for state in members] for name in members[0]}
    by_layer = [{name.removesuffix(".weight"): g for name, g in one.items() if name in by_name} for one in found]
    made = merging_with_regmean_weights(by_name, by_layer, 0.9)
    return {name: tensor.view(members[0][name].shape) for name, tensor in made.items()}


def flat(tensor: Tensor, layer: bool) -> Tensor:
    """In float64, and as a matrix if it is a layer's weight."""
    return tensor.double().flatten(1) if layer else tensor.double()


def inputs(of: Fusing) -> list[Tensor]:
    """Training inputs of every member, in the order in which finefuse draws them."""
    return [m.train.x[torch.randperm(len(m.train), generator=of.rng)[:256]] for m in of.members]


ROUNDING = "rounding"
HEAD = """# Reproduction

The same networks merged by official code and by finefuse, and what is published. Members are the networks of the suite
`tasks` that `full` tuned: five tasks, three seeds, the bodies of `cnn-s` and `vit-t`. Accuracy, in points, is the mean
over tasks and seeds, with BatchNorm's statistics for each task. *Difference* is the largest of any weight of any
network, beside the largest *change* from the base. *Published* is FusionBench's mean accuracy of CLIP ViT-B/32 on eight
tasks (arXiv 2406.03280), another case, which shows the order only.

By `studies/parity/reproduction.py`: {packages}. What depends on chance (masks, examples) is drawn once for both.

| method | official code | published | `cnn-s`: theirs | ours | `vit-t`: theirs | ours | difference | change | reason |
|---|---|---|---|---|---|---|---|---|---|"""
CASES = (
    Case("average", "fusion_bench", Soup(), plain(fb_average), 66.5, ROUNDING),
    Case("task arithmetic, 0.3", "fusion_bench", TaskArithmetic(), plain(fb_arithmetic), 68.0, ROUNDING),
    Case(
        "TIES, trimmed over all",
        "fusion_bench",
        Ties(),
        plain(fb_ties),
        72.2,
        "rounding; the published figure is of sums, times 0.3",
    ),
    Case("TIES, trimmed by tensor", "peft", Ties(trim="tensor"), peft_ties, None, ROUNDING),
    Case("TIES, trimmed by tensor", "mergekit", Ties(trim="tensor"), mergekit_ties, None, ROUNDING),
    Case("DARE, same masks", "fusion_bench", Dare(), same_masks, None, ROUNDING),
    Case("MagMax", "fusion_bench", MagMax(), plain(fb_magmax), None, ROUNDING),
    Case(
        "Model Stock",
        "fusion_bench",
        ModelStock(),
        plain(fb_stock),
        None,
        "the mean of angles there, of their cosines here",
    ),
    Case("TSV-M", "fusion_bench", TsvM(), plain(fb_tsv), None, ROUNDING),
    Case("Iso-C", "fusion_bench", IsoC(), plain(fb_iso), 82.8, ROUNDING),
    Case(
        "Fisher, as the paper has it",
        "fusion_bench",
        Fisher(floor=1e-300),
        weighted_by_fisher(normalize_fisher_weight=False, minimal_fisher_weight=0.0),
        None,
        ROUNDING,
    ),
    Case(
        "Fisher, each by its defaults",
        "fusion_bench",
        Fisher(),
        weighted_by_fisher(),
        70.6,
        "all members' information has one norm there, and gets 1e-6 more where it is raised to it here",
    ),
    Case("RegMean", "fusion_bench", RegMean(), regressed, 82.4, ROUNDING),
)


def tuned(store: Path, folder: Path) -> None:
    """Tune the members, and fit a head to the body that they come from."""
    suite = tomllib.loads(SUITE.read_text(encoding="utf-8"))
    suite |= {"schemes": ["full", "linear-probe"], "fusions": [], "pools": {}, "seeds": list(SEEDS)}
    done = finefuse.run(suite, device="cpu", quiet=True, out=folder, store=store)
    if not done.ok:
        raise SystemExit("\n".join(f"{row['cell']}: {row['reason']}" for row in done.bad))


def pools(store: Path, folder: Path) -> Iterator[tuple[str, Callable[[], Fusing], dict[str, Splits]]]:
    """For every backbone and seed its name, the pool, made afresh for each fusion, and the splits of the tasks."""
    for backbone, make in BACKBONES.items():
        for seed in SEEDS:
            splits = {name: of(shots=SHOTS).splits(seed) for name, of in DATA.items()}

            def read(scheme: str, task: str, splits: Any = splits, make: Any = make, at: Any = (backbone, seed)) -> Any:
                file = folder / f"{scheme}-{task}-{at[0]}-{at[1]}.safetensors"
                if not file.exists():
                    where: Any = {"dataset": task, "backbone": at[0], "seed": at[1], "store": store}
                    finefuse.export(folder, scheme, file, device="cpu", **where)
                net = make().build(splits[task].task)
                net.load_state_dict(load_file(file))
                return net.eval()

            def pool(splits: Any = splits, read: Any = read) -> Fusing:
                members = []
                for name, one in splits.items():
                    task = replace(one.task)
                    load = lambda name=name, read=read: read("full", name)  # noqa: E731
                    members.append(Member(name, float("nan"), torch.empty(0), load, task, train=one.train))
                rng, base = torch.Generator().manual_seed(0), read("linear-probe", next(iter(splits)))
                return Fusing(members=members, rng=rng, base=base, statistics="per-task", task=None)

            yield backbone, pool, splits


def body(net: nn.Module) -> State:
    """The parameters of a body by name."""
    return {name: p.detach() for name, p in net.named_parameters() if name.startswith("stages.")}


def accuracy(net: nn.Module, of: Fusing, splits: Mapping[str, Splits]) -> float:
    """The mean over tasks, on test."""
    found = []
    for member, one in zip(of.members, splits.values(), strict=True):
        alone = nets.for_member(net, member)
        with nets.evaluation(alone):
            found.append(one.task.quality(nets.in_chunks(alone, one.test.x), one.test))
    return 100 * sum(found) / len(found)


def measured(case: Case, pool: Callable[[], Fusing], splits: Mapping[str, Splits]) -> dict[str, float]:
    """The largest difference of a number, the largest change from the base, and the accuracy of both."""
    of = pool()
    ours = case.ours.fuse(of)
    of = pool()
    states = [body(member.net) for member in of.members]
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = case.theirs(body(of.base), states, of)
    other = nets.merged(of.members, lambda name, _: theirs[name], nets.train_inputs(of))
    pairs = [(t, body(other)[name]) for name, t in body(ours).items()]
    return {
        "difference": max(float((a.double() - b.double()).abs().max()) for a, b in pairs),
        "change": max(float((a - b).abs().max()) for (a, _), b in zip(pairs, body(of.base).values(), strict=True)),
        "theirs": accuracy(other, of, splits),
        "ours": accuracy(ours, of, splits),
    }


def text_of(rows: pd.DataFrame) -> str:
    """The page."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("fusion-bench", "mergekit", "peft", "torch"))
    lines = [HEAD.format(packages=packages)]
    for (name, code), of in rows.groupby(["name", "code"], sort=False):
        case = next(case for case in CASES if (case.name, case.code) == (name, code))
        scores = [f"{of[of.backbone == b][who].mean():.1f}" for b in BACKBONES for who in ("theirs", "ours")]
        published = "" if case.published is None else f"{case.published:.1f}"
        worst = [f"{of.difference.max():.1e}", f"{of.change.max():.2g}"]
        lines.append("| " + " | ".join([name, code, published, *scores, *worst, case.reason]) + " |")
    return "\n".join(lines) + "\n"


def main(store: str | None) -> None:
    """Tune, merge, print and write."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder, kept = Path(temporary), Path(store) if store else Path(temporary) / "store"
        tuned(kept, folder)
        for backbone, pool, splits in pools(kept, folder):
            for case in CASES:
                row = {"name": case.name, "code": case.code, "backbone": backbone}
                rows.append(row | measured(case, pool, splits))
    text = text_of(pd.DataFrame(rows))
    print(text)
    file = SUITE.parents[1] / "docs" / "reproduction.md"
    notes = file.read_text(encoding="utf-8").partition("\n## Notes\n") if file.exists() else ("", "", "")
    file.write_text(text + "".join(notes[1:]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
