import dataclasses
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import toy
from processes import running

from deepcosmo.models.densities.flows import MAF
from deepcosmo.training import Stage, train
from deepcosmo.training.checkpoint import State, claimed

TOY = str(Path(toy.__file__))


def stage(name="only", epochs=1):
    return Stage(name=name, data=toy.dicts, optimizer=toy.adam, epochs=epochs, batch_size=50)


def wait_for_epochs(process, folder, count, timeout=90):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        history = folder / "history.json"
        if history.exists() and len(json.loads(history.read_text())["history"]) >= count:
            return
        time.sleep(0.02)
    raise TimeoutError(f"{count} epochs took more than {timeout} s")


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    model = train(toy.RECIPE, work_dir=whole)

    for resume, epochs in ((False, 2), (True, 6)):  # in the first stage, then in the second
        call = f"train({TOY!r}, work_dir={str(killed)!r}, resume={resume})"
        # An epoch takes 0.6 s or more.
        code = f"from deepcosmo.training import train; {call}"
        with running(code, TOY_SECONDS_PER_EXAMPLE="0.004") as process:
            wait_for_epochs(process, killed, epochs)
            time.sleep(0.2)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        state = State.load(killed / "checkpoint.npz")
        assert epochs <= len(state.history) <= epochs + 1
        assert state.stage == (epochs > 4)

    resumed = train(TOY, work_dir=killed, resume=True)

    for a, b in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    states = [State.load(folder / "checkpoint.npz") for folder in (whole, killed)]
    for kind in ("best", "model", "optimizer"):
        for a, b in zip(*(getattr(state, kind) for state in states), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6, err_msg=kind)
    losses = [[(e["stage"], e["epoch"], e["loss"], e["val_loss"]) for e in s.history] for s in states]
    assert [e[:2] for e in losses[0]] == [e[:2] for e in losses[1]]
    np.testing.assert_allclose(*[[e[2:] for e in entries] for entries in losses], rtol=1e-5)


def test_second_training_in_a_folder_is_refused_by_name(tmp_path):
    """Whether it starts anew or resumes, and only while the first one lives."""
    code = f"from deepcosmo.training import train; train({TOY!r}, work_dir={str(tmp_path)!r})"
    with running(code, TOY_SECONDS_PER_EXAMPLE="0.004") as process:
        wait_for_epochs(process, tmp_path, 1)
        for resume in (False, True):
            with pytest.raises(BlockingIOError, match=rf"in use by another training, process {process.pid} on"):
                train(TOY, work_dir=tmp_path, resume=resume)
        process.send_signal(signal.SIGKILL)
        process.wait()
    state = State.load(tmp_path / "checkpoint.npz")
    with claimed(tmp_path):
        assert state.history
    with pytest.raises(FileExistsError, match="earlier training"):
        train(TOY, work_dir=tmp_path)


def test_finished_training_resumes_to_its_result(tmp_path):
    recipe = toy.make_recipe(stage())
    model = train(recipe, work_dir=tmp_path)
    again = train(recipe, work_dir=tmp_path, resume=True)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_interrupted_flow(tmp_path, monkeypatch):
    """A published family, with seed 0, stopped by Ctrl-C after the first epoch."""

    def model():
        flow = MAF(dim=1, context_dim=3, transforms=1, hidden=(8,))
        flow.adapt(vectors("train").batch(64))
        return flow

    def vectors(split):
        return toy.pairs(split).map(lambda x, y: (x, y[None]))

    only = Stage(name="only", data=vectors, optimizer=toy.adam, epochs=2, batch_size=50, ema=0.9)
    recipe = dataclasses.replace(toy.make_recipe(only, model=model), seed=0)
    whole = train(recipe, work_dir=tmp_path / "whole")

    def save_and_interrupt(self, path):
        save(self, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        save = State.save
        patch.setattr(State, "save", save_and_interrupt)
        train(recipe, work_dir=tmp_path / "cut")
    resumed = train(recipe, work_dir=tmp_path / "cut", resume=True)
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_kill_between_stages_keeps_the_random_state(tmp_path):
    """The second stage goes on with the seed generators that the first one left."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    stages = [stage("one"), stage("two")]
    model = train(toy.make_recipe(*stages), work_dir=whole)
    train(toy.make_recipe(stages[0]), work_dir=cut)
    state = State.load(cut / "checkpoint.npz")
    state.recipe = State.load(whole / "checkpoint.npz").recipe
    state.save(cut / "checkpoint.npz")
    resumed = train(toy.make_recipe(*stages), work_dir=cut, resume=True)
    for a, b in zip(model.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_errors(tmp_path):
    recipe = toy.make_recipe(stage())
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(recipe, work_dir=tmp_path, resume=True)
    train(recipe, work_dir=tmp_path)
    with pytest.raises(FileExistsError, match="earlier training"):
        train(recipe, work_dir=tmp_path)
    other = toy.make_recipe(stage(epochs=2))
    with pytest.raises(ValueError, match="another recipe: stages changed"):
        train(other, work_dir=tmp_path, resume=True)
