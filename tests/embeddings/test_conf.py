from __future__ import annotations

import re
from pathlib import Path

from embeddings import conf
from searchsite.environment import Environment

PLUGIN = Path(conf.__file__).parent


def test_every_setting_that_the_plugin_reads_has_a_default():
    read = {
        name
        for file in PLUGIN.rglob("*.py")
        for name in re.findall(r"\bsettings\.([A-Z][A-Z_]+)", file.read_text())
    }
    assert read - set(conf.REQUIRED) <= set(conf.DEFAULTS)
    assert set(conf.DEFAULTS) <= read


def test_the_defaults_are_those_of_the_server():
    of_server = {
        name: field.default
        for name, field in Environment.model_fields.items()
        if name in conf.DEFAULTS
    }
    assert of_server == {name: conf.DEFAULTS[name] for name in of_server}
