"""What a kill of the drill came to, from what the API server and the pods themselves say."""

import random
from dataclasses import replace
from datetime import UTC, datetime

from infra.cluster.drill import BY_TURNS, Outcome, judge, shortfalls, turns
from infra.cluster.pods import Pod

MADE = datetime(2026, 11, 30, 12, 0, 0, tzinfo=UTC)
HIT = Pod("send-a", "1", "send", "send-00001", "10.244.0.7", ready=True, leaving=False, restarts=1, made=MADE)
OTHER = replace(HIT, name="send-b", uid="2")
NEW = replace(HIT, name="send-c", uid="3", restarts=0)
DISPATCHER = replace(HIT, name="dispatcher-a", service="dispatcher", revision="")


def test_a_killed_process_whose_pod_is_still_said_to_be_ready_has_not_recovered() -> None:
    assert judge(HIT, [HIT], [HIT], wanted=1) is Outcome.MISSING


def test_it_has_when_its_container_was_started_again() -> None:
    again = replace(HIT, restarts=2)
    assert judge(HIT, [HIT], [again], wanted=1) is Outcome.RECOVERED
    assert judge(HIT, [HIT], [replace(again, ready=False)], wanted=1) is Outcome.MISSING
    assert judge(HIT, [HIT], [replace(again, leaving=True)], wanted=1) is Outcome.MISSING


def test_a_deleted_pod_is_replaced_by_a_new_one_and_not_by_those_that_were_there() -> None:
    assert judge(HIT, [HIT, OTHER], [OTHER], wanted=2) is Outcome.MISSING
    assert judge(HIT, [HIT, OTHER], [OTHER, replace(NEW, ready=False)], wanted=2) is Outcome.MISSING
    assert judge(HIT, [HIT, OTHER], [OTHER, replace(NEW, service="push")], wanted=2) is Outcome.MISSING
    assert judge(HIT, [HIT, OTHER], [OTHER, NEW], wanted=2) is Outcome.RECOVERED


def test_nobody_is_missed_where_fewer_pods_are_wanted_than_there_were() -> None:
    assert judge(HIT, [HIT], [], wanted=1) is Outcome.MISSING
    assert judge(HIT, [HIT], [], wanted=0) is Outcome.DISPENSABLE
    assert judge(HIT, [HIT, OTHER], [OTHER], wanted=1) is Outcome.DISPENSABLE
    assert judge(HIT, [HIT, OTHER], [OTHER, NEW], wanted=1) is Outcome.RECOVERED


def test_each_that_bears_the_load_is_hit_in_either_way_before_chance_decides() -> None:
    planned = turns(random.Random(1), 24)
    both = 2 * len(BY_TURNS)
    assert sorted(planned[:both]) == sorted((service, deleted) for service in BY_TURNS for deleted in (True, False))
    assert {service for service, _ in planned[both:]} == {""}
    assert len(planned) == 24
    assert len(turns(random.Random(1), 3)) == 3


def test_a_deployment_is_never_without() -> None:
    assert judge(DISPATCHER, [DISPATCHER], [], wanted=0) is Outcome.MISSING


def test_a_drill_in_which_nothing_happened_has_shown_nothing() -> None:
    assert shortfalls(accepted=240, delivered=240, inbound=240, killed=24, asked=24) == []
    found = shortfalls(accepted=0, delivered=39, inbound=7, killed=3, asked=4)
    assert found == [
        "0 messages were accepted, fewer than 40",
        "39 messages were delivered, fewer than 40",
        "7 messages were written by customers, fewer than 40",
        "3 kills, and 4 were asked for",
    ]
