"""
The command line of scripts/deploy.

Exit codes: 0 done; 1 it did not come true, stderr says why; 2 wrong usage.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from os.path import relpath
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from infra.deploy import left_over, misfitting, plan, secrets_told, unsaid, ways_to_kafka
from infra.deploy.order import in_order
from infra.deploy.plan import IMAGE, LATEST, Image, Refused, State, Traffic
from infra.deploy.tools import Kinds, Tools
from infra.manifests.kustomize import Manifest, RenderError, render
from infra.stack.install import InstallError

_OVERLAYS = Path(__file__).resolve().parents[1] / "overlays"
_LOOK_AGAIN = 2.0
_STANDS_AFTER = 30.0
"""Seconds in which a refusal of pods may pass: a ReplicaSet that was refused once asks again within them."""

_FIRST_WHAT_IS_NEW = "; of the next ones what is new goes before that, what runs already after it"
_NAMESPACE, _PATIENCE = "chat4all", 600.0
_WITH_AN_OVERLAY, _NOT_WITH_AN_OVERLAY = ("image", "timeout"), ("namespace",)
"""Options that are refused where they would be passed over in silence; so none of them has a default of argparse's."""
_EXAMPLES = """\
scripts/deploy ../acme --image registry.acme.example/chat4all@sha256:…
scripts/deploy ../acme --image registry.acme.example/chat4all:0.1.0 --dry-run
scripts/deploy --rollback send-00004                  all requests of send to that revision
scripts/deploy --traffic send-00004=90 @latest=10     some of them to the newest
scripts/deploy --latest send                          all of them to the newest, whichever that is
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    if bool(given.overlay) + bool(given.rollback) + bool(given.traffic) + bool(given.latest) != 1:
        parser.error("name an overlay, or one of --rollback, --traffic and --latest")
    for option in _NOT_WITH_AN_OVERLAY if given.overlay else _WITH_AN_OVERLAY:
        if getattr(given, option) is not None:
            parser.error(f"--{option} says nothing {'with' if given.overlay else 'without'} an overlay")
    try:
        if given.overlay:
            _deploy(given)
        else:
            _shift(_traffic(given), given)
    except (Refused, RenderError, InstallError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/deploy",
        description="Puts an overlay of infra/overlays on a cluster and waits until all of it is ready; or says which "
        "revision of a Service gets how many of its requests.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overlay", nargs="?", help="a name below infra/overlays, or a folder of your own")
    parser.add_argument("--image", type=_image, metavar="NAME@DIGEST", help="the image of every function; or NAME:TAG")
    parser.add_argument("--rollback", metavar="REVISION", help="all requests of its Service to this revision")
    parser.add_argument("--traffic", metavar="REVISION=PERCENT", nargs="+", help="the requests of one Service, split")
    parser.add_argument("--latest", metavar="SERVICE", help="all its requests to the newest revision again")
    parser.add_argument("--namespace", "-n", help=f"for traffic (default: {_NAMESPACE}); an overlay says its own")
    parser.add_argument("--context", help="of the kubeconfig (default: the current one)")
    parser.add_argument("--timeout", type=_seconds, metavar="SECONDS", help=f"to wait (default: {_PATIENCE:g})")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; ask no cluster")
    return parser


def _image(text: str) -> Image:
    try:
        return Image.read(text)
    except Refused as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):  # a number that is none is not either
        raise argparse.ArgumentTypeError(f"{text}: so many seconds, 0 or more")
    return seconds


def _deploy(given: argparse.Namespace) -> None:
    image, patience = given.image, _PATIENCE if given.timeout is None else given.timeout
    rendered = list(yaml.load_all(_rendered(_folder(given.overlay), image), yaml.CSafeLoader))
    manifests = left_over.labelled(in_order(rendered))
    namespace = plan.namespace_of(manifests)
    if image and str(image) not in (found := plan.images(manifests)):
        raise Refused(
            f"no container would have {image}, but {', '.join(sorted(found)) or 'none at all'}: an overlay further "
            "down names the image otherwise; say it there (images)"
        )
    if given.dry_run:
        _tell(manifests, namespace)
    if wrong := _found_wrong(manifests, namespace):
        raise Refused("\n".join(wrong))
    if given.dry_run:
        return
    tools = Tools(given.context)
    kinds = tools.kinds()
    _check(tools, kinds, manifests, namespace)
    later = plan.after_triggers(manifests, tools.running(namespace))
    applied = tools.apply(yaml.safe_dump_all([one for one in manifests if one not in later]))
    if later:
        _wait(tools, plan.triggers(manifests), namespace, patience)
        applied += tools.apply(yaml.safe_dump_all(later))
    _say("applied", f"{len(applied)} objects in {namespace}")
    seen = _wait(tools, manifests, namespace, patience)
    for service, shares in plan.pinned(seen).items():
        _say("pinned", f"{service}: {shares}; its newest revision waits for: scripts/deploy --latest {service}")
    for address in plan.public_addresses(manifests) or [one["status"]["url"] for one in seen if "url" in one["status"]]:
        _say("url", address)
    for words in _left_over(tools, kinds, manifests, namespace):
        _say("left over", words)


def _found_wrong(manifests: Sequence[Manifest], namespace: str) -> list[str]:
    """All that can be known to be wrong without asking the cluster, so that nobody has to come back for the rest."""
    found = (
        (unsaid.HEADING, unsaid.unsaid(manifests)),
        (secrets_told.HEADING, secrets_told.wrongly_told(manifests)),
        (ways_to_kafka.HEADING, ways_to_kafka.differing(manifests)),
        (misfitting.HEADING, misfitting.misfitting(manifests)),
    )
    listed = (_listed(heading, lines) for heading, lines in found if lines)
    return [*_which_image(manifests), *_which_broker(manifests, namespace), *listed]


def _which_image(manifests: Sequence[Manifest]) -> Iterator[str]:
    if loose := plan.unversioned(manifests):
        yield (
            f"which image? {len(loose)} objects say :latest, or a digest that is none; --image NAME@sha256:DIGEST, or "
            "NAME:TAG (docs/guides/production.md, the image)"
        )


def _which_broker(manifests: Sequence[Manifest], namespace: str) -> Iterator[str]:
    if misled := plan.misled(manifests, namespace):
        yield (
            f"which Broker? K_SINK of the ConfigMap {', '.join(misled)} is none of this overlay, in {namespace}: let "
            f"it end in /{namespace}/ and the Broker's name (configMapGenerator)"
        )


def _left_over(tools: Tools, kinds: Kinds, manifests: Sequence[Manifest], namespace: str) -> list[str]:
    """Everything is ready by now: what cannot be looked at, as where Secrets may not be listed, is no failure."""
    if not plan.is_platform(manifests):
        return []
    try:
        asked = left_over.asked_for(manifests, kinds.resources)
        left = left_over.left_over(manifests, tools.found(asked, left_over.SELECTOR, namespace))
        if any(one.kind in left_over.NAMED for one in left):
            objects = [one for kind in left_over.naming(kinds.resources) for one in tools.get(kind, namespace)]
            left = left_over.unnamed(left, [*manifests, *objects])
    except Refused as error:
        return [f"cannot be told: {error}"]
    resources = left_over.by_group(kinds.resources)
    deletions = [tools.deleting(resources[one.key[:2]], one.name, namespace) for one in left]
    return [f"{one}: {shlex.join(words)}" for one, words in zip(left, deletions, strict=True)]


def _tell(manifests: Sequence[Manifest], namespace: str) -> None:
    """What would be done, in its order, as far as that can be known without asking the cluster what runs already."""
    later = plan.after_triggers(manifests, {one["metadata"]["name"] for one in manifests})
    _tell_applied([one for one in manifests if one not in later])
    if later:
        _tell_waited(plan.triggers(manifests), namespace, _FIRST_WHAT_IS_NEW)
    _tell_applied(later)
    _tell_waited(manifests, namespace)
    for name in sorted(plan.secrets_wanted(manifests)):
        _say("would need", f"Secret {name} in {namespace}: not of this overlay, so nobody has looked at what is in it")


def _tell_applied(manifests: Sequence[Manifest]) -> None:
    for one in manifests:
        _say("would apply", f"{one['kind']} {one['metadata']['name']}")


def _tell_waited(manifests: Sequence[Manifest], namespace: str, more: str = "") -> None:
    for kind, names in plan.waited_for(manifests).items():
        _say("would wait", f"for {len(names)} {kind} in {namespace}{more}")


def _shift(traffic: Traffic, given: argparse.Namespace) -> None:
    tools, namespace = Tools(given.context), given.namespace or _NAMESPACE
    shares = " ".join(f"{revision}={share}" for revision, share in traffic.percent.items())
    if given.dry_run:
        _say("would run", shlex.join(tools.shifting(traffic, namespace)))
        return
    tools.shift(traffic, namespace)
    _say(traffic.service, shares)


def _traffic(given: argparse.Namespace) -> Traffic:
    if given.latest:
        return Traffic.read(given.latest, [f"{LATEST}=100"])
    if given.rollback:
        return Traffic.read(plan.service_of(given.rollback), [f"{given.rollback}=100"])
    named = [part.partition("=")[0] for part in given.traffic]
    revisions = [one for one in named if one != LATEST]
    if not revisions:
        raise Refused("name a revision; to send all requests to the newest: scripts/deploy --latest SERVICE")
    return Traffic.read(plan.service_of(revisions[0]), given.traffic)


def _folder(overlay: str) -> Path:
    for folder in (Path(overlay), _OVERLAYS / overlay):
        if (folder / "kustomization.yaml").is_file():
            return folder.resolve()
    known = ", ".join(sorted(path.parent.name for path in _OVERLAYS.glob("*/kustomization.yaml")))
    raise Refused(f"there is no overlay {overlay}: a folder with a kustomization.yaml, or one of {known}")


def _rendered(overlay: Path, image: Image | None) -> str:
    if image is None:
        return render(overlay)
    with TemporaryDirectory(prefix="chat4all-deploy-") as folder:
        images = [image.kustomization | {"name": name} for name in _names_of_image(overlay)]
        on_top = {"resources": [relpath(overlay, Path(folder).resolve())], "images": images}
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(on_top))
        return render(Path(folder))


def _names_of_image(overlay: Path) -> list[str]:
    """
    What the image is called below: the manifests' name for it, and the one that the overlay gives it instead.

    Raises:
        Refused: the kustomization is none. kustomize would say so too, but it is read here before.
    """
    path = overlay / "kustomization.yaml"
    try:
        own = yaml.safe_load(path.read_text()) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Refused(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(own, dict):
        raise Refused(f"{path} is no kustomization: it must have fields at the top, such as resources")
    images = own.get("images") or []
    if not isinstance(images, list) or not all(isinstance(one, dict) and one.get("name") for one in images):
        raise Refused(f"{path}: images must be a list, each with a name")
    return [IMAGE, *(one["newName"] for one in images if one["name"] == IMAGE and "newName" in one)]


def _check(tools: Tools, kinds: Kinds, manifests: Sequence[Manifest], namespace: str) -> None:
    """What would otherwise be found out half way."""
    if missing := plan.missing_kinds(manifests, kinds.known):
        more = f"\n{kinds.complaint}" if kinds.complaint else ""
        raise Refused(
            f"the cluster does not know {', '.join(missing)}: docs/guides/production.md, what must be there{more}"
        )
    if absent := [name for name in sorted(plan.secrets_wanted(manifests)) if not tools.has("secret", name, namespace)]:
        raise Refused(
            f"there is no Secret {', '.join(absent)} in {namespace}: secret.env.example beside the overlay, "
            "in infra/overlays/production also log.env.example (chat4all-log) and kafka.env.example (chat4all-kafka), "
            "for the two ways to Kafka; one to pull the image is made as docs/guides/production.md says"
        )


def _wait(tools: Tools, manifests: Sequence[Manifest], namespace: str, patience: float) -> list[Manifest]:
    """Until all that was applied is ready. Raises Refused when something never will be, or time is up."""
    wanted, ends, before = plan.waited_for(manifests), time.monotonic() + patience, -1
    held: dict[str, float] = {}
    while True:
        objects = [
            one
            for kind, names in wanted.items()
            for one in tools.get(kind, namespace)
            if one["metadata"]["name"] in names
        ]
        seen = [plan.look_at(one) for one in objects]
        now = time.monotonic()
        held = {one.name: held.get(one.name, now) for one in seen if one.state is State.HELD}
        if failed := [
            one
            for one in seen
            if one.state is State.FAILED or (one.state is State.HELD and now - held[one.name] >= _STANDS_AFTER)
        ]:
            raise Refused(_listed("this will not get ready:", map(str, failed)))
        waiting, total = [one for one in seen if one.state is not State.READY], sum(map(len, wanted.values()))
        ready = len(seen) - len(waiting)
        if ready != before:
            _say("ready", f"{ready} of {total}" + "".join(f"; {one.kind} {one.name} is not" for one in waiting[:1]))
        if ready == total:
            return objects
        if now > ends:
            heading = f"{total - ready} of {total} not ready after {patience:g} s:"
            raise Refused(_listed(heading, map(str, waiting)))
        before = ready
        time.sleep(_LOOK_AGAIN)


def _listed(heading: str, lines: Iterable[str]) -> str:
    return "\n".join((heading, *(f"  {line}" for line in lines)))


def _say(what: str, words: str) -> None:
    sys.stdout.write(f"{what:<12} {words}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
