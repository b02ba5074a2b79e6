"""Each promise, broken by hand in a small history, is found; unbroken it is not (E12, reliability.md 4.5)."""

from dataclasses import dataclass, field

import msgspec
import pytest

from shared.testing import history
from shared.testing.checker import check
from shared.testing.history import (
    Conversation,
    Delivered,
    Fault,
    Inbound,
    Item,
    Observation,
    Operation,
    Page,
    Probe,
    Quiesced,
    Receipt,
    Send,
    Target,
)

TO_BIA = Target("bia", "whatsapp", "+5511987650101")


@dataclass
class Story:
    """Ana and Bia in one conversation; one second a step."""

    operations: list[Operation] = field(default_factory=list)
    clock: float = 0.0

    def __post_init__(self) -> None:
        self.operations.append(Conversation("acme", "c1", ("ana", "bia")))

    def tick(self) -> float:
        self.clock += 1
        return self.clock

    def send(
        self,
        name: str,
        seq: int | None,
        *,
        status: int = 202,
        text: str = "",
        at: tuple[float, float] | None = None,
        targets: tuple[Target, ...] = (),
        conflicting: bool = False,
        tenant: str = "acme",
    ) -> None:
        sent, answered = at or (self.tick(), self.tick())
        self.operations.append(
            Send(
                tenant=tenant,
                conversation="c1",
                sender="ana",
                n=1,
                message_id=name,
                text=text or f"text of {name}",
                intended=sent,
                sent=sent,
                answered=answered,
                status=status,
                seq=seq,
                conflicting=conflicting,
                targets=targets,
            )
        )

    def page(
        self, *items: tuple[int, str], reader: str = "bia", since: int = 0, final: bool = True, text: str = ""
    ) -> None:
        self.operations.append(
            Page(
                tenant="acme",
                conversation="c1",
                reader=reader,
                since=since,
                limit=50,
                sent=self.tick(),
                answered=self.tick(),
                items=tuple(Item(seq, name, "ana", text or f"text of {name}") for seq, name in items),
                final=final,
            )
        )

    def observe(self, name: str, status: str, *, channel: str = "chat4all", final: bool = False) -> None:
        self.operations.append(Observation("acme", name, "bia", channel, status, self.tick(), self.tick(), final))

    def receipt(self, seq: int) -> None:
        self.operations.append(Receipt("acme", "c1", "bia", seq, self.tick(), self.tick(), 202))

    def shown(self, text: str, n: int) -> None:
        self.operations.append(Delivered("whatsapp", TO_BIA.address, text, f"wamid.{n}", n))

    def inbound(self, text: str) -> None:
        sent = self.tick()
        self.operations.append(Inbound("acme", "c1", "whatsapp", "+55", text, text, sent, self.tick(), 200))

    @property
    def broken(self) -> set[str]:
        return {finding.invariant for finding in check(self.operations).findings}


def told() -> Story:
    """Everything that can be right in one run."""
    story = Story()
    story.send("m1", None, status=0)
    story.send("m1", 1)
    story.send("m2", 2, targets=(TO_BIA,))
    story.send("m2", None, status=409, text="other", conflicting=True)
    story.shown("text of m2", 1)
    story.page((1, "m1"), (2, "m2"), final=False)
    story.observe("m2", "PENDING", channel="whatsapp")
    story.observe("m2", "SENT", channel="whatsapp")
    story.receipt(1)
    story.observe("m1", "READ")
    story.operations.append(Fault("kill", story.tick(), story.tick()))
    story.operations.append(Quiesced(1.0, 0))
    story.operations.append(Probe("globex", "acme", "/v1/conversations/c1/messages", 404, "{}"))
    story.observe("m1", "READ", final=True)
    return story


def test_a_run_in_which_every_word_was_kept_has_no_finding() -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"))

    report = check(story.operations)

    assert report.good, report.findings
    assert (report.accepted, report.kills, report.restarts, report.provider_duplicates) == (2, 1, 1, 0)


def test_an_accepted_message_that_a_member_does_not_see_is_lost() -> None:
    story = told()
    story.page((1, "m1"))

    assert check(story.operations).lost >= 1


def test_a_page_that_ends_before_what_was_accepted_earlier_is_stale() -> None:
    story = Story()
    story.send("m1", 1)
    story.page(final=False)
    story.page((1, "m1"))

    assert story.broken == {"I1"}


def test_a_customers_message_that_was_taken_and_is_not_in_the_conversation_is_lost() -> None:
    story = Story()
    story.inbound("hello")
    story.page()

    assert story.broken == {"I1"}


def test_a_message_nobody_sent_is_invented() -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"), (3, "m3"))

    assert story.broken == {"I2"}


def test_a_message_with_another_text_is_altered() -> None:
    story = Story()
    story.send("m1", 1)
    story.page((1, "m1"), text="something else")

    assert story.broken == {"I2"}


def test_a_call_to_a_provider_that_nobody_asked_for_is_invented() -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"))
    story.shown("text of m1", 2)

    assert story.broken == {"I2"}


def test_a_missing_number_is_a_gap() -> None:
    story = Story()
    story.send("m1", 1)
    story.send("m2", 3)
    story.page((1, "m1"), (3, "m2"))

    assert story.broken == {"I3"}
    assert check(story.operations).gaps == 1


def test_two_readers_with_different_orders_are_found() -> None:
    story = Story()
    story.send("m1", 1, at=(1, 4))
    story.send("m2", 2, at=(2, 3))
    story.page((1, "m1"), (2, "m2"))
    story.page((1, "m2"), (2, "m1"), reader="ana")

    assert story.broken == {"I3"}


