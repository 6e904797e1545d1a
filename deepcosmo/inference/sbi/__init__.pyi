from . import (
    compression as compression,
    ensemble as ensemble,
    estimators as estimators,
    mcmc as mcmc,
    networks as networks,
    posterior as posterior,
    rounds as rounds,
    saving as saving,
    simulations as simulations,
    support as support,
    tasks as tasks,
    training as training,
)
from .compression import train_compressor as train_compressor
from .ensemble import Ensemble as Ensemble
from .estimators import APT as APT, NLE as NLE, NPE as NPE, NRE as NRE
from .rounds import sequential as sequential
from .saving import load as load
from .tasks.registry import TASKS as TASKS
from .training import Training as Training
