"""Results as one HTML page that needs nothing else: no script, no file, no network."""

from __future__ import annotations

from runspec.bench import groups, literature, plots, style
from runspec.bench.groups import number
from runspec.bench.plots import Bar, Curve, esc
from runspec.bench.results import PERCENT, point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runspec.bench.comparison import Comparison, Difference
    from runspec.bench.groups import Group
    from runspec.bench.results import Ratio, Results, Series

# Nothing may be loaded, and nothing may run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
HATCH = ('<svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs><pattern id="hatch" width="5" '
         'height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path d="M0,0v5" '
         'class="hatch"/></pattern></defs></svg>')
OPEN = 16           # rows of a table that stands beside its plot; longer ones are folded
NOISY = '<abbr title="the rounds differ by more than 5 %">~</abbr>'


def page(results: Results, compared: Comparison | None = None) -> str:
    """The whole page.

    Args:
        compared: with an older run.
    """
    return Page(results).html(compared)


class Page:
    """One page; it gives every contender one colour, marker and kind of line throughout."""

    def __init__(self, results: Results) -> None:
        self.results = results
        known = [name for name in style.CONTENDERS if name != "literature"]
        names = groups.order(one.contender for one in results.series)
        alias = {"other core": "native"}        # no container either
        strange = [name for name in names if name not in known and name not in alias]
        free = [name for name in known if name not in names] or known
        self.styles = {name: free[strange.index(name) % len(free)] if name in strange else alias.get(name, name)
                       for name in names}
        self.places = {name: known.index(self.styles[name]) for name in names}

    def html(self, compared: Comparison | None) -> str:
        """The document."""
        machine = self.results.machine
        told = " · ".join(esc(machine[word]) for word in ("processor", "memory", "kernel", "distribution", "when")
                          if machine.get(word))
        sections = [("ratios", "Ratios", self.ratios())] if self.results.ratios else []
        sections += [("compared", "Compared", comparison(compared))] if compared else []
        sections += [(f"suite-{index}", groups.title(name), self.suite(name))
                     for index, name in enumerate(groups.suites(self.results))]
        sections.append(("where", "Where and how", self.where()))
        links = "".join(f'<a href="#{key}">{esc(title)}</a>' for key, title, _ in sections)
        body = "".join(f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{esc(title)}</h2>{inner}'
                       "</section>\n" for key, title, inner in sections)
        summary = groups.summary(self.results.ratios)
        verdict = f'<p class="verdict">{summary}.</p>' if summary else ""
        verdict += "".join(f'<p class="note">{esc(note)}</p>' for note in groups.notes(self.results))
        return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
                f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
                f'<meta name="viewport" content="width=device-width,initial-scale=1">\n'
                f'<meta name="color-scheme" content="light dark">\n'
                f"<title>runspec bench{f' · {told}' if told else ''}</title>\n<style>{style.sheet()}</style></head>\n"
                f'<body>{HATCH}<div class="page"><header><h1>runspec bench</h1><p class="muted machine">{told}</p>'
                f'{verdict}<nav aria-label="Sections">{links}</nav></header>\n'
                f"<main>{body}</main></div></body></html>\n")

    # -- ratios ---------------------------------------------------------------------------------------

    def ratios(self) -> str:
        """What is looked for first: runspec over others, what it should be and whether it is."""
        ends = plots.span([one for ratio in self.results.ratios if not ratio.unit
                           for one in (ratio.value, ratio.low, ratio.high, ratio.least, ratio.most, 0.5, 2)
                           if one is not None and 0 < one < float("inf")] or [0.5, 2])
        rows = "".join(self.ratio(one, ends) for one in self.results.ratios)
        return ('<p>Each ratio is made round by round, so that what disturbs a round disturbs both; its median and '
                'quartiles are shown. A figure with a unit is judged as it is. The shade is where a ratio should be, '
                'the thin line is 1; ~ marks a verdict that the spread leaves open.</p>'
                f'<table class="ratios"><thead><tr><th scope="col">runspec over</th><th scope="col">value</th>'
                f'<th scope="col" class="spread">quartiles</th><th scope="col" class="plotted l">'
                f'{plots.ratio_axis(ends)}</th><th scope="col" class="l aimed">should be</th>'
                f'<th scope="col" class="l">verdict</th></tr></thead><tbody>{rows}</tbody></table>')

    def ratio(self, one: Ratio, ends: tuple[float, float]) -> str:
        """A row."""
        sign = {True: '<span class="good">✓ reached</span>', False: '<span class="bad">✗ missed</span>',
                None: ""}[one.good]
        if groups.narrow(one):
            sign += ' <abbr title="what it should be lies between the quartiles">~</abbr>'
        plot = "" if one.unit else plots.forest(f"{one.name}: {groups.amount(one)}", one.value, one.low, one.high,
                                                one.least, one.most, ends)
        return (f'<tr><th scope="row">{esc(one.name)}</th><td>{esc(groups.amount(one))}</td>'
                f'<td class="spread muted">{groups.quartiles(one, one.unit)}</td>'
                f'<td class="plotted l">{plot}</td><td class="l aimed">{esc(groups.aim(one))}</td>'
                f'<td class="l">{sign}<small>{esc(groups.aim(one))}</small></td></tr>')

    # -- suites ---------------------------------------------------------------------------------------

    def suite(self, name: str) -> str:
        """Plots and tables of one suite, and what it could not measure."""
        parts = [f"<p>{groups.SUITES[name][1]}</p>"] if name in groups.SUITES else []
        found = groups.groups(self.results, name)
        parts += [self.curves(group) if len(group.points) > 1 else self.bars(group) for group in found]
        if any('class="c-literature"' in part for part in parts):
            parts.append('<p class="note first">Hatched and in italics, from the literature: '
                         f"{esc(literature.SOURCE)}.</p>")
        absent = "".join(f"<li>{f'<b>{esc(one.contender)}</b>: ' if one.contender else ''}{esc(one.why)}</li>"
                         for one in groups.missing(self.results, name))
        if absent:
            parts.append('<ul class="absent" aria-label="not measured"><li class="muted">Not measured</li>'
                         f"{absent}</ul>")
        return "".join(parts)

    def heading(self, group: Group) -> str:
        unit = f"{groups.unit(group.unit)}: " if group.unit else ""
        return f"<h3>{esc(group.figure)} <span>{esc(unit)}{group.wanted}</span></h3>"

    def bars(self, group: Group) -> str:
        """A plot for each place, all to one scale, and a table."""
        rows = {place: [self.bar(one) for name in group.contenders if (one := group.find(place[0], name, place[1]))]
                + self.published(group, place[0]) for place in group.places}
        if len(rows) > 1 and len(group.contenders) == 1 and not any(len(bars) > 1 for bars in rows.values()):
            # One contender alone: its cases stand below each other.
            rows = {("", None): [bar.replace(name=group.place(*place) or group.figure)
                                 for place, bars in rows.items() for bar in bars]}
        every = [bar for bars in rows.values() for bar in bars]
        values = [one for bar in every for one in (bar.value, bar.low, bar.high) if one is not None]
        # A little below 0 is noise that needs room to be seen; a plot without it has its bars at the very edge.
        high, low = plots.nice(max(*values, 0)), min(*values, 0.0)
        ends = (-plots.nice(-low) if low < -0.02 * high else 0.0, high)
        names, texts = max(len(bar.name) for bar in every), max(len(bar.text) for bar in every)
        figures = []
        for place, bars in rows.items():
            name = f"{group.figure}{f', {group.place(*place)}' if group.place(*place) else ''}"
            told = "; ".join(f"{bar.name} {bar.text}" for bar in bars)
            plot = plots.bars(f"{name}, {group.unit}", told, bars, *ends, names, texts)
            figures.append(f"<figure>{self.caption(group, *place) if len(rows) > 1 or place[1] else ''}{plot}</figure>")
        return self.heading(group) + beside(figures, self.table(group), "All figures as a table")

    def caption(self, group: Group, case: str, at: float | None = None) -> str:
        """What stands over a plot."""
        where = "" if at is None else f"{point(at, group.along)} {group.along}"
        words = ", ".join(word for word in (case or (group.figure if len(group.cases) > 1 else ""), where) if word)
        return f"<h4>{esc(words)}</h4>" if words else ""

    def published(self, group: Group, case: str) -> list[Bar]:
        """What the literature has of the same."""
        if (group.suite, group.unit) != ("isolation", "%"):
            return []
        found = literature.isolation(f"{group.figure} {case}")
        return [Bar(name=system, style="literature", value=value,
                    text="did not run" if value is None else f"{number(value, '%')} %") for system, value in found]

    def bar(self, one: Series) -> Bar:
        """A contender's line."""
        unit = " %" if one.unit == "%" else ""
        return Bar(name=one.contender, style=self.styles[one.contender], value=one.median, low=one.low, high=one.high,
                   text=f"{number(one.median, one.unit)}{unit}{' ~' if one.noisy else ''}")

    def table(self, group: Group) -> str:
        """Contenders below each other, by case."""
        first = group.contenders[0]
        alone = len(group.contenders) == 1
        share = group.unit not in PERCENT and not alone
        head = "".join(f'<th scope="col">{word}</th>' for word in
                       (esc(first) if alone else "contender", "median", "quartiles",
                        *([f"of {esc(first)}'s"] if share else []), "rounds"))
        rows = []
        for case, at in group.places:
            if len(group.places) > 1 and not alone:
                where = group.place(case, at) or group.figure
                rows.append(f'<tr><th scope="rowgroup" class="case" colspan="{5 if share else 4}">{esc(where)}</th>'
                            "</tr>")
            base = group.find(case, first, at)
            for name in group.contenders:
                one = group.find(case, name, at)
                if one is None:
                    continue
                part = f"<td>{groups.part(one, base) if base is not None else ''}</td>"
                title = group.place(case, at) or group.figure if alone else name
                hero = ' class="hero"' if name == "runspec" and not alone else ""
                rows.append(f'<tr{hero}><th scope="row">{esc(title)}</th>'
                            f"<td>{number(one.median, one.unit)}{NOISY if one.noisy else ''}</td>"
                            f"<td>{groups.quartiles(one, one.unit)}</td>"
                            f"{part if share else ''}<td>{len(one.values)}</td></tr>")
        return scrolled(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>",
                        f"{group.figure}, {group.unit}")

    def curves(self, group: Group) -> str:
        """A plot for each case, all to one scale, and a folded table for each."""
        found = {}
        for one in group.series:
            if one.at is not None and one.at > 0 and one.low > 0:
                part = one.at if group.each else 1
                found[one.case, one.contender, one.at] = one.at, one.low / part, one.median / part, one.high / part
        if not found:
            return self.heading(group) + self.pivots(group)
        unit = groups.unit(group.unit) + (" per container" if group.each else "")
        up = plots.span([value for _, *values in found.values() for value in values])
        across = min(at for *_, at in found), max(at for *_, at in found)
        across = (across[0], max(across[1], across[0] * 2))
        legend = "".join(f"<li>{plots.swatch(self.styles[name], self.places[name])}{esc(name)}</li>"
                         for name in group.contenders)
        figures = []
        for case in group.cases:
            curves = []
            for name in group.contenders:
                points = sorted(point for (*where, _), point in found.items() if where == [case, name])
                if points:
                    curves.append(Curve(name=name, style=self.styles[name], place=self.places[name],
                                        points=tuple(points)))
            told = "; ".join(f"{one.name} from {number(one.points[0][2])} to {number(one.points[-1][2])}"
                             for one in curves)
            plot = plots.lines(f"{group.figure}{f', {case}' if case else ''}, {unit} by {group.along}", told, curves,
                               group.along, unit, across, up)
            figures.append(f"<figure>{self.caption(group, case)}{plot}</figure>")
        tables = self.pivots(group)
        return (f'{self.heading(group)}<ul class="legend">{legend}</ul>'
                + beside(figures, tables, f"All points as {'a table' if len(group.cases) == 1 else 'tables'}"))

    def pivots(self, group: Group) -> str:
        """For each case a table: points downwards, contenders across."""
        tables = []
        for case in group.cases:
            names = [name for name in group.contenders
                     if any((one.case, one.contender) == (case, name) for one in group.series)]
            head = "".join(f'<th scope="col">{esc(name)}</th>' for name in names)
            rows = "".join(f'<tr><th scope="row">{esc(point(at, group.along))}</th>'
                           f'{"".join(cell(group.find(case, name, at)) for name in names)}</tr>'
                           for where, at in group.places if where == case and at is not None)
            caption = f"<caption>{esc(case or group.figure)}</caption>" if len(group.cases) > 1 else ""
            corner = esc(groups.counted(group.along))
            tables.append(scrolled(f'<table>{caption}<thead><tr><th scope="col">{corner}</th>{head}</tr>'
                                   f"</thead><tbody>{rows}</tbody></table>", f"{group.figure}, {case}, {group.unit}"))
        note = '<p class="note first">The table has the time of all containers together.</p>' if group.each else ""
        return f'{note}<div class="tables">{"".join(tables)}</div>'

    # -- where ----------------------------------------------------------------------------------------

    def where(self) -> str:
        """Machine, versions, settings and command lines."""
        lists = "".join(f"<div><h3>{title}</h3><dl>{pairs(found)}</dl></div>" for title, found in (
            ("Machine", self.results.machine), ("Versions", self.results.versions),
            ("Settings", self.results.settings)) if found)
        commands = ""
        for suite in groups.suites(self.results):
            found = groups.commands(self.results, suite)
            if found:
                rows = "".join(f"<dt>{esc(name)}</dt><dd><code>{esc(command)}</code></dd>" for name, command in found)
                commands += f'<h4>{esc(groups.title(suite))}</h4><dl class="commands">{rows}</dl>'
        return (f'<div class="where">{lists}</div>{"<h3>Command lines</h3>" if commands else ""}{commands}'
                '<p class="note">Bars and points are medians of the rounds; whiskers, bands and quartiles reach from '
                "the first quartile to the third. ~ marks rounds that differ by more than 5 %, as quiet ones do not."
                "</p>")


