from . import (
    diffusion as diffusion,
    field as field,
    kaiser_squires as kaiser_squires,
    methods as methods,
    primal_dual as primal_dual,
    priors as priors,
    score_hmc as score_hmc,
    sparse as sparse,
    total_variation as total_variation,
    unet as unet,
    wiener as wiener,
)
from .field import Coincidence as Coincidence, FieldMap as FieldMap, coincidence as coincidence, map_field as map_field
from .methods import METHODS as METHODS, MassMap as MassMap, mass_map as mass_map
