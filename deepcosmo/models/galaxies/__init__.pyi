from . import (
    catalog as catalog,
    flow_vae as flow_vae,
    laplace as laplace,
    observations as observations,
    profiles as profiles,
    vae as vae,
)
from .catalog import CatalogFlow as CatalogFlow
from .flow_vae import FlowVAE as FlowVAE
from .profiles import LightProfileDecoder as LightProfileDecoder, StampEncoder as StampEncoder
from .vae import GalaxyVAE as GalaxyVAE
