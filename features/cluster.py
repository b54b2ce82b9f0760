"""Parts of a feature table on a Dask cluster: the same function as on one machine, given a folder and a number.

Dask pickles the call on its own wire; a call is a text and a number, and what comes back is a summary of JSON
values. Rows travel through the file system alone. A worker that dies loses the part it was at: the scheduler
gives it to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from typing import Any

from crsrisk.errors import CrsRiskError
from features.job import Summary
from features.parts import Work, compute_part

CONNECT_SECONDS = 10.0
WORKER_SECONDS = 60.0
"""How long a cluster may be without any worker before the run is given up."""
AHEAD = 2  # parts per thread that wait at the workers
RETRIES = 2  # of a part that failed for a reason of its worker: a disk that did not answer, memory


@contextmanager
def on_cluster(address: str) -> Iterator[Callable[[Work], Iterator[tuple[int, Summary]]]]:
    """A connection to a cluster, as a function that gives number and summary of each part as it is finished.

    Raises:
        CrsRiskError: Dask is not installed, the scheduler does not answer, it has no workers, or a part
            can't be computed by any of them. Finished parts stay.
    """
    with _connect(address) as client:
        try:
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except TimeoutError:
            raise _no_workers(address) from None
        yield partial(_compute, client=client, address=address)


def task(folder: str, number: int, only_check: bool) -> dict[str, Any]:
    """One part, in a worker: its summary, or why it was refused."""
    try:
        return compute_part(folder, number, only_check=only_check).to_dict()
    except CrsRiskError as error:
        return {"refused": str(error)}


def _connect(address: str) -> Any:  # a distributed.Client; Dask ships few types
    try:
        import distributed
    except ImportError:
        raise CrsRiskError("--scheduler needs Dask; install it with: pip install crsrisk[scale]") from None
    try:
        connect: Any = distributed.Client
        return connect(address, timeout=CONNECT_SECONDS, set_as_default=False, name="crsrisk-features")
    except (OSError, TimeoutError, ValueError) as error:
        raise CrsRiskError(
            f"--scheduler {address}: no Dask scheduler answers ({type(error).__name__}); give the address that "
            f"`dask scheduler` prints, for example tcp://10.0.0.5:8786"
        ) from None


def _no_workers(address: str) -> CrsRiskError:
    return CrsRiskError(
        f"--scheduler {address}: the scheduler has had no worker for {WORKER_SECONDS:.0f} s; start workers with "
        f"`dask worker {address}`, then the same command continues from the finished parts"
    )


def _compute(work: Work, *, client: Any, address: str) -> Iterator[tuple[int, Summary]]:
    """Keeps a few parts at each worker, so that what is left can still be changed to a mere check."""
    waiting = list(reversed(work.numbers))
    running: dict[Any, int] = {}
    try:
        while waiting or running:
            threads = sum(client.nthreads().values())
            while waiting and len(running) < AHEAD * max(threads, 1):
                number = waiting.pop()
                call = client.submit(task, work.folder, number, work.only_check, pure=False, retries=RETRIES)
                running[call] = number
            for call in _done(client, list(running), address):
                yield running.pop(call), _summary(call, address)
    except (OSError, CancelledError):
        raise CrsRiskError(
            f"--scheduler {address}: the connection was lost; start the cluster again, then the same command "
            f"continues from the finished parts"
        ) from None


def _done(client: Any, calls: list[Any], address: str) -> set[Any]:
    """Calls that have ended; none after a while in which no part was finished."""
    import distributed

    wait: Any = distributed.wait
    try:
        with client.as_current():
            done: set[Any] = wait(calls, timeout=WORKER_SECONDS, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        if not client.nthreads():
            raise _no_workers(address) from None
        return set()
    return done


def _summary(call: Any, address: str) -> Summary:
    try:
        result = call.result()
    except Exception:  # whatever happened to a worker, here it is the end of the run
        if call.status != "error":  # of the connection, not of the part
            raise
        raise _given_up(address, call) from None
    if "refused" in result:
        raise CrsRiskError(result["refused"])
    return Summary(**result)


def _given_up(address: str, call: Any) -> CrsRiskError:
    return CrsRiskError(
        f"--scheduler {address}: a part could not be computed ({type(call.exception()).__name__}); look into the "
        f"logs of the workers (memory, disk), then the same command continues from the finished parts"
    )
