"""How the inputs of `csv` are made, as Python that needs no finefuse: the cards of exported models print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from finefuse.types import Description
from finefuse_zoo._hugging_face import split_hub

TEXT = "A fine film, isn't it? 5 stars!"
"""The example of texts."""
SECOND = "Yes, it is."
"""That of second texts."""
NUMBERS = '''
def encode(raw, inputs):
    """A row, numbers by the names of columns, in standard deviations from the mean; None is a missing value."""
    columns = zip(inputs["columns"], inputs["mean"], inputs["factor"])
    return [0.0 if raw[name] is None else (raw[name] - mean) * factor for name, mean, factor in columns]
'''
WORDS = '''
import re
import zlib


def encode(raw, inputs):
    """A text as numbers of its words and signs: their CRC-32; 1 is a text without any, 0 is padding."""
    words = re.findall(r"\\w+|[^\\w\\s]", raw.lower())[: inputs["tokens"]]
    span = inputs["vocabulary"] - 2
    numbers = [2 + zlib.crc32(word.encode("utf-8", "surrogatepass")) % span for word in words] or [1]
    return numbers + [0] * (inputs["tokens"] - len(numbers))
'''
WORDS_OF_TWO = '''
import re
import zlib


def encode(raw, inputs):
    """Two texts as numbers of their words and signs, with a 1 between them; of the longer one more is cut off."""
    span = inputs["vocabulary"] - 2

    def numbers_of(text):
        words = re.findall(r"\\w+|[^\\w\\s]", text.lower())
        return [2 + zlib.crc32(word.encode("utf-8", "surrogatepass")) % span for word in words]

    first, second = map(numbers_of, raw)
    while len(first) + 1 + len(second) > inputs["tokens"]:
        (first if len(first) >= len(second) else second).pop()
    numbers = [*first, 1, *second]
    return numbers + [0] * (inputs["tokens"] - len(numbers))
'''
PIECES = '''
from transformers import AutoTokenizer


def encode(raw, inputs):
    """A text as token numbers of the tokeniser, padded at its end."""
    tokenizer = AutoTokenizer.from_pretrained(inputs["tokenizer"], revision=inputs["revision"])
    texts = raw if isinstance(raw, list) else [raw]
    numbers = tokenizer(*texts, truncation=True, max_length=inputs["tokens"])["input_ids"]
    return numbers + [inputs["padding"]] * (inputs["tokens"] - len(numbers))
'''


def of_numbers(
    names: Sequence[str], mean: Sequence[float], factor: Sequence[float], outputs: Mapping[str, Any]
) -> Description:
    """Of columns of numbers; a factor of 0 is that of a column that was constant."""
    steps = [1 / scale if scale else 0.0 for scale in factor]
    rows = enumerate(zip(names, mean, steps, strict=True))
    example = {name: round(middle + (i % 3 - 1) * step, 4) for i, (name, middle, step) in rows}
    inputs = {"columns": list(names), "mean": list(mean), "factor": list(factor)}
    return Description(inputs, outputs, NUMBERS, example)


def of_words(
    column: str, tokens: int, vocabulary: int, outputs: Mapping[str, Any], second: str | None = None
) -> Description:
    """Of texts whose words are hashed, or of two columns of them."""
    if second is not None:
        inputs = {"columns": [column, second], "tokens": tokens, "vocabulary": vocabulary}
        return Description(inputs, outputs, WORDS_OF_TWO, [TEXT, SECOND])
    return Description({"column": column, "tokens": tokens, "vocabulary": vocabulary}, outputs, WORDS, TEXT)


def of_pieces(
    column: str,
    tokens: int,
    where: tuple[Path | None, str | None],
    padding: int,
    outputs: Mapping[str, Any],
    second: str | None = None,
) -> Description:
    """Of texts by a tokeniser of Hugging Face, or of two columns of them."""
    path, hub = where
    name, revision = (str(path), None) if path is not None else split_hub(str(hub))
    inputs = {"column": column, "tokens": tokens, "tokenizer": name, "revision": revision, "padding": padding}
    if second is not None:
        inputs["second column"] = second
    return Description(inputs, outputs, PIECES, TEXT if second is None else [TEXT, SECOND])
