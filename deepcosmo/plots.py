"""Pictures: stamps in grids and side by side, pair plots of catalogues, maps of the sky, posteriors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from deepcosmo._quantities import in_unit, masked
from deepcosmo._types import Columns, PathLike

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from matplotlib.figure import Figure

__all__ = ["calibration", "comparison", "corner", "pairs", "sample_comparison", "sky_maps", "stamps"]


def _figure(width, height, layout="constrained"):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _stretched(image, noise_std):
    """asinh of the image in units of its noise, between -1 and the peak of a typical galaxy, as values in 0..1."""
    value = np.arcsinh(image / (2 * noise_std))
    low, high = np.arcsinh(-1.0), max(np.arcsinh(10.0), np.nanpercentile(value, 99.9))
    return np.clip((value - low) / (high - low), 0, 1)


def _background(images):
    """Pixel noise of images (n, h, w): 1.48 times the median absolute value of their border pixels."""
    border = np.concatenate([images[:, :4].ravel(), images[:, -4:].ravel(), images[:, :, :4].ravel()])
    return max(1.48 * float(np.nanmedian(np.abs(border))), 1e-3 * float(np.nanmax(np.abs(images))) + 1e-12)


def _draw(axes, image, noise_std):
    axes.imshow(_stretched(image, noise_std), origin="lower", cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def stamps(
    images: ArrayLike,
    path: PathLike,
    *,
    titles: Sequence[str] | None = None,
    columns: int = 8,
    noise_std: float | None = None,
) -> None:
    """Writes a grid of stamps on one asinh scale, in units of the noise.

    Args:
        images: (n, height, width). Masked pixels stay empty.
        path: file to write; its suffix chooses the format.
        titles: a short text for each stamp.
        columns: stamps in a row.
        noise_std: pixel noise that sets the scale; measured at the borders by default.
    """
    images = in_unit(images, None, "images")
    if images.ndim != 3:
        raise ValueError(f"images must have shape (n, height, width); got {images.shape}")
    noise_std = noise_std or _background(images)
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    figure = _figure(1.2 * columns, 1.2 * rows + (0.15 * rows if titles is not None else 0))
    for i, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, i + 1)
        _draw(axes, image, noise_std)
        if titles is not None:
            axes.set_title(titles[i], fontsize=6, pad=2)
    figure.savefig(path, dpi=120)


def comparison(rows: Columns, path: PathLike, *, noise_std: float | None = None) -> None:
    """Writes labelled rows of stamps on one scale.

    Args:
        rows: dict label -> images (n, height, width). Masked pixels stay empty.
        path: file to write.
        noise_std: as in `stamps`.
    """
    rows = {label: in_unit(images, None, label) for label, images in rows.items()}
    noise_std = noise_std or _background(next(iter(rows.values())))
    count = max(len(images) for images in rows.values())
    figure = _figure(1.2 * count + 0.3, 1.25 * len(rows))
    for i, (label, images) in enumerate(rows.items()):
        for j, image in enumerate(images):
            axes = figure.add_subplot(len(rows), count, i * count + j + 1)
            _draw(axes, image, noise_std)
            if j == 0:
                axes.set_ylabel(label, fontsize=8)
    figure.savefig(path, dpi=120)


def _edges(values, bins):
    low, high = np.nanquantile(values, [0.005, 0.995])
    margin = 0.0 if high > low else 0.5  # all values are the same
    return np.linspace(low - margin, high + margin, bins + 1)


def pairs(columns: Columns, path: PathLike, *, units: Mapping[str, Any] | None = None, bins: int = 40) -> None:
    """Writes a pair plot of a catalogue: histograms on the diagonal, densities below it.

    Args:
        columns: dict name -> (n,) numbers, Quantities or table columns. Masked values are left out.
        path: file to write.
        units: dict name -> unit, to which columns are converted; those left out keep the unit that they have, if any.
        bins: bins of each axis, between the 0.5% and 99.5% quantiles.
    """
    columns = {name: v for name, v in columns.items() if np.ndim(v) == 1}
    units = {name: (units or {}).get(name) or getattr(v, "unit", None) for name, v in columns.items()}
    labels = {name: f"{name} [{unit}]" if unit else name for name, unit in units.items()}
    columns = {name: in_unit(v, units[name], name) for name, v in columns.items()}
    edges = {name: _edges(v, bins) for name, v in columns.items()}
    names, n = list(columns), len(columns)
    figure = _figure(1.6 * n, 1.6 * n)
    for i, y in enumerate(names):
        for j, x in enumerate(names[: i + 1]):
            axes = figure.add_subplot(n, n, i * n + j + 1)
            if i == j:
                axes.hist(columns[x], bins=edges[x], color="0.3")
            else:
                density, _, _ = np.histogram2d(columns[x], columns[y], bins=(edges[x], edges[y]))
                axes.pcolormesh(edges[x], edges[y], np.sqrt(density.T), cmap="Greys", rasterized=True)
            axes.tick_params(labelsize=5)
            axes.set_xlabel(labels[x] if i == n - 1 else "", fontsize=7)
            axes.set_ylabel(labels[y] if j == 0 and i else "", fontsize=7)
            if i < n - 1:
                axes.set_xticklabels([])
            if j and i != j:
                axes.set_yticklabels([])
    figure.savefig(path, dpi=120)


def sky_maps(
    maps: Mapping[str, ArrayLike],
    path: PathLike,
    *,
    wcs: WCS | None = None,
    points: ArrayLike | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
    columns: int = 4,
) -> None:
    """Writes maps of the sky side by side, each with its colour bar; east is on the left where there is a WCS.

    Args:
        maps: dict title -> (rows, columns), rows along declination, columns along right ascension, both ascending;
            NaN, or masked, where there is nothing to show.
        path: file to write.
        wcs: `astropy.wcs.WCS` of the maps, for axes in RA and Dec.
        points: positions (n, 2), Quantities or deg, to mark by circles, or None. Masked ones are left out.
        limits: dict title -> (low, high) of the colours; by default symmetric about 0 at the 99.5% quantile, or from 0
            for maps that are nowhere negative.
        columns: maps in a row.
    """
    limits = limits or {}
    points = None if points is None else in_unit(points, "deg", "points")
    columns = min(columns, len(maps))
    rows = math.ceil(len(maps) / columns)
    figure = _figure(3.6 * columns, 3.3 * rows)
    for i, (title, values) in enumerate(maps.items()):
        values = in_unit(values, None, title)
        axes = figure.add_subplot(rows, columns, i + 1, projection=wcs)
        top = float(np.nanquantile(np.abs(values), 0.995)) or 1.0
        positive = np.nanmin(values) >= 0
        low, high = limits.get(title, (0.0 if positive else -top, top))
        picture = axes.imshow(
            values,
            origin="lower",
            cmap="viridis" if low >= 0 else "RdBu_r",
            vmin=low,
            vmax=high,
            interpolation="nearest",
        )
        axes.set_title(title, fontsize=9)
        if points is not None:
            axes.scatter(
                *np.transpose(points),
                transform=axes.get_transform("world"),
                s=25,
                facecolors="none",
                edgecolors="k",
                linewidths=0.7,
            )
            axes.set(xlim=(-0.5, values.shape[1] - 0.5), ylim=(-0.5, values.shape[0] - 0.5))
        if wcs is None:
            axes.set_xticks([])
            axes.set_yticks([])
        else:
            axes.invert_xaxis()
            for axis, name in zip(axes.coords, ("RA", "Dec"), strict=True):
                axis.set_ticklabel(size=6)
                axis.set_axislabel(name, fontsize=7, minpad=0.3)
        figure.colorbar(picture, ax=axes, shrink=0.8).ax.tick_params(labelsize=6)
    figure.savefig(path, dpi=130)


def corner(
    samples: ArrayLike | Mapping[str, ArrayLike],
    path: PathLike | None = None,
    *,
    truth: Sequence[float] | np.ndarray | None = None,
    labels: Sequence[str] | None = None,
) -> Figure:
    """A corner plot of draws, by the package `corner`; returns the figure, and writes it to `path`.

    Args:
        samples: draws (n, dim), or some to compare, a dict name -> (n, dim). Those with a masked value are left out.
        truth: parameters (dim,) to mark.
        labels: names of the columns.
    """
    import corner

    named = samples if isinstance(samples, dict) else {"": samples}
    named = {name: np.asanyarray(draws) for name, draws in named.items()}
    shapes = [draws.shape for draws in named.values()]
    if not all(len(shape) == 2 and shape[1] == shapes[0][1] for shape in shapes):
        raise ValueError(f"samples must have shape (n, dim); got {', '.join(map(str, shapes))}")
    named = {name: in_unit(draws, None, name)[~masked(draws).any(1)] for name, draws in named.items()}
    size = 1.2 + 1.8 * shapes[0][1]
    figure = _figure(size, size, layout=None)  # corner places its axes itself
    together, alone = np.concatenate(list(named.values())), len(named) == 1
    ranges = None if alone else [tuple(_edges(column, 1)) for column in together.T]
    marked = "C3" if alone else "k"
    single = together.shape[1] == 1  # the package cannot mark the truth of a single column
    for i, draws in enumerate(named.values()):
        corner.corner(
            draws,
            fig=figure,
            range=ranges,
            truths=None if single else truth,
            labels=labels,
            levels=(0.68, 0.95),
            smooth=1.0,
            color=f"C{i}",
            truth_color=marked,
            plot_datapoints=False,
            plot_density=alone,
            fill_contours=alone,
            no_fill_contours=not alone,
            hist_kwargs={"density": True},
        )
    if single and truth is not None:
        figure.axes[0].axvline(truth[0], color=marked)
    if not alone:
        figure.legend(
            [figure.axes[0].plot([], [], color=f"C{i}")[0] for i in range(len(named))],
            list(named),
            loc="upper right",
            fontsize=12,
            frameon=False,
        )
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def calibration(found: Any, path: PathLike | None = None, *, labels: Sequence[str] | None = None) -> Figure:
    """Ranks of each parameter and coverage of credible regions, as of `metrics.calibration`; returns the figure.

    Grey bands hold 95% of what calibrated posteriors show: of each bin, and of each level.

    Args:
        found: a `Calibration`.
        path: file to write.
        labels: names of the parameters.
    """
    import scipy.stats

    number, dim = found.ranks.shape
    labels = labels or [f"theta {i + 1}" for i in range(dim)]
    columns = min(dim, 4)
    rows = math.ceil(dim / columns)
    figure = _figure(2.2 * columns + 3.2, max(3.2, 2.0 * rows))
    left, right = figure.subfigures(1, 2, width_ratios=(2.2 * columns, 3.2))
    bins = int(np.clip(number // 20, 5, 20))
    low, high = scipy.stats.binom.ppf([0.025, 0.975], number, 1 / bins)
    for i in range(dim):
        axes = left.add_subplot(rows, columns, i + 1)
        axes.axhspan(low, high, color="0.85")
        axes.hist(found.ranks[:, i], np.linspace(0, 1, bins + 1), histtype="step", color="C0")
        axes.set_title(labels[i], fontsize=9)
        axes.set_ylim(0)
        axes.tick_params(labelsize=7)
    left.supxlabel("rank of the truth", fontsize=9)
    levels = np.linspace(0, 1, 41)
    axes = right.add_subplot()
    low, high = (scipy.stats.binom.ppf(q, number, levels) / number for q in (0.025, 0.975))
    axes.fill_between(levels, low, high, color="0.85")
    names = {"tarp": "TARP", "density": "highest density"}
    for key, name in names.items():
        if key in (coverage := found.coverage(levels)):
            axes.plot(levels, coverage[key], label=name)
    axes.set(xlabel="credibility", ylabel="share of truths inside", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=8, frameon=False)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure


def sample_comparison(found: Any, path: PathLike | None = None, *, labels: Sequence[str] | None = None) -> Figure:
    """Where two samples differ, and whether that is more than chance; returns the figure.

    Histograms of each column; the probabilities of a classifier, whose two histograms agree if it learns nothing; the
    discrepancy beside those of random mixtures of the two.

    Args:
        found: a `metrics.two_sample.SampleComparison`.
        path: file to write.
        labels: names of the columns.
    """
    dim = found.reference.shape[1]
    labels = labels or [f"column {i + 1}" for i in range(dim)]
    columns = min(dim + 2, 4)
    rows = math.ceil((dim + 2) / columns)
    figure = _figure(2.6 * columns, 2.3 * rows)
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(dim + 2)]

    def histograms(axes, pair, edges):
        for values, name, color in zip(pair, ("reference", "samples"), ("0.4", "C0"), strict=True):
            axes.hist(values, edges, density=True, histtype="step", color=color, label=name)

    for i in range(dim):
        pair = found.reference[:, i], found.samples[:, i]
        histograms(axes[i], pair, _edges(np.concatenate(pair), 30))
        axes[i].set_xlabel(labels[i], fontsize=9)
    histograms(axes[dim], found.probabilities, np.linspace(0, 1, 31))
    axes[dim].set_xlabel("classifier's probability", fontsize=9)
    axes[dim].set_title(f"C2ST {found.c2st:.3f}", fontsize=9)
    axes[dim + 1].hist(found.mmd_mixed, 30, color="0.85", label="mixed at random")
    axes[dim + 1].axvline(found.mmd, color="C0", label="as they are")
    axes[dim + 1].set_xlabel("MMD$^2$", fontsize=9)
    axes[dim + 1].set_title(f"MMD$^2$ {found.mmd:.2g}, p = {found.p_value():.2g}", fontsize=9)
    for one in axes:
        one.tick_params(labelsize=7)
        one.set_yticks([])
    for one in (axes[0], axes[dim + 1]):
        one.legend(fontsize=7, frameon=False)
    if path is not None:
        figure.savefig(path, dpi=120)
    return figure
