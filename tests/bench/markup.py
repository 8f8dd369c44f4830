"""HTML as a tree, for tests; what is not closed, or closed twice, is an error."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "link", "hr", "input"}
SVG_EMPTY = {"path", "rect", "line"}


class Node:
    """An element: its name, attributes, children, and the text directly in it."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name, self.attributes = name, attributes
        self.children: list[Node] = []
        self.own = ""

    def __iter__(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child

    def all(self, name: str = "", cls: str = "") -> list[Node]:
        """Elements of a name and of a class, in the order of the document."""
        return [one for one in self if name in ("", one.name)
                and (not cls or cls in one.attributes.get("class", "").split())]

    @property
    def text(self) -> str:
        """All text in it, what svg tells only those who do not see it left out."""
        return self.own + "".join(child.text for child in self.children if child.name not in ("title", "desc"))


class Tree(HTMLParser):
    """Parses a whole document into `root`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = Node("", {})
        self.open = [self.root]
        self.feed(text)
        self.close()
        assert [one.name for one in self.open] == [""], "not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), attrs
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SVG_EMPTY, tag
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag, tag

    def handle_data(self, data: str) -> None:
        self.open[-1].own += data


def parse(text: str) -> Node:
    """The tree of a document."""
    return Tree(text).root
