"""A page as Chromium shows it: what is in it, where it stands, in which colours; frames of several widths at once."""

from __future__ import annotations

import html
import json
import re
import struct
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Nothing of it asks the network.
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--force-device-scale-factor=1", "--enable-logging=stderr")

# Run outside of the pages, in the document that frames them: their own policy lets nothing run.
MEASURE = r"""
const number = text => text.match(/[\d.]+/g).map(Number);
const visible = e => e.getClientRects().length > 0 &&
  e.ownerDocument.defaultView.getComputedStyle(e).visibility == 'visible';
const name = e => (e.getAttribute('class') || e.tagName) + ': ' + (e.textContent || '').trim().slice(0, 40);

function ground(e) {                                            // the nearest ancestor's background that is not clear
  for (; e; e = e.parentElement) {
    const c = number(e.ownerDocument.defaultView.getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
}
function luminance(c) {
  const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}
function measure(doc) {
  const win = doc.defaultView, found = {dark: win.matchMedia('(prefers-color-scheme: dark)').matches,
    title: doc.title, width: win.innerWidth, scroll: doc.documentElement.scrollWidth, wide: [], outside: [],
    overlaps: [], small: [], faint: [], dull: [], nameless: [], texts: 0, marks: 0, scripts: 0,
    requests: win.performance.getEntriesByType('resource').map(e => e.name)};
  for (const e of doc.querySelectorAll('*')) {
    for (const a of e.attributes)
      if (['src', 'srcset', 'href', 'xlink:href', 'data', 'action', 'poster', 'background'].includes(a.name) &&
          !a.value.startsWith('#')) found.requests.push(name(e) + ' ' + a.value);
      else if (a.name.startsWith('on')) found.scripts++;
    if (e.localName == 'script') found.scripts++;
  }
  for (const sheet of doc.styleSheets)
    for (const rule of sheet.cssRules) if (/@import|url\((?!"?#)/.test(rule.cssText)) found.requests.push(rule.cssText);
  for (const e of doc.body.querySelectorAll('*')) {
    const box = e.getBoundingClientRect();
    if (box.right > win.innerWidth + 0.5 && !e.closest('.scroll') && visible(e)) found.wide.push(name(e));
    const own = [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim());
    if (!own || !visible(e) || ['title', 'desc', 'style'].includes(e.tagName)) continue;
    found.texts++;
    const style = win.getComputedStyle(e), svg = e.closest('svg');
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    if (parseFloat(style.fontSize) * scale < 11.5) found.small.push(name(e));
    const ratio = contrast(number(svg ? style.fill : style.color), ground(e));
    if (ratio < 4.5) found.faint.push(name(e) + ' ' + ratio.toFixed(2));
  }
  for (const svg of doc.querySelectorAll('svg.plot')) {
    if (!visible(svg)) continue;
    if (!svg.querySelector(':scope > title')?.textContent.trim() || svg.getAttribute('role') != 'img')
      found.nameless.push(name(svg));
    const outer = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll('text')];
    const boxes = texts.map(t => t.getBoundingClientRect());
    boxes.forEach((a, i) => {
      if (a.left < outer.left - 0.5 || a.right > outer.right + 0.5 || a.bottom > outer.bottom + 2 ||
          a.top < outer.top - 2) found.outside.push(name(texts[i]));
      for (let j = 0; j < i; j++) {
        const b = boxes[j];
        if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5 &&
            Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)       // line boxes are higher than letters
          found.overlaps.push(name(texts[i]) + ' / ' + name(texts[j]));
      }
    });
  }
  for (const e of doc.querySelectorAll('svg .curve, svg .marker, svg .whisker, svg .bound, svg rect:not(.aim)')) {
    if (!visible(e)) continue;
    found.marks++;
    const style = win.getComputedStyle(e);
    const ink = ['.curve', '.marker', '.whisker', '.bound'].some(c => e.matches(c)) || style.fill.startsWith('url')
      ? style.stroke : style.fill;
    const ratio = contrast(number(ink), ground(e.closest('svg')));
    if (ratio < 3) found.dull.push(name(e.closest('g') || e) + ' ' + ratio.toFixed(2));
  }
  return found;
}
window.onload = () => {
  const found = {};
  for (const frame of document.querySelectorAll('iframe')) found[frame.name] = measure(frame.contentDocument);
  document.getElementById('found').textContent = JSON.stringify(found);
};
"""


