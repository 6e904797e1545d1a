"""Posteriors with an explicit likelihood: of power spectra, and of the field itself by Hamiltonian Monte Carlo."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
