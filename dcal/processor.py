"""What a process sets once so that torch is fast on a CPU (ours)."""

from __future__ import annotations

import ctypes
import platform

import torch

# Names of glibc's malloc.h, for mallopt.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
# Bytes: a block that is larger goes back when it is freed. Older glibc takes at most the second.
_LARGEST_KEPT = (2**28, 2**25)
_LARGEST_GIVEN_BACK = 2**20  # a block that is smaller is kept in any case
_LARGEST_INT = 2**31 - 1


def prepare_cpu(*, spares_memory: bool = False) -> None:
    """Flush denormals, which cost small models much, and say what becomes of freed memory.

    Usually it is kept: what a step frees and the next one asks for again would else go back to
    the system in between, which then zeroes it page by page, a tenth of an inference pass at
    448 x 448. `spares_memory` gives it back at once, for who trades time for memory: with
    gradient checkpointing, gaps in what is kept take more than is in use.
    """
    torch.set_flush_denormal(True)
    set_malloc(keeps_freed=not spares_memory)


def set_malloc(*, keeps_freed: bool) -> bool:
    """Let malloc keep what is freed, or give it back; False where malloc is not glibc's."""
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    # Blocks come from the heap, not from pages of their own, and its end is not cut off.
    sizes = _LARGEST_KEPT if keeps_freed else (_LARGEST_GIVEN_BACK,)
    is_set = any(libc.mallopt(_M_MMAP_THRESHOLD, size) for size in sizes)
    return bool(libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT) and is_set)
