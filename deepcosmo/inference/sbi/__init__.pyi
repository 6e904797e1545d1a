from . import (
    base as base,
    bounds as bounds,
    compression as compression,
    ensemble as ensemble,
    estimators as estimators,
    loading as loading,
    mcmc as mcmc,
    networks as networks,
    posterior as posterior,
    rounds as rounds,
    saving as saving,
    simulations as simulations,
    support as support,
    tasks as tasks,
    training as training,
    typical as typical,
)
from .compression import train_compressor as train_compressor
from .ensemble import Ensemble as Ensemble
from .estimators import APT as APT, NLE as NLE, NPE as NPE, NRE as NRE
from .loading import load as load
from .rounds import sequential as sequential
from .saving import save as save
from .tasks.registry import TASKS as TASKS
from .training import Training as Training
