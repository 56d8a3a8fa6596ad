"""The conformance kit for plugin authors: does a plugin keep the rules that make figures comparable?

```python
from finefuse.testing import check_scheme

def test_thaw():
    check_scheme(Thaw)
```

There is a `check_` for each kind of plugin, and `check_plugin` for what stands behind a name or in a file. Each gives a
`Report` of all rules: one that was not run says why. As in a run, a strategy is lent its trainer: what that counts is
out of its reach, and steps of its own loops count too.

Under pytest a test that takes the argument `scheme_check`, or that of another kind, runs once per rule. Strategies are
tried on small tasks made here, tabular and image, with and without BatchNorm, in a second or two on a CPU; `tasks`
names others.
"""

from __future__ import annotations

from finefuse.testing.backbone_rules import BACKBONE_CHECKS, check_backbone
from finefuse.testing.boards import HOSTILE, small_board
from finefuse.testing.dataset_rules import DATASET_CHECKS, check_dataset
from finefuse.testing.every_kind import CHECKS, check_plugin
from finefuse.testing.executor_rules import EXECUTOR_CHECKS, check_executor
from finefuse.testing.fusion_rules import FUSION_CHECKS, check_fusion
from finefuse.testing.metric_rules import METRIC_CHECKS, check_metric
from finefuse.testing.observer_rules import OBSERVER_CHECKS, check_observer
from finefuse.testing.report import Checked, NotRun, Report
from finefuse.testing.reporter_rules import REPORTER_CHECKS, check_reporter
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
from finefuse.testing.suite_rules import SUITE_CHECKS, check_suite

__all__ = [
    "BACKBONE_CHECKS",
    "CHECKS",
    "DATASET_CHECKS",
    "EXECUTOR_CHECKS",
    "FUSION_CHECKS",
    "HOSTILE",
    "IMAGES",
    "LINE",
    "METRIC_CHECKS",
    "OBSERVER_CHECKS",
    "POINTS",
    "REPORTER_CHECKS",
    "SCHEME_CHECKS",
    "SUITE_CHECKS",
    "TASKS",
    "Checked",
    "NotRun",
    "Report",
    "changed",
    "check_backbone",
    "check_dataset",
    "check_executor",
    "check_fusion",
    "check_metric",
    "check_observer",
    "check_plugin",
    "check_reporter",
    "check_scheme",
    "check_suite",
    "is_for",
    "prepared",
    "small_board",
    "small_data",
    "small_fusing",
    "small_members",
    "small_net",
    "small_splits",
    "small_trainer",
    "small_tuning",
    "snapshot",
]
