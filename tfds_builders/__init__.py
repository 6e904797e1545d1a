"""Data sets in the convention of TensorFlow Datasets; importing this package registers them all."""

from tfds_builders.cosmos_stamps.cosmos_stamps_dataset_builder import Builder as CosmosStamps, CosmosStampsConfig
from tfds_builders.galaxy_images.galaxy_images_dataset_builder import Builder as GalaxyImages, GalaxyImagesConfig
from tfds_builders.kappa_maps.kappa_maps_dataset_builder import Builder as KappaMaps, KappaMapsConfig
from tfds_builders.lensing_pairs.lensing_pairs_dataset_builder import Builder as LensingPairs, LensingPairsConfig
from tfds_builders.lensing_sbi.lensing_sbi_dataset_builder import Builder as LensingSbi, LensingSBIConfig

__all__ = [
    "CosmosStamps",
    "CosmosStampsConfig",
    "GalaxyImages",
    "GalaxyImagesConfig",
    "KappaMaps",
    "KappaMapsConfig",
    "LensingPairs",
    "LensingPairsConfig",
    "LensingSBIConfig",
    "LensingSbi",
]
