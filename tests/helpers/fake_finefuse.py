"""Something in place of the command `finefuse` that writes down how it was called, for scripts that call it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

FAKE = """#!{python}
import json, os, sys
from pathlib import Path
verb = sys.argv[1]
with Path("calls.jsonl").open("a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
for word in sys.argv:
    form, _, name = word.partition("=")
    if verb == "compare" and name and not os.environ.get("UNREADABLE"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(f"the verdict as {{form}}\\n")
print(verb, "is done")
sys.exit(int(os.environ.get(verb.upper(), 0)))
"""


def path_with_fake(folder: Path) -> str:
    """A PATH on which `finefuse` writes its arguments to calls.jsonl in the working folder and leaves its verdicts.

    It exits with what the variables RUN, COMPARE and VERIFY say, and leaves none where UNREADABLE is set.
    """
    fake = folder / "finefuse"
    folder.mkdir(parents=True, exist_ok=True)
    fake.write_text(FAKE.format(python=sys.executable))
    fake.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
