"""Of the tests that let anything happen at any moment."""

from shared.testing.short_look_back import a_short_look_back

__all__ = ["a_short_look_back"]
