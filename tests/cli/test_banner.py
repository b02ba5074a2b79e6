"""What somebody sees who has just started the platform."""

from pathlib import Path

import pytest

from shared.cli.banner import announce
from shared.cli.command import default_data_dir
from shared.runtime.platform import Started


@pytest.mark.parametrize(("data_dir", "said"), [(default_data_dir(), ""), (Path("/srv/chat"), " --data-dir /srv/chat")])
def test_the_next_command_leads_to_this_platform(data_dir: Path, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    announce(Started("http://127.0.0.1:8080", data_dir, True, True, data_dir / "credentials.json", None))
    assert f"scripts/chat4all demo{said}     Stop with Ctrl-C." in capsys.readouterr().out
