"""What clients are told before and after the legacy server has shown itself."""

from __future__ import annotations

from adapters.mysql import codec
from adapters.mysql.codec import Cap, Greeting
from adapters.mysql.options import Options
from adapters.mysql.probe import SHAPING, Probe, passed_through

NONCE = b"abcdefghijklmnopqrst"
NEVER = (
    Cap.COMPRESS | Cap.ZSTD | Cap.QUERY_ATTRIBUTES | Cap.OPTIONAL_METADATA | Cap.MULTI_FACTOR | Cap.REMEMBER_OPTIONS
    | Cap.EXPIRED_PASSWORDS
)  # fmt: skip


def greeted(probe: Probe, **options: object) -> Greeting:
    facts = probe.greeting(Options.model_validate(options), connection_id=7, nonce=NONCE, encrypts=True)
    return codec.parse_greeting(codec.greeting(facts))


def learnt(version: bytes, flags: int = 0xFFFFFFFF) -> Probe:
    probe = Probe()
    probe.learn(Greeting(version, 1, NONCE, flags, 8))
    return probe


def test_until_the_first_login_only_what_every_server_has_is_offered() -> None:
    greeting = greeted(Probe())
    assert not greeting.capabilities & SHAPING
    assert greeting.capabilities & Cap.SSL
    assert (greeting.version, greeting.plugin) == (b"8.0.36", b"caching_sha2_password")
    assert greeted(Probe(), family="mariadb").mariadb


def test_then_the_server_is_shown_as_it_is() -> None:
    """teleport#6584: a made-up version 8.0.0-Teleport made tools ask for query_cache_size."""
    greeting = greeted(learnt(b"5.5.5-10.11.6-MariaDB", 0x81BFF7FE))
    assert greeting.version == b"5.5.5-10.11.6-MariaDB"
    assert greeting.collation == 8
    assert greeting.capabilities & SHAPING == SHAPING & 0x81BFF7FE


def test_a_version_can_be_told_instead() -> None:
    assert greeted(learnt(b"8.4.0"), server_version="8.0.99-mask").version == b"8.0.99-mask"


def test_what_a_server_lacks_is_not_offered() -> None:
    """warpgate#2337: DEPRECATE_EOF offered for a MariaDB 10.1 broke every client."""
    assert not greeted(learnt(b"10.1.48-MariaDB", 0xFFFFFFFF & ~Cap.DEPRECATE_EOF)).capabilities & Cap.DEPRECATE_EOF


def test_what_hides_statements_is_never_offered() -> None:
    everything = greeted(learnt(b"9.1.0"), multi_statements=True, local_infile=True).capabilities
    assert not everything & NEVER
    assert everything & Cap.MULTI_STATEMENTS
    assert everything & Cap.LOCAL_FILES


def test_bit_0_is_set_so_that_mariadb_has_no_extensions() -> None:
    greeting = greeted(learnt(b"5.5.5-10.11.6-MariaDB", 0xFFFFFFFE))
    assert greeting.capabilities & Cap.LONG_PASSWORD
    assert greeting.extended == 0


def test_several_statements_and_files_are_by_option() -> None:
    """proxysql#833, #3500: LOCAL INFILE is the client's file or nothing."""
    assert not passed_through(Options()) & (Cap.MULTI_STATEMENTS | Cap.LOCAL_FILES)
