"""`finefuse new KIND NAME`."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.printing import say
from finefuse.errors import FinefuseError


class Kind(StrEnum):
    """What can be written for an author."""

    scheme = "scheme"
    fusion = "fusion"
    dataset = "dataset"
    backbone = "backbone"
    metric = "metric"
    executor = "executor"
    reporter = "reporter"
    observer = "observer"
    suite = "suite"


USES = {
    "scheme": 'put "{}" among the schemes of a suite: `finefuse show quick` prints one to start from',
    "fusion": 'put "{}" among the fusions of a suite: `finefuse show quick` prints one to start from',
    "dataset": 'put "{}" among the datasets of a suite: `finefuse show quick` prints one to start from',
    "backbone": 'put "{}" among the backbones of a suite: `finefuse show quick` prints one to start from',
    "metric": 'put "{}" among the metrics of a suite: `finefuse show quick` prints one to start from',
    "executor": "use it in a run: finefuse run quick --executor {}",
    "reporter": "use it in a run: finefuse run quick --reporter {}",
    "observer": "use it in a run: finefuse run quick --observer {}",
    "suite": "run it: finefuse run {}",
}
"""How each kind is used."""


def new(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=f"What to write: {', '.join(Kind)}.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name in suites, such as my-method.")],
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write into.  [default: finefuse-NAME]")
    ] = None,
) -> None:
    """Write a package with a small plugin and a test."""
    folder = into or Path(f"finefuse-{name}")
    texts = render(kind.value, name)
    write(folder, texts)
    for file in texts:
        say(folder / file)
    say(f"\nnext:\n  pip install -e {folder}\n  pytest {folder}\n  finefuse show {name}")
    say(f"then {USES[kind.value].format(name)}")


def render(kind: str, name: str) -> dict[str, str]:
    """The files of the package, by name.

    Raises:
        FinefuseError: if the name can't be used.
    """
    from importlib import resources
    from string import Template

    module = f"finefuse_{name.replace('-', '_')}"
    class_name = "".join(part.capitalize() for part in re.split("[-_]", name))
    folder = resources.files("finefuse.cli") / "templates"
    files = {
        "pyproject.toml": "pyproject.toml",
        f"{module}.py": f"{kind}.py",
        f"test_{module.removeprefix('finefuse_')}.py": f"test_{kind}.py",
    }
    if kind == "suite":
        files[f"{name}.toml"] = "suite.toml"
    texts = {file: (folder / f"{source}.txt").read_text(encoding="utf-8") for file, source in files.items()}
    check_name(kind, name, module, class_name, "".join(texts.values()))
    words = {
        "kind": kind,
        "name": name,
        "module": module,
        "cls": class_name,
        "function": module.removeprefix("finefuse_"),
        "files": ", ".join(f'"{file}"' for file in files if file.startswith((module, f"{name}."))),
    }
    return {file: Template(text).substitute(words) for file, text in texts.items()}


def check_name(kind: str, name: str, module: str, class_name: str, template: str) -> None:
    """Refuse a name that can't be one of a module and a class, or is taken."""
    import keyword
    from importlib.util import find_spec

    from finefuse.discovery.registry import KINDS, Registry, article

    if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", name):
        raise FinefuseError(
            f"{name!r} can't be a plugin's name; use small letters, digits and hyphens, as in my-method"
        )
    registry = Registry()
    taken = {path.stem: provider for path, provider in registry.suite_files()}
    if kind in KINDS:
        taken = {one.entry.name: one.provider for one in registry.entries(kind)}
    if name in taken:
        raise FinefuseError(f"there is {article(kind)} {name!r} already, from {taken[name]}; choose another name")
    if find_spec(module):
        raise FinefuseError(f"there is a module {module!r} already; choose another name than {name!r}")
    imported = re.findall(r"\w+", " ".join(re.findall(r"\bimport (.+)", template)))
    if keyword.iskeyword(class_name) or class_name in imported:
        raise FinefuseError(f"a class {class_name!r} would clash with Python's or finefuse's; choose another name")


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write all files, or none if one of them is there already."""
    for file in texts:
        if (folder / file).exists():
            raise FinefuseError(
                f"{folder / file} exists already and is left unchanged; choose another folder with --into"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FinefuseError(f"can't write into {folder}: {error.strerror or error}") from None
