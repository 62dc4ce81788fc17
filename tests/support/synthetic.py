"""Makes the pixels of radiographs of any size and depth."""

import numpy as np


def radiograph(rows: int, columns: int, bits: int, *, signed: bool = False) -> np.ndarray:
    """Returns smooth anatomy with fine texture, which uses all values of its depth.

    uint8 or uint16[rows, columns]; int8 or int16 if signed, from −2^(bits − 1).
    """
    y, x = np.mgrid[0:rows, 0:columns] / np.array([rows, columns])[:, None, None]
    lungs = np.exp(-(((x - 0.3) / 0.12) ** 2)) + np.exp(-(((x - 0.72) / 0.12) ** 2))
    shade = lungs * np.sin(np.pi * y) + 0.4 * y + 0.03 * np.sin(40 * y + 9 * x)
    shade += np.random.default_rng(rows * columns).normal(0, 0.004, shade.shape)
    shade = (shade - shade.min()) / np.ptp(shade)
    values = np.rint(shade * (2**bits - 1)).astype(np.int64) - (2 ** (bits - 1) if signed else 0)
    return values.astype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
