"""What a page by altair would take instead: python studies/page/altair_page.py FILE.

Writes a scatter plot of 100 points as one file that asks for nothing, and prints its bytes and those of the packages.
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import altair as alt
import pandas as pd

PACKAGES = (
    "altair",
    "vl-convert-python",
    "narwhals",
    "jsonschema",
    "jsonschema-specifications",
    "referencing",
    "rpds-py",
)
"""What altair needs besides what finefuse brings, and what writes its figures."""


def size(package: str) -> int:
    """Bytes of an installed package's files."""
    files = (Path(str(file.locate())) for file in metadata.files(package) or ())
    return sum(file.stat().st_size for file in files if file.is_file())


def main(file: Path) -> None:
    """Write the plot, and print both sizes."""
    points = pd.DataFrame({"seconds": range(100), "score": [n % 10 for n in range(100)]})
    alt.Chart(points).mark_point().encode(x="seconds", y="score", tooltip=["score"]).save(file, inline=True)
    print(f"{file.stat().st_size / 1e6:.2f} MB with one scatter plot")
    print(f"{sum(map(size, PACKAGES)) / 1e6:.0f} MB of packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
