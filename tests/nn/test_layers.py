"""Layers are made again from their configurations."""

import pytest

from deepcosmo.nn.made import MADE, MaskedDense
from deepcosmo.nn.resnet import MLP
from deepcosmo.nn.transforms import Gaussianise, LinearFit, Power, Standardise


@pytest.mark.parametrize(
    "layer",
    [
        MADE(dim=3, outputs=2, hidden=(8, 8), context_dim=1, residual=True),
        MaskedDense(in_degrees=[1, 2], out_degrees=[1, 1, 2]),
        MLP(inputs=3, outputs=2, hidden=(4, 4), residual=True),
        Standardise(dim=3),
        Gaussianise(dim=3, knots=11),
        Power(dim=3),
        LinearFit(dim=2, features=4),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_from_their_configs(layer):
    layer.build()
    again = type(layer).from_config(layer.get_config())
    again.build()
    assert [w.shape for w in again.weights] == [w.shape for w in layer.weights]
    assert again.get_config() == layer.get_config()
