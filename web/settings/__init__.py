"""The settings file: YAML, checked in one go, frozen. Every fault is told with its path, value and remedy.

A secret stands in the file itself, in a file of its own (``*_file``) or in the environment. Relative paths start at
the folder of the settings file. `config/takeover.example.yaml` shows every key.
"""

from .loading import DEFAULT_PATH, SettingsError, load, parse, secret_variable
from .models import AiPolicy, Asterisk, CaptionsPart, FreeSwitch, IceServer, Media, Settings, Webhook

__all__ = [
    "DEFAULT_PATH",
    "AiPolicy",
    "Asterisk",
    "CaptionsPart",
    "FreeSwitch",
    "IceServer",
    "Media",
    "Settings",
    "SettingsError",
    "Webhook",
    "load",
    "parse",
    "secret_variable",
]
