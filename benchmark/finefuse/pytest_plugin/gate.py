"""What `--finefuse` asks for: the suite is run once a session and compared with the baseline. A plugin of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from finefuse import api
from finefuse.errors import FinefuseError
from finefuse.files import only_one
from finefuse.judge.compare import Comparison
from finefuse.judge.gate.policy import read_policy
from finefuse.judge.gate.sides import read_side, refuse_empty
from finefuse.pytest_plugin.items import Lines, Wanted
from finefuse.types import Record


@dataclass(frozen=True)
class Gate:
    """What was asked for; folders and files with their whole paths, as tests may change the current one."""

    suite: str
    base: Path
    out: Path | None
    workers: int | None
    portable: bool
    plugins: Sequence[str]

    @property
    def file(self) -> Path:
        """The file that the tests belong to."""
        return self.base / "records.jsonl"

    def wanted(self, *, timed: bool) -> Wanted:
        """The tests of the suite and of the baseline; those of latencies only if they can be `timed`.

        Raises:
            FinefuseError: if one of them can't be read.
        """
        plan = api.plan(self.suite, plugins=self.plugins, portable=self.portable)
        base = read_side(self.base)
        refuse_empty(base)
        read_policy(plan.suite.gate or base.gate)
        return Wanted.of(plan, base, timed=timed)

    def run(self, out: Path) -> None:
        """Run the suite.

        Raises:
            FinefuseError: if it can't be run.
        """
        api.run(
            self.suite,
            out=out,
            workers=self.workers,
            plugins=self.plugins,
            portable=self.portable,
            reporters=(),
            quiet=True,
        )


GATE, WANTED = pytest.StashKey[Gate](), pytest.StashKey[Wanted]()


def pytest_configure(config: pytest.Config) -> None:
    """Read the options, the suite and the baseline, whose records are one more file of tests.

    Raises:
        UsageError: if they make no sense.
    """
    gate = config.stash[GATE] = _asked(config)
    try:
        config.stash[WANTED] = gate.wanted(timed=config.pluginmanager.hasplugin("benchmark"))
    except FinefuseError as error:
        raise pytest.UsageError(str(error)) from None
    if not any(Path(argument.partition("::")[0]).absolute() == gate.file for argument in config.args):
        config.args.append(str(gate.file))


def pytest_report_header(config: pytest.Config) -> str:
    """What is compared."""
    return f"finefuse: {config.stash[GATE].suite} against {config.stash[GATE].base}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """The tests are those of the baseline's records."""
    stash = parent.config.stash
    return Lines.of(parent, file_path, stash[WANTED]) if file_path == stash[GATE].file else None


@pytest.fixture(scope="session")
def finefuse_results(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The folder of the new results. Of several processes the first runs the suite, and the others wait for it."""
    gate, own = request.config.stash[GATE], tmp_path_factory.getbasetemp()
    shared = own.parent if _is_worker(request) else own
    out, done = gate.out or shared / "finefuse", shared / "finefuse.done"
    with only_one(shared / "finefuse.lock"):
        if not done.exists():
            try:
                gate.run(out)
            except FinefuseError as error:
                pytest.fail(str(error), pytrace=False)
            done.touch()
    return out


@pytest.fixture(scope="session")
def finefuse_comparison(finefuse_results: Path, pytestconfig: pytest.Config) -> Comparison:
    """The new results against the baseline, as the suite's table `[gate]` says."""
    try:
        return api.compare(pytestconfig.stash[GATE].base, finefuse_results)
    except FinefuseError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def finefuse_rows(finefuse_results: Path) -> Sequence[Record]:
    """The new rows of lines and their latencies."""
    return list(read_side(finefuse_results).rows.values())


def _asked(config: pytest.Config) -> Gate:
    """What the options say."""
    suite, base, out = map(config.getoption, ("finefuse", "finefuse_baseline", "finefuse_out"))
    workers, doors = config.getoption("finefuse_workers"), config.getoption("finefuse_plugin")
    if not suite:
        raise pytest.UsageError("options of finefuse are given, but no suite: --finefuse SUITE.")
    if not base:
        raise pytest.UsageError("--finefuse needs --finefuse-baseline DIR, the results folder to compare with.")
    if workers is not None and workers < 0:
        raise pytest.UsageError(f"--finefuse-workers must be 0 or more, not {workers}.")
    if out and Path(out).resolve() == Path(base).resolve():
        raise pytest.UsageError(f"--finefuse-out and --finefuse-baseline are the same folder, {base}.")
    into, portable = Path(out).absolute() if out else None, config.getoption("finefuse_portable")
    return Gate(_whole(suite), Path(base).absolute(), into, workers, portable, [_whole(door) for door in doors])


def _whole(name: str) -> str:
    """A file with its whole path; anything else as it is."""
    return str(Path(name).absolute()) if Path(name).is_file() else name


def _is_worker(request: pytest.FixtureRequest) -> bool:
    """Whether other processes run tests of this session too."""
    if not request.config.pluginmanager.hasplugin("xdist"):
        return False
    from xdist import is_xdist_worker

    return bool(is_xdist_worker(request))
