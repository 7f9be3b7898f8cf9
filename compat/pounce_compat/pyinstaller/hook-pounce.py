"""PyInstaller runs this when a program imports pounce."""

from pounce_compat.pyinstaller import hidden_imports

hiddenimports = hidden_imports()
