from . import explicit as explicit, mass_mapping as mass_mapping, sbi as sbi
from .mass_mapping.methods import MassMap as MassMap, mass_map as mass_map
