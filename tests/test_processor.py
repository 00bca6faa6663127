"""What a process sets once."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from dcal import processor

# Asks for 48 MiB again and again, as a step does; prints how many pages it is given in the end.
ASK_AGAIN = """
import resource, sys, torch
from dcal.processor import prepare_cpu
if sys.argv[1] != "default":
    prepare_cpu(spares_memory=sys.argv[1] == "give back")
for round in range(23):
    if round == 20:  # at first, what is freed may not be where the next block fits
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(48 * 2**18)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 3)
"""


def count_faults(how: str) -> int:
    command = [sys.executable, "-c", ASK_AGAIN, how]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_freed_memory_is_kept_for_what_is_asked_for_next():
    pages = 48 // 2  # at least, where they are of 2 MiB
    assert count_faults("default") >= pages
    assert count_faults("give back") >= pages
    assert count_faults("keep") < pages / 2


def test_denormals_are_flushed():
    processor.prepare_cpu()
    tiny = torch.tensor([1e-30]) * torch.tensor([1e-10])
    assert float(tiny) == 0.0


def test_another_malloc_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", ""))
    assert not processor.set_malloc(keeps_freed=True)
