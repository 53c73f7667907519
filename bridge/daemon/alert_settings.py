"""What the configuration says of alerts, in the words of the package that does it. Reads files; in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bridge.accounts.vaults import SecretReference
from bridge.alerts import Channel, Kind, Mail, Rules
from bridge.config import Config
from bridge.config.alerts import AlertRules
from bridge.config.alerts import Channel as ChannelSection
from bridge.config.alerts import Mail as MailSection
from bridge.daemon.alerting import Settings
from bridge.policy import Hours


def settings(config: Config) -> Settings:
    """Raises OSError for a certificate that cannot be read."""
    alerts = config.alerts
    channels = {name: _channel(channel) for name, channel in alerts.channels.items()}
    mail = _mail(alerts.mail) if alerts.mail else None
    told = {name: system.requests.tell for name, system in config.systems.items() if system.requests}
    return _rules(alerts.rules, told), channels, alerts.security, alerts.leadership, mail, alerts.repeat


def _rules(rules: AlertRules, told: Mapping[str, tuple[str, ...]]) -> Rules:
    """``outside`` are the hours in which use is usual; ``told``: by system who hears that somebody asks for access."""
    hours, refused, volume = rules.outside, rules.refused, rules.volume
    return Rules(
        refused=refused.count if refused else 0,
        refused_within=refused.within if refused else 0.0,
        new_system=rules.new_system,
        hours=Hours.parse(hours.days, hours.begin, hours.end, hours.zone) if hours else None,
        rest=rules.rest or 0.0,
        volume=volume.times if volume else 0,
        volume_least=volume.least if volume else 0,
        alarms=rules.alarms,
        demoted=rules.demoted,
        log_trouble=rules.log_trouble,
        asked=rules.asked,
        told=told,
    )


def _channel(channel: ChannelSection) -> Channel:
    return Channel(
        kind=Kind(channel.kind),
        url=channel.url or "",
        secret=SecretReference.parse(channel.secret) if channel.secret else None,
        to=channel.to,
        ca=_read(channel.ca),
    )


def _mail(mail: MailSection) -> Mail:
    return Mail(
        host=mail.host,
        sender=mail.sender,
        port=mail.port,
        tls=mail.tls,
        ca=_read(mail.ca),
        user=mail.user or "",
        password=SecretReference.parse(mail.password) if mail.password else None,
    )


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None
