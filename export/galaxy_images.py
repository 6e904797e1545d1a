"""Writes collections of real galaxy images as folders of the data set `galaxy_images`.

    python export/galaxy_images.py COLLECTIONS OUT

COLLECTIONS holds `hst_cosmos_like_sect23.npz` (HST F606W, F814W and F125W), `hst_udf.npz` (HUDF, shapes only) and
`jwst_ceers.npz` (NIRCam, CEERS) with their PSFs; OUT gets a folder for each. Pixels of HST images that are exactly 0
are masked.
"""

import argparse
from pathlib import Path

import numpy as np

from deepcosmo.physics.galaxies import to_galsim
from tfds_builders.galaxy_images.folder import TABLE

# galaxies that the HUDF collection holds under several names
SAME = {
    "ivydoneall3_11": "doneall2_43",
    "ivydoneall3_17": "doneall2_9",
    "ivydoneall3_25": "doneall2_27",
    "ivydoneall3_40": "doneall2_4",
    "ivydoneall3_43": "doneall2_9",
    "ivydoneall3_44": "doneall2_10",
    "ivydoneall3_45": "doneall2_5",
}


def main():
    from astropy.table import Table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collections", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    for name, rows_of in (("hst", hst), ("hudf", hudf), ("ceers", ceers)):
        folder = arguments.out / name
        folder.mkdir(parents=True)
        rows = rows_of(arguments.collections, folder)
        Table(rows=rows).write(folder / TABLE)
        print(f"{folder}: {len(rows)} images of {len({row['galaxy'] for row in rows})} galaxies")


def hst(collections, folder):
    """Rows of the HST galaxies in three bands, whose files this writes."""
    from astropy.io import fits

    with np.load(collections / "hst_cosmos_like_sect23.npz") as data:
        images, bands, points = data["images"], data["bands"].tolist(), data["zp_ab"]
        numbers, scale = data["gal_index"], float(data["pixel_scale_arcsec"])
    psfs = {}
    for band in ("f606w", "f814w"):
        psf = fits.getdata(collections / f"sect23_psf_{band}.fits")
        psfs[band] = _write(folder / f"psf_{band}.fits", _resampled(psf, 0.03, scale))
    rows = []
    for number, cube in zip(numbers, images, strict=True):
        file = _write(folder / f"{number}.fits", np.where(cube != 0, cube, np.nan))
        for plane, band in enumerate(bands):
            row = {"galaxy": f"sect23 {number}", "file": file, "band": band.upper(), "plane": plane}
            rows.append(row | {"pixel_scale": scale, "zero_point": points[plane], "psf": psfs.get(band.lower(), "")})
    return rows


def hudf(collections, folder):
    """Rows of the HUDF galaxies; those that are in the collection twice have one name."""
    with np.load(collections / "hst_udf.npz") as data:
        images, names, scale = data["images"], data["name"].tolist(), float(data["pixel_scale_arcsec"])
    rows = []
    for image, name in zip(images, names, strict=True):
        file = _write(folder / f"{name}.fits", np.where(image != 0, image, np.nan))
        rows.append({"galaxy": f"hudf {SAME.get(name, name)}", "file": file, "band": "unknown", "pixel_scale": scale})
    return rows


def ceers(collections, folder):
    """Rows of the CEERS galaxies in four bands, with the approximate PSFs of three."""
    with np.load(collections / "jwst_ceers.npz") as data:
        images, bands, names, redshifts = data["images"], data["bands"].tolist(), data["id"], data["z"]
        sky, scale, point = data["sky_sigma"], float(data["pixel_scale_arcsec"]), float(data["zp_ab"])
    psfs = {}
    with np.load(collections / "webbpsf_nircam.npz") as data:
        for band in ("f115w", "f150w", "f200w"):
            psf = _resampled(data[band], float(data[f"{band}_scale"]), scale)
            psfs[band] = _write(folder / f"psf_{band}.fits", psf)
    rows = []
    for i, cube in enumerate(images):
        file = _write(folder / f"{names[i]}.fits", cube)
        for plane, band in enumerate(bands):
            row = {"galaxy": f"ceers {names[i]}", "file": file, "band": band.upper(), "plane": plane}
            row |= {"pixel_scale": scale, "zero_point": point, "redshift": redshifts[i], "noise_std": sky[i, plane]}
            rows.append(row | {"psf": psfs.get(band.lower(), "")})
    return rows


def _write(path, array):
    from astropy.io import fits

    fits.PrimaryHDU(np.asarray(array, np.float32)).writeto(path)
    return path.name


def _resampled(psf, scale, other):
    """A PSF, centred on pixel [n // 2, n // 2], in pixels of another side, of which there is an odd number."""
    even = (np.array(psf.shape) + 1) % 2
    psf = psf[even[0] :, even[1] :]  # the centre is in the middle
    size = int(min(psf.shape) * scale / other) // 2 * 2 - 1
    # each pixel of the image is a sample: the pixel's response is in it
    return to_galsim(psf, scale).drawImage(nx=size, ny=size, scale=other, method="no_pixel").array


if __name__ == "__main__":
    main()
