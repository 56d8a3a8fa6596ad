"""Tables as comma-separated text that no spreadsheet executes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

EXECUTED = tuple("=+-@\t\r\n＝＋－＠")
"""What a text that a spreadsheet takes for a formula begins with."""


def comma_separated(table: pd.DataFrame) -> str:
    """The table as CSV; numbers have all their digits, and text that would be a formula gets an apostrophe in front."""
    safe = table.map(harmless).rename(columns=harmless)
    return str(safe.to_csv(index=False, lineterminator="\n", na_rep="nan"))


def harmless(value: Any) -> Any:
    """The value, with an apostrophe in front if it is a text that a spreadsheet would execute; a number stays one."""
    if not isinstance(value, str):
        return value
    executed = value.startswith(EXECUTED) and not _is_number(value)
    shown = value.replace("\r", "\\r")  # else it would end the line
    return f"'{shown}" if executed else shown


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
