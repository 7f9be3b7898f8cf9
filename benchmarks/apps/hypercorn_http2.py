"""hypercorn's settings for HTTP/2 that it has no flag for."""

from __future__ import annotations

keep_alive_max_requests = 2**31  # by default it ends each connection after 1000
