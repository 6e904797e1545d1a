"""Dense networks, plain or residual."""

from collections.abc import Sequence
from typing import Any

import keras

from deepcosmo._types import Tensor

__all__ = ["MLP"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class MLP(keras.layers.Layer):
    """Multilayer perceptron; with `residual`, each hidden layer adds to the one before it.

    The residual form is that of pre-activation networks (He et al. 2016, arXiv:1603.05027).

    Args:
      inputs: Number of inputs.
      outputs: Number of outputs.
      hidden: Widths of the hidden layers; equal ones if `residual`.
      activation: Name of the hidden activation.
      residual: Whether hidden layers have skip connections.
      output_scale: Variance scaling of the output layer's initial weights.
    """

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        residual: bool = False,
        output_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if residual and len(set(hidden)) > 1:
            raise ValueError(f"residual=True needs hidden layers of equal width, not {tuple(hidden)}.")
        self.inputs, self.outputs, self.hidden = inputs, outputs, tuple(hidden)
        self.residual, self.output_scale = residual, output_scale
        self.activation = keras.activations.get(activation)
        self.dense = [keras.layers.Dense(n, name=f"dense_{i}") for i, n in enumerate(self.hidden)]
        self.head = keras.layers.Dense(
            outputs, kernel_initializer=keras.initializers.VarianceScaling(output_scale), name="head"
        )

    def build(self, input_shape: Any = None) -> None:
        widths = (self.inputs, *self.hidden)
        for n, layer in zip(widths, [*self.dense, self.head], strict=True):
            layer.build((None, n))

    def call(self, x: Tensor) -> Tensor:
        """Maps (..., inputs) to (..., outputs)."""
        h = self.dense[0](x)
        for layer in self.dense[1:]:
            h = layer(self.activation(h)) + (h if self.residual else 0.0)
        return self.head(self.activation(h))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "hidden": self.hidden,
            "activation": keras.activations.serialize(self.activation),
            "residual": self.residual,
            "output_scale": self.output_scale,
        }
