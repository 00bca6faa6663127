"""What a process sets once so that torch is fast on a CPU (ours)."""

from __future__ import annotations

import ctypes
import platform

import torch

# Names of glibc's malloc.h, for mallopt.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_KEPT = 2**28  # bytes: a block that is larger goes back when it is freed
_LARGEST_INT = 2**31 - 1


def prepare_cpu() -> None:
    """Flush denormals and keep freed memory.

    Denormals cost small models much. Memory that a step frees and the next one asks for again
    would go back to the system in between, which then zeroes it page by page: at 448 x 448 a
    tenth of an inference pass. The most memory that a process holds grows by a few per cent
    (`python -m benchmarks.step`).
    """
    torch.set_flush_denormal(True)
    keep_freed_memory()


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed for what is asked for next; False where it is not glibc's."""
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # Blocks come from the heap, not from pages of their own, and its end is not cut off.
    is_set = libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
    return bool(is_set and libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT))
