"""What a core and a GiB of memory cost for an hour, in the currency of whoever sets the variables."""

import os

CPU_VARIABLE, MEMORY_VARIABLE = "IMAGELOOP_PRICE_PER_CPU_HOUR", "IMAGELOOP_PRICE_PER_GIB_HOUR"


def per_cpu_hour() -> float:
    """The price of a core."""
    return float(os.environ.get(CPU_VARIABLE) or 0.05)


def per_gib_hour() -> float:
    """The price of memory."""
    return float(os.environ.get(MEMORY_VARIABLE) or 0.005)
