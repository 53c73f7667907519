"""aiomysql. Prints one JSON object."""

import asyncio
import json
import os
import ssl
import sys

import aiomysql


async def main() -> None:
    connection = await aiomysql.connect(
        host="127.0.0.1", port=int(os.environ["PORT"]), user="agent", password=os.environ["TOKEN"], db="app",
        ssl=ssl.create_default_context(cafile=os.environ["CA"]),
    )  # fmt: skip
    out: dict[str, object] = {"client": "aiomysql"}
    cursor = await connection.cursor()
    await cursor.execute("select who as aiomysql_marker from invoices where id = %s", (3,))
    out["query"] = (await cursor.fetchone())[0]
    await cursor.execute("select repeat('x', 17000000)")
    out["long"] = len((await cursor.fetchone())[0])
    try:
        await cursor.execute("select * from missing_aiomysql")
    except aiomysql.Error as failure:
        out["error"] = [failure.args[0], ""]
    await cursor.callproc("two")
    out["two"] = [(await cursor.fetchone())[0]]
    await cursor.nextset()
    out["two"] = [*out["two"], (await cursor.fetchone())[0]]  # type: ignore[misc]
    connection.close()
    sys.stdout.write(json.dumps(out) + "\n")


asyncio.run(main())
