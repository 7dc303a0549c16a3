"""Sizes on a command line."""

import argparse
import re

FACTORS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def bytes_of(text: str) -> int:
    """The bytes in `64MiB`, `5MB` or `1000`."""
    match = re.fullmatch(r"(\d+)\s*([A-Za-z]*)", text)
    if not match or match[2] not in FACTORS:
        raise argparse.ArgumentTypeError(f"`{text}` is no size; write 64MiB or 5MB")
    return int(match[1]) * FACTORS[match[2]]
