"""Bytes with something wrong in them, by chance: flipped, put in, left out, doubled, from elsewhere; cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

_ODD = (0, 1, 9, 10, 13, 32, 44, 48, 58, 59, 127, 128, 255)


def mutate(dice: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The same but for one to four changes. `others`: what pieces may come from."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        at = dice.randrange(len(changed) + 1)
        size = dice.choice((1, 1, 2, 4, 9, 50, 1000))
        what = dice.randrange(8)
        if what == 0 and at < len(changed):
            changed[at] ^= 1 << dice.randrange(8)
        elif what == 1 and at < len(changed):
            changed[at] = dice.choice(_ODD)
        elif what == 2:
            changed[at:at] = dice.randbytes(min(size, 9))
        elif what == 3:
            changed[at:at] = bytes((dice.choice(_ODD),)) * size
        elif what == 4:
            del changed[at : at + size]
        elif what == 5:
            changed[at:at] = changed[at : at + size]
        elif what == 6 and others:
            other = dice.choice(others)
            begin = dice.randrange(len(other) + 1)
            changed[at : at + dice.choice((0, size))] = other[begin : begin + dice.choice((size, 10 * size))]
        elif what == 7:  # two pieces change places
            to = dice.randrange(len(changed) + 1)
            piece = bytes(changed[at : at + size])
            del changed[at : at + size]
            changed[to:to] = piece
    return bytes(changed)


def pieces(dice: Random, data: bytes) -> list[bytes]:
    """The same, cut: not at all, at a few places, or byte by byte."""
    if dice.random() < 0.25 or not data:
        return [data]
    if len(data) < 400 and dice.random() < 0.1:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted({dice.randrange(len(data)) for _ in range(dice.choice((1, 2, 5, 20)))} - {0})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
