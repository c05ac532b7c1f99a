"""What must be in nothing that is written: the credentials that an app and this machine's configuration name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.credentials import Credentials
from builder.machine_config import without_name
from builder.redact import url_secrets

if TYPE_CHECKING:
    from builder.machine_config import MachineConfig
    from builder.requirements import Requirements
    from builder.settings import Settings


def known_secrets(requirements: Requirements, machine: MachineConfig, settings: Settings) -> tuple[str, ...]:
    """The values that are known to be secret, each once.

    Args:
        requirements: the app's.
        machine: what uv and pip are configured with, for the app's project.
        settings: the project's.
    """
    options = [url for step in requirements.steps for url in step.urls]
    credentials = Credentials.of(options, machine=machine, tokens=settings.tokens)
    configured = (*map(without_name, credentials.urls), *settings.mirrors.values())
    found = (secret for url in configured for secret in url_secrets(url))
    return tuple(dict.fromkeys((*requirements.secrets, *found, *credentials.secrets)))
