"""The map over processes."""

import os
import sys

import numpy as np
import pytest

from deepcosmo._parallel import ordered_map


def double(x):
    return x * 2


def noisy(x):
    print("this must not disturb the answer")
    return x


def fail(x):
    if x == 3:
        raise ValueError("three is bad")
    return x


def die(x):
    os._exit(7)


def modules(_):
    return "tensorflow" in sys.modules, os.getpid()


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_order(processes):
    assert list(ordered_map(double, range(20), processes)) == [2 * x for x in range(20)]


def test_large_tasks_and_answers():
    """Larger than any pipe's buffer, in both directions at once."""
    tasks = [np.full(1_000_000, i) for i in range(6)]
    for i, answer in enumerate(ordered_map(double, tasks, 2)):
        assert answer[0] == 2 * i


def test_printing_and_stopping_early():
    answers = ordered_map(noisy, range(100), 2)
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    answers.close()


def test_errors():
    with pytest.raises(RuntimeError, match="three is bad"):
        list(ordered_map(fail, range(8), 2))
    with pytest.raises(RuntimeError, match="status 7"):
        list(ordered_map(die, range(2), 2))


def test_workers_are_fresh_processes():
    answers = list(ordered_map(modules, range(4), 2))
    assert not any(has_tensorflow for has_tensorflow, _ in answers)
    assert os.getpid() not in {pid for _, pid in answers} and len({pid for _, pid in answers}) == 2
