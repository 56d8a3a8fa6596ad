"""Text that LaTeX takes for text."""

from __future__ import annotations

import re

_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "·": r"$\cdot$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_SPECIAL = re.compile("|".join(map(re.escape, _SIGNS)))
_NEGATIVE = re.compile(r"(?<![\w.)])-(?=\d)")


def escaped(text: str) -> str:
    """Text with nothing that LaTeX takes for a command, on one line."""
    text = " ".join(text.split())
    text = _NEGATIVE.sub("$-$", _SPECIAL.sub(lambda sign: _SIGNS[sign[0]], text))
    return f"{{}}{text}" if text.startswith(("[", "*")) else text  # else an option of the command before it
