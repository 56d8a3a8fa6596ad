"""Networks of Hugging Face, none of whose weights are missing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from finefuse import FinefuseError
from finefuse_zoo.datasets._tokens import loaded


def whole(path: Path | None, hub: str | None, kind: str, what: str) -> Any:
    """A network of the class `kind` of transformers; a pooler may be missing, since none is used.

    Raises:
        FinefuseError: if it can't be had, or with the first few weights that were not in the files.
    """
    load = getattr(import_module("transformers"), kind).from_pretrained
    how = {"output_loading_info": True, "ignore_mismatched_sizes": True}  # else their names are only in a log
    model, told = loaded(path, hub, load, what, **how)
    wrong = {*told["missing_keys"], *(key[0] if isinstance(key, tuple) else key for key in told["mismatched_keys"])}
    wrong = {key for key in wrong if "pooler" not in key and "position_ids" not in key}
    if wrong:
        names = ", ".join(sorted(wrong)[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        who = f"{path or hub}: weights of {type(model).__name__}"
        raise FinefuseError(f"{who} are missing or of another shape: {names}")
    return model
