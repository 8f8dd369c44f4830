"""What few verbs ask of the machine."""

from __future__ import annotations

from runspec.kernel.conntrack import Conntrack
from runspec.kernel.filters import Filters
from runspec.kernel.foreign import Foreign
from runspec.kernel.gates import Gates
from runspec.kernel.hooks import Hooks
from runspec.kernel.lines import Lines
from runspec.kernel.nft import Nft
from runspec.kernel.tasks import Tasks
from runspec.kernel.terminal import Terminals


class Rare(Conntrack, Filters, Foreign, Gates, Hooks, Lines, Nft, Tasks, Terminals):
    """Parts of the Kernel facade; their methods are the Kernel's own."""
