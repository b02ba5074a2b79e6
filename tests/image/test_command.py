"""python -m infra.image from its arguments to what is on the disk; the root file system itself is not made here."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from infra.image import __main__ as image
from infra.image import commands, rootfs
from infra.image.commands import ImageError


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        ((), 2),
        (("root", "--bill"), 2),
        (("--nonsense",), 2),
        (("root", "--archive", "image.tar"), 2),
        (("root", "--name", "chat4all:1"), 2),
        (("root", "--name", "chat4all:1", "--archive", "nowhere/image.tar"), 2),
    ],
)
def test_it_says_how_it_is_used_and_makes_nothing(
    arguments: tuple[str, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        image.main(arguments)
    assert ended.value.code == code
    said = capsys.readouterr()
    assert "usage: python -m infra.image" in said.out + said.err
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("kept")
    assert image.main([str(tmp_path)]) == 1
    assert "not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_made_is_said_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert image.main(["/proc/nope"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("/proc/nope")
    assert said.count("\n") == 1


def test_an_archive_that_cannot_be_written_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image, "make", lambda target, _: target.mkdir())
    assert image.main([str(tmp_path / "root"), "--archive", str(tmp_path), "--name", "chat4all:1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(str(tmp_path))
    assert said.count("\n") == 1


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(ImageError):
        rootfs.make(tmp_path / "mine", tmp_path)


def test_what_could_not_be_run_is_said_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh")
    with pytest.raises(ImageError, match="no-such-tool is not installed"):
        commands.run("no-such-tool", folder=tmp_path)
    with pytest.raises(ImageError, match="gone"):
        commands.run("true", folder=tmp_path / "gone")
    with pytest.raises(ImageError, match="Permission denied"):
        commands.run(str(tmp_path / "tool"), folder=tmp_path)


@pytest.mark.parametrize("program", ["", "#!/bin/sh\necho refused >&2; exit 3"])
def test_a_bill_that_cannot_be_made_is_said_in_a_line(
    program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if program:
        (tmp_path / "uv").write_text(program)
        (tmp_path / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(image, "_REPOSITORY", tmp_path)  # which has no uv of its own
    assert image.main(["--bill"]) == 1
    said = capsys.readouterr()
    assert ("refused" if program else "uv is not installed") in said.err
    assert (said.err.count("\n"), said.out) == (1, "")


@pytest.mark.parametrize(("word", "code"), [("--help", 0), ("-h", 0), ("--nonsense", 2)])
def test_the_script_of_the_bill_says_how_it_is_used_and_prints_none(word: str, code: int) -> None:
    script = image._REPOSITORY / "scripts/sbom"
    ended = subprocess.run((script, word), capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, timeout=10)
    assert ended.returncode == code
    assert "no options" in ended.stdout + ended.stderr
    assert "bomFormat" not in ended.stdout


def test_the_archive_is_the_image_that_the_dockerfile_makes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def make(target: Path, _: Path) -> None:
        (target / "opt").mkdir(parents=True)
        (target / "opt/product").write_text("here")

    monkeypatch.setattr(image, "make", make)
    archive = tmp_path / "image.tar"
    assert image.main([str(tmp_path / "root"), "--archive", str(archive), "--name", "registry/chat4all:0.1.0"]) == 0
    with tarfile.open(archive) as opened:

        def read(name: str) -> bytes:
            file = opened.extractfile(name)
            assert file
            return file.read()

        (told,) = json.loads(read("manifest.json"))
        config = json.loads(read(told["Config"]))["config"]
    assert told["RepoTags"] == ["registry/chat4all:0.1.0"]
    assert tuple(config["Entrypoint"]) == rootfs.ENTRYPOINT
    assert dict(one.split("=", 1) for one in config["Env"]) == rootfs.ENVIRONMENT
    assert config["Labels"] == rootfs.LABELS
    assert config["User"] == f"{rootfs.USER}:{rootfs.USER}"
