"""Ids in a known order, for tests."""

from uuid import NAMESPACE_OID, uuid5


class CountedIds:
    """The Ids port: the same seed gives the same UUIDs in the same order, all different."""

    def __init__(self, seed: str = "") -> None:
        self._seed = seed
        self._drawn = 0

    def uuid(self) -> str:
        self._drawn += 1
        return str(uuid5(NAMESPACE_OID, f"{self._seed}/{self._drawn}"))
