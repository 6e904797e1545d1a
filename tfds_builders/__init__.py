"""Data sets in the convention of TensorFlow Datasets; importing this package registers them all."""

