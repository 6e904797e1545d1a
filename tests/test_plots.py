"""What is masked does not show, and what has a unit is drawn in the one that the axis names."""

import astropy.units as u
import numpy as np
import pytest
from matplotlib.image import imread

from deepcosmo import plots
from deepcosmo.physics.catalog import SkyGrid

RNG = np.random.default_rng(0)
HIDDEN = RNG.random((3, 24, 24)) < 0.1
IMAGES = RNG.normal(size=HIDDEN.shape)


def masked(values, hidden):
    """Masked values with a sentinel beneath."""
    return np.ma.array(np.where(hidden, -999.0, values), mask=hidden)


def same(tmp_path, draw, *versions):
    """All versions of the data give one picture."""
    pictures = []
    for i, version in enumerate(versions):
        draw(version, tmp_path / f"{i}.png")
        pictures.append(imread(tmp_path / f"{i}.png"))
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])
    assert np.std(pictures[0]) > 0.01


@pytest.mark.parametrize(
    "draw",
    [
        plots.stamps,
        lambda images, path: plots.comparison({"one": images}, path),
        lambda images, path: plots.sky_maps({"one": images[0], "two": images[1]}, path),
    ],
)
def test_masked_pixels_stay_empty(tmp_path, draw):
    same(tmp_path, draw, masked(IMAGES, HIDDEN), np.where(HIDDEN, np.nan, IMAGES))


def test_pairs(tmp_path):
    a, b, hidden = *RNG.normal(size=(2, 300)), np.arange(300) < 30
    whole = {"a": masked(a, hidden), "b": np.radians(b / 60) * u.rad}
    same(
        tmp_path,
        lambda columns, path: plots.pairs(columns, path, units={"b": "arcmin"}),
        whole,
        {"a": np.where(hidden, np.nan, a), "b": np.radians(b / 60) * u.rad},
    )
    same(tmp_path, plots.pairs, {"b": b * u.arcmin}, {"b": b * u.Unit("arcmin")})
    with pytest.raises(ValueError, match="b must have the unit s"):
        plots.pairs(whole, tmp_path / "no.png", units={"b": "s"})


def test_points(tmp_path):
    grid = SkyGrid(ra=10, dec=2, shape=(24, 24), pixel_scale=1)
    points = np.array([[10.0, 2.0], [9.9, 1.9], [10.1, 2.1]])
    hidden = np.array([[False, False], [False, False], [True, False]])
    same(
        tmp_path,
        lambda points, path: plots.sky_maps({"one": IMAGES[0]}, path, wcs=grid.wcs, points=points),
        points[:2],
        points[:2] * u.deg,
        np.radians(points[:2]) * u.rad,
        masked(points, hidden),
    )


def test_corner(tmp_path):
    draws, hidden = RNG.normal(size=(500, 2)), np.zeros((500, 2), bool)
    hidden[:20, 0] = True
    same(tmp_path, plots.corner, masked(draws, hidden), draws[20:])
