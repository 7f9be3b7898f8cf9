"""uvicorn's path for `pounce.supervisors.reload_watch`. Importing it needs watchfiles."""

from pounce.supervisors.reload_watch import FileFilter as FileFilter, WatchFilesReload as WatchFilesReload
