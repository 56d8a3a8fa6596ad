"""Units of networks: which may change places without changing the function, and which fit another network's.

For fusions of weights: `aligned(of)` gives the members with their units in the order of the first.
"""

from __future__ import annotations

from finefuse.matching.places import aligned, match, permuted
from finefuse.matching.units import Axis, Units, follow

__all__ = ["Axis", "Units", "aligned", "follow", "match", "permuted"]
