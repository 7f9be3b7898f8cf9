"""`--http zttp --http2`, uvicorn's own combination: HTTP/1.1 on zttp, HTTP/2 as with every other parser."""

from __future__ import annotations

from pounce.connection.http1_zttp import ZttpProtocol
from pounce.connection.http2 import HTTP2Protocol as ZttpH2Protocol
from pounce.connection.http2_auto import negotiator
from pounce.wire.http2_frames import PREFACE as HTTP2_PREFACE

__all__ = ["HTTP2_PREFACE", "AutoZttpProtocol", "ZttpH2Protocol", "ZttpProtocol"]

AutoZttpProtocol = negotiator(ZttpProtocol)
