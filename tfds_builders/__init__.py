"""Data sets in the convention of TensorFlow Datasets; importing this package registers them all."""

from tfds_builders.cosmos_stamps.cosmos_stamps_dataset_builder import Builder as CosmosStamps
from tfds_builders.cosmos_stamps.cosmos_stamps_dataset_builder import CosmosStampsConfig

__all__ = ["CosmosStamps", "CosmosStampsConfig"]
