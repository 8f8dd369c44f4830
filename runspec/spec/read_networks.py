"""YAML trees -> Networks."""

from __future__ import annotations

from runspec.spec import read_traffic, units
from runspec.spec.model import Network, Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runspec.spec.from_yaml import Reader


def network(reader: Reader) -> Network:
    """The Network of a document."""
    tree = reader.tree
    pool = tree.get("pool")
    return Network(
        name=tree["name"], labels=reader.pairs(tree, "", "labels"), project=tree.get("project"),
        type=tree.get("type") or "bridge", addresses=reader.list_of(tree, "", "addresses", units.parse_cidr),
        mtu=tree.get("mtu"),
        pool=None if pool is None else Pool(range=reader.list_of(pool, "pool", "range", units.parse_range),
                                            exclude=reader.list_of(pool, "pool", "exclude", units.parse_range)),
        internal=tree.get("internal", False), nat=tree.get("nat", False), isolated=tree.get("isolated", False),
        vlan_filtering=tree.get("vlanFiltering", False), external=tree.get("external", False),
        qos=read_traffic.line(reader, tree.get("qos")))
