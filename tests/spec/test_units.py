"""Values as people write them, and what they become."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
from hypothesis import given, strategies as st

from runspec.errors import SpecError
from runspec.spec import units


@pytest.mark.parametrize(("text", "size"), [
    (64, 64), ("64", 64), ("64Mi", 64 << 20), ("64MiB", 64 << 20), ("64M", 64_000_000), ("1.5GiB", 3 << 29),
                                            ("1k", 1000),
    ("max", -1), ("-1", -1), (-1, -1), ("0", 0), ("8Ei", 1 << 63),
])
def test_size(text: object, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "Mi", "64m", "10mb", "64 Mi", "0x10", "1e9", "1,5Gi", "-5Mi", "+5",
                                  "1.0001Ki", "٣Mi",
                                  "9" * 50])
def test_no_size(text: str) -> None:
    with pytest.raises(SpecError):
        units.parse_size(text)


@given(st.integers(0, 2**63), st.sampled_from(["", "Ki", "Mi", "Gi", "K", "M"]))
def test_size_is_exact(number: int, unit: str) -> None:
    assert units.parse_size(f"{number}{unit}") == number * units._SIZES[unit]


@pytest.mark.parametrize(("text", "period", "quota"), [
    ("25%", 100_000, 25_000), ("250m", 100_000, 25_000), ("150%", 100_000, 150_000), ("25%", 20_000, 5000),
    ("12.5%", 100_000, 12_500), ("33.3333%", 100_000, 33_333), ("50ms", 100_000, 50_000), (-1, 100_000, -1),
    ("max", 100_000, -1), ("0%", 100_000, 0), (30_000, 100_000, 30_000),
])
def test_quota(text: object, period: int, quota: int) -> None:
    assert units.parse_quota(text, period) == quota


@pytest.mark.parametrize(("text", "mode"), [("0644", 0o644), ("644", 0o644), ("0", 0), (0, 0), (7, 7),
                                            ("1777", 0o1777)])
def test_mode(text: object, mode: int) -> None:
    assert units.parse_mode(text) == mode


@pytest.mark.parametrize("text", [22, 644, 493, "0o644", "8", "", "77777", -1, True, "rw-r--r--"])
def test_no_mode(text: object) -> None:
    with pytest.raises(SpecError):
        units.parse_mode(text)


def test_a_decimal_mode_offers_both_readings() -> None:
    with pytest.raises(SpecError) as caught:
        units.parse_mode(644)
    assert caught.value.fix == 'write "1204" for this number, or "0644"'


@given(st.text(alphabet="ab \t\n'\"\\$;|", max_size=30))
def test_words_are_split_as_a_shell_does(text: str) -> None:
    try:
        wanted = tuple(shlex.split(text, comments=False, posix=True))
    except ValueError:
        with pytest.raises(SpecError):
            units.parse_words(text)
        return
    # A backslash before a line's end joins lines for a shell, and for shlex it does not.
    if "\\\n" not in text and "\\$" not in text:
        assert units.parse_words(text) == wanted


def test_words_are_not_run() -> None:
    assert units.parse_words("echo $HOME; 'a b' >x *") == ("echo", "$HOME;", "a b", ">x", "*")


@pytest.mark.parametrize(("text", "mac"), [("02:00:0A:4d:00:0b", "02:00:0a:4d:00:0b"), ("02-00-0a-4d-00-0b",
                                                                                        "02:00:0a:4d:00:0b")])
def test_mac(text: str, mac: str) -> None:
    assert units.parse_mac(text) == mac


@pytest.mark.parametrize(("text", "rate"), [
    ("10mbit", 10**7), ("1.5gbit", 1_500_000_000), ("500Kbit", 500_000), ("8000", 8000), (8000, 8000), ("1kibit", 1024),
    ("2mibps", 2 << 23), ("800kbps", 6_400_000), ("10bit", 10), ("1tbit", 10**12), ("0", 0)])
def test_rate(text: object, rate: int) -> None:
    assert units.parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "mbit", "10mb", "10m", "-1mbit", "1e6", "10 mbit", "0.5bit", "1,5mbit", True])
def test_no_rate(text: object) -> None:
    with pytest.raises(SpecError):
        units.parse_rate(text)


@pytest.mark.parametrize(("text", "mark"), [
    ("ef", 46), ("EF", 46), ("be", 0), ("af11", 10), ("af43", 38), ("cs6", 48), ("va", 44), ("le", 1), (0, 0), (63, 63),
    ("46", 46)])
def test_dscp(text: object, mark: int) -> None:
    assert units.parse_dscp(text) == mark


@pytest.mark.parametrize("text", ["", "af14", "af51", "cs8", "64", -1, 64, "0x2e", True, "best"])
def test_no_dscp(text: object) -> None:
    with pytest.raises(SpecError):
        units.parse_dscp(text)


@pytest.mark.parametrize(("text", "listed"), [("0", "0"), (0, "0"), ("3,0-1,2", "0-3"), ("0-1,3", "0-1,3"),
                                              ("5,5,5", "5")])
def test_cpuset(text: object, listed: str) -> None:
    assert units.parse_cpuset(text) == listed


@pytest.mark.parametrize(("text", "cidr"), [
    ("10.77.0.11/24", "10.77.0.11/24"), ("FD00:0:0::1/64", "fd00::1/64"), ("fe80::0:1/064", "fe80::1/64"),
    ("::ffff:1.2.3.4/128", "::ffff:1.2.3.4/128"),
])
def test_cidr(text: str, cidr: str) -> None:
    assert units.parse_cidr(text) == cidr


@pytest.mark.parametrize("text", ["10.77.0.11", "10.77.0/24", "010.1.1.1/8", "1.2.3.4/33", "::1/129",
                                  "1.2.3.4/-1", "a/8",
                                  "fe80::1%eth0/64", "1.2.3.4/", "1.2.3.4\0/8", "/24", ""])
def test_no_cidr(text: str) -> None:
    with pytest.raises(SpecError):
        units.parse_cidr(text)


def test_networks() -> None:
    assert units.within("10.77.0.1", "10.77.0.11/24")
    assert not units.within("10.78.0.1", "10.77.0.11/24")
    assert not units.within("fd00::1", "10.77.0.11/24")
    assert units.within("8.8.8.8", "10.0.0.1/0")
    assert units.network_text("fd00::abcd/64") == "fd00::/64"
    assert units.parse_destination("10.1.2.3") == "10.1.2.3/32"


def test_a_quoted_value_is_one_printable_line() -> None:
    assert units.shown("a\n\x1b[31m\u202e") == r"`a\n\x1b[31m\u202e`"
    assert len(units.shown("x" * 10_000)) < 100


def test_the_reading_of_specs_loads_no_heavy_module() -> None:
    code = ("before = set(sys.modules); from runspec.spec import from_yaml, rules, rules_host, fields;"
            "print(*sorted({'re','typing','dataclasses','json','ipaddress','pathlib','subprocess','yaml','jsonschema'}"
            " & (set(sys.modules) - before)))")
    done = subprocess.run([sys.executable, "-I", "-S", "-c",
                           f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
                          capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
