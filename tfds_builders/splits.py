"""Splits of data sets whose objects have names."""

__all__ = ["SPLITS", "split_at"]

SPLITS = (("train", 80), ("validation", 90), ("test", 100))  # upper bounds, in per cent


def split_at(percent):
    """The split of an object whose hash lies at this place, 0 to 99 per cent."""
    return next(name for name, bound in SPLITS if percent < bound)
