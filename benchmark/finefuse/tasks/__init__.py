"""Kinds of task: one file for each, with all that depends on the kind. Importing them imports no torch."""

from __future__ import annotations

from finefuse.tasks.classification import Classification
from finefuse.tasks.regression import Regression
from finefuse.tasks.shape import Shape
from finefuse.tasks.values import Values

__all__ = ["Classification", "Regression", "Shape", "Values"]
