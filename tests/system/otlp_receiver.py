"""A receiver of traces over OTLP/HTTP, as a process of its own: `python otlp_receiver.py PORT FILE`.

It decodes what it gets with OpenTelemetry's own messages, and writes each span to FILE as a line of JSON:
`name`, `kind`, `trace`, `span`, `parent`, `attributes`, `events`, `error`, `resource`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


def attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def spans(body: bytes) -> Iterator[dict[str, Any]]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                yield {
                    "name": span.name,
                    "kind": span.kind,
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "attributes": attributes(span.attributes),
                    "events": [event.name for event in span.events],
                    "error": span.status.code == span.status.STATUS_CODE_ERROR,
                    "resource": attributes(group.resource.attributes),
                }


class Handler(BaseHTTPRequestHandler):
    file: Path

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        right = (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
        if right:
            with self.file.open("a") as file:
                file.writelines(f"{json.dumps(span)}\n" for span in spans(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200 if right else 400)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what came is in the file."""


if __name__ == "__main__":
    Handler.file = Path(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
