"""What the page looks like: colours of both schemes, and the sheet."""

from __future__ import annotations

# Role -> colour by day, by night. Text keeps 4.5 : 1 on its ground and what is drawn 3 : 1, in both.
COLOURS = {
    "bg": ("#ffffff", "#14171b"),
    "ink": ("#1c1f23", "#e7e9ec"),
    "muted": ("#5a6068", "#a5acb5"),
    "rule": ("#d5d9de", "#363c44"),
    "grid": ("#e9ebee", "#272c33"),
    "panel": ("#f5f6f8", "#1b1f25"),
    "link": ("#0a5fb4", "#7cb8ff"),
    "good": ("#0b6b3e", "#63d39c"),
    "bad": ("#b3261e", "#ff8d84"),
    "aim": ("#dcebe2", "#1f3a2d"),
}
# By place in the list of contenders; the last is for literature.
CONTENDERS = {
    "native": ("#6b7280", "#cfd4db"),
    "floor": ("#868627", "#fbde6a"),
    "runspec": ("#0a5fb4", "#6cb2ff"),
    "runc": ("#c4500a", "#ff9a52"),
    "lxc": ("#a8328f", "#ee92d6"),
    "crun": ("#12855a", "#7fe0ab"),
    "bubblewrap": ("#4e05bd", "#9468d8"),
    "systemd-nspawn": ("#674a1e", "#a9711c"),
    "podman": ("#772244", "#d4528a"),
    "runspec-oci": ("#021950", "#1a5df9"),
    "literature": ("#6b7280", "#9aa2ad"),
}
SHEET = """
*{box-sizing:border-box}
abbr{text-decoration:none}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
.page{max-width:1140px;margin:0 auto;padding:28px 20px 64px}
h1{font-size:28px;line-height:1.2;margin:0 0 6px;font-weight:650;letter-spacing:-.01em}
h2{font-size:21px;line-height:1.3;margin:56px 0 4px;padding-top:14px;border-top:2px solid var(--ink);font-weight:650}
h3{font-size:16px;line-height:1.4;margin:30px 0 10px;font-weight:650}
h3 span{font-weight:400;color:var(--muted)}
h4{font-size:13px;line-height:1.4;margin:0 0 6px;font-weight:650}
p{margin:0 0 10px;max-width:72ch}
.muted,.note{color:var(--muted)}
.note{font-size:14px}
.first{margin-top:14px}
.machine{max-width:none}
.verdict{font-size:18px;margin:14px 0 4px}
a{color:var(--link)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:16px 0 0;font-size:14px}
.panels{display:grid;gap:26px 36px;align-items:start;
grid-template-columns:repeat(auto-fill,minmax(min(340px,100%),1fr))}
figure{margin:0;min-width:0}
.beside{grid-column:span 2}
svg{display:block}
.plot{max-width:100%;height:auto}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--ink);
font-variant-numeric:tabular-nums}
svg .tick{fill:var(--muted)}
.grid{stroke:var(--grid);stroke-width:1}
.axis{stroke:var(--muted);stroke-width:1}
.halo{fill:none;stroke:var(--bg);stroke-width:4}
.whisker{fill:none;stroke:var(--ink);stroke-width:1.5}
.curve{fill:none;stroke:currentColor;stroke-width:1.6}
.c-runspec .curve{stroke-width:3.4}
.c-runspec text{font-weight:650}
.band{fill:currentColor;opacity:.14;stroke:none}
.marker{fill:var(--bg);stroke:currentColor;stroke-width:1.6}
.c-runspec .marker,.forest .marker{fill:currentColor}
.c-literature text{font-style:italic}
.hatch{stroke:var(--c-literature);stroke-width:2.4}
.aim{fill:var(--aim)}
.bound{stroke:var(--good);stroke-width:1.5}
.legend{display:flex;flex-wrap:wrap;gap:2px 20px;margin:0 0 12px;padding:0;list-style:none;font-size:14px}
.legend li{display:flex;align-items:center;gap:7px}
.scroll{overflow-x:auto;max-width:100%;min-width:0}
.scroll:focus-visible,summary:focus-visible,a:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;font-size:14px;line-height:1.4;font-variant-numeric:tabular-nums}
.tables{display:flex;flex-wrap:wrap;gap:0 48px;align-items:start}
caption{text-align:left;font-weight:650;padding:12px 0 4px}
th,td{padding:4px 14px 4px 0;text-align:right;vertical-align:baseline;font-weight:400;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
th:first-child,.l{text-align:left}
thead th{color:var(--muted);border-bottom:1px solid var(--muted)}
tbody tr+tr>*{border-top:1px solid var(--rule)}
tbody th.case{font-weight:650;padding-top:12px;border-top:0}
tr.hero>*{font-weight:650}
.wrap{white-space:normal;overflow-wrap:anywhere}
td small{display:block;color:var(--muted);font-size:12px}
.good{color:var(--good)}
.bad{color:var(--bad)}
.good,.bad{font-weight:650}
.ratios{width:100%}
.ratios th:first-child{white-space:normal}
.ratios td{padding-top:6px;padding-bottom:6px}
.ratios .forest{display:inline-block;vertical-align:middle}
.ratios small{display:none}
details{margin:14px 0 0;font-size:14px}
summary{cursor:pointer;color:var(--link);padding:4px 0}
.where{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:10px 36px;align-items:start}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 16px;margin:6px 0;font-size:14px}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
.commands{background:var(--panel);padding:8px 12px;margin:6px 0;border-radius:4px}
.absent{background:var(--panel);padding:10px 14px;margin:18px 0 0;border-radius:4px;font-size:14px;list-style:none;
overflow-wrap:anywhere}
@media(max-width:1099px){.beside{grid-column:auto}.ratios .plotted{display:none}}
@media(max-width:640px){
body{font-size:15px}
.page{padding:20px 20px 48px}
.ratios .spread,.ratios .aimed{display:none}
.ratios td{white-space:normal}
.ratios .good,.ratios .bad{white-space:nowrap}
.ratios small{display:block}
th,td{padding-right:10px}
dl{grid-template-columns:1fr;gap:0}
dd{margin-bottom:6px}
}
@media(max-width:379px){.page{padding:16px 10px 40px}}
"""
PRINT = """
@page{margin:12mm}
body{font-size:10.5pt}
.page{max-width:none;padding:0}
nav{display:none}
h2{break-after:avoid;margin-top:28px}
h3,h4,caption,.legend,section>p{break-after:avoid}
.panels{gap:20px}
.beside{grid-column:1/-1}
table{font-size:9pt}
td small{font-size:8pt}
figure,tr,.absent{break-inside:avoid}
.scroll{overflow:visible}
details::details-content{content-visibility:visible;height:auto}
a{color:inherit;text-decoration:none}
"""


def sheet() -> str:
    """The whole sheet: by day, by night, on paper always by day."""
    day, night = (_variables(index) for index in (0, 1))
    classes = "".join(f".c-{name}{{color:var(--c-{name})}}\n" for name in CONTENDERS)
    return (f":root{{color-scheme:light dark;{day}}}\n@media(prefers-color-scheme:dark){{:root{{{night}}}}}\n"
            f"{SHEET}{classes}@media print{{\n:root{{color-scheme:light;{day}}}{PRINT}}}\n")


def _variables(index: int) -> str:
    found = {**COLOURS, **{f"c-{name}": pair for name, pair in CONTENDERS.items()}}
    return "".join(f"--{name}:{pair[index]};" for name, pair in found.items())
