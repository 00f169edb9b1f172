"""Groups of subjects one behind the other: while one is tuned, the next one's pictures are fetched and the one before
is published. At most three are in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from likeness_api.order import Order
from likeness_api.result import Result
from likeness_runtime.failure import RunError
from likeness_runtime.order.context import RunContext
from likeness_runtime.order.fulfil import Prepared, prepare_all, publish_all, tune_all
from likeness_runtime.order.prepare import LocatedModels


def pipelined(
    groups: Iterable[list[Order]],
    context: RunContext,
    models: LocatedModels,
    group_size: int,
    take: Callable[[list[Order]], None],
) -> Iterator[list[Result]]:
    """The results of each group, in their order. `take` is called with a group before it is tuned, and nothing else is
    in hand at that moment that could end this process.

    The next group is asked for while the present one is tuned; where there is none, all is published and yielded.
    Raises whatever `context.check` and `take` do; what was yielded until then is published. What tuning imports should
    be imported before: a thread forks to decode pictures, and a fork beside an import may never end.
    """
    with ThreadPoolExecutor(1, "fetch") as fetching, ThreadPoolExecutor(1, "publish") as publishing:

        def prepared(orders: list[Order]) -> Future[list[Prepared]]:
            return fetching.submit(prepare_all, orders, context, lambda: models)

        waiting = iter(groups)
        orders = next(waiting, None)
        ahead = prepared(orders) if orders is not None else None
        behind: Future[list[Result | RunError]] | None = None
        while orders is not None and ahead is not None:
            here = ahead.result()
            following = next(waiting, None)
            ahead = prepared(following) if following is not None else None
            take(orders)
            products = tune_all(here, context, group_size)
            if behind is not None:
                yield _results(behind)
            behind = publishing.submit(publish_all, here, products, context)
            orders = following
        if behind is not None:
            yield _results(behind)


def _results(published: Future[list[Result | RunError]]) -> list[Result]:
    return [each.as_result() if isinstance(each, RunError) else each for each in published.result()]
