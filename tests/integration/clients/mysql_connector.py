"""mysql-connector-python, the C extension (libmysqlclient) and the pure one. Prints one JSON object per client."""

import json
import os
import sys
import tempfile

import mysql.connector

SETTINGS = {
    "host": "127.0.0.1", "port": int(os.environ["PORT"]), "user": "agent", "password": os.environ["TOKEN"],
    "database": "app", "ssl_ca": os.environ["CA"], "ssl_verify_identity": True,
}  # fmt: skip


def work(name: str, **more: object) -> None:
    connection = mysql.connector.connect(**SETTINGS, **more)
    out = {"client": name, "class": type(connection).__name__}
    cursor = connection.cursor()
    cursor.execute(f"select who as {name}_marker from invoices where id = 3")
    out["query"] = cursor.fetchall()[0][0]
    prepared = connection.cursor(prepared=True)
    for id in (4, 5):
        prepared.execute("select who from invoices where id = ?", (id,))
        out["prepared"] = prepared.fetchall()[0][0]
    prepared.close()
    cursor.execute("select repeat('x', 17000000)")
    out["long"] = len(cursor.fetchall()[0][0])
    try:
        cursor.execute(f"select * from missing_{name}")
    except mysql.connector.Error as failure:
        out["error"] = [failure.errno, failure.sqlstate]
    cursor.execute("insert into words (word) values (%s)", ("\U0001f600",))
    connection.rollback()
    cursor.close()
    calling = connection.cursor()
    calling.callproc("two")
    out["two"] = [result.fetchall()[0][0] for result in calling.stored_results()]
    calling.close()
    connection.cmd_reset_connection()
    connection.close()
    sys.stdout.write(json.dumps(out) + "\n")


work("connectorc", use_pure=False)
work("connectorpure", use_pure=True)
work("clearconnector", use_pure=True, auth_plugin="mysql_clear_password")
with tempfile.NamedTemporaryFile("w") as file:
    file.write(SETTINGS.pop("password"))
    file.flush()
    openid = {"auth_plugin": "authentication_openid_connect_client", "openid_token_file": file.name}
    work("openidpure", use_pure=True, **openid)
    work("openidc", use_pure=False, openid_token_file=file.name)
