"""The one exception family. Every message says what was given, what was expected and what to do."""

from typing import ClassVar


class LgeuError(Exception):
    """Base of everything LGEU-ReID raises on purpose.

    Attributes:
        exit_status: what a command line exits with: 2 for something the user can mend, 1 for a check that failed.
    """

    exit_status: ClassVar[int] = 2


class InputError(LgeuError):
    """A file, array or option is not what was expected."""


class ManifestError(InputError):
    """A manifest is missing, unreadable, of another schema, or does not match what it stands beside."""


class EngineMismatchError(ManifestError):
    """An engine was built for another TensorRT version, flavour or GPU than the one at hand."""


class MissingDependencyError(LgeuError):
    """A package, or the StripGate library, that this path needs is not on this machine."""


class DeviceError(LgeuError):
    """No usable device, or the device failed."""


class CheckFailedError(LgeuError):
    """Everything ran, and the result is outside its tolerance."""

    exit_status: ClassVar[int] = 1
