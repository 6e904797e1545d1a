"""Judging samples and fits: calibration, two-sample tests, morphology, statistics of maps, residuals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
