"""mysqlclient (MySQLdb) with the system's Python. Prints one JSON object."""

import json
import os
import sys

import MySQLdb

connection = MySQLdb.connect(
    host="127.0.0.1", port=int(os.environ["PORT"]), user="agent", password=os.environ["TOKEN"], database="app",
    ssl={"ca": os.environ["CA"]},
)  # fmt: skip
out = {"client": "mysqldb"}
cursor = connection.cursor()
cursor.execute("select who as mysqldb_marker from invoices where id = %s", (3,))
out["query"] = cursor.fetchone()[0]
cursor.execute("select repeat('x', 17000000)")
out["long"] = len(cursor.fetchone()[0])
try:
    cursor.execute("select * from missing_mysqldb")
except MySQLdb.Error as failure:
    out["error"] = [failure.args[0], ""]
cursor.execute("insert into words (word) values ('rolled back')")
connection.rollback()
cursor.callproc("two")
out["two"] = [cursor.fetchone()[0]]
cursor.nextset()
out["two"].append(cursor.fetchone()[0])
connection.close()
sys.stdout.write(json.dumps(out) + "\n")
