"""The tour: each step says what happens, shows the command and its real output, and checks it."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
import threading
import time

import people
import place

PSQL_ROW = "select id, customer, amount from invoices where id = 7"
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Failed(Exception):
    """A step did not show what it should."""


class Tour:
    def __init__(self, here: place.Place) -> None:
        self.here = here
        self.where = (
            f"host=127.0.0.1 port={here.bridge_port} user=agent dbname=app"
            f" sslmode=verify-full sslrootcert={here.root}/ca.pem"
        )
        self.step = 0

    # -- saying and checking

    def say(self, text: str) -> None:
        self.step += 1
        print(f"\n── {self.step}. {text}\n", flush=True)

    def show(self, command: str, output: str, *expected: str) -> str:
        print(f"$ {command}", flush=True)
        print(output.rstrip(), flush=True)
        for text in expected:
            if not re.search(text, output):
                raise Failed(f"step {self.step}: expected to read {text!r}")
        return output

    def idbridge(self, *arguments: str, expected: tuple[str, ...] = (), status: int = 0) -> str:
        done = self.here.run([place.IDBRIDGE, *arguments])
        if done.returncode != status:
            raise Failed(f"step {self.step}: exit status {done.returncode}: {done.stderr}{done.stdout}")
        return self.show(f"idbridge {shlex.join(arguments)}", done.stdout + done.stderr, *expected)

    def token(self, agent: str) -> str:
        return self.here.idbridge("token", agent)

    def psql(self, agent: str, *statements: str, password: str | None = None, expected: tuple[str, ...] = ()) -> str:
        token = self.token(agent) if password is None else password
        options = [part for statement in statements for part in ("-c", statement)]
        done = self.here.run(["psql", "-X", self.where, *options], password=token)
        source = f"$(idbridge token {agent})" if password is None else shlex.quote(password)
        shown = f'PGPASSWORD={source} psql "$BRIDGE" ' + " ".join(f'-c "{one}"' for one in statements)
        return self.show(shown, done.stdout + done.stderr, *expected)

    # -- the steps

    def run(self) -> None:
        self.agents()
        self.write()
        self.python()
        self.read_only()
        self.refused()
        self.bad_token()
        self.revoked()
        self.who_did_it()
        self.orders()
        self.staff()
        self.commands()
        self.files()
        self.questions()
        self.log()

    def agents(self) -> None:
        self.say("Ops register agents: each has an owner, a purpose, a role and an end.")
        for id, owner, role, purpose in (
            ("ledger-deploy", "payments", "writer", "applies approved corrections to invoices"),
            ("review-bot", "payments", "reader", "reads invoices for code reviews"),
            ("summer-bot", "research", "writer", "an experiment that will be stopped"),
            ("curious-bot", "research", "visitor", "has no grant yet"),
        ):
            self.idbridge(
                "agent", "create", id, "--owner", owner, "--purpose", purpose, "--role", role,
                "--environment", "production", expected=("active",),
            )  # fmt: skip

    def write(self) -> None:
        self.say("An agent uses psql as ever; the password is its own token of 15 minutes. It becomes svc_writer.")
        print(f'BRIDGE="{self.where}"')
        self.psql(
            "ledger-deploy", PSQL_ROW, "update invoices set amount = 75 where id = 7", "select current_user",
            expected=("customer 7", "UPDATE 1", "svc_writer"),
        )  # fmt: skip

    def python(self) -> None:
        self.say("Another one uses psycopg. It has the role reader, so it becomes svc_reader.")
        program = (
            "import os, psycopg\n"
            "with psycopg.connect(os.environ['BRIDGE'], password=os.environ['TOKEN']) as connection:\n"
            "    row = connection.execute('select customer from invoices where id = %s', (7,)).fetchone()\n"
            "    print(connection.info.user, 'reads', row)\n"
        )
        environment = {**self.here.environment, "BRIDGE": self.where, "TOKEN": self.token("review-bot")}
        done = subprocess.run(
            [sys.executable, "-c", program], text=True, capture_output=True, env=environment, check=False, timeout=60
        )
        self.show("TOKEN=$(idbridge token review-bot) python read.py", done.stdout + done.stderr, "customer 7")

    def read_only(self) -> None:
        self.say("Its grant is for reading. What would write is refused, and the session lives on.")
        self.psql(
            "review-bot", "delete from invoices", "select count(*) from invoices",
            expected=("ERROR: .*read-only", "reference ses_", "1000"),
        )  # fmt: skip

    def refused(self) -> None:
        self.say("An agent without a grant hears why, from its own client, with a reference that ops can look up.")
        output = self.psql("curious-bot", "select 1", expected=("no grant lets this agent in", "reference ref_"))
        reference = re.search(r"ref_\w+", output)
        assert reference is not None
        self.idbridge("log", "show", reference[0], expected=("curious-bot", "warehouse"))

    def bad_token(self) -> None:
        self.say("Something that is not a token of ours is refused, and says nothing about who exists.")
        self.psql("nobody", "select 1", password="not-a-token", expected=("the credential was not accepted",))

    def revoked(self) -> None:
        self.say("An agent is revoked while its query runs: the live session is cut at once.")
        token = self.token("summer-bot")
        answers: list[subprocess.CompletedProcess[str]] = []
        command = ["psql", "-X", self.where, "-c", "select pg_sleep(30)"]
        running = threading.Thread(target=lambda: answers.append(self.here.run(command, password=token)))
        running.start()
        self._wait_for_session("summer-bot")
        self.idbridge(
            "agent", "revoke", "summer-bot", "--reason", "the experiment is over", expected=("1 live session",)
        )
        began = time.monotonic()
        running.join(10)
        if running.is_alive() or time.monotonic() - began > 2:
            raise Failed("the session was not cut within two seconds")
        self.show('psql "$BRIDGE" -c "select pg_sleep(30)"', answers[0].stderr, "access was revoked")

    def _wait_for_session(self, agent: str) -> None:
        for _ in range(100):
            if "pg_sleep" in self.here.as_superuser("app", "select query from pg_stat_activity where state = 'active'"):
                return
            time.sleep(0.1)
        raise Failed(f"the session of {agent} did not appear")

    def who_did_it(self) -> None:
        self.say("From PostgreSQL's own view back to the agent: which of them is this svc_writer?")
        session = subprocess.Popen(
            ["psql", "-X", self.where], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**self.here.environment, "PGPASSWORD": self.token("ledger-deploy")},
        )  # fmt: skip
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("select 'ready';\n")
        session.stdin.flush()
        for line in session.stdout:
            if "ready" in line:
                break
        sql = "select pid, usename, application_name from pg_stat_activity where usename = 'svc_writer'"
        row = self.here.as_superuser("app", sql)
        self.show(f'psql (as the administrator) -c "{sql}"', row, "svc_writer", "ib:ses_")
        pid = row.split("|")[0]
        self.idbridge(
            "log", "who", "--system", "warehouse", "--account", "svc_writer", "--at", "now", "--pid", pid,
            expected=("ledger-deploy", "payments"),
        )  # fmt: skip
        session.stdin.close()
        session.wait(10)

    def mysql(self, agent: str, *statements: str, expected: tuple[str, ...] = ()) -> str:
        where = ["-h127.0.0.1", f"-P{self.here.shop.bridge_port}", "-uagent", f"--ssl-ca={self.here.root}/ca.pem"]
        command = ["mariadb", "--no-defaults", *where, "--ssl-verify-server-cert", "--force", "-t", "shop"]
        done = self.here.run(command, stdin=";\n".join(statements), MYSQL_PWD=self.token(agent))
        shown = f"MYSQL_PWD=$(idbridge token {agent}) {shlex.join(command)} <<< '{'; '.join(statements)}'"
        return self.show(shown, done.stdout + done.stderr, *expected)

    def orders(self) -> None:
        self.say("The same with MariaDB: the same agents, the same token, the mariadb command line as it is.")
        self.mysql(
            "ledger-deploy", "update orders set amount = 75 where id = 7",
            "select user(), amount from orders where id = 7", expected=("svc_clerk@", "75"),
        )  # fmt: skip
        self.mysql(
            "review-bot", "delete from orders", "select count(*), user() from orders",
            expected=("ERROR 1142 .*read-only", "reference ses_", "1000.*svc_looker@"),
        )  # fmt: skip
        self.idbridge(
            "log", "list", "--system", "shop", "--details", expected=("ledger-deploy", r"update orders set amount = \?")
        )  # fmt: skip
        self.idbridge("doctor", "shop", "--account", "svc_looker", expected=("read-only guaranteed",))

    def ldap(self, agent: str, program: str, *arguments: str, stdin: str = "", expected: tuple[str, ...] = ()) -> str:
        """By the OpenLDAP tools, which read the token from a file."""
        token = self.here.root / "token"
        token.touch(0o600)
        token.write_text(self.token(agent))
        where = ["-H", f"ldaps://127.0.0.1:{self.here.people.bridge_port}", "-x", "-D", "agent", "-y", str(token)]
        done = self.here.run([program, *where, *arguments], stdin=stdin, LDAPTLS_CACERT=f"{self.here.root}/ca.pem")
        token.unlink()
        shown = shlex.join([program, *where[:-1]]) + f" <(idbridge token {agent}) {shlex.join(arguments)}"
        return self.show(shown + (f" <<< {shlex.quote(stdin)}" if stdin else ""), done.stdout + done.stderr, *expected)

    def staff(self) -> None:
        self.say("The same with LDAP: the token is the password of the Bind; the directory sees its static account.")
        base = people.PEOPLE
        change = f"dn: uid=user7,{base}\nchangetype: modify\nreplace: telephoneNumber\ntelephoneNumber: 75\n"
        self.ldap("ledger-deploy", "ldapmodify", stdin=change, expected=("modifying entry",))
        self.ldap(
            "review-bot", "ldapsearch", "-LLL", "-b", base, "(uid=user7)", "mail", "telephoneNumber", "userPassword",
            expected=("user7@example.org", "telephoneNumber: 75"),
        )  # fmt: skip
        self.ldap("review-bot", "ldapdelete", f"uid=user7,{base}", expected=("Insufficient access", "reference ses_"))
        self.say("OpenLDAP's own log names the agent on each line of what it did.")
        lines = [line for line in self.here.people.log().splitlines() if " MOD dn=" in line]
        self.show("grep MOD slapd.log", "\n".join(lines), "NAME=ib:ses_.*USERNAME=ledger-deploy.*uid=user7")
        self.idbridge(
            "log", "list", "--system", "people", "--details", expected=("ledger-deploy", "review-bot", "uid=user7")
        )
        self.idbridge("doctor", "people", "--account", "svc_phonebook", expected=("no right to write was found",))
        self.idbridge(
            "account", "discover", "people", "--account", "svc_phonebook", expected=("svc_phonebook", "svc_registrar")
        )

    def ssh(self, agent: str, program: str, *arguments: str, stdin: str = "", expected: tuple[str, ...] = ()) -> str:
        """``arguments``: the user and host is ``agent@bridge`` there."""
        port = str(self.here.host.bridge_port)
        known = f"UserKnownHostsFile={self.here.root}/bridge_hosts"
        trust = ["-o", "BatchMode=no", "-o", "StrictHostKeyChecking=accept-new", "-o", known]
        given = [one.replace("agent@bridge", "agent@127.0.0.1") for one in arguments]
        option = "-p" if program == "ssh" else "-P"
        command = ["sshpass", "-e", program, "-q", option, port, *trust, *given]
        done = self.here.run(command, stdin=stdin, SSHPASS=self.token(agent))
        shown = f"SSHPASS=$(idbridge token {agent}) sshpass -e {program} {option} {port} {shlex.join(arguments)}"
        return self.show(shown, (f"{stdin}" if stdin else "") + done.stdout + done.stderr, *expected)

    def commands(self) -> None:
        self.say(
            "The same with ssh: the token answers the password prompt; the host sees its static account and a key."
        )
        release = self.here.host.folder / "release"
        self.ssh(
            "ledger-deploy", "ssh", "agent@bridge", f"echo 4.2 > {release} && cat {release}", expected=("4.2",)
        )  # fmt: skip
        self.ssh("review-bot", "ssh", "agent@bridge", "hostname", expected=(r"\w",))
        self.ssh(
            "review-bot", "ssh", "agent@bridge", f"rm {release}", expected=("identity-bridge: ", "reference ses_")
        )  # fmt: skip
        if not release.exists():
            raise Failed("a reader removed a file")

    def files(self) -> None:
        self.say("And with sftp: a reader reads; what would write never reaches the host, and the session lives on.")
        release = self.here.host.folder / "release"
        batch = f"get {release} {self.here.root}/got\nrm {release}\nls -l {release}\n"
        self.ssh(
            "review-bot", "sftp", "-b", "-", "agent@bridge", stdin="-" + batch.replace("\n", "\n-", 2),
            expected=("release",),
        )  # fmt: skip
        if (self.here.root / "got").read_text() != "4.2\n" or not release.exists():
            raise Failed("the file was not read, or it was removed")
        self.idbridge(
            "log", "list", "--system", "hosts", "--details", expected=("ledger-deploy", "review-bot", "echo 4.2")
        )  # fmt: skip

    def questions(self) -> None:
        self.say("Questions that auditors and ops ask.")
        self.idbridge("who-can", "--label", "pii", expected=("ledger-deploy", "review-bot"))
        self.idbridge(
            "explain", "--agent", "review-bot", "--system", "warehouse", "--action", "write", status=1,
            expected=("denied", "look-at-warehouse"),
        )  # fmt: skip

    def log(self) -> None:
        self.say("The translation log: which agent, owned by whom, did what, with what outcome. Literals are redacted.")
        self.idbridge(
            "log", "list", "--agent", "ledger-deploy", "--action", "write", "--details",
            expected=("ledger-deploy", "payments", r"update invoices set amount = \?", "1 row"),
        )  # fmt: skip
        self.idbridge("log", "list", "--limit", "25", "--oldest-first", "--type", "operation", expected=("SELECT",))
        self.idbridge("log", "list", "--outcome", "denied", expected=("curious-bot", "review-bot"))


def by_hand(tour: Tour) -> None:
    here = tour.here
    print(
        f"""
