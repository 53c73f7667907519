"""The command line ``idbridge``: a thin client of the admin commands.

* One module a command group; ``calling`` gives the command, ``showing`` prints the answer.
* Every command takes ``-c FILE`` and ``--json``; what it prints for people is plain text a screen reader can follow.
* Heavy modules are imported inside commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import click

from bridge import __version__
from bridge.cli import (
    agents,
    alerts,
    breakglass,
    comparing,
    demotion,
    drills,
    legacy,
    log,
    owners,
    policy,
    quotas,
    reports,
    requests,
    running,
    scanning,
    secrets,
    sessions,
    tokens,
    witnessing,
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each command has --help with an example. The configuration file is given by -c or by IDBRIDGE_CONFIG.",
)
@click.version_option(__version__, prog_name="idbridge")
def main() -> None:
    """Agents connect to legacy systems as themselves; the legacy system sees a static account; the log knows who."""


for command in (
    running.run,
    running.check,
    running.status,
    running.reload,
    running.doctor,
    running.breaker,
    agents.agent,
    owners.owner,
    tokens.token,
    tokens.deny,
    secrets.secret,
    scanning.scan,
    policy.explain,
    policy.who_can,
    comparing.diff,
    comparing.simulate,
    comparing.suggest,
    comparing.readiness,
    quotas.quota,
    requests.request,
    drills.drill,
    alerts.alert,
    breakglass.breakglass,
    demotion.demotion,
    log.log,
    witnessing.witness,
    reports.report,
    legacy.account,
    legacy.reconcile,
    legacy.ssh,
    sessions.session,
):
    main.add_command(command)
