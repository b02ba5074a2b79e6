"""
The command line of the cluster.

Exit codes: 0 done; 1 it did not come true, stderr says why; 2 wrong usage. ``status`` ends with 1 unless everything
is ready; ``exec`` and ``kubectl`` end as what they run.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable

from infra.cluster import drill, figures, programs
from infra.cluster.cluster import Cluster, ClusterError
from infra.cluster.deployment import IN_MEMORY, KAFKA, Deployment
from infra.cluster.layout import REPOSITORY, usual_layout
from infra.cluster.report import PAGE, page
from infra.cluster.results import commit_of, kept
from infra.cluster.trials import Trials
from infra.image.commands import ImageError
from infra.stack.install import InstallError


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    given, words = parser.parse_known_args(arguments)
    given.words = words
    if given.words and given.command not in ("exec", "kubectl", *_TRIALS):
        parser.error(f"not understood: {' '.join(given.words)}")
    if given.command == "exec" and not _command(words):
        parser.error("exec needs a command")
    if given.command in _OPTIONS:  # before minutes are spent on what they are of
        _OPTIONS[given.command]().parse_args(given.words)
    signal.signal(signal.SIGINT, _interrupted if given.command in _LEFT_GOING else signal.SIG_DFL)
    try:
        return int(_COMMANDS[given.command](given) or 0)
    except (ClusterError, InstallError, ImageError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _interrupted(number: int, _: object) -> None:
    sys.stderr.write(
        "\nstopped; what was begun goes on: scripts/cluster status says what, scripts/cluster down ends it\n"
    )
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/cluster",
        description="Real Kubernetes with Knative Serving and Eventing on one node, in namespaces of its own.",
        epilog="CHAT4ALL_CLUSTER_DIR: where its state and logs are.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build its programs, once: a quarter of an hour")
    commands.add_parser("up", help="start it, and wait until Knative is ready")
    commands.add_parser("down", help="end it, and leave nothing but the logs")
    commands.add_parser("status", help="what runs")
    commands.add_parser("image", help="make the functions' image of the repository as it is; print its name")
    for name, words in (
        ("deploy", "put the platform of the repository on it, with real engines"),
        ("test", "deploy, and run the flow tests against the public entry, over either broker; the rest is for pytest"),
        ("drill", "deploy, and kill pods under load (--kills N); whether anything was lost, doubled or out of order"),
        ("figures", "deploy, and measure: starts from zero, hops, scaling, rollouts, memory"),
    ):
        of_it = commands.add_parser(
            name, help=words, epilog=_own_options(name), formatter_class=argparse.RawDescriptionHelpFormatter
        )
        which = of_it.add_mutually_exclusive_group()
        kafka = "events by Kafka and our dispatcher, not by Knative's in-memory channel; drill and figures need it"
        which.add_argument("--kafka", action="store_true", help=kafka)
        if name == "test":
            which.add_argument("--in-memory", action="store_true", help="events by Knative's in-memory channel only")
        if name != "deploy":
            of_it.add_argument("--write", action="store_true", help=f"then write {PAGE.relative_to(REPOSITORY)}")
    commands.add_parser(
        "demo", help="show on what is deployed with --kafka how functions sleep, wake, and are replaced"
    )
    commands.add_parser("report", help=f"write {PAGE.relative_to(REPOSITORY)} from what was seen last")
    for name, words in (("exec", "run a command inside"), ("kubectl", "run kubectl inside")):
        commands.add_parser(name, help=words, add_help=False, prefix_chars="\0")
    return parser


def _own_options(name: str) -> str | None:
    """For the help: the options that the trial reads itself, inside the cluster."""
    if name not in _OPTIONS:
        return None
    return "options of the trial:" + _OPTIONS[name](add_help=False).format_help().partition("options:")[2].rstrip()


def _say_from(begin: float) -> programs.Say:
    def say(name: str, what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - begin:6.1f} s  {name:<28} {what}\n")
        sys.stderr.flush()

    return say


def _cluster() -> Cluster:
    layout = usual_layout()
    say = _say_from(time.monotonic())
    return Cluster(layout, programs.build(layout.cache, say), say)


def _build(_: argparse.Namespace) -> None:
    say = _say_from(time.monotonic())
    say("programs", str(programs.build(usual_layout().cache, say).folder))


def _up(_: argparse.Namespace) -> None:
    _cluster().up()


def _down(_: argparse.Namespace) -> None:
    _cluster().down()


def _status(_: argparse.Namespace) -> bool:
    """Whether something is wrong."""
    cluster = _cluster()
    seen = cluster.seen()
    for one in seen:
        sys.stdout.write(f"{one.name:<26} {'dead' if one.memory is None else f'{one.memory / 2**20:5.0f} MiB'}\n")
    columns = (
        "NAMESPACE:.metadata.namespace,NAME:.metadata.name,PHASE:.status.phase,READY:.status.containerStatuses[*].ready"
    )
    try:
        pods = cluster.kubectl("get", "pods", "-A", "-o", f"custom-columns={columns}")
    except ClusterError:
        sys.stdout.write("not up, or not completely: scripts/cluster down, then scripts/cluster up\n")
        return True
    sys.stdout.write(pods)
    engines = cluster.engines("status")
    sys.stdout.write(engines.stdout)
    ill = bool(engines.stdout) and engines.returncode != 0  # without a word: none was started
    return any(one.memory is None for one in seen) or "false" in pods or ill


def _image(_: argparse.Namespace) -> None:
    sys.stdout.write(f"{_cluster().import_image()}\n")


def _deployment(overlay: str) -> Deployment:
    return Deployment(_cluster(), overlay, _say_from(time.monotonic()))


def _trials(overlay: str) -> Trials:
    return Trials(usual_layout(), _cluster(), _deployment(overlay), commit_of(REPOSITORY))


def _deploy(given: argparse.Namespace) -> None:
    _deployment(KAFKA if given.kafka else IN_MEMORY).deploy()


def _trial(given: argparse.Namespace) -> bool:
    """Whether something failed."""
    cluster = _cluster()
    if cluster.node is None:
        cluster.up()
    well = all([_tried(given, overlay) for overlay in _overlays(given)])
    if given.write:
        _report(given)
    return not well


def _overlays(given: argparse.Namespace) -> tuple[str, ...]:
    if given.kafka or given.command != "test":
        return (KAFKA,)
    return (IN_MEMORY,) if given.in_memory else (IN_MEMORY, KAFKA)


def _tried(given: argparse.Namespace, overlay: str) -> bool:
    trials = _trials(overlay)
    _deployment(overlay).deploy()
    return _TRIALS[given.command](trials, given.words)


def _demo(given: argparse.Namespace) -> None:
    _trials(KAFKA).demo(given.words)


def _report(_: argparse.Namespace) -> None:
    PAGE.write_text(page(kept(usual_layout().results)))


def _exec(given: argparse.Namespace) -> None:
    _cluster().become(_command(given.words))


def _command(words: list[str]) -> list[str]:
    return words[1:] if words[:1] == ["--"] else words


def _kubectl(given: argparse.Namespace) -> None:
    _cluster().become(["kubectl", *given.words])


_LEFT_GOING = ("up", "deploy", "test", "drill", "figures", "demo")
"""Ctrl-C ends these at once, and what they began on the node goes on."""
_OPTIONS: dict[str, Callable[..., argparse.ArgumentParser]] = {"drill": drill.arguments, "figures": figures.arguments}
_TRIALS: dict[str, Callable[[Trials, list[str]], bool]] = {
    "test": Trials.flows,
    "drill": Trials.drill,
    "figures": Trials.figures,
}
_COMMANDS: dict[str, Callable[[argparse.Namespace], bool | None]] = {
    "build": _build,
    "up": _up,
    "down": _down,
    "status": _status,
    "image": _image,
    "deploy": _deploy,
    **dict.fromkeys(("test", "drill", "figures"), _trial),
    "demo": _demo,
    "report": _report,
    "exec": _exec,
    "kubectl": _kubectl,
}

if __name__ == "__main__":
    sys.exit(main())
