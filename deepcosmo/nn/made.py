"""Masked dense layers and the masked autoregressive network built from them."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from deepcosmo._types import Tensor

__all__ = ["MADE", "MaskedDense"]


@keras.saving.register_keras_serializable(package="deepcosmo")
class MaskedDense(keras.layers.Layer):
    """Dense layer in which an output of degree `o` sees the inputs of degree <= `o` only.

    Args:
      in_degrees: Degree of each input.
      out_degrees: Degree of each output.
      kernel_initializer: As in `keras.layers.Dense`.
    """

    def __init__(
        self,
        *,
        in_degrees: Sequence[int] | np.ndarray,
        out_degrees: Sequence[int] | np.ndarray,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.in_degrees = [int(d) for d in in_degrees]
        self.out_degrees = [int(d) for d in out_degrees]
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.mask = np.less_equal.outer(self.in_degrees, self.out_degrees)

    def build(self, input_shape: Any = None) -> None:
        self.kernel = self.add_weight(name="kernel", shape=self.mask.shape, initializer=self.kernel_initializer)
        self.bias = self.add_weight(name="bias", shape=self.mask.shape[1:], initializer="zeros")

    def call(self, x: Tensor) -> Tensor:
        return ops.matmul(x, ops.where(self.mask, self.kernel, 0.0)) + self.bias

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "in_degrees": self.in_degrees,
            "out_degrees": self.out_degrees,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="deepcosmo")
class MADE(keras.layers.Layer):
    """Masked autoregressive network (Germain et al. 2015, arXiv:1502.03509).

    Output `[k, :, i]` depends on the inputs `x[:i]` and on the whole context. Hidden units are sorted by
    degree: those of degree `g` see `x[:g]`. So they can be computed one group after the other, which is
    what `solve` does: it inverts an autoregressive transformation at about the cost of one pass
    through the network, where the textbook way takes `dim` passes.

    Args:
      dim: Number of inputs.
      outputs: Number of outputs for each input.
      hidden: Widths of the hidden layers, rounded up to the same number of units for each degree.
      context_dim: Length of the context vector, 0 for none.
      activation: Name of the hidden activation.
      residual: Whether each hidden layer adds to the one before it; widths must then be equal.
    """

    def __init__(
        self,
        *,
        dim: int,
        outputs: int,
        hidden: Sequence[int] = (128, 128),
        context_dim: int = 0,
        activation: str = "relu",
        residual: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if residual and len(set(hidden)) > 1:
            raise ValueError(f"residual=True needs hidden layers of equal width, not {tuple(hidden)}.")
        self.dim, self.outputs, self.hidden = dim, outputs, tuple(hidden)
        self.context_dim, self.residual = context_dim, residual
        self.activation = keras.activations.get(activation)
        # Without a context, units of degree 0 are constants: left out, unless there is nothing else.
        self.first = 0 if context_dim or dim == 1 else 1
        groups = np.arange(self.first, dim)
        units = [np.repeat(groups, -(-n // len(groups))) for n in self.hidden]
        degrees = [1 + np.arange(dim), *units, np.tile(np.arange(dim), outputs)]
        # Nearly the identity at the start, whatever the outputs parametrise.
        small = keras.initializers.VarianceScaling(0.1)
        self.dense = [
            MaskedDense(in_degrees=a, out_degrees=b, name=f"dense_{i}", kernel_initializer=initializer)
            for i, (a, b, initializer) in enumerate(
                zip(degrees, degrees[1:], ["glorot_uniform"] * len(units) + [small], strict=False)
            )
        ]
        self.context_dense = keras.layers.Dense(len(units[0]), use_bias=False, name="context")

    def build(self, input_shape: Any = None) -> None:
        for layer in self.dense:
            layer.build()
        if self.context_dim:
            self.context_dense.build((None, self.context_dim))

    def call(self, x: Tensor, context: "Tensor | None" = None) -> Tensor:
        """Maps `x` (batch, dim) and the context (batch, context_dim) to (outputs, batch, dim)."""
        shift = self.context_dense(context) if self.context_dim else 0.0
        y = self._chain(lambda i, h: self.dense[i](h) + (0.0 if i else shift), x)
        return ops.transpose(ops.reshape(y, (-1, self.outputs, self.dim)), (1, 0, 2))

    def solve(
        self, step: Callable[[Tensor, Tensor], Tensor], batch: "int | Tensor", context: "Tensor | None" = None
    ) -> Tensor:
        """Solves `x[:, i] = step(i, params)` for x, with `params = self(x, context)[:, :, i]`.

        Args:
          step: Function of the index `i` (a tensor) and of `params`, (outputs, batch); returns (batch,).
          batch: Number of examples.
          context: (batch, context_dim).

        Returns:
          (batch, dim)
        """
        # Features first, and one matrix for each group: what an iteration reads lies together in memory.
        groups = self.dim - self.first
        *hidden, head = self.dense
        kernels = [ops.reshape(ops.transpose(v.kernel), (groups, -1, v.kernel.shape[0])) for v in hidden]
        biases = [ops.reshape(v.bias, (groups, -1, 1)) for v in hidden]
        kernel = ops.transpose(ops.reshape(head.kernel, (-1, self.outputs, self.dim)), (2, 1, 0))
        bias = ops.transpose(ops.reshape(head.bias, (self.outputs, self.dim, 1)), (1, 0, 2))
        kernels, biases = [*kernels, kernel[self.first :]], [*biases, bias[self.first :]]
        if self.context_dim:
            shift = ops.matmul(ops.transpose(self.context_dense.kernel), ops.transpose(context))
            biases[0] = biases[0] + ops.reshape(shift, (groups, -1, batch))
        # What each layer reads, by group, as far as it is known: x[i] and the hidden units of degree i.
        units = [1, *(k.shape[1] for k in kernels[:-1])]
        known = [ops.zeros((0, n, batch)) for n in units]
        if self.first:
            constant = self(ops.zeros((1, self.dim)))[:, :, 0]
            x = step(0, ops.broadcast_to(constant, (self.outputs, batch)))
            known[0] = ops.reshape(x, (1, 1, batch))

        # In stages: what is known before a stage enters all its groups at once, by large matrices. That costs
        # compilation, so it is for batches of fixed size only, which are the large ones.
        stages = 4 if isinstance(batch, int) else 1
        bounds = sorted({groups * k // stages for k in range(stages + 1)})
        for start, stop in itertools.pairwise(bounds):
            before, kernels_now = [], []
            for kernel, bias, rows in zip(kernels, biases, known, strict=True):
                kernel, bias, seen = kernel[start:stop], bias[start:stop], rows.shape[0] * rows.shape[1]
                if seen:
                    sums = ops.matmul(ops.reshape(kernel[:, :, :seen], (-1, seen)), ops.reshape(rows, (seen, batch)))
                    bias = bias + ops.reshape(sums, (stop - start, -1, batch))
                before.append(bias)
                kernels_now.append(kernel[:, :, seen : seen + (stop - start) * rows.shape[1]])

            def body(i, *new, start=start, before=before, kernels_now=kernels_now):
                new = list(new)  # rows of this stage; those that are still unknown are zero

                def dense(layer, h):
                    if layer:
                        new[layer] = _put(new[layer], i, h)
                    return ops.matmul(kernels_now[layer][i], ops.reshape(new[layer], (-1, batch))) + before[layer][i]

                x = step(i + start + self.first, self._chain(dense, None))
                new[0] = _put(new[0], i, x[None])
                return (i + 1, *new)

            new = [ops.zeros((stop - start, n, batch)) for n in units]
            _, *new = ops.while_loop(
                lambda i, *_, n=stop - start: i < n,
                body,
                (ops.convert_to_tensor(0, "int32"), *new),
                maximum_iterations=stop - start,
            )
            known = [ops.concatenate(pair, 0) for pair in zip(known, new, strict=True)]
        return ops.transpose(known[0][:, 0])

    def _chain(self, dense, x):
        """The network, given how to apply its layer number i: `dense(i, h)`."""
        h = dense(0, x)
        for i in range(1, len(self.hidden)):
            h = dense(i, self.activation(h)) + (h if self.residual else 0.0)
        return dense(len(self.hidden), self.activation(h))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dim": self.dim,
            "outputs": self.outputs,
            "hidden": self.hidden,
            "context_dim": self.context_dim,
            "activation": keras.activations.serialize(self.activation),
            "residual": self.residual,
        }


def _put(x, i, row):
    """`x` with `row` in place `i` of the first axis."""
    return ops.scatter_update(x, [[i]], ops.expand_dims(row, 0))
