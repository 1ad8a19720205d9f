#!/usr/bin/env bash
# transformers 5.23.0 with huggingface_hub 2.4.0: `transformers.utils.logging.disable_progress_bar()`
# also switches off the progress bars of huggingface_hub, for the whole process; and
# `enable_progress_bar()` switches the hub's bars on even where the user had switched them off
# before. Code that silences one loading step and restores it therefore changes what another
# package shows, unless it saves and restores the hub's switch by itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet transformers==5.23.0 huggingface_hub==2.4.0
"$folder/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars
from transformers.utils import logging

print("transformers", version("transformers"), "huggingface_hub", version("huggingface_hub"))
assert version("transformers") == "5.23.0"
assert not are_progress_bars_disabled()
logging.disable_progress_bar()
after_disable = are_progress_bars_disabled()
logging.enable_progress_bar()
after_enable = are_progress_bars_disabled()
print("hub's bars disabled after transformers' disable:", after_disable)
print("hub's bars disabled after transformers' enable: ", after_enable)
disable_progress_bars()  # the user's own wish
logging.disable_progress_bar()
logging.enable_progress_bar()
kept = are_progress_bars_disabled()
print("the user's own switch is kept over a silenced step:", kept)
assert after_disable is True
assert after_enable is False
assert kept is False
PYTHON