def comparison(found: Comparison) -> str:
    """What got slower and what got faster since an older run."""
    parts = [f"<p>{esc(found.verdict)}</p>",
             f'<p class="muted">With {esc(found.file)}{f", {esc(found.when)}" if found.when else ""}: '
             f"{found.counts}</p>"]
    if found.others:
        others = {one.name: f"{one.before or 'none'} → {one.now or 'none'}" for one in found.others}
        parts.append(f"<dl>{pairs(others)}</dl>")
    for title, word, some in (("Worse than before", "bad", found.worse), ("Better than before", "good", found.better)):
        if some:
            head = "".join(f'<th scope="col"{" class=l" if index in (0, 1, 7) else ""}>{name}</th>' for index, name in
                           enumerate(("", "contender", "before", "now", "change", "noise", "others", "")))
            rows = "".join(changed(one, word) for one in some)
            parts.append(f"<h3>{title}</h3>" + scrolled(
                f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>", title))
    return "".join(parts)


def changed(one: Difference, word: str) -> str:
    """A row of a comparison."""
    series = one.series
    at = "" if series.at is None else point(series.at, series.along)
    change, others = one.amounts
    where = ", ".join(part for part in (f"{groups.title(series.suite)}: {series.figure}", series.case, at) if part)
    return (f'<tr><th scope="row">{esc(where)}</th><td class="l">{esc(series.contender)}</td>'
            f"<td>{number(one.before, series.unit)} {esc(groups.unit(series.unit))}</td>"
            f"<td>{number(one.now, series.unit)} {esc(groups.unit(series.unit))}</td>"
            f"<td{f' class={word}' if one.alone else ''}>{change}</td><td>{one.beyond:.0%}</td><td>{others}</td>"
            f'<td class="l muted">{"" if one.alone else "as the others"}</td></tr>')


def cell(one: Series | None) -> str:
    """A median with its spread."""
    if one is None:
        return "<td></td>"
    return (f"<td>{number(one.median, one.unit)}{NOISY if one.noisy else ''} "
            f"<small>{groups.quartiles(one, one.unit)}</small></td>")


def pairs(found: dict[str, str]) -> str:
    """Names and what they are."""
    return "".join(f"<dt>{esc(name)}</dt><dd>{esc(value)}</dd>" for name, value in found.items())


def beside(figures: Sequence[str], table: str, summary: str) -> str:
    """Plots with their table: a short one stands beside a single plot, any other is folded below them."""
    if len(figures) == 1 and table.count("<tr") <= OPEN:
        return f'<div class="panels">{figures[0]}<div class="beside">{table}</div></div>'
    return (f'<div class="panels">{"".join(figures)}</div><details><summary>{esc(summary)}</summary>{table}'
            "</details>")


def scrolled(table: str, name: str) -> str:
    """A table that scrolls by itself where it is wider than the window, by the keyboard as well."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{esc(name)}">{table}</div>'