── The bridge stays up until you press Ctrl-C. By hand, in another terminal:

export IDBRIDGE_CONFIG={here.config}
export PATH={place.Path(place.IDBRIDGE).parent}:$PATH
BRIDGE="{tour.where}"
PGPASSWORD=$(idbridge token ledger-deploy) psql "$BRIDGE"
idbridge session list
idbridge log list --since 5m --details
""",
        flush=True,
    )
    assert here.bridge is not None
    here.bridge.wait()


def main() -> int:
    once = "--once" in sys.argv[1:]
    if set(sys.argv[1:]) - {"--once"}:
        print("usage: scripts/demo [--once]", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that everything is taken down then too
    for one in ENDINGS:
        signal.signal(one, signal.default_int_handler)
    here = place.Place()
    try:
        print(
            "Starting a real PostgreSQL, a MariaDB, an OpenLDAP, an sshd and the bridge before them, on loopback …",
            flush=True,
        )
        here.make_certificates()
        here.start_postgres()
        here.host.start()
        here.shop.start()
        here.people.start()
        here.start_bridge()
        tour = Tour(here)
        tour.run()
        if once:
            print("\nThe tour is complete: every step showed what it should.")
        else:
            by_hand(tour)
        return 0
    except Failed as failed:
        print(f"\ndemo: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopping the bridge and the servers …", flush=True)
        return 1 if once else 0
    finally:
        for one in ENDINGS:  # an impatient second Ctrl-C would leave PostgreSQL running
            signal.signal(one, signal.SIG_IGN)
        here.close()


if __name__ == "__main__":
    sys.exit(main())
