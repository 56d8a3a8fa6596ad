"""Text as rows of token numbers."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

from finefuse import FinefuseError
from finefuse.files import digest_of_text, digests, files_in
from finefuse_zoo._hugging_face import split_hub

PADDING, NOTHING, FIRST = 0, 1, 2
"""The number behind the end of a text, that of no token (which stands between two texts), and the first of a token."""
TOKEN = re.compile(r"\w+|[^\w\s]")
TEXT_FILES = (".json", ".txt", ".model", ".jinja")
"""Endings of the files a tokeniser is made of."""


def tokens(text: str) -> list[str]:
    """Lower-case words (letters, digits and underscores) and single other signs: "It's 5%." is it ' s 5 % ."""
    return TOKEN.findall(text.lower())


@lru_cache(maxsize=2**16)
def bucket(token: str, vocabulary: int) -> int:
    """The number of a token: its CRC-32 over the numbers from 2 to `vocabulary` - 1, the same in every data set."""
    return FIRST + crc32(token.encode("utf-8", "surrogatepass")) % (vocabulary - FIRST)


def hashed(texts: Sequence[str], length: int, vocabulary: int) -> array[int]:
    """Token numbers of texts, `length` for each, one after the other; the ends of longer texts are cut off."""
    found = array("q")
    for text in texts:
        numbers = [bucket(token, vocabulary) for token in tokens(text)[:length]] or [NOTHING]
        found.extend(numbers + [PADDING] * (length - len(numbers)))
    return found


def hashed_pairs(texts: Sequence[str], seconds: Sequence[str], length: int, vocabulary: int) -> array[int]:
    """The same of two texts each, with the number 1 between them; of the longer one more is cut off."""
    found = array("q")
    for pair in zip(texts, seconds, strict=True):
        first, second = ([bucket(token, vocabulary) for token in tokens(text)] for text in pair)
        while len(first) + 1 + len(second) > length:
            (first if len(first) >= len(second) else second).pop()
        numbers = [*first, NOTHING, *second]
        found.extend(numbers + [PADDING] * (length - len(numbers)))
    return found


def tokenised(
    texts: Sequence[str], length: int, tokenizer: Any, name: str, seconds: Sequence[str] | None = None
) -> array[int]:
    """The same with a tokeniser of Hugging Face, by its numbers and with its special tokens; with `seconds` of pairs.

    Padding goes behind the text, on whichever side the tokeniser itself would put it.

    Raises:
        FinefuseError: if it has no padding token, or its special tokens leave no room for text.
    """
    if tokenizer.pad_token_id is None:
        raise FinefuseError(f"{name}: this tokeniser has no padding token")
    special = tokenizer.num_special_tokens_to_add(pair=seconds is not None)
    if length <= special:
        told = f"max_tokens = {length} leaves no room for text beside its {special} special tokens"
        raise FinefuseError(f"{name}: {told}")
    found = array("q")
    pairs = [list(texts)] if seconds is None else [list(texts), list(seconds)]
    rows = tokenizer(*pairs, truncation=True, max_length=length)["input_ids"] if texts else []
    for row in rows:
        found.extend([*row, *[tokenizer.pad_token_id] * (length - len(row))])
    return found


def loaded(path: Path | None, hub: str | None, load: Callable[..., Any], what: str, **how: Any) -> Any:
    """What `load`, a `from_pretrained` of transformers, finds in a folder or on the hub, without running its code.

    Raises:
        FinefuseError: if it can't be had.
    """
    if path is not None and not path.is_dir():
        raise FinefuseError(f"{path}: there is no such folder; it should hold {what} of Hugging Face")
    name, revision = (str(path), None) if path is not None else split_hub(str(hub))
    try:
        with _quiet():
            return load(name, revision=revision, local_files_only=path is not None, trust_remote_code=False, **how)
    except Exception as error:  # transformers and safetensors raise many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        hint = "" if path is not None else "; without a network give the path of a folder it was saved in"
        raise FinefuseError(f"{path or hub}: {what} can't be loaded ({reason[:200]}){hint}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and reports of transformers, which would stand between the lines of a run."""
    switches = import_module("transformers").utils.logging
    shown, level = switches.is_progress_bar_enabled(), switches.get_verbosity()
    switches.disable_progress_bar()
    switches.set_verbosity_error()
    try:
        yield
    finally:
        switches.set_verbosity(level)
        if shown:
            switches.enable_progress_bar()


def load_tokenizer(path: Path | None, hub: str | None) -> Any:
    """A tokeniser of Hugging Face.

    Raises:
        FinefuseError: if it can't be had.
    """
    return loaded(path, hub, import_module("transformers").AutoTokenizer.from_pretrained, "a tokeniser")


def digest_of_tokenizer(path: Path | None, hub: str | None) -> str:
    """Digest of its files, or its name and revision; with the versions of the packages that read it.

    Raises:
        FinefuseError: if there is no such folder.
    """
    packages = [version(package) for package in ("transformers", "tokenizers")]
    if path is None:
        return digest_of_text(*packages, str(hub))
    if not path.is_dir():
        raise FinefuseError(f"{path}: there is no such folder; it should hold a tokeniser of Hugging Face")
    known = digests(path, [name for name in files_in(path) if name.endswith(TEXT_FILES)])
    return digest_of_text(*packages, *known.keys(), *known.values())
