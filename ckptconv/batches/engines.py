"""Where the attempts of a batch run: in processes of this machine, or on a Dask cluster that is there already.

An engine takes requests and gives back an answer for each, in the order in which they are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, as_completed
from contextlib import suppress
from importlib import import_module
from typing import Any, TypeAlias

from ckptconv.base.environment import install_advice
from ckptconv.base.errors import FrameworkError, one_line
from ckptconv.base.workers import workers
from ckptconv.batches.process import Processes, died, run_attempt

Request: TypeAlias = dict[str, Any]
Reply: TypeAlias = dict[str, Any]
Engine: TypeAlias = Callable[[Iterable[Request]], Iterator[Reply]]
CONNECT_SECONDS = 10


def local(jobs: int) -> Engine:
    """Return an engine of this machine. Args: jobs: attempts at a time."""

    def run(requests: Iterable[Request]) -> Iterator[Reply]:
        processes = Processes()
        with workers(jobs) as pool:
            futures: list[Future[Reply]] = []
            try:
                # each request reads a record: a signal may come meanwhile
                futures.extend(pool.submit(processes.answer, request) for request in requests)
                for future in as_completed(futures):
                    yield future.result()
            finally:
                for future in futures:
                    future.cancel()
                processes.end()

    return run


def dask(address: str) -> Engine:
    """Return an engine of a cluster, whose workers have ckptconv and see the same files.

    Args: address: of the scheduler, such as tcp://10.0.0.5:8786.
    Raises: FrameworkError: distributed is not installed.
    """
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise FrameworkError(
            f"--dask needs distributed, which is not installed here.\n{install_advice('dask')}"
        ) from None

    def run(requests: Iterable[Request]) -> Iterator[Reply]:
        try:
            client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise FrameworkError(
                f"{address}: no Dask scheduler answers ({one_line(str(error))[:200]})"
            ) from None
        asked = {}
        try:
            for request in requests:
                asked[client.submit(run_attempt, request, pure=False)] = request
            for future in distributed.as_completed(list(asked), loop=client.loop):
                failure = future.exception()
                yield died(asked[future], _reason(failure)) if failure else future.result()
                future.release()
        finally:
            with suppress(Exception):  # the cluster may be what failed
                client.cancel(list(asked), force=True)
                client.close(timeout=CONNECT_SECONDS)

    return run


def _reason(error: BaseException) -> str:
    return f"failed on the cluster: {type(error).__name__}: {one_line(str(error))[:300]}"
