"""How many threads the arithmetic of tables uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Products of matrices by a single thread, also as a decorator.

    The matrices of tables are small: beside other work, threads would spend most of their time waiting for each other.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield
