"""No password is ever written down or said (ours)."""

from __future__ import annotations

import re

MASK = "***"


def mask_password(text: str) -> str:
    """Replace user name and password of an address, and any value of its query, by three stars.

    Args:
        text: An address, or what was said of one.
    """
    if "://" in text:
        # To the last sign: a password may hold signs that an address should not.
        text = re.sub(r"(?<=://).*@", f"{MASK}@", text)
    else:
        text = re.sub(r"[^\s'\"(/]+:\S*@", f"{MASK}@", text)
    # In the query of a database's address # is a sign as any other.
    text = re.sub(r"(?i)\b(password|passwd|pwd|token)=[^\s&]+", rf"\1={MASK}", text)
    return re.sub(r"=[^&]*", f"={MASK}", text) if "?" in text else text
