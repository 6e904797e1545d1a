"""The state of a training, in one file that is always whole, in a folder that one training writes to."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deepcosmo._files import write_atomically
from deepcosmo._types import PathLike

__all__ = ["State", "claimed"]


@dataclasses.dataclass
class State:
    """Where a training stands at the end of an epoch.

    Attributes:
        recipe: what must not change between two parts of a training, see `fit.fingerprint`.
        stage: index of the stage.
        epoch: epochs of this stage that are done.
        best: weights with the lowest validation loss of this stage so far.
        best_loss: that loss.
        best_epoch: the epoch it was reached in, from 1.
        model: the model's variables, seed generators included.
        optimizer: the optimizer's variables: slots, averages of the weights and the step.
        history: one dict per epoch, over all stages.
    """

    recipe: dict
    stage: int = 0
    epoch: int = 0
    best: list = dataclasses.field(default_factory=list)
    best_loss: float = float("inf")
    best_epoch: int = 0
    model: list = dataclasses.field(default_factory=list)
    optimizer: list = dataclasses.field(default_factory=list)
    history: list = dataclasses.field(default_factory=list)

    _arrays = ("best", "model", "optimizer")

    def save(self, path: PathLike) -> None:
        """Writes the state to `path`, an `.npz` file, atomically."""
        arrays = {f"{k}/{i}": v for k in self._arrays for i, v in enumerate(getattr(self, k))}
        rest = {k: v for k, v in vars(self).items() if k not in self._arrays}
        write_atomically(path, lambda file: np.savez(file, state=json.dumps(rest), **arrays))

    @classmethod
    def load(cls, path: PathLike) -> State:
        """Reads what `save` wrote."""
        with np.load(path) as file:
            state = cls(**json.loads(str(file["state"])))
            for kind in cls._arrays:
                count = sum(name.startswith(f"{kind}/") for name in file.files)
                setattr(state, kind, [file[f"{kind}/{i}"] for i in range(count)])
        return state


@contextlib.contextmanager
def claimed(folder: PathLike) -> Iterator[None]:
    """Makes `folder` and keeps it for the training in this block; the system frees it when the process is killed.

    Raises:
        BlockingIOError: another training is at work there; the message names it.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with open(Path(folder, "lock"), "a+") as file:
        try:
            import fcntl  # not on Windows

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            other = f"another training, {file.read().strip()}"
            raise BlockingIOError(f"{folder} is in use by {other}: choose another working directory") from None
        except (ImportError, OSError):
            pass  # nor on every shared file system: there nothing keeps a second training out
        file.truncate(0)
        print(f"process {os.getpid()} on {socket.gethostname()}", file=file, flush=True)
        yield
