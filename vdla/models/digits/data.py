"""The digits and their split: scikit-learn's 1797 handwritten digits of 8x8 pixels, two thirds to train on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vdla.errors import UsageError

HELD_OUT = 599
SPLIT_SEED = 2018
# Mean and standard deviation of the training images' pixels over 16, rounded; part of what the network expects.
MEAN = 0.3053
DEVIATION = 0.3761


class Split(NamedTuple):
    """Normalised images float32 [n,1,8,8] and labels int64 [n], of the training and of the held-out part."""

    train_images: np.ndarray
    train_labels: np.ndarray
    held_out_images: np.ndarray
    held_out_labels: np.ndarray


def normalize(pixels: np.ndarray) -> np.ndarray:
    """Network inputs float32 [n,1,8,8] from pixels 0..16 of any integer or float dtype, [n,8,8] or [n,64]."""
    scaled = np.asarray(pixels, dtype=np.float32).reshape(-1, 1, 8, 8) / np.float32(16)
    return (scaled - np.float32(MEAN)) / np.float32(DEVIATION)


def split_indices(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the training and the held-out part, each in rising order; every class is split alike.

    Drawn here and not by scikit-learn, so that no release of it can move an image from one part to the other.
    """
    rng = np.random.default_rng(SPLIT_SEED)
    # Ranking all images by their place within the shuffled class spreads each class evenly over the ranking.
    place = np.empty(labels.size)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[rng.permutation(members)] = (np.arange(members.size) + 0.5) / members.size
    order = np.argsort(place, kind="stable")
    return np.sort(order[HELD_OUT:]), np.sort(order[:HELD_OUT])


def load_split() -> Split:
    """The training and the held-out part, always the same.

    Raises:
        UsageError: when scikit-learn, which carries the images, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError("the digits come with scikit-learn, which is missing; pip install scikit-learn") from error
    pixels, labels = load_digits(return_X_y=True)
    train, held_out = split_indices(labels)
    images, labels = normalize(pixels), labels.astype(np.int64)
    return Split(images[train], labels[train], images[held_out], labels[held_out])
