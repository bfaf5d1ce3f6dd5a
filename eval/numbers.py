"""Numbers of settings as Python's own: NumPy's would do, but JSON takes none of them."""

import operator
from typing import Any

from runtime.errors import InputError


def whole(what: str, value: Any) -> int:
    """The value as an int.

    Raises:
        InputError: it is no integer of any type; 2.0 is none.
    """
    try:
        return int(operator.index(value))
    except TypeError as error:
        raise InputError(f"{what} is {value!r}; expected an integer") from error


def real(what: str, value: Any) -> float:
    """The value as a float.

    Raises:
        InputError: it is no number.
    """
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is {value!r}; expected a number") from error
