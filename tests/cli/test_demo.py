"""The narrator of the demo (issue 3, item 8; G4). The demo itself runs against the real platform in tests/flow."""

import string

import pytest

from shared.cli.command import Failed
from shared.cli.demo.narrator import Narrator
from shared.cli.demo.texts import ENGLISH, PORTUGUESE, texts
from shared.cli.output import Output


def test_both_languages_say_the_same_things() -> None:
    def names(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}

    assert {key: names(text) for key, text in ENGLISH.items()} == {key: names(text) for key, text in PORTUGUESE.items()}


@pytest.mark.parametrize(
    ("language", "expected"),
    [("pt", PORTUGUESE), ("pt_BR.UTF-8", PORTUGUESE), ("en", ENGLISH), ("C", ENGLISH), ("", ENGLISH)],
)
def test_the_language_follows_the_locale(language: str, expected: dict[str, str]) -> None:
    assert texts(language) is expected


def test_a_wait_ends_at_its_deadline_and_says_what_did_not_come() -> None:
    narrator = Narrator(Output(as_json=True), ENGLISH, deadline=0)
    with pytest.raises(Failed, match="the answer"):
        narrator.wait("the answer", lambda: None)


def test_a_wait_gives_what_came() -> None:
    narrator = Narrator(Output(as_json=True), ENGLISH, deadline=5)
    looks = iter([None, "here"])
    assert narrator.wait("it", lambda: next(looks))[0] == "here"
