from . import cli as cli
from . import export as export
from . import inference as inference
from . import metrics as metrics
from . import models as models
from . import nn as nn
from . import physics as physics
from . import plots as plots
from . import skymaps as skymaps
from . import training as training
from . import zoo as zoo

__version__: str