def test_an_answer_with_another_number_than_history_shows_is_found() -> None:
    story = Story()
    story.send("m1", 1, at=(1, 4))
    story.send("m2", 2, at=(2, 3))
    story.page((1, "m2"), (2, "m1"))

    assert story.broken == {"I3"}


def test_a_message_sent_after_another_was_answered_may_not_come_before_it() -> None:
    story = Story()
    story.send("m1", 2)
    story.send("m2", 1)
    story.page((1, "m2"), (2, "m1"))

    assert story.broken == {"I3"}


def test_messages_to_one_person_at_a_provider_keep_their_order() -> None:
    story = Story()
    story.send("m1", 1, targets=(TO_BIA,))
    story.send("m2", 2, targets=(TO_BIA,))
    story.shown("text of m2", 1)
    story.shown("text of m1", 2)
    story.page((1, "m1"), (2, "m2"))

    assert story.broken == {"I3"}


def test_a_message_shown_twice_is_doubled() -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"), (3, "m2"))

    report = check(story.operations)

    assert "I4" in {finding.invariant for finding in report.findings}
    assert report.doubled >= 1


def test_a_customers_message_shown_under_two_ids_is_doubled() -> None:
    story = Story()
    story.inbound("hello")
    story.page((1, "x1"), (2, "x2"), text="hello")

    assert story.broken == {"I4"}


def test_a_delivery_that_never_reached_its_provider_is_found() -> None:
    story = Story()
    story.send("m1", 1, targets=(TO_BIA,))
    story.page((1, "m1"))

    assert story.broken == {"I4"}


def test_a_repeated_call_to_a_provider_needs_a_fault_to_blame() -> None:
    story = Story()
    story.send("m1", 1, targets=(TO_BIA,))
    story.shown("text of m1", 1)
    story.shown("text of m1", 2)
    story.page((1, "m1"))
    assert story.broken == {"I4"}

    story.operations.append(Fault("kill", story.tick(), story.tick()))

    assert story.broken == set()
    assert check(story.operations).provider_duplicates == 1


def test_a_status_that_goes_back_is_found() -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"))
    story.observe("m2", "PENDING", channel="whatsapp")

    assert story.broken == {"I5"}
    assert check(story.operations).status_regressions == 1


def test_read_without_a_reader_who_said_so_is_found() -> None:
    story = Story()
    story.send("m1", 1)
    story.observe("m1", "READ")
    story.page((1, "m1"))

    assert story.broken == {"I5"}


def test_sent_without_a_call_that_the_provider_took_is_found() -> None:
    story = Story()
    story.send("m1", None, status=0, targets=(TO_BIA,))
    story.observe("m1", "SENT", channel="whatsapp")
    story.page((1, "m1"))

    assert story.broken == {"I5"}


def test_a_receipt_that_was_taken_and_forgotten_is_found() -> None:
    story = Story()
    story.send("m1", 1)
    story.receipt(1)
    story.page((1, "m1"))
    story.observe("m1", "SENT", final=True)

    assert story.broken == {"I5"}


def test_one_id_with_two_numbers_is_two_messages() -> None:
    story = Story()
    story.send("m1", 1)
    story.send("m1", 2)
    story.page((1, "m1"), (2, "m1"))

    assert "I7" in story.broken


@pytest.mark.parametrize("status", [202, 200, 422])
def test_other_content_for_a_known_id_must_be_409(status: int) -> None:
    story = Story()
    story.send("m1", 1)
    story.send("m1", 1, status=status, text="other", conflicting=True)
    story.page((1, "m1"))

    assert story.broken == {"I7"}


def test_a_text_of_another_tenant_is_found_in_a_page() -> None:
    story = Story()
    story.operations.append(Conversation("globex", "c1", ("ana", "bia")))
    story.send("m1", 1)
    story.send("g1", 1, tenant="globex", text="their secret")
    story.page((1, "m1"), text="their secret")

    assert "I8" in story.broken


@pytest.mark.parametrize(("status", "body"), [(200, "{}"), (404, "… canary-acme …")])
def test_an_answer_about_another_tenant_is_found(status: int, body: str) -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"))
    story.operations.append(Probe("globex", "acme", "/v1/messages/m1", status, body))

    assert story.broken == {"I8"}


def test_a_run_that_does_not_come_to_rest_is_found() -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"))
    story.operations.append(Quiesced(60.0, 3, "3 events"))

    assert story.broken == {"I10"}


def test_what_still_waits_at_its_provider_is_late_and_not_lost() -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"))
    story.inbound("hello")
    assert story.broken == {"I1"}
    story.operations.append(Quiesced(60.0, 1, "0 events, 1 webhooks"))

    assert story.broken == {"I10"}


def test_a_platform_that_stays_away_is_found() -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"))
    story.operations.append(Fault("kill", story.tick(), None))

    assert story.broken == {"I10"}


def test_an_internal_error_for_a_valid_request_is_found() -> None:
    story = told()
    story.page((1, "m1"), (2, "m2"))
    story.send("m3", None, status=500)

    assert story.broken == {"answer"}


def test_a_history_survives_its_file(tmp_path) -> None:
    story = told()
    path = tmp_path / "history.jsonl"

    history.write(path, story.operations)

    assert list(history.read(path)) == story.operations
    assert msgspec.json.decode(path.read_bytes().splitlines()[0])["type"] == "conversation"