class Frame:
    """A page in a window of its own.

    Args:
        page: the whole document.
        width: of the window, in px.
        scheme: light or dark.
    """

    def __init__(self, page: str, width: int, scheme: str = "light") -> None:
        self.page, self.width, self.scheme = page, width, scheme


def run(room: Path, frames: Mapping[str, Frame], height: int, script: str, *options: str) -> tuple[str, list[str]]:
    """Show frames side by side; returns the document at its end, and what was written to the console."""
    inner = "".join(f'<iframe name="{name}" width="{one.width}" height="{height}" style="color-scheme:{one.scheme}" '
                    f'srcdoc="{html.escape(one.page)}"></iframe>' for name, one in frames.items())
    (room / "document.html").write_text(
        '<!DOCTYPE html><meta charset="utf-8"><style>body{margin:0;display:flex}iframe{border:0;flex:none}</style>'
        f'<body>{inner}'
        f'<pre id="found" hidden></pre><script>{script}</script>')
    done = subprocess.run(
        ["chromium", *FLAGS, f"--user-data-dir={room / 'profile'}", *options, f"file://{room / 'document.html'}"],
        capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "HOME": str(room)})
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in re.findall(r"CONSOLE.*", done.stderr) if "chrome://" not in line]


def measure(room: Path, frames: Mapping[str, Frame]) -> tuple[dict[str, Any], list[str]]:
    """What MEASURE finds in each, and what all of them wrote to the console."""
    dom, console = run(room, frames, 900, MEASURE, "--dump-dom")
    text = re.search(r'<pre id="found" hidden="">(.*?)</pre>', dom, re.DOTALL)
    assert text and text[1], console
    return json.loads(html.unescape(text[1])), console


def screenshot(room: Path, frames: Mapping[str, Frame], height: int) -> list[list[tuple[int, int, int]]]:
    """Rows of pixels as (red, green, blue), the frames from left to right."""
    width = sum(one.width for one in frames.values())
    run(room, frames, height, "", f"--screenshot={room / 'shot.png'}", f"--window-size={width},{height}")
    return pixels((room / "shot.png").read_bytes())


def pixels(png: bytes) -> list[list[tuple[int, int, int]]]:
    """A PNG of eight bits a channel, with or without alpha, not interlaced: what Chromium writes."""
    place, data, width, channels = 8, b"", 0, 3
    while place < len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        if kind == b"IHDR":
            width, _, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", png, place + 8)
            assert depth == 8 and colour in (2, 6) and not interlaced
            channels = 4 if colour == 6 else 3
        elif kind == b"IDAT":
            data += png[place + 8:place + 8 + length]
        place += length + 12
    raw, step, rows = zlib.decompress(data), width * channels, []
    above = bytearray(step)
    for begin in range(0, len(raw), step + 1):
        kind, line = raw[begin], bytearray(raw[begin + 1:begin + 1 + step])
        for index in range(step if kind else 0):
            left = line[index - channels] if index >= channels else 0
            corner = above[index - channels] if index >= channels else 0
            up = above[index]
            guess = left + up - corner
            nearest = min((left, up, corner), key=lambda one, guess=guess: abs(guess - one))
            line[index] = (line[index] + (0, left, up, (left + up) // 2, nearest)[kind]) & 255
        rows.append([tuple(line[index:index + 3]) for index in range(0, step, channels)])
        above = line
    return rows     # type: ignore[return-value]
