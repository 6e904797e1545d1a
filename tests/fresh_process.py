"""Tests of an xdist worker run in a process of their own, which is replaced once it has grown too large.

TensorFlow keeps graphs, and XLA all that it has compiled, for as long as a process lives: a suite that trains models
would come to hold 10 GB in each worker. `conftest` takes the two hooks from here. Without xdist (`-n0`, as for a
debugger) all tests run where pytest does.
"""

import functools
import os
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import pytest

LIMIT = 2.5  # GB of resident memory after a test
PIPE = "DEEPCOSMO_TESTS_PIPE"

_process = None


def resident():
    """Memory of this process, GB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


class Process:
    """Another pytest, which runs the tests that it is sent."""

    def __init__(self, config, first):
        self.pipe, other = Pipe()
        command = [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", "-m", ""]
        command += ["--rootdir", config.rootpath]
        environment = os.environ | {PIPE: str(other.fileno())}
        self._popen = subprocess.Popen(
            [*command, first],
            cwd=config.rootpath,
            env=environment,
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        other.close()

    def run(self, item, following):
        """Logs the reports of a test; memory of the process afterwards, GB."""
        self.pipe.send((item.nodeid, following and following.nodeid))
        while isinstance(answer := self.pipe.recv(), dict):
            report = item.ihook.pytest_report_from_serializable(config=item.config, data=answer)
            item.ihook.pytest_runtest_logreport(report=report)
        return answer

    def close(self):
        self.pipe.close()
        self._popen.wait()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """In a worker: has the test run by the process."""
    global _process
    if not hasattr(item.config, "workerinput"):
        return None
    _process = _process or Process(item.config, item.path)
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    try:
        memory = _process.run(item, nextitem)
    except (EOFError, OSError):  # the process is no more
        memory, message = float("inf"), f"the process that ran {item.nodeid} ended"
        report = pytest.TestReport(item.nodeid, item.location, {}, "failed", message, "call")
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    if memory > LIMIT or nextitem is None:
        _process.close()
        _process = None
    return True


class _Reports:
    """Sends reports to the worker."""

    def __init__(self, pipe, config):
        self.pipe, self.config = pipe, config

    def pytest_runtest_logreport(self, report):
        self.pipe.send(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))


def pytest_runtestloop(session):
    """In the process: runs tests as they come, until the worker closes the pipe."""
    if PIPE not in os.environ:
        return None
    pipe = Connection(int(os.environ.pop(PIPE)))
    session.config.pluginmanager.register(_Reports(pipe, session.config))
    items = {}
    # fixtures of a conftest belong to one node of its folder: all files are collected below that
    folder = next(node for node in session.items[0].listchain() if node.path == Path(__file__).parent)
    while True:
        try:
            nodeid, following = pipe.recv()
        except EOFError:
            return True
        for name in filter(None, (nodeid, following)):
            if name not in items:
                file = session.config.rootpath / name.partition("::")[0]
                items |= {item.nodeid: item for item in session.genitems(_below(folder, file))}
        session.config.hook.pytest_runtest_protocol(item=items[nodeid], nextitem=items.get(following))
        pipe.send(resident())


def _below(node, path):
    """The node of a path in a folder."""
    if node.path == path:
        return node
    return _below(next(child for child in _children(node) if path.is_relative_to(child.path)), path)


@functools.cache
def _children(folder):
    return folder.ihook.pytest_make_collect_report(collector=folder).result
