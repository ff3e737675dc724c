"""Which configurations a client may ask for. A name is looked up in a list and nothing is imported or opened by it."""

from __future__ import annotations

import json
from typing import Any

from bedside.mrd.messages import Config, PeerError, quoted
from cinert.open_recon import CONFIG, CONFIGS


def check_config(config: Config) -> None:
    """Let a session go on, or end it.

    Raises:
        PeerError: the name is not in the list. Config text is taken for a name too: there is nothing to configure.
    """
    if config.name.strip() not in CONFIGS:
        what = "config text" if config.text else "configuration"
        raise PeerError(f"the {what} {quoted(config.name)} is not served here; known: {', '.join(CONFIGS)}")


def check_parameters(text: str) -> str:
    """Read the parameters that Open Recon sends as JSON text after the header.

    Returns:
        What to tell the client about parameters that are not used; empty if there are none.

    Raises:
        PeerError: the parameters ask for another configuration.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    parameters: Any = document.get("parameters", {}) if isinstance(document, dict) else {}
    if not isinstance(parameters, dict):
        return ""
    asked = parameters.get("config", CONFIG)
    if asked not in CONFIGS:
        asked = asked if isinstance(asked, str) else json.dumps(asked)
        raise PeerError(f"the configuration {quoted(asked)} is not served here; known: {', '.join(CONFIGS)}")
    unused = sorted(set(parameters) - {"config"})
    return f"parameters that are not used here: {quoted(', '.join(unused))}" if unused else ""
