"""The README's table of fields, made from spec/fields.py: run as a program, it writes the table into the README."""

from __future__ import annotations

from pathlib import Path

from runspec.spec import fields

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- fields: made by tests/field_table.py -->", "<!-- end of fields -->"


def table() -> str:
    """One line for each field."""
    lines = ["| field | class of a change | read back from | page |", "|---|---|---|---|"]
    for row in fields.ROWS:
        note = f"; {row.note}" if row.note else ""
        cells = (f"`{row.path}`", f"{fields.WORDS[row.impact]}{note}", row.observed, row.man)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def replaced(text: str) -> str:
    """The README with the table of today."""
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    README.write_text(replaced(README.read_text()))
