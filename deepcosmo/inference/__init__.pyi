from . import explicit as explicit
from . import mass_mapping as mass_mapping
from . import sbi as sbi
from .mass_mapping.methods import MassMap as MassMap
from .mass_mapping.methods import mass_map as mass_map
