"""Texts or tables in delimited text files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Len

from finefuse import FinefuseError, Splits, Task
from finefuse.files import digest_of_text, digests
from finefuse.types import Description, Vocabulary
from finefuse_zoo._hugging_face import split_hub, vocabulary
from finefuse_zoo.datasets._columns import (
    choose,
    remark_on_overlap,
    remarks_on_columns,
    remarks_on_labels,
    remarks_on_values,
)
from finefuse_zoo.datasets._encodings import of_numbers, of_pieces, of_words
from finefuse_zoo.datasets._fields import Count, Share, all_different, one_of
from finefuse_zoo.datasets._mixed import ENCODE, Encoder, Plan, planned
from finefuse_zoo.datasets._published import Published, rows_of
from finefuse_zoo.datasets._table import Format, Table, may_be_utf8, read_table
from finefuse_zoo.datasets._targets import READERS, Targets
from finefuse_zoo.datasets._tokens import PADDING, digest_of_tokenizer, hashed, hashed_pairs, load_tokenizer, tokenised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

PAIR = 3
"""The fewest numbers that hold a token of each of two texts, and the one between them."""


@dataclass(frozen=True)
class CsvTable:
    """Texts or rows of numbers in a delimited file, with columns by name.

    `target` is the column to predict: a label (`kind = "classification"`; class numbers follow the labels sorted as
    text, blanks around them aside) or a number. Either `text` is the column of texts, or `features` are columns of
    numbers; without it all in which every cell is one or missing, but those without a name, and whole numbers that
    count the rows or name them (all different, in a column called `id` or the like). What is used and what isn't is
    told by `plan`. A column that looks like numbers and holds something else is an error; categories have to be made
    numbers before. A missing value (an empty cell, NA, NaN, null or None) is an error too, unless `missing = "mean"`
    puts the column's mean there.

    With `text_pair`, a second column of texts, both become one row: with the number 1 between them, or as the tokeniser
    joins pairs. Where they are too long, more is cut off the longer one.

    With `columns = "all"` categories, dates and gaps are used too: texts with at most 50 different values are one-hot,
    a missing one is a category of its own; dates (ISO 8601) become days and the time of the year as sine and cosine;
    missing numbers become the mean. All of it is fitted by scikit-learn on the rows that are neither val nor test; a
    category that these don't have is all zeros. `features` then names columns of any kind.

    The file: `separator` (else a tab for `.tsv`, a comma for others), `encoding`, `header` (without one columns are
    called "1", "2", ...), `quotes` (whether `"` may enclose a field; else yes but with tabs), `decimal` ("," reads
    "3,14" as 3.14). Empty lines are passed over.

    Texts become `max_tokens` token numbers (N, max_tokens), int64, 0 behind their end: lower-case words and single
    other signs, each hashed (CRC-32) to one of `vocabulary` - 2 numbers from 2 on; a text without any is the number 1.
    Hashing needs no training text, so every data set with one `vocabulary` has the same numbers; of n different words
    the share 1 - exp(-n / vocabulary) has a number in common with another. With a tokeniser of Hugging Face, from the
    folder `tokenizer` or by `tokenizer_hub = "name@revision"`, numbers and padding are its own.

    Rows of numbers (N, columns), float32, are standardised by mean and standard deviation of all rows that are neither
    val nor test, so `shots` and `fraction` don't change them; a column that is constant there becomes 0.

    Regressed values (N, 1), float32, are (value - centre) / spread; without these the mean and the standard deviation
    of the whole `train` file, for every seed. So an RMSE of 1 is `spread` of the column's own units, and
    `centre = 0, spread = 1` keeps these.

    Without `test` the share `test_share` is cut off by seed. `val` is a file too, or says how many rows are cut from
    `train`: a share of every class, or a number of each. A file may name its splits itself: in a column `split` with
    train, val or test; in several, `split = ["split1", "split2"]`, of which seed 0 has the first and so on, around; or
    in a column `fold`, of which seed i is tested on the i-th. Rows with nothing there are left out. Of the rest `shots`
    of every class or the share `fraction` are for training. In regression all rows count as one class. For one seed val
    and test are the same whatever these two are.
    """

    train: Path
    target: str
    test: Path | None = None
    text: str | None = None
    text_pair: str | None = None
    features: Annotated[tuple[str, ...], Len(1)] | None = None
    kind: Literal["classification", "regression"] = "classification"
    separator: Annotated[str, Len(1, 1)] | None = None
    encoding: str = "utf-8"
    header: bool = True
    quotes: bool | None = None
    decimal: Literal[".", ","] = "."
    missing: Literal["refuse", "mean"] = "refuse"
    columns: Literal["numbers", "all"] = "numbers"
    val: Share | Count | Path = 0.1
    shots: Count | None = None
    fraction: Share | None = None
    test_share: Share = 0.2
    split: str | Annotated[tuple[str, ...], Len(1)] | None = None
    fold: str | None = None
    max_tokens: Annotated[int, Ge(1)] = 64
    vocabulary: Annotated[int, Ge(3)] = 10000
    tokenizer: Path | None = None
    tokenizer_hub: str | None = None
    centre: float | None = None
    spread: Annotated[float, Gt(0)] | None = None

    def __post_init__(self) -> None:
        one_of(shots=self.shots, fraction=self.fraction)
        one_of(text=self.text, features=self.features)
        one_of(tokenizer=self.tokenizer, tokenizer_hub=self.tokenizer_hub)
        one_of(split=self.split, fold=self.fold)
        self._refuse_columns_twice()
        all_different(train=self.train, val=self._val, test=self.test)
        if self._published.used and (self._val or self.test):
            raise ValueError("`split` and `fold` are columns of one file; leave out the files for val and test")
        try:
            b" ".decode(self.encoding)
        except UnicodeDecodeError:
            pass  # one of more bytes a sign
        except LookupError:
            raise ValueError(f"there is no encoding {self.encoding!r}; try 'utf-8' or 'latin-1'") from None
        if self.tokenizer_hub is not None:
            split_hub(self.tokenizer_hub)
        if self.text_pair is not None and (self.text is None or self.max_tokens < PAIR):
            raise ValueError(f"`text_pair` is the second of two texts: it needs `text`, and {PAIR} tokens or more")
        if self._wordpieces and self.text is None:
            raise ValueError("a tokeniser needs `text`, the column of texts")
        if self._wordpieces and find_spec("transformers") is None:
            raise ValueError("a tokeniser of Hugging Face needs transformers: pip install 'finefuse[text]'")
        if self.columns == "all" and self.text is not None:
            raise ValueError('columns = "all" is for tables, and `text` is the one column of texts')

    def _refuse_columns_twice(self) -> None:
        names = [self.target, *self._texts, *(self.features or ())]
        if aside := sorted({*names} & {*self._published.used}):
            raise ValueError(f"{', '.join(map(repr, aside))} names the splits, and can't be anything else")
        if self.target in names[1:]:
            raise ValueError(f"{self.target!r} is the target, and can't be what it is predicted from too")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            where = "`features` names" if self.features else "`text` and `text_pair` are"
            raise ValueError(f"{where} {', '.join(map(repr, twice))} twice")

    @property
    def number_of_folds(self) -> int:
        """How many splits the file names."""
        return self._published.count(self._table(self.train)) if self._published.used else 0

    @property
    def task(self) -> Task:
        """As many outputs as the training file has labels; in regression one."""
        table, targets = self._table(self.train), self._targets
        names = targets.names
        if self.text is None:
            width = self._plan.width if self.columns == "all" else len(self._columns(table))
            return targets.task(len(names), "tabular", (width,))
        for name in self._texts:
            table.column(name)
        return targets.task(len(names), "text", (self.max_tokens,))

    def token_numbers(self) -> Vocabulary | None:
        """What the tokeniser's files say of it, or the hashing; None for numbers."""
        if self.text is None:
            return None
        if self._wordpieces:
            return vocabulary(self.tokenizer, self.tokenizer_hub)
        return Vocabulary("hashed words", self.vocabulary, PADDING, f"crc32 {self.vocabulary}")

    def remarks(self) -> list[str]:
        """Which columns are used and which aren't, and what else is not as it may seem."""
        table, continuous = self._table(self.train), self._targets.continuous
        if self.columns == "all":
            numbers = [name for name, kind in self._plan.kinds.items() if kind == "numbers"]
            told = self._plan.remarks() + remarks_on_values(table, self.target, numbers, regression=continuous)
        elif self.text is None:
            aside = self._published.used
            told = remarks_on_columns(table, self.target, self.features, regression=continuous, aside=aside)
        else:
            others = [name for name in table.columns if name not in (*self._texts, self.target)]
            used = " and ".join(map(repr, (*self._texts, self.target)))
            told = [f"leaves out {len(others)} columns beside {used}"] if others else []
            empty = {name: sum(not cell.strip() for cell in table.column(name)) for name in self._texts}
            told += [f"{count} texts in {name!r} are empty" for name, count in empty.items() if count]
        told += remarks_on_labels(table, self.target) if not continuous else self._remark_on_units()
        told += self._published.remarks(table)
        for file in (self._val, self.test):
            told += [] if file is None else remark_on_overlap(table, self._table(file), self._used)
        if may_be_utf8(self.train, self.encoding):
            told.append(f"{self.train.name} is read as {self.encoding}, and could be utf-8")
        return told

    def _remark_on_units(self) -> list[str]:
        units = self._targets.described()
        if (units["centre"], units["spread"]) == (0, 1):
            return []
        return [f"an error of 1 is {units['spread']:.4g} in the units of {self.target!r}"]

    def describe(self, seed: int) -> Description:
        """How a row or a text becomes the inputs of the splits of this seed, and names or units of the outputs."""
        outputs = {"target": self.target, **self._targets.described()}
        if self.columns == "all":
            encoder = self._encoder(seed)
            return Description(encoder.described(), outputs, ENCODE, encoder.example())
        if self.text is None:
            mean, factor = self._scaling(seed)
            return of_numbers(self._columns(self._table(self.train)), mean.tolist(), factor.tolist(), outputs)
        if not self._wordpieces:
            return of_words(self.text, self.max_tokens, self.vocabulary, outputs, self.text_pair)
        where = self.tokenizer, self.tokenizer_hub
        padding = load_tokenizer(*where).pad_token_id
        return of_pieces(self.text, self.max_tokens, where, padding, outputs, self.text_pair)

    def fingerprint(self) -> str:
        """Digest of the files' content, and of the tokeniser's."""
        files = [file for file in (self.train, self._val, self.test) if file is not None]
        content = [digests(file.parent, [file.name], about=file.name)[file.name] for file in files]
        if self._wordpieces:
            content.append(digest_of_tokenizer(self.tokenizer, self.tokenizer_hub))
        return digest_of_text(*content)

    def splits(self, seed: int) -> Splits:
        """Train, val and test, drawn class by class."""
        import numpy as np
        import torch

        from finefuse import Data

        read, parts = self._reader(seed), []
        for file, chosen in zip((None, self._val, self.test), self._cut(seed), strict=True):
            table = self._table(self.train if file is None else file)
            rows = chosen if file is None else np.arange(len(table))
            parts.append((read(table, rows), self._targets.read(table)[rows]))
        return Splits(self.task, *(Data(torch.from_numpy(x), torch.from_numpy(y)) for x, y in parts))

    def read_inputs(self, where: Path, seed: int) -> tuple[Sequence[str], Tensor]:
        """Rows of a file, by their lines; it needs no column but those that are predicted from."""
        import numpy as np
        import torch

        table = self._table(where, narrow=True)
        x = self._reader(seed)(table, np.arange(len(table)))
        return [f"line {line}" for line in table.lines], torch.from_numpy(x)

    def _cut(self, seed: int, *, whole: bool = False) -> tuple[NDArray[np.intp], ...]:
        """Row numbers for train, val and test; for training all that are neither val nor test, if `whole`."""
        from finefuse_zoo.datasets._cut import Cut

        targets = self._targets
        shots, fraction = (None, None) if whole else (self.shots, self.fraction)
        val = 0 if isinstance(self.val, Path) else self.val
        cut = Cut(val, shots, fraction, self.test_share if self.test is None else None, targets.found)
        table = self._table(self.train)
        strata = targets.strata(targets.read(table))
        if not self._published.used:
            return cut.rows(strata, targets.names, seed)
        return rows_of(self._published.parts(table, seed), strata, targets.names, cut, seed)

    def _reader(self, seed: int) -> Callable[[Table, NDArray[np.intp]], NDArray[Any]]:
        """What makes inputs of rows of a table, as fitted on the training rows of this seed."""
        if self.text is not None:
            return self._inputs
        if self.columns == "all":
            encoder = self._encoder(seed)
            return lambda table, rows: encoder.encode(table)[rows]
        mean, factor = self._scaling(seed)
        return lambda table, rows: _standardised(self._inputs(table, rows), mean, factor)

    def _encoder(self, seed: int) -> Encoder:
        return Encoder(self._plan, self._table(self.train), self._cut(seed, whole=True)[0])

    @property
    def _plan(self) -> Plan:
        return planned(self._table(self.train), self.target, self.features, self._published.used)

    @property
    def _texts(self) -> tuple[str, ...]:
        """The columns of texts."""
        return tuple(name for name in (self.text, self.text_pair) if name is not None)

    @property
    def _used(self) -> Sequence[str]:
        """The columns that inputs are made of."""
        if self.text is not None:
            return self._texts
        return list(self._plan.kinds) if self.columns == "all" else self._columns(self._table(self.train))

    def _scaling(self, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Means and factors of the columns, over the rows that are neither val nor test."""
        return _scaling(self._inputs(self._table(self.train), self._cut(seed, whole=True)[0]))

    @property
    def _val(self) -> Path | None:
        """The file of the val rows, if they have one."""
        return self.val if isinstance(self.val, Path) else None

    @property
    def _published(self) -> Published:
        given = (self.split,) if isinstance(self.split, str) else self.split
        return Published(given or (), self.fold)

    @property
    def _wordpieces(self) -> bool:
        return self.tokenizer is not None or self.tokenizer_hub is not None

    def _table(self, path: Path, *, narrow: bool = False) -> Table:
        how = Format(self.separator, self.encoding, self.header, self.quotes, self.decimal, narrow)
        return read_table(path, how)

    def _columns(self, table: Table) -> tuple[str, ...]:
        """Names of the columns of numbers.

        Raises:
            FinefuseError: if there is none, or a value is missing that may not be.
        """
        chosen = choose(table, self.target, self.features, self._published.used)
        if self.missing == "refuse" and chosen.missing:
            self._refuse_missing(table, chosen.missing)
        return chosen.used

    def _refuse_missing(self, table: Table, missing: Mapping[str, int]) -> None:
        try:
            table.numbers(next(iter(missing)))
        except FinefuseError as error:
            also = f", and cells of {len(missing) - 1} other columns" if len(missing) > 1 else ""
            raise FinefuseError(f'{error}{also}; missing = "mean" puts the column\'s mean there') from None

    def _inputs(self, table: Table, rows: NDArray[np.intp]) -> NDArray[Any]:
        """Of these rows token numbers, or numbers as they stand in the file, (N, columns), NaN for missing ones."""
        import numpy as np

        if self.text is None:
            names = self._columns(self._table(self.train))
            gaps = self.missing == "mean"
            return np.stack([np.array(table.numbers(name, gaps=gaps))[rows] for name in names], axis=1)
        texts, *more = ([table.column(name)[row] for row in rows] for name in self._texts)
        second = more[0] if more else None
        if self._wordpieces:
            tokenizer, name = load_tokenizer(self.tokenizer, self.tokenizer_hub), self.tokenizer or self.tokenizer_hub
            numbers = tokenised(texts, self.max_tokens, tokenizer, str(name), second)
        elif second is not None:
            numbers = hashed_pairs(texts, second, self.max_tokens, self.vocabulary)
        else:
            numbers = hashed(texts, self.max_tokens, self.vocabulary)
        return np.array(numbers, np.int64).reshape(len(texts), self.max_tokens)

    @property
    def _targets(self) -> Targets:
        """How the column to predict is read."""
        return READERS[self.kind](self._table(self.train), self.target, self.centre, self.spread)


def _scaling(known: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Means of the columns of these rows, and factors: 1 / standard deviation, 0 for a column that is constant."""
    import numpy as np

    gaps = np.isnan(known)
    if gaps.any():
        known = np.where(gaps.all(0), 0.0, known)
        mean, deviation = np.nanmean(known, 0), np.nanstd(known, 0)
    else:
        mean, deviation = known.mean(0), known.std(0)
    varies = deviation > 1e-12 * np.abs(mean)
    return mean, np.where(varies, 1 / np.where(varies, deviation, 1), 0)


def _standardised(part: NDArray[Any], mean: NDArray[Any], factor: NDArray[Any]) -> NDArray[Any]:
    """(N, columns) in standard deviations from the mean, which replaces missing values."""
    import numpy as np

    scaled: NDArray[Any] = ((np.where(np.isnan(part), mean, part) - mean) * factor).astype(np.float32)
    return scaled
