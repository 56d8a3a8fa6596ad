"""Calls functions of the page's scripts, with numbers that JSON lacks."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from py_mini_racer import MiniRacer

from finefuse_zoo.reporters._bundle import bundle

NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
HARNESS = """
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
globalThis.atob = (text) => { // V8 alone has none
  let [found, bits, held] = ["", 0, 0];
  for (const letter of text.replace(/=+$/, "")) {
    [bits, held] = [((bits << 6) | LETTERS.indexOf(letter)) & 0xffff, held + 6];
    if (held >= 8) found += String.fromCharCode((bits >> (held -= 8)) & 255);
  }
  return found;
};
const isOdd = (value) => typeof value === "number" && !Number.isFinite(value);
const toText = (_, value) => (isOdd(value) ? { number: String(value) } : value);
const toNumber = (_, value) => (value?.number === undefined ? value : Number(value.number));
"""


class Script:
    """Modules of the page in V8, without a browser."""

    def __init__(self, *modules: str) -> None:
        self.engine = MiniRacer()
        text = bundle(*modules)
        names = ", ".join(re.findall(r"^const (\w+Module) = ", text, flags=re.MULTILINE))
        self.engine.eval(f"{text}\nfor (const one of [{names}]) Object.assign(globalThis, one);\n{HARNESS}")

    def __call__(self, expression: str, **values: Any) -> Any:
        """What an expression gives, with these values as variables."""
        given = {name: _text(value) for name, value in values.items()}
        text = json.dumps(json.dumps(given))
        call = f"(({{ {', '.join(values)} }}) => JSON.stringify({expression}, toText))(JSON.parse({text}, toNumber))"
        return json.loads(self.engine.eval(call), object_hook=_number)


def _text(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value).replace("inf", "Infinity").replace("nan", "NaN")}
    if isinstance(value, dict):
        return {name: _text(one) for name, one in value.items()}
    return [_text(one) for one in value] if isinstance(value, (list, tuple)) else value


def _number(found: dict[str, Any]) -> Any:
    return NUMBERS[found["number"]] if list(found) == ["number"] else found
