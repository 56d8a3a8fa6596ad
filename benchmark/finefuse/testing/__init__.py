"""The conformance kit for plugin authors: does a strategy keep the rules that make its figures comparable?

```python
from finefuse.testing import check_scheme

def test_thaw():
    check_scheme(Thaw)
```

As in a run, a strategy is lent its trainer: what that counts is out of its reach. Of a scheme, steps of its own loops
count too; of a fusion they are only shown.

Under pytest a test that takes the argument `scheme_check` or `fusion_check` runs once per rule. The rules are tried on
small tasks made here, tabular and image, with and without BatchNorm, in a second or two on a CPU; `tasks` names others.
"""

from __future__ import annotations

from finefuse.testing.fusion_rules import FUSION_CHECKS, check_fusion
from finefuse.testing.rules import is_for
from finefuse.testing.scheme_rules import SCHEME_CHECKS, check_scheme
from finefuse.testing.small import (
    IMAGES,
    LINE,
    POINTS,
    TASKS,
    changed,
    prepared,
    small_data,
    small_fusing,
    small_members,
    small_net,
    small_splits,
    small_trainer,
    small_tuning,
    snapshot,
)

__all__ = [
    "FUSION_CHECKS",
    "IMAGES",
    "LINE",
    "POINTS",
    "SCHEME_CHECKS",
    "TASKS",
    "changed",
    "check_fusion",
    "check_scheme",
    "is_for",
    "prepared",
    "small_data",
    "small_fusing",
    "small_members",
    "small_net",
    "small_splits",
    "small_trainer",
    "small_tuning",
    "snapshot",
]
