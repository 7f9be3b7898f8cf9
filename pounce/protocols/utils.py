"""uvicorn's path for who is at the ends of a connection, for the words of an access line, and `ClientDisconnected`."""

from pounce.connection.peer import (
    get_local_addr as get_local_addr,
    get_remote_addr as get_remote_addr,
    is_ssl as is_ssl,
)
from pounce.errors import ClientDisconnected as ClientDisconnected
from pounce.exchange.access_log import (
    get_client_addr as get_client_addr,
    get_path_with_query_string as get_path_with_query_string,
)
