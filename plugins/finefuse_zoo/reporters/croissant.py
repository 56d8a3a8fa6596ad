"""The leaderboard as a data set that Croissant describes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_bool_dtype, is_integer_dtype, is_numeric_dtype

from finefuse.files import write_whole
from finefuse.types import Board
from finefuse_zoo.reporters.tables import Csv

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The vocabulary of Croissant 1.0."""


@dataclass(frozen=True)
class Croissant:
    """`croissant.json`: Croissant 1.0 of `scores.csv` and `costs.csv`, which it writes too, with digests and columns.

    `license`, `url` and `creator` are what only their author knows; what is empty is left out.
    """

    license: str = ""
    url: str = ""
    creator: str = ""

    def write(self, board: Board, folder: Path) -> list[Path]:
        """Write the three files."""
        tables = Csv().write(board, folder)
        parts = [(path, table) for path, table in zip(tables, (board.scores(), board.costs()), strict=True)]
        days = [str(row["finished"])[:10] for row in board.records if row.get("finished")]
        given = {"license": self.license, "url": self.url, "datePublished": max(days, default="")}
        content = {
            "@context": CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": board.suite,
            "description": f"The leaderboard of the suite {board.suite}: scores, and costs in seconds, by finefuse.",
            **{name: value for name, value in given.items() if value},
            **({"creator": {"@type": "sc:Organization", "name": self.creator}} if self.creator else {}),
            "version": "1.0.0",
            "distribution": [_file(path) for path in tables],
            "recordSet": [_records(path, table) for path, table in parts],
        }
        path = folder / "croissant.json"
        write_whole(path, json.dumps(content, indent=1) + "\n")
        return [path, *tables]


def _file(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{len(data)} B",
        "encodingFormat": "text/csv",
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _records(path: Path, table: pd.DataFrame) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{path.stem}/{name}",
            "name": f"{path.stem}/{name}",
            "dataType": _type(table[name]),
            "source": {"fileObject": {"@id": path.name}, "extract": {"column": str(name)}},
        }
        for name in table
    ]
    return {"@type": "cr:RecordSet", "@id": path.stem, "name": path.stem, "field": fields}


def _type(column: pd.Series[Any]) -> str:
    """What a column holds; whole numbers with gaps are read as numbers with a point."""
    if is_bool_dtype(column):
        return "sc:Boolean"
    if is_integer_dtype(column) and not column.isna().any():
        return "sc:Integer"
    return "sc:Float" if is_numeric_dtype(column) else "sc:Text"
