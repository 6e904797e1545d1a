"""An ordered map over fresh Python processes.

`multiprocessing` either forks, which is unsafe once TensorFlow has started its threads, or imports the
caller's main script again, which a user's script rarely allows. These workers do neither: they import one
function.
"""

import collections
import concurrent.futures
import os
import pickle
import queue
import subprocess
import sys

__all__ = ["ordered_map"]

_AHEAD = 2  # tasks in flight per worker: one at work, one waiting
_START = "import sys; sys.path[:] = {path!r}; from {module} import _serve; _serve()"


def ordered_map(function, tasks, processes=None):
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
    workers = [
        subprocess.Popen([sys.executable, "-c", start], stdin=-1, stdout=-1, env=environment) for _ in range(processes)
    ]
    try:
        idle = queue.SimpleQueue()
        for worker in workers:
            _send(worker.stdin, (function.__module__, function.__qualname__))
            idle.put(worker)

        def call(task):  # one thread waits for each worker, so neither end of a full pipe blocks the other
            worker = idle.get()
            try:
                _send(worker.stdin, task)
                return _result(worker)
            finally:
                idle.put(worker)

        with concurrent.futures.ThreadPoolExecutor(processes) as threads:
            waiting = collections.deque()
            for task in tasks:
                waiting.append(threads.submit(call, task))
                if len(waiting) == _AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            worker.stdin.close()
            worker.stdout.close()


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _result(worker):
    try:
        error, value = pickle.load(worker.stdout)
    except EOFError:
        raise RuntimeError(f"a rendering process ended with status {worker.wait()}") from None
    if error:
        raise RuntimeError(f"rendering failed in a worker process:\n{error}")
    return value


def _send(stream, value):
    pickle.dump(value, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()


def _serve():
    """The worker: answers tasks from stdin on stdout, until stdin ends."""
    import importlib
    import traceback

    tasks, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not disturb the results
    module, name = pickle.load(tasks)
    function = getattr(importlib.import_module(module), name)
    while True:
        try:
            task = pickle.load(tasks)
        except EOFError:
            return
        try:
            answer = (None, function(task))
        except Exception:
            answer = (traceback.format_exc(), None)
        _send(results, answer)
