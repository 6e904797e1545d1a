"""Forward models of the sky and of its observation; modules load on first use."""

from deepcosmo._lazy import submodules

__all__ = ["catalog", "cosmology", "fields", "galaxies", "lensing", "lightcone", "particle_mesh", "universe"]

__getattr__, __dir__ = submodules(__name__, __all__)
