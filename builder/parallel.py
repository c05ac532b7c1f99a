"""Several things at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
R = TypeVar("R")


def each(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> list[R]:
    """Call a function with each item, in threads, and return the results in the items' order.

    An exception of any call, or Ctrl-C, is raised at once: no call that has not begun is made any more, and those
    that have are not waited for. A server that does not answer would keep them for a minute.
    """
    pool = ThreadPoolExecutor(workers)
    try:
        results = list(pool.map(function, items))
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
    return results
