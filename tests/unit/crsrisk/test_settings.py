"""Settings come from defaults, a file and variables, and say where from."""

from __future__ import annotations

import pytest

from crsrisk.errors import CrsRiskError
from crsrisk.settings import DEFAULTS, MEANINGS, load_settings


def test_defaults_use_sqlite_under_the_data_folder(tmp_path):
    settings = load_settings({}, tmp_path)
    assert settings.tracking_uri.startswith("sqlite:///")
    assert settings.tracking_uri.endswith("crsrisk_data/mlflow.db")
    assert set(settings.origin.values()) == {"default"}


def test_a_variable_wins_over_the_file_and_both_over_the_default(tmp_path):
    (tmp_path / "crsrisk.toml").write_text('port = 8100\nhost = "10.0.0.5"\n')
    settings = load_settings({"CRSRISK_PORT": "8200"}, tmp_path)
    assert (settings.port, settings.host) == (8200, "10.0.0.5")
    assert settings.origin["port"] == "CRSRISK_PORT"
    assert settings.origin["host"] == "crsrisk.toml"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"CRSRISK_PROT": "1"}, "no setting 'prot'; accepted"),
        ({"CRSRISK_PORT": "http"}, "give a number from 1 to 65535"),
        ({"CRSRISK_LANGUAGE": "fr"}, r"accepted: \['en', 'ja'\]"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_accepted(environ, message, tmp_path):
    with pytest.raises(CrsRiskError, match=message):
        load_settings(environ, tmp_path)


def test_an_unreadable_file_is_refused(tmp_path):
    (tmp_path / "crsrisk.toml").write_text("port = ")
    with pytest.raises(CrsRiskError, match="mend or remove it"):
        load_settings({}, tmp_path)


def test_every_setting_has_a_meaning():
    assert set(DEFAULTS) == set(MEANINGS)
