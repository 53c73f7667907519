"""What each framework asks for that can be tested, and the figure that answers it; without one it is not covered.

The texts are our own summaries. ``topic`` names the requirement of the log's design that stands behind it (C1 to C18)
or the area it belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Requirement:
    number: str
    text: str
    topic: str
    figure: str = ""


def _listed(*rows: tuple[str, str, str] | tuple[str, str, str, str]) -> tuple[Requirement, ...]:
    return tuple(Requirement(*row) for row in rows)


SOC2 = _listed(
    ("CC6.1", "Whoever gets in is identified and proven first", "C1", "attributed_sessions"),
    ("CC6.1", "Every action carries who did it", "C1", "attributed_operations"),
    ("CC6.1", "Nothing is reached unless it is granted", "access", "default_deny"),
    ("CC6.1", "No secret, token or password is in a log", "C17"),
    ("CC6.2", "Agents are registered, with an owner, before they get access", "access", "agents"),
    ("CC6.2", "Access of those who are not needed any more is taken away", "access", "inactive_agents"),
    ("CC6.2", "Registrations are approved by a second person", "access"),
    ("CC6.3", "Changes of access are recorded with who made them", "C14", "changes_with_actor"),
    ("CC6.3", "Access is no more than what is needed", "access", "reach"),
    ("CC6.3", "Grants that nobody needs are found", "access", "unused_grants"),
    ("CC6.3", "Access is reviewed periodically", "access", "access_reviews"),
    ("CC6.6", "Attempts from outside are refused and recorded", "C3", "refused_logins"),
    ("CC6.7", "Sessions are encrypted on their way", "transport", "unencrypted_sessions"),
    ("CC6.8", "Unauthorised software is prevented or detected", "outside"),
    ("CC7.1", "Changes of the configuration are detected", "C14", "administrative_changes"),
    ("CC7.2", "Anomalies are watched for", "C9", "alarms"),
    ("CC7.2", "Use of static accounts past the bridge is found", "C18", "compared_systems"),
    ("CC7.2", "The log is complete", "C5", "sequence"),
    ("CC7.2", "No action without its record", "C4", "open_intents"),
    ("CC7.2", "The log cannot be changed unseen", "C7", "checkpoints"),
    ("CC7.2", "Logs are reviewed every day, and exceptions followed to their end", "C9"),
    ("CC7.3", "Events are evaluated, and incidents declared", "C9"),
    ("CC7.4", "Access can be stopped at once", "response", "sessions_stopped"),
    ("CC7.5", "Failures of logging are detected, and recovered from", "C13", "log_failures"),
)

PCI = _listed(
    ("7.2.1", "An access model with least privilege: denied unless granted", "access", "default_deny"),
    ("7.2.2", "Access is by job and least privilege", "access", "reach"),
    ("7.2.3", "Required privileges are approved", "access", "justified_grants"),
    ("7.2.4", "User accounts and rights are reviewed every six months", "access", "access_reviews"),
    ("7.2.5", "Application and system accounts have the least privilege", "access", "unused_grants"),
    ("7.2.5.1", "Application and system accounts are reviewed, and management acknowledges", "access"),
    (
        "7.2.6",
        "Access to repositories of cardholder data goes through applications with roles",
        "access",
        "labelled_access",
    ),
    ("7.3.1", "An access control system covers all components", "C18", "compared_systems"),
    ("7.3.2", "It enforces what was assigned", "C14", "policy_on_decisions"),
    ("7.3.3", "It denies all by default", "access", "default_deny"),
    ("8.6.1", "Use of shared and application accounts is attributable to one identity", "C1", "shared_accounts"),
    ("8.6.1", "Interactive use of them is prevented, or exceptional, limited in time and approved", "C2"),
    ("8.6.2", "Their secrets are not hard-coded in scripts and files of agents", "secrets"),
    ("8.6.3", "Their secrets are changed periodically", "secrets", "secret_rotation"),
    ("10.2.1", "Logs are on and working for all components", "C2", "log_starts"),
    ("10.2.1.1", "Individual access to cardholder data", "C2", "labelled_access"),
    ("10.2.1.2", "All actions with administrative access", "C2", "administrative_changes"),
    ("10.2.1.3", "All access to audit logs", "C6", "log_reads"),
    ("10.2.1.4", "All invalid access attempts", "C3", "refusals"),
    ("10.2.1.5", "All changes of identities and credentials", "C2", "identity_changes"),
    ("10.2.1.6", "Starting, stopping and pausing of logs", "C2", "log_starts"),
    ("10.2.1.7", "Creation and deletion of system-level objects", "C2", "admin_operations"),
    ("10.2.2", "User, type, time, outcome, origin and resource of each session", "C1", "attributed_sessions"),
    ("10.2.2", "User, type, time, outcome and resource of each action", "C1", "attributed_operations"),
    ("10.3.1", "Reading logs is limited to those who need it", "C6", "log_reads"),
    ("10.3.2", "Logs are protected from modification", "C7", "append_only"),
    ("10.3.3", "Logs are promptly copied to a central place that is hard to modify", "C8", "copies"),
    ("10.3.4", "Changes of existing log data are detected", "C7", "verifications"),
    ("10.4.1", "Logs are reviewed at least daily", "C9"),
    ("10.4.1.1", "The review is automatic", "C9", "alarms"),
    ("10.4.3", "Exceptions and anomalies are followed up", "C9"),
    ("10.5.1", "Logs are kept for 12 months, three at hand", "C10", "retained"),
    ("10.6.1", "Clocks are synchronised", "C12", "clock"),
    ("10.6.2", "Time comes from accepted sources", "C12"),
    ("10.6.3", "Time settings are protected", "C12"),
    ("10.7.2", "Failures of logging are detected, alerted and answered", "C13", "log_failures"),
    ("10.7.3", "Failures of critical controls are answered promptly, and documented", "C13"),
)

SOX = _listed(
    ("Access 1", "New access is granted by a known person, with who and what", "C14", "changes_with_actor"),
    ("Access 2", "Grants are justified", "access", "justified_grants"),
    ("Access 3", "Access of leavers and of what is not used is removed", "access", "inactive_agents"),
    ("Access 4", "Privileged access is recorded", "C2", "admin_operations"),
    ("Access 5", "Access is reviewed periodically", "access", "access_reviews"),
    ("Access 6", "Duties are separated: who asks does not approve", "access"),
    ("Access 7", "Shared accounts are attributable", "C1", "shared_accounts"),
    ("Access 8", "Delegated actions name the person behind them", "C1", "delegated_operations"),
    (
        "Change 1",
        "Changes of policy, agents and configuration are recorded, with before and after",
        "C14",
        "administrative_changes",
    ),
    ("Change 2", "Each version of the policy is kept in full", "C14", "policy_versions"),
    ("Change 3", "Each decision names the policy that it was made by", "C14", "policy_on_decisions"),
    ("Change 4", "Changes are approved before they are made", "C14"),
    ("Point in time", "Who could do what, and who owned an agent, at a past date", "C16", "point_in_time"),
    ("Completeness 1", "The population is complete: no gap in the sequence", "C5", "sequence"),
    ("Completeness 2", "Nothing is done that is not recorded", "C4", "open_intents"),
    ("Completeness 3", "Use of the accounts past the bridge is found", "C18", "compared_systems"),
    ("Completeness 4", "Exports say what they hold, so that they can be made again", "C15", "log_exports"),
    ("Operations 1", "Failures of logging are known", "C13", "log_failures"),
    ("Operations 2", "Interruptions are explained by stops and starts", "C5", "log_starts"),
    ("Operations 3", "A sign of life at least every minute", "C5", "heartbeats"),
    ("Integrity", "The log cannot be changed unseen", "C7", "checkpoints"),
    ("Retention", "Records are at hand for seven years", "C10", "retained"),
    ("Secrets", "No secret, token or password is in a log", "C17"),
)

FINRA = _listed(
    ("17a-4(f)(2)(i)", "A complete, time-stamped trail: no record is modified or deleted", "C11", "append_only"),
    ("17a-4(f)(2)(i)", "Each record names who acted, and when", "C1", "attributed_operations"),
    ("17a-4(f)(2)(i)", "Or storage that cannot be rewritten", "C11"),
    ("17a-4(f)(2)(ii)", "Completeness and accuracy are verified automatically", "C7", "verifications"),
    ("17a-4(f)(2)(iii)", "Records are in sequence", "C5", "sequence"),
    ("17a-4(f)(2)(iv)", "Records can be downloaded, in a form that people and machines read", "C15", "log_exports"),
    ("17a-4(f)(3)(ii)", "A copy is kept apart from the original", "C8", "copies"),
    ("17a-4(f)(3)(v)", "Inputs and changes are accounted for by an audit system", "C14", "changes_with_actor"),
    ("4511(b)", "Records are kept for six years, the first two at hand", "C10", "retained"),
    ("3110", "Agents' activity is supervised: somebody reviews samples and signs", "C9"),
    ("Agents 1", "Agents' actions and decisions can be followed", "C14", "policy_on_decisions"),
    ("Agents 2", "The person behind an agent's action is known", "C1", "delegated_operations"),
    ("Agents 3", "Guardrails limit what agents do", "access", "default_deny"),
    ("Agents 4", "What was refused is recorded, with the reason", "C3", "refusals"),
    ("Agents 5", "An agent can be stopped at once", "response", "sessions_stopped"),
    ("Agents 6", "Access to the log is limited and recorded", "C6", "log_reads"),
    ("Time", "Clocks are synchronised, and their offset is recorded", "C12", "clock"),
)

FRAMEWORKS = {
    "soc2": ("SOC 2, CC6 and CC7", SOC2),
    "pci": ("PCI DSS 4.0.1, requirements 7, 8.6 and 10", PCI),
    "sox": ("SOX, IT general controls", SOX),
    "finra": ("FINRA 4511 and 3110, SEC 17a-4", FINRA),
}
