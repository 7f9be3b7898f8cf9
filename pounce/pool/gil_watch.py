"""Tells when an import has switched the GIL back on, and which one did.

CPython re-enables the GIL for the whole process when an extension is imported that does not declare itself safe without
it. Runs on: the server's thread. See CPython's free-threading HOWTO; PYTHON_GIL=0 forbids the switch.
"""

from __future__ import annotations

import re
import sys
import warnings
from types import TracebackType
from typing import Any


def gil_is_on() -> bool:
    """Whether this interpreter runs with a GIL right now."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


class GilWatch:
    """A context manager around the import of the app, and a look at any time after it."""

    #: CPython warns with the module's name at the moment of the switch.
    _WARNING = re.compile(r"module '([^']+)'")

    def __init__(self) -> None:
        self.was_off = not gil_is_on()
        self._culprit: str | None = None
        self._told = False
        self._modules: set[str] = set()

    def __enter__(self) -> GilWatch:
        self._modules = set(sys.modules)
        self._show_warning = warnings.showwarning
        if self.was_off:
            warnings.showwarning = self._on_warning
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.was_off:
            warnings.showwarning = self._show_warning

    def _on_warning(self, message: Any, *args: Any, **kwargs: Any) -> None:
        text = str(message)
        if "global interpreter lock (GIL) has been enabled" in text:
            match = self._WARNING.search(text)
            self._culprit = match.group(1) if match else None
        else:
            self._show_warning(message, *args, **kwargs)

    def complaint(self) -> str | None:
        """A sentence that names the import, if the GIL was off and now is on."""
        if not self.was_off or not gil_is_on():
            return None
        self._told = True
        if self._culprit is None:
            return f"An import has switched the GIL back on.{self._suspects()}"
        return f"Importing '{self._culprit}' has switched the GIL back on."

    def late_complaint(self) -> str | None:
        """As `complaint`, once, for imports that came later (with the first requests)."""
        return None if self._told else self.complaint()

    def _suspects(self) -> str:
        """Extension modules that came in after the look began, for when CPython's warning was not to be seen."""
        new = sorted(name for name in set(sys.modules) - self._modules if _is_extension(sys.modules.get(name)))
        return f" It is one of these extension modules: {', '.join(new)}." if new else ""


def _is_extension(module: Any) -> bool:
    return str(getattr(module, "__file__", None) or "").endswith((".so", ".pyd"))
