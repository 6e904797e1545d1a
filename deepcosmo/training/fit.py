"""Training by recipe: the same weights whether or not the run was interrupted."""

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from deepcosmo._files import write_text
from deepcosmo._types import PathLike
from deepcosmo.models import ProbabilisticModel
from deepcosmo.training import data
from deepcosmo.training.callbacks import Checkpoint, KeepBest, Log, assign, state_variables
from deepcosmo.training.checkpoint import State, claimed
from deepcosmo.training.recipe import Recipe, Stage, load_recipe
from deepcosmo.training.strategies import is_chief, strategy as make_strategy

__all__ = ["fit_part", "train"]


def _fingerprint(recipe):
    """What must not change between the two parts of an interrupted training."""
    fields = ("name", "epochs", "batch_size", "ema", "shuffle", "steps_per_epoch")
    stages = [{field: getattr(stage, field) for field in fields} for stage in recipe.stages]
    return {k: getattr(recipe, k) for k in ("name", "version", "dataset", "seed")} | {"stages": stages}


def _initial_state(recipe, path, resume):
    state = State(recipe=_fingerprint(recipe))
    if not resume:
        if path.exists():
            raise FileExistsError(f"{path} holds an earlier training: resume it, or choose another working directory")
        return state
    saved = State.load(path)
    if saved.recipe != state.recipe:
        changed = [k for k in state.recipe if saved.recipe.get(k) != state.recipe[k]]
        raise ValueError(f"{path} was written by another recipe: {', '.join(changed)} changed")
    return saved


def _write(state, folder):
    state.save(folder / "checkpoint.npz")
    seconds = round(sum(epoch["seconds"] for epoch in state.history), 1)
    text = json.dumps({"recipe": state.recipe, "seconds": seconds, "history": state.history}, indent=1)
    write_text(folder / "history.json", text)


def _compile(model, stage, steps):
    optimizer = stage.optimizer(steps * stage.epochs)
    if stage.ema is not None:
        optimizer.use_ema, optimizer.ema_momentum = True, stage.ema
    model.compile(optimizer=optimizer, jit_compile=stage.jit_compile)
    optimizer.build(model.trainable_variables)
    return optimizer


def _fit_stage(model, stage, state, *, seed, strategy, folder):
    """Runs what is left of a stage and leaves its best weights in the model."""
    if state.epoch < stage.epochs:
        batches, steps = data.training_batches(stage, seed=seed, first_epoch=state.epoch)
        with strategy.scope():
            optimizer = _compile(model, stage, steps)
        if state.epoch > 0:
            assign(optimizer.variables, state.optimizer)
        chief, terminal = is_chief(strategy.cluster_resolver), sys.stdout.isatty()
        write = (lambda state: _write(state, folder)) if chief else None
        callbacks = [KeepBest(state), Checkpoint(state, stage, write)]
        if chief:
            callbacks.append(Log(state, stage, folder / "logs" / stage.name, lines=not terminal))
        model.fit(
            batches,
            validation_data=data.validation_batches(stage),
            initial_epoch=state.epoch,
            epochs=stage.epochs,
            steps_per_epoch=steps,
            shuffle=False,  # the stream is shuffled already
            callbacks=callbacks,
            verbose=1 if chief and terminal else 0,
        )
    model.set_weights(state.best)


def train(
    recipe: Recipe | PathLike, *, strategy: str = "one_device", resume: bool = False, work_dir: PathLike | None = None
) -> ProbabilisticModel:
    """Trains a model by its recipe.

    The validation loss chooses the best weights of each stage; where a stage averages its weights,
    the average is what is validated and kept. Everything random is a function of the recipe's seed,
    the stage and the step, and the state is saved after every epoch, so a run that was killed and
    resumed ends with the weights of an uninterrupted one.

    Writes into `work_dir`: `checkpoint.npz`, `history.json` (losses, learning rate and seconds of
    each epoch), `lock` and TensorBoard logs in `logs/`. With several workers it must be a folder that all see.

    Args:
        recipe: a `Recipe`, or what `load_recipe` takes.
        strategy: `"one_device"`, `"mirrored"`, `"multi_worker"` or `"tpu"`.
        resume: continue the training in `work_dir`. A finished one returns at once.
        work_dir: folder of this training; `runs/<name>` by default.

    Returns:
        A model with the best weights of the last stage, under no strategy.

    Raises:
        BlockingIOError: another training is at work in `work_dir`.
        FileExistsError: `work_dir` holds a training and `resume` is false.
        FileNotFoundError: nothing to resume, or no such recipe.
        FloatingPointError: the loss is not finite.
        ValueError: bad strategy, or the checkpoint belongs to another recipe.
    """
    strategy = make_strategy(strategy)  # first of all: several workers demand it
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    folder = Path(work_dir or Path("runs") / recipe.name)
    if resume and not (folder / "checkpoint.npz").exists():
        raise FileNotFoundError(f"nothing to resume: there is no {folder / 'checkpoint.npz'}")
    with claimed(folder) if is_chief(strategy.cluster_resolver) else contextlib.nullcontext():  # the chief writes
        return _train(recipe, strategy=strategy, resume=resume, folder=folder)


def _train(recipe, *, strategy, resume, folder):
    state = _initial_state(recipe, folder / "checkpoint.npz", resume)
    keras.utils.set_random_seed(recipe.seed)
    with strategy.scope():
        model = recipe.model()
    if resume:
        assign(state_variables(model), state.model)
    for index, stage in enumerate(recipe.stages):
        if index < state.stage:
            continue
        if index > state.stage:
            state.stage, state.epoch, state.best_loss = index, 0, float("inf")
        seed = np.random.SeedSequence([recipe.seed, index]).generate_state(2).view(np.int32)
        _fit_stage(model, stage, state, seed=seed, strategy=strategy, folder=folder)
    # A model that was made under a strategy can be used only under it, by all workers together.
    final = recipe.model()
    final.set_weights(model.get_weights())
    return final


def fit_part(model: ProbabilisticModel, stage: Stage, *, seed: Sequence[int] | np.ndarray) -> ProbabilisticModel:
    """Trains a model that is a part of another by a stage, without checkpoints and without a choice of weights.

    Args:
        model: a `ProbabilisticModel`, with its normalisation measured.
        stage: the `Stage`.
        seed: two int32.

    Returns:
        The model.
    """
    batches, steps = data.training_batches(stage, seed=seed)
    _compile(model, stage, steps)
    model.fit(
        batches, epochs=stage.epochs, steps_per_epoch=steps, shuffle=False, verbose=1 if sys.stdout.isatty() else 0
    )
    return model
