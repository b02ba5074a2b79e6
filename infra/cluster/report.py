"""docs/reference/cluster-run.md from what was kept."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from infra.cluster import scaling, wakes
from infra.cluster.deployment import IN_MEMORY, KAFKA
from infra.cluster.drill import BY_TURNS
from infra.cluster.layout import REPOSITORY
from infra.cluster.results import Result

PAGE = REPOSITORY / "docs/reference/cluster-run.md"
_KIB, _MIB = 2**10, 2**20
_SOON = 2.0
"""Seconds in which a function at zero answers its first event."""
_WIDTH = 118
_NONE = "–"
_HOPS = {"One event at a time": "alone", "One message a second": "messages"}
_ORDER = ("accepted", "inbound", "delivered", "kills", "lost", "doubled", "order_breaks", "gaps", "status_regressions")


def page(kept: Mapping[str, Result]) -> str:
    parts = [part for name, part in _PARTS.items() if name in kept for part in ("", *part(kept[name]))]
    return "\n".join([*_HEAD, *parts]) + "\n"


_HEAD = (
    "# What was seen on the cluster",
    "",
    "<!-- Made by scripts/cluster report from what its trials found. -->",
    "",
    "Real Kubernetes with Knative Serving and Eventing on one node, with real engines beside it, all on two shared",
    "cores: [how](cluster.md). Each part says when it was seen, of which commit (+: with changes not committed), and",
    "how many processes wanted those cores (load): cluster, engines, load, and whatever else ran. How fast CPUs were",
    "is what a piece of work that is always the same took of their time.",
)


def _flows(title: str) -> Any:
    def part(result: Result) -> Iterator[str]:
        yield from _opening(f"Flow tests: {title}", result)
        yield from _table(
            ("tests", "passed", "failed", "left out", "seconds"),
            (
                (row["name"], row["passed"], row["failed"], row["left_out"], row["seconds"])
                for row in result.told["rows"]
            ),
        )
        yield from ("", "Left out:", "")
        for why in dict.fromkeys(result.told["left out"].values()):
            names = [f"`{name}`" for name, reason in result.told["left out"].items() if reason == why]
            yield f"- {why}: {', '.join(names)}"

    return part


def _drill(result: Result) -> Iterator[str]:
    told = result.told
    yield from _opening("Pods killed under load", result)
    yield from _text(
        f"Over Kafka; half of the kills delete a pod at once, half send SIGKILL to its process{_chosen(told['hit'])}."
        f" Awake when the load began: {', '.join(told['awake']) or 'nobody'}."
        " Judged by the checker of the"
        " [crash campaigns](crash-campaign.md), from what clients and providers saw."
    )
    yield ""
    yield from _table(("what", "how many"), [(name.replace("_", " "), told[name]) for name in _ORDER])
    yield ""
    yield from _text(
        f"Hit: {_counted(told['hit'])}. Pods at most: {_counted(told['most pods'])}. {_recovery(told)} Everything was"
        f" at rest {told['quiesced']:.1f} s after the load. Findings: {len(told['findings'])}."
    )


def _chosen(hit: Mapping[str, int]) -> str:
    if all(hit.get(service, 0) >= 2 for service in BY_TURNS):
        return ": each of those that bear the load was hit in either way, then any"
    return ", of pods that chance chose"


def _recovery(told: Mapping[str, Any]) -> str:
    if "dispensable" not in told:  # kept by a drill that did not ask who came instead
        return "How long recovery took was not measured."
    fewer = f"after {told['dispensable']} kills, for their Services were going to fewer pods."
    if not told["restarts"]:
        return f"No time of recovery was measured; nobody had to answer {fewer}"
    return (
        f"Somebody answered in the place of what was hit after {told['recovery_p50']:.1f} s (p50),"
        f" {told['recovery_max']:.1f} s at most; nobody had to {fewer}"
    )


def _wakes(result: Result) -> Iterator[str]:
    seen = result.told
    yield from _opening("From an event at zero to its end", result)
    yield from _text(
        "The function has no pod, and the machine is at rest. Seconds from an event to the answer that it is handled,"
        " and the memory of the process then. The event is one that was handled before, so that route and deliver find"
        " little to do. Those that take no events were asked whether they are ready. Times and memory are of those only"
        " that were handled, or ready; whatever else was answered has failed. CPU and read are what all that runs on"
        " the machine took meanwhile: seconds of both cores, and what came from its disks. The aim is 2 s for an event."
    )
    yield ""
    rows = []
    for service in sorted({one["service"] for one in seen}):
        mine = [one for one in seen if one["service"] == service]
        good = [one for one in mine if wakes.good(one)]
        answers = ", ".join(str(one) for one in sorted({one["status"] for one in mine}))
        asked = "event" if mine[0]["events"] else "ready?"
        rows.append((service, asked, len(mine), len(mine) - len(good), *_of_good(good), answers))
    yield from _table(
        ("function", "what", "times", "failed", "median", "longest", "CPU", "read", "memory", "answer"), rows
    )
    yield ""
    yield from _text(" ".join(_altogether(seen)))


def _of_good(told: Sequence[Mapping[str, Any]]) -> tuple[object, ...]:
    if not told:
        return (_NONE,) * 5
    seconds = [one["seconds"] for one in told]
    cpu = [one["cpu"] for one in told if "cpu" in one]
    read, memory = ([one[what] for one in told if what in one] for what in ("read", "memory"))
    return round(median(seconds), 2), max(seconds), round(median(cpu), 1) if cpu else _NONE, _most(read), _most(memory)


def _most(sizes: Sequence[int]) -> str:
    return f"{max(sizes) / _MIB:.0f} MiB" if sizes else _NONE


def _altogether(seen: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    good = [one for one in seen if wakes.good(one)]
    late = [one for one in good if one["seconds"] >= _SOON]
    if failed := len(seen) - len(good):
        yield f"{failed} of {len(seen)} failed."
    for what, some in (
        ("events", [one for one in good if one["events"]]),
        ("that were asked", [one for one in good if not one["events"]]),
    ):
        if some:
            middle, soon = median(one["seconds"] for one in some), sum(one["seconds"] < _SOON for one in some)
            yield f"Of {len(some)} {what}: median {middle:.2f} s; {soon} below {_SOON:g} s."
    if met := [one for one in late if one.get("beside")]:
        names = ", ".join(sorted({name for one in met for name in one["beside"]}))
        yield f"Of the {len(late)} later {len(met)} began while pods of other functions started ({names})."
    if beside := sum(not one.get("alone", True) for one in seen):
        yield f"When {beside} of them began, a pod of before was still ending, or the machine was not at rest."


def _chain(result: Result) -> Iterator[str]:
    seen = result.told
    yield from _opening("A chain from zero", result)
    yield from _text(
        "Seconds: until the 202 of a send that was at zero; from its event on until each function was"
        " done; of both cores, by all that runs on the machine. And what came from its disks meanwhile. Where a socket"
        " of the tenant is open push starts as well (ADR 42)."
    )
    yield ""
    yield from _table(("run", *seen[0]), ((number, *run.values()) for number, run in enumerate(seen, 1)))


def _hops(result: Result) -> Iterator[str]:
    yield from _opening("Hops of events between functions that run", result)
    yield from _text(
        "Milliseconds from Kafka's having an event to the beginning of its handling: our dispatcher, the network layer,"
        " queue-proxy. What a producer waits until Kafka has it comes before. Only functions that were awake already."
        " Missing are events that a function should have had, and was not done with half a minute after the last: they"
        " have no time."
    )
    kinds = result.told if "messages" in result.told else {"messages": result.told}  # as it was kept before
    for title, kind in _HOPS.items():
        if kind not in kinds:
            continue
        yield from ("", f"{title}:", "")
        yield from _table(
            ("function", "events", "missing", "p50", "p95"),
            (
                (name, *(one.get(column, _NONE) for column in ("events", "missing", "p50", "p95")))
                for name, one in kinds[kind].items()
            ),
        )


def _scale(result: Result) -> Iterator[str]:
    scale, rollout = result.told["up and down"], result.told["rollout"]
    yield from _opening("Scaling and rollouts under load", result)
    yield from _table(
        ("what", "clients", "requests", "lost", "longest answer"),
        (
            ("0 → many → 1 → 0", scale["clients"], scale["requests"], scale["lost"], f"{scale['longest']} s"),
            ("a new revision", rollout["clients"], rollout["requests"], rollout["lost"], f"{rollout['longest']} s"),
        ),
    )
    yield ""
    yield from _text(
        f"`send` had its first pod ready after {scale['first ready']} s, and {scale['most']} pods at most. It was at"
        f" zero {scale['to zero']} s after the last request. The new revision was ready after {rollout['ready']} s; the"
        f" pods of the old one were gone after {rollout['old gone']} s. Each pod was meant to have {scaling.AT_ONCE}"
        " requests at once in the first, 100 in the second."
    )
    if memory := _by_function(result.told["memory"]):
        yield from ("", "Memory of the processes when all was over:", "")
        yield from _table(("function", "processes", "largest"), memory)


def _drain(result: Result) -> Iterator[str]:
    seen = result.told
    yield from _opening("A slow upload while its pod is to go", result)
    yield from _text(
        f"{seen['bytes'] / _KIB:.0f} KiB in one PATCH that took {seen['seconds']} s. The pod that took it was deleted"
        f" in the midst of it, as where a node is drained, and was gone {seen['gone']} s later. The answer was"
        f" {seen['status']}, and its file, looked at by its checksum, is {seen['upload']}."
    )


def _by_function(running: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, str]]:
    found: dict[str, list[int]] = {}
    for one in running:
        found.setdefault(one["function"], []).append(one["memory"])
    return [(name, len(of_it), f"{max(of_it) / _MIB:.0f} MiB") for name, of_it in sorted(found.items())]


def _opening(title: str, result: Result) -> tuple[str, ...]:
    pace = (
        " The same work took {:.1f} ms at its best, {:.1f} at the median.".format(*result.pace) if result.pace else ""
    )
    return (f"## {title}", "", f"{result.at}, commit {result.commit}, at load {result.load:.0f}.{pace}", "")


def _text(paragraph: str) -> Iterator[str]:
    yield from textwrap.wrap(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


_PARTS = {
    f"flows-{IN_MEMORY}": _flows("Eventing with the in-memory channel"),
    f"flows-{KAFKA}": _flows("Kafka, our dispatcher, Serving"),
    "drill": _drill,
    "figures-wakes": _wakes,
    "figures-chain": _chain,
    "figures-hops": _hops,
    "figures-scale": _scale,
    "figures-drain": _drain,
}
