"""An ordered map over fresh Python processes.

`multiprocessing` either forks, which is unsafe once TensorFlow has started its threads, or imports the
caller's main script again, which a user's script rarely allows. These workers do neither: they import one
function.
"""

import contextlib
import importlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable
from typing import Any

__all__ = ["ordered_map"]

_AHEAD = 2  # tasks in flight per worker: one at work, one on the way
_START = "import sys; sys.path[:] = {path!r}; from {module} import _serve; _serve()"


def ordered_map(
    function: Callable[..., Any], tasks: Iterable[Any], processes: int | None = None
) -> Generator[Any, None, None]:
    """Yields `function(task)` for every task, in order.

    Args:
        function: a function at the top level of an importable module.
        tasks: iterable of small picklable objects.
        processes: number of worker processes, by default one per core; 1 works in this process.

    Raises:
        RuntimeError: `function` failed in a worker (its traceback is in the message) or the worker died.
    """
    processes = processes or _cores()
    if processes == 1:
        yield from map(function, tasks)
        return
    start = _START.format(path=[p or os.getcwd() for p in sys.path], module=__name__)
    # One BLAS thread each: the processes are the parallelism.
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    workers: list[Any] = [
        subprocess.Popen([sys.executable, "-c", start], stdin=-1, stdout=-1, env=environment) for _ in range(processes)
    ]
    try:
        for worker in workers:
            _send(worker, (function.__module__, function.__qualname__))
        number, ahead = 0, _AHEAD * processes
        for number, task in enumerate(tasks, 1):
            worker = workers[number % processes]
            answer = _result(worker) if number > ahead else None
            _send(worker, task)
            if number > ahead:
                yield answer
        for i in range(max(number - ahead, 0) + 1, number + 1):
            yield _result(workers[i % processes])
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            with contextlib.suppress(BrokenPipeError):  # what it had not read yet
                worker.stdin.close()
            worker.stdout.close()


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _send(worker, value):
    try:
        pickle.dump(value, worker.stdin, pickle.HIGHEST_PROTOCOL)
        worker.stdin.flush()
    except BrokenPipeError:
        _died(worker)


def _result(worker):
    try:
        error, value = pickle.load(worker.stdout)
    except (EOFError, pickle.UnpicklingError):
        _died(worker)
    if error:
        raise RuntimeError(f"rendering failed in a worker process:\n{error}")
    return value


def _died(worker):
    raise RuntimeError(f"a rendering process ended with status {worker.wait()}") from None


def _serve():
    """The worker: answers tasks from stdin on stdout, until stdin ends.

    Two threads receive and send, so that neither end waits for the other while its pipe is full.
    """
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not disturb the results
    module, name = pickle.load(sys.stdin.buffer)
    function = getattr(importlib.import_module(module), name)
    tasks, answers = queue.Queue(), queue.Queue(_AHEAD)
    threading.Thread(target=_receive, args=(tasks,), daemon=True).start()
    sender = threading.Thread(target=_answer, args=(answers, results), daemon=True)
    sender.start()
    while (task := tasks.get()) is not None:
        try:
            answers.put((None, function(*task)))
        except Exception:
            answers.put((traceback.format_exc(), None))
    answers.put(None)
    sender.join()


def _receive(tasks):
    try:
        while True:
            tasks.put((pickle.load(sys.stdin.buffer),))
    except (EOFError, pickle.UnpicklingError):  # the end, perhaps in the middle of a task
        tasks.put(None)


def _answer(answers, stream):
    while (answer := answers.get()) is not None:
        pickle.dump(answer, stream, pickle.HIGHEST_PROTOCOL)
        stream.flush()
