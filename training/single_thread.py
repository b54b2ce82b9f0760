"""One thread for linear algebra: small matrices on a busy machine run up to ten times slower on two."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def single_thread() -> Iterator[None]:
    """Within the block numpy and scipy use one thread; results do not depend on the number of cores."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

    with threadpool_limits(limits=1):
        yield
