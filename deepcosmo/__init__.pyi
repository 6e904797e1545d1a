from . import (
    cli as cli,
    export as export,
    inference as inference,
    metrics as metrics,
    models as models,
    nn as nn,
    physics as physics,
    plots as plots,
    skymaps as skymaps,
    training as training,
    zoo as zoo,
)

__version__: str
