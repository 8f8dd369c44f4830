"""Leaves of what is seen on the machine that are no values."""

from __future__ import annotations


class Sentinel:
    """A leaf that stands for itself alone."""

    __slots__ = ("word",)

    def __init__(self, word: str) -> None:
        self.word = word

    def __repr__(self) -> str:
        return self.word


ABSENT = Sentinel("absent")      # the kernel says: there is none
UNKNOWN = Sentinel("unknown")    # the kernel cannot tell; never a difference
WHOLE = "whole"         # of the firewall: the table's rules, and the kernel parameters beside it
