"""Where copies of the translation log go: ``sinks``. Each has one of ``file``, ``syslog``, ``webhook``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from bridge.config.sections import Section, TLSVersion
from bridge.config.values import Duration, FileName, Host, HttpsURL, Port, SecretText, Size, bounded, within


class FileSink(Section):
    path: FileName


class SyslogSink(Section):
    """RFC 5424 over TLS (RFC 5425). ``certificate`` and ``key`` are the bridge's own, for receivers that ask for one.

    ``max_message`` is what the receiver takes: of a longer event only a sentence and its digest are sent.
    """

    host: Host
    port: Port = 6514
    tls: Literal["verify-full", "verify-ca", "disable"] = "verify-full"
    ca: FileName | None = None
    server_name: Host | None = None
    minimum: TLSVersion = "1.2"
    certificate: FileName | None = None
    key: FileName | None = None
    timeout: Annotated[Duration, bounded("100ms", "1m")] = 30.0
    facility: Annotated[int, Strict(), Field(ge=0, le=23)] = 13
    enterprise: Annotated[int, Strict(), Field(ge=1, le=2**32 - 1)] = 32473
    max_message: Annotated[Size, within(2048, 2**20)] = 8192


class WebhookSink(Section):
    """``secret`` signs each request (Standard Webhooks, v1)."""

    url: HttpsURL
    secret: SecretText
    ca: FileName | None = None
    timeout: Annotated[Duration, bounded("100ms", "1m")] = 30.0


class Sink(Section):
    """``required``: how far behind it may be before sessions are refused; without it sessions never depend on it."""

    format: Literal["jsonl", "ocsf", "cef"] = "jsonl"
    start: Literal["beginning", "now"] = "beginning"
    batch: Annotated[int, Strict(), Field(ge=1, le=5000)] = 500
    longest_pause: Annotated[Duration, bounded("1s", "1h")] = 300.0
    required: Annotated[Duration, bounded("10s", "30d")] | None = None
    file: FileSink | None = None
    syslog: SyslogSink | None = None
    webhook: WebhookSink | None = None

    @property
    def kind(self) -> str:
        return "file" if self.file else "syslog" if self.syslog else "webhook"
