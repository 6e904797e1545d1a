"""Inference from data with priors, classical and learned. Each room answers one kind of question.

- `mass_mapping`: dark matter from shear, `mass_map(shear, noise_std, mask, pixel_scale=0.29, method="wiener")`.
- `sbi`: posteriors from simulations, without a likelihood.
- `explicit`: posteriors with a likelihood, of power spectra and of the full field.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
