"""Sizes of memory as people write them."""

import re

from runtime.errors import InputError

_SIZE_UNITS = {
    **{"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12},
    **{"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40},
}


def parse_size(text: str) -> int:
    """Bytes from e.g. "4GB", "1.5 GiB", "500mb" or "4000000000"; kB to TB are powers of 1000, KiB to TiB of 1024.

    Raises:
        InputError: it is no such size, or less than one byte.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    unit = _SIZE_UNITS.get(match[2]) if match else None
    size = int(float(match[1]) * unit) if match and unit else 0
    if size < 1:
        raise InputError(f"{text!r} is no size of memory; expected e.g. 4GB, 500MB, 3GiB or a number of bytes")
    return size
