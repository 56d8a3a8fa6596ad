"""Every extension point. All are optional; each registration hook yields entries.

A plugin is a module (or any object) with functions marked `@finefuse.hookimpl`. There are three doors for it: an entry
point in the group `finefuse`, `--plugin file.py` or `--plugin module` on the command line, or an object passed to
`finefuse.run(..., plugins=[...])`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pluggy

from finefuse.types import Backbone, Dataset, Entry, Executor, Fusion, Job, Metric, Observer, Record, Reporter, Scheme

hookspec = pluggy.HookspecMarker("finefuse")
hookimpl = pluggy.HookimplMarker("finefuse")


@hookspec
def finefuse_datasets() -> Iterable[Entry[Dataset]]:
    """Data sets.

    A class has a `task`, known without loading anything, `fingerprint()` and `splits(seed)`.

    `fingerprint` represents the content in every key, so it must change when the content does. It is called without
    torch and before any data is loaded: return a digest of files (`finefuse.files.file_digest` remembers digests), or a
    version if the data are generated. `splits` gives the same three disjoint parts for the same seed. Only the scoring
    sees `test.y`.

    It may also have `remarks()`, one sentence for each thing that was left out or chosen while reading, which plans,
    runs and boards show; `token_numbers()`, a `Vocabulary` that says what the numbers of texts mean;
    `number_of_folds`, where it has published splits; `read_inputs(where, seed)`, for `finefuse predict`; and
    `describe(seed)`, a `Description` of how its inputs are made and what its outputs mean, for the cards of exported
    models.

    ```python
    @dataclass(frozen=True)
    class Blobs:
        \"\"\"Three clouds of points.\"\"\"

        spread: Annotated[float, Gt(0)] = 1.0
        task = Classification(outputs=3, modality="tabular", input_shape=(2,))

        def fingerprint(self) -> str:
            return "blobs-1"  # change it when the content changes

        def splits(self, seed: int) -> Splits:
            rng = torch.Generator().manual_seed(seed)
            y = torch.arange(300) // 100
            x = torch.randn(300, 2, generator=rng) * self.spread + 3 * y[:, None]
            train, val, test = (Data(x[i::3], y[i::3]) for i in range(3))
            return Splits(self.task, train, val, test)


    @hookimpl
    def finefuse_datasets():
        yield Entry("blobs", Blobs, "three clouds of points")
    ```
    """
    raise NotImplementedError


@hookspec
def finefuse_backbones() -> Iterable[Entry[Backbone]]:
    """Networks to fine-tune, and how they are pretrained.

    A class has a `source`, `fingerprint()`, `budget()`, `build(task)` and `tune(on)`.

    `build` returns a `finefuse.nets.Net`: ordered `stages`, of which the last ends in a vector per example, and a
    linear `head`. Unfreezing, layer-wise rates and the caching of frozen parts all follow the stages. Pretraining is a
    separate job, once for all seeds, by the same trainer that schemes use. A `source` of None means random weights. It
    may also have `refuses(task, tokens)`, which says without torch why it can't take a task's inputs, or "" if it can:
    refused cells are skipped, and `check` says so.

    ```python
    @dataclass(frozen=True)
    class Mlp:
        \"\"\"Two hidden layers.\"\"\"

        width: Annotated[int, Ge(1)] = 32
        source = Ref("blobs")  # pretrained on this data set; None: random weights

        def fingerprint(self) -> str:
            return ""  # the digest of weights files, if any are read

        def budget(self) -> Budget:
            return Budget(epochs=20)

        def build(self, task: Task) -> Net:
            first = nn.Sequential(nn.Linear(task.input_shape[0], self.width), nn.ReLU())
            second = nn.Sequential(nn.Linear(self.width, self.width), nn.ReLU())
            return Net([first, second], nn.Linear(self.width, task.outputs), Recipe("adam", lr=1e-3))

        def tune(self, on: Tuning) -> None:
            on.trainer.fit(on.model, [{"params": on.model.parameters()}])


    @hookimpl
    def finefuse_backbones():
        yield Entry("mlp", Mlp, "two hidden layers")
    ```
    """
    raise NotImplementedError


@hookspec
def finefuse_schemes() -> Iterable[Entry[Scheme]]:
    """Fine-tuning schemes.

    A class has `tune(on)`, which tunes `on.model` in place; `finefuse.types.Tuning` lists all that it may use.

    Call `on.trainer.fit(model, groups, ...)` once, or once per phase. Parameters in no group stay bit-identical, and so
    do their BatchNorm statistics; leading stages that are not trained are evaluated once and cached. Take randomness
    from `on.rng`, never from torch's global generator. Optional: `needs = ("source",)` for the pretraining data;
    `prepare(model)`, called before `tune` and before tuned weights are read back, for a scheme that adds modules;
    `space`, the ranges in which a search looks for its parameters, such as `{"lr": {"low": 1e-4, "high": 1e-1, "log":
    True}}`; `nested`, the names of parameters that hold other schemes, which `on.scheme(spec)` builds. Raise
    `finefuse.NotApplicable("why")` where the scheme doesn't apply: the row is then `skipped`, with your reason.
    `finefuse.testing.check_scheme` checks the rules.

    ```python
    @dataclass(frozen=True)
    class Thaw:
        \"\"\"Unfreeze one stage per phase, from the head down (Howard & Ruder 2018).\"\"\"

        lr: Annotated[float, Gt(0)] = 1e-3

        def tune(self, on: Tuning) -> None:
            parts = [on.model.head, *reversed(on.model.stages)]
            for n in range(1, len(parts) + 1):
                groups = [{"params": p.parameters(), "lr": self.lr} for p in parts[:n]]
                on.trainer.fit(on.model, groups, steps=on.trainer.budget // len(parts))


    @hookimpl
    def finefuse_schemes():
        yield Entry("thaw", Thaw, "unfreeze one stage per phase, top down")
    ```
    """
    raise NotImplementedError


@hookspec
def finefuse_fusions() -> Iterable[Entry[Fusion]]:
    """Fusion methods.

    A class has a `level`, what it `needs`, and `fuse(of)`, which returns a module that could be deployed.

    On the output level the module is `CombineOutputs(of.members, combine)`, where `combine` maps outputs
    (members, N, outputs) to (N, outputs). The core scores it from the members' stored outputs in milliseconds, and runs
    one batch through the real module to check that both agree. Outputs are logits: their softmax is the ensemble's
    probability. On the weight level the module is a `Net`, usually from `finefuse.nets.averaged`. Of `val`, `train`,
    `base` and `trainer`, `of` holds only what the class `needs`. As in schemes, `space` has the ranges in which a
    search looks for parameters. `finefuse.testing.check_fusion` checks the rules.

    ```python
    @dataclass(frozen=True)
    class Loudest:
        \"\"\"The most confident member decides.\"\"\"

        level = "output"  # or "feature", "weight"
        needs = ()  # of "val", "train", "base", "trainer", "test inputs"
        kinds = ("classification",)  # of task; leave it out for all

        def fuse(self, of: Fusing) -> nn.Module:
            return CombineOutputs(of.members, lambda z: z.log_softmax(-1).amax(0))


    @hookimpl
    def finefuse_fusions():
        yield Entry("loudest", Loudest, "the most confident member decides")
    ```
    """
    raise NotImplementedError


@hookspec
def finefuse_metrics() -> Iterable[Entry[Metric]]:
    """Metrics of outputs against targets.

    A class has `kinds`, the kinds of task it is for, `higher_is_better`, and `score(outputs, y)`.

    ```python
    @dataclass(frozen=True)
    class TopTwo:
        \"\"\"The right class is among the two likeliest.\"\"\"

        kinds = ("classification",)
        higher_is_better = True

        def score(self, outputs: Tensor, y: Tensor) -> float:
            return float((outputs.topk(2).indices == y[:, None]).any(1).float().mean())


    @hookimpl
    def finefuse_metrics():
        yield Entry("top-2", TopTwo, "the right class is among the two likeliest")
    ```
    """
    raise NotImplementedError


@hookspec
def finefuse_executors() -> Iterable[Entry[Executor]]:
    """Ways to carry out jobs.

    A class has `parallel`, `start(crew)`, `submit(call, order, seconds)`, which returns a future, and `stop()`.

    A future should raise `TimeoutError` past `seconds`, `finefuse.MemoryExceeded` past `crew.memory` bytes, and
    `finefuse.WorkerDied` if its process ended; the job's row then says so. The built-in `local` does all this, and
    kills processes that a job leaves behind; the example does not. Two calls must not run in the same process at the
    same time, because they seed its global generators. Processes of jobs must be started with the variables in
    `crew.environment`, which pin a portable suite's instruction set; jobs fail without them.

    ```python
    @dataclass(frozen=True)
    class Pool:
        \"\"\"Processes of the standard library: no time limits, and if one dies, the jobs of the others are lost.\"\"\"

        parallel = True

        def start(self, crew: Crew) -> None:
            pool = ProcessPoolExecutor(crew.workers, get_context("spawn"))
            object.__setattr__(self, "pool", pool)

        def submit(self, call, order, seconds):
            return self.pool.submit(call, order)

        def stop(self) -> None:
            self.pool.shutdown(cancel_futures=True)


    @hookimpl
    def finefuse_executors():
        yield Entry("pool", Pool, "processes of the standard library")
    ```
    """
    raise NotImplementedError


@hookspec
def finefuse_reporters() -> Iterable[Entry[Reporter]]:
    """Formats of the leaderboard.

    A class has `write(board, folder)`, which returns the files it wrote; `docs/records.md` lists the board's columns.

    ```python
    @dataclass(frozen=True)
    class Html:
        \"\"\"One plain HTML table.\"\"\"

        def write(self, board: Board, folder: Path) -> list[Path]:
            path = folder / "table.html"
            path.write_text(board.lines.to_html(index=False))
            return [path]


    @hookimpl
    def finefuse_reporters():
        yield Entry("html", Html, "one plain HTML table")
    ```
    """
    raise NotImplementedError


@hookspec
def finefuse_observers() -> Iterable[Entry[Observer]]:
    """Observers of a run, used if the command line or the suite names them.

    `--observer 'diary(file="run.txt")'`, or `observers = [{ use = "diary", file = "run.txt" }]` in the table `[run]`. A
    class has one or more of the methods of the example. They are called in the driver's process, one after the other,
    and get copies of the records. An observer that raises is not called again, and a note says so; its printed output
    goes to stderr. Observers don't change the rows.

    ```python
    @dataclass(frozen=True)
    class Diary:
        \"\"\"A line in a file when the run begins and ends, and for each job.\"\"\"

        file: Path = Path("diary.txt")

        def run_begins(self, plan: Agenda, waiting: int, done: int) -> None:
            self.write(f"{plan.name}: {waiting} of {len(plan.jobs)} jobs to run")

        def job_begins(self, job: Job) -> None:
            self.write(f"{job.cell} begins")

        def job_ends(self, job: Job, record: Record) -> None:
            self.write(f"{job.cell}: {record['status']}")

        def run_ends(self, records: Sequence[Record]) -> None:
            self.write(f"{len(records)} rows")

        def note(self, text: str) -> None:
            self.write(text)

        def write(self, line: str) -> None:
            with self.file.open("a", encoding="utf-8") as file:
                print(line, file=file)


    @hookimpl
    def finefuse_observers():
        yield Entry("diary", Diary, "a line in a file for each job")
    ```
    """
    raise NotImplementedError


@hookspec
def finefuse_suites() -> Iterable[Path]:
    """Suite files that can be run by name.

    A suite's name is that of its file without `.toml`.

    ```python
    @hookimpl
    def finefuse_suites():
        return Path(__file__).with_name("suites").glob("*.toml")
    ```
    """
    raise NotImplementedError


@hookspec
def finefuse_job_done(job: Job, record: Record) -> None:
    """Called for every finished job, in the driver's process; errors it raises are reported and change nothing.

    The record is a copy.

    ```python
    @hookimpl
    def finefuse_job_done(job, record):
        print(job.cell, record["status"])
    ```
    """
