"""A vault that seals nothing, for tests of what is kept in it."""


class PlainVault:
    """The Vault port."""

    def seal(self, secret: str) -> str:
        return secret

    def open(self, sealed: str) -> str:
        return sealed
