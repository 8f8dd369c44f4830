"""The words for a link of the host."""

from __future__ import annotations

import pytest

from runspec.errors import SpecError
from runspec.spec.parents import parse_parent


@pytest.mark.parametrize(("text", "form"), [
    ("eth1", "eth1"), ("enp3s0.5", "enp3s0.5"), ("mac:52-54-00-AA-BB-CC", "mac:52:54:00:aa:bb:cc"),
    ("mac:52:54:00:12:34:57", "mac:52:54:00:12:34:57"), ("pci:0000:00:1F.7", "pci:0000:00:1f.7")])
def test_one_form(text: str, form: str) -> None:
    assert parse_parent(text) == form


@pytest.mark.parametrize("text", ["mac:", "mac:52:54", "pci:", "pci:00:03.0", "pci:0000:00:03:0", "pci:0000:00:03.8",
                                  "pci:0000.00.03.0", "pci:0000:0g:03.0", "usb:1-1", "eth0:1"])
def test_none(text: str) -> None:
    with pytest.raises(SpecError):
        parse_parent(text)
