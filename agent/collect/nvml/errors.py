"""NVML's error numbers by what they mean for whoever asks again (nvml.h, nvmlReturn_t)."""

UNINITIALIZED, NO_PERMISSION, DRIVER_NOT_LOADED, TIMEOUT = 1, 4, 9, 10
LIBRARY_NOT_FOUND, VERSION_MISMATCH = 12, 18

# The same answer comes until the driver is loaded anew: invalid argument, not supported, no
# permission, not found, function not found, argument version mismatch, deprecated.
LASTING = frozenset({2, 3, NO_PERMISSION, 6, 13, 25, 26})
# The GPU has fallen off the bus, or must be reset before it answers.
LOST = frozenset({15, 16})
# There is no driver behind the library any more, or another one than we began with.
UNLOADED = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, VERSION_MISMATCH})


def number(error: Exception) -> int:
    """Return the error's number; 0 where it is none of NVML's."""
    return int(getattr(error, "value", 0))


def absent(error: Exception) -> bool:
    """Say whether there simply is no driver here."""
    missing = isinstance(error, ModuleNotFoundError)
    return missing or number(error) in {LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED}
