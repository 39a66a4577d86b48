"""Published packages of attacks, imported in spite of what they ask for besides."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def adv_lib(attack: str) -> ModuleType:
    """One file of adv_lib.attacks, without the rest of the package and the display (visdom) that it can write to."""
    found = find_spec("adv_lib")
    assert found and found.submodule_search_locations
    folder = ModuleType("adv_lib.attacks")
    folder.__path__ = [f"{found.submodule_search_locations[0]}/attacks"]
    sys.modules.setdefault("adv_lib.attacks", folder)
    sys.modules.setdefault("visdom", ModuleType("visdom"))
    return import_module(f"adv_lib.attacks.{attack}")


def foolbox() -> ModuleType:
    """foolbox, without what its collection of networks needs for downloading."""
    for name, members in (("git", ["Repo"]), ("requests", [])):
        stand_in = ModuleType(name)
        for member in members:
            setattr(stand_in, member, None)
        sys.modules.setdefault(name, stand_in)
    return import_module("foolbox")
