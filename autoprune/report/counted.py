"""What a search counts changes from, and what its share is a share of."""

from collections.abc import Mapping
from typing import Any

from autoprune.names import alias_of


def for_people(reference: str) -> str:
    """Name of the recipe that changes are counted from."""
    return "Wanda" if reference == "wanda" else reference


class Counted:
    """What a report counts from; ``spec`` is the search's specification."""

    spec: Mapping[str, Any]

    @property
    def reference(self) -> str:
        """Alias of the baseline that changes are counted from; aliases hold no spaces."""
        return alias_of(str(self.spec.get("reference", "wanda")))

    @property
    def reference_name(self) -> str:
        """The same, as a name for people."""
        return for_people(self.reference)

    @property
    def removes(self) -> bool:
        """Whether weights are removed, by schemes, instead of set to zero."""
        return bool(self.spec.get("schemes"))

    @property
    def gone(self) -> str:
        """What the share is a share of."""
        return "fewer parameters in blocks" if self.removes else "zeros"
