"""One measured figure of a model, as `model.json` and the card hold it."""

import dataclasses

__all__ = ["Metric"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One measured figure of a model.

    Attributes:
        name: what was measured, with its unit where it has one, e.g. `"median |dmag| [mag]"`.
        value: the measured value.
        error: its one-sigma error, in the same unit, or None.
        reference: what to hold it against, e.g. a published figure with its arXiv number, or None.
        split: the split it was measured on, e.g. `"test"`.
        size: how many examples it was measured on.
    """

    name: str
    value: float
    error: float | None = None
    reference: str | None = None
    split: str
    size: int
